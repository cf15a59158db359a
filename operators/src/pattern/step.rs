//! How the runs of one key go on: with a record, and with time alone.
//!
//! Each run is compared with the record by itself; one that may go on in several ways becomes several, and one that
//! cannot go on ends. Every record may also begin a run. Invariants: time has been advanced to a record's time before
//! the record is looked at, so that a window is open at its right end; runs are kept in the order in which they
//! began; a key without runs and withheld matches keeps nothing.
//!
//! Cost: a record costs in proportion to the live runs of its key, and nothing for other keys.

use std::sync::Arc;

use highwater_state::time::duration_millis;
use highwater_state::{StateError, Timestamp};

use crate::error::Cause;
use crate::limits::PATTERN_TAKEN;
use crate::pattern::after::Skip;
use crate::pattern::automaton::{Action, Answers, Automaton, Edge, Meaning, StageId, StateId};
use crate::pattern::buffer::{Buffer, Incoming, NO_NODE, NewNode};
use crate::pattern::compile::compile;
use crate::pattern::fold::FoldOf;
use crate::pattern::lower::lower;
use crate::pattern::plan::Plan;
use crate::pattern::run::{Beginning, Folded, KeptAccumulator, Run, Runs};
use crate::pattern::taken::Taken;

/// What is told of a run that has ended.
pub(super) enum Outcome {
    /// It is a match.
    Matched,
    /// Its time is over before it became one.
    TimedOut,
}

/// Who is told: the run, its records, and the time at which it was known.
pub(super) trait Told<T> {
    fn told(&mut self, outcome: Outcome, buffer: &Buffer<T>, run: &Run, at: Timestamp);
}

/// A pattern that runs.
pub(super) struct Machine<T> {
    pub(super) automaton: Automaton<T>,
    pub(super) folds: Vec<Arc<dyn FoldOf<T>>>,
    pub(super) within_millis: Option<i64>,
    pub(super) skip: Skip,
    pub(super) runs_per_key: usize,
    /// A stage has a time of its own.
    pub(super) has_steps: bool,
}

/// What a machine works with, kept for the next record.
#[derive(Default)]
pub(super) struct Scratch {
    answers: Answers,
    before: Vec<Run>,
    found: Vec<Run>,
    ways: Vec<Way>,
    seen: Vec<(StateId, u32)>,
}

/// One way in which a run goes on.
struct Way {
    /// The stage that takes the record; `None` if it is passed over.
    take: Option<StageId>,
    target: StateId,
    opens: u32,
    /// The run is a match then.
    completes: bool,
}

/// A way in which a record is taken.
struct Taking<'a> {
    stage: StageId,
    way: &'a Way,
    /// The accumulators of the run that goes this way.
    folds: Vec<Option<Folded>>,
    /// Nothing but what completes goes on.
    fails: bool,
}

/// A record with its time and its number among those of its key.
struct At {
    time: Timestamp,
    position: u64,
}

impl<T> Machine<T> {
    /// The machine of a plan that makes sense, and the plan as text.
    ///
    /// # Errors
    /// If it is too large.
    pub(super) fn of(plan: Plan<T>) -> Result<(Self, String), String> {
        let (within, after, fail_on_miss) = (plan.within, plan.after_match.clone(), plan.fail_on_miss);
        let runs_per_key = plan.runs_per_key;
        let mut numbered = lower(plan);
        let (folds, text) = (std::mem::take(&mut numbered.folds), std::mem::take(&mut numbered.text));
        let automaton = compile(numbered, within.is_some())?;
        let has_steps = automaton.states.iter().any(|state| state.step_millis.is_some());
        let skip = Skip::new(&after, fail_on_miss, &automaton);
        let within_millis = within.map(duration_millis);
        Ok((Machine { automaton, folds, within_millis, skip, runs_per_key, has_steps }, text))
    }

    /// Advances time to that of the record, and then looks at the record. Says how many runs were dropped because the
    /// key has too many.
    ///
    /// # Errors
    /// If a match does not have what is to be skipped to.
    pub(super) fn on_record(
        &self,
        runs: &mut Runs<T>,
        record: T,
        time: Timestamp,
        scratch: &mut Scratch,
        told: &mut impl Told<T>,
    ) -> Result<u64, Cause> {
        self.advance(runs, time, Timestamp::MIN, scratch, told)?;
        let at = At { time, position: runs.next };
        runs.next += 1;
        scratch.answers.next_record(self.automaton.tests.len());
        let mut incoming = Incoming::new(record);
        let mut before = std::mem::take(&mut scratch.before);
        before.append(&mut runs.runs);
        for run in before.drain(..) {
            self.go_on(runs, run, &mut incoming, &at, scratch);
        }
        scratch.before = before;
        self.begin(runs, &mut incoming, &at, scratch);
        runs.buffer.settle(incoming);
        let dropped = self.keep_to_the_limit(runs);
        self.skip.give(self, runs, &mut scratch.found, time, told)?;
        runs.deadline = self.next_deadline(runs);
        // A run that passed the record over may have come to a state in which its time was over before.
        self.advance(runs, time, time, scratch, told)?;
        Ok(dropped)
    }

    /// Ends the runs whose time is over by `to`, one time after the other. What is told has the time at which a run's
    /// time was over, but not before `since`: the watermark may have passed what is earlier.
    ///
    /// # Errors
    /// If a match does not have what is to be skipped to.
    pub(super) fn advance(
        &self,
        runs: &mut Runs<T>,
        to: Timestamp,
        since: Timestamp,
        scratch: &mut Scratch,
        told: &mut impl Told<T>,
    ) -> Result<(), Cause> {
        while runs.deadline <= to && runs.deadline != Timestamp::MAX {
            let (deadline, now) = (runs.deadline, runs.deadline.max(since));
            let mut before = std::mem::take(&mut scratch.before);
            // Where only the whole pattern has a time, those that began first are out of it first.
            let over = |run: &Run| self.deadline(run) <= deadline;
            let looked_at = if self.has_steps { runs.runs.len() } else { runs.runs.partition_point(over) };
            before.extend(runs.runs.drain(..looked_at));
            for run in before.drain(..) {
                if !over(&run) {
                    runs.runs.push(run);
                    continue;
                }
                let state = usize::from(run.state);
                if self.automaton.states[state].meaning != Meaning::MatchesInTime {
                    told.told(Outcome::TimedOut, &runs.buffer, &run, now);
                }
                if self.automaton.matches_in_time[state] {
                    scratch.found.push(run);
                } else {
                    runs.drop_run(&run);
                }
            }
            scratch.before = before;
            self.skip.give(self, runs, &mut scratch.found, now, told)?;
            runs.deadline = self.next_deadline(runs);
        }
        Ok(())
    }

    /// Looks at what has been read back, once: whether it holds together, and decodes the accumulators.
    ///
    /// # Errors
    /// If it does not, or if they cannot be decoded.
    pub(super) fn revive(&self, name: &str, runs: &mut Runs<T>) -> highwater_state::error::Result<()> {
        if runs.checked {
            return Ok(());
        }
        let of_runs = runs.runs.iter().chain(runs.withheld.iter().map(|withheld| &withheld.run));
        let nodes = of_runs.clone().map(|run| run.node);
        let sound = runs.buffer.is_sound(self.automaton.stages.len(), nodes)
            && of_runs.clone().all(|run| self.is_sound(run))
            && runs.runs.is_sorted_by_key(|run| run.began)
            && runs.withheld.iter().is_sorted_by_key(|withheld| withheld.run.began);
        if !sound {
            let reason = "the runs of a key do not hold together: the row is damaged".to_owned();
            return Err(StateError::Row { name: name.to_owned(), reason });
        }
        let withheld = runs.withheld.iter_mut().map(|withheld| &mut withheld.run);
        for run in runs.runs.iter_mut().chain(withheld) {
            for (folded, fold) in run.folds.iter_mut().zip(&self.folds) {
                if let Some(folded) = folded {
                    folded.kept.revive(name, fold.as_ref())?;
                }
            }
        }
        runs.checked = true;
        Ok(())
    }

    /// Whether a run that was read back stands in a state in which it can be.
    fn is_sound(&self, run: &Run) -> bool {
        self.automaton.states.get(usize::from(run.state)).is_some() && run.folds.len() == self.folds.len()
    }

    /// When the run's time ends; [`Timestamp::MAX`] for never.
    fn deadline(&self, run: &Run) -> Timestamp {
        let after = |time: Timestamp, millis: Option<i64>| {
            millis.map_or(i64::MAX, |millis| time.as_millis().saturating_add(millis))
        };
        let step = self.automaton.states[usize::from(run.state)].step_millis;
        let whole = after(run.began.time, self.within_millis);
        Timestamp::from_millis(whole.min(after(run.previous, step)))
    }

    fn next_deadline(&self, runs: &Runs<T>) -> Timestamp {
        if !self.has_steps {
            return runs.runs.first().map_or(Timestamp::MAX, |run| self.deadline(run));
        }
        runs.runs.iter().map(|run| self.deadline(run)).min().unwrap_or(Timestamp::MAX)
    }

    /// What becomes of one run with the record.
    fn go_on(
        &self,
        runs: &mut Runs<T>,
        mut run: Run,
        incoming: &mut Incoming<T>,
        at: &At,
        scratch: &mut Scratch,
    ) {
        let fails = self.look(runs, Some(&run), run.state, incoming, at, scratch);
        if let [Way { take: None, target, completes: false, .. }] = scratch.ways[..]
            && !fails
        {
            run.state = target;
            runs.runs.push(run);
            return;
        }
        let ways = std::mem::take(&mut scratch.ways);
        for (number, way) in ways.iter().enumerate() {
            match way.take {
                Some(stage) if !fails || way.completes => {
                    // Only what goes on in several ways needs accumulators of its own.
                    let is_last = number + 1 == ways.len();
                    let folds = if is_last { std::mem::take(&mut run.folds) } else { run.folds.clone() };
                    let taking = Taking { stage, way, folds, fails };
                    self.take(runs, Some(&run), taking, incoming, at, &mut scratch.found);
                }
                None if way.completes => {
                    runs.buffer.retain(run.node);
                    scratch.found.push(run.copied(way.target));
                }
                None if !fails => {
                    runs.buffer.retain(run.node);
                    runs.runs.push(run.copied(way.target));
                }
                Some(_) | None => {}
            }
        }
        scratch.ways = ways;
        runs.drop_run(&run);
    }

    /// The runs that begin with the record.
    fn begin(&self, runs: &mut Runs<T>, incoming: &mut Incoming<T>, at: &At, scratch: &mut Scratch) {
        let fails = self.look(runs, None, self.automaton.start, incoming, at, scratch);
        let ways = std::mem::take(&mut scratch.ways);
        for way in &ways {
            if let Some(stage) = way.take {
                let taking = Taking { stage, way, folds: self.automaton.no_folds(), fails };
                self.take(runs, None, taking, incoming, at, &mut scratch.found);
            }
        }
        scratch.ways = ways;
    }

    /// A run that has taken the record.
    fn take(
        &self,
        runs: &mut Runs<T>,
        run: Option<&Run>,
        Taking { stage, way, mut folds, fails }: Taking<'_>,
        incoming: &mut Incoming<T>,
        at: &At,
        found: &mut Vec<Run>,
    ) {
        let previous = run.map_or(NO_NODE, |run| run.node);
        let node = match self.automaton.stages[usize::from(stage)].fold {
            Some(number) => {
                let number = usize::from(number);
                self.fold(&mut folds[number], number, incoming.get(&runs.buffer), at);
                runs.buffer.retain(previous);
                previous
            }
            None => {
                let (time, position) = (at.time, at.position);
                let new = NewNode { previous, stage, opens: way.opens, time, position };
                runs.buffer.add(new, incoming)
            }
        };
        let began = run.map_or(Beginning { time: at.time, position: at.position }, |run| run.began);
        let run = Run { state: way.target, node, began, previous: at.time, last: at.position, folds };
        let goes_on = self.automaton.states[usize::from(way.target)].meaning != Meaning::Matches && !fails;
        if way.completes && goes_on {
            runs.buffer.retain(run.node);
            found.push(run.copied(run.state));
        }
        match (goes_on, way.completes) {
            (true, _) => runs.runs.push(run),
            (false, true) => found.push(run),
            (false, false) => runs.drop_run(&run),
        }
    }

    fn fold(&self, folded: &mut Option<Folded>, number: usize, record: &T, at: &At) {
        let fold = &self.folds[number];
        let start =
            || Folded { kept: KeptAccumulator::Value(fold.start()), first: at.position, last: at.position };
        let folded = folded.get_or_insert_with(start);
        folded.last = at.position;
        if let KeptAccumulator::Value(value) = &mut folded.kept {
            fold.add(value.as_mut(), record);
        }
    }

    /// Finds the ways in which a run that stands in `state` goes on with the record; says whether it fails.
    fn look(
        &self,
        runs: &Runs<T>,
        run: Option<&Run>,
        state: StateId,
        incoming: &Incoming<T>,
        at: &At,
        scratch: &mut Scratch,
    ) -> bool {
        let Scratch { answers, ways, seen, .. } = scratch;
        answers.next_run(self.automaton.tests.len());
        ways.clear();
        seen.clear();
        seen.push((state, 0));
        let record = incoming.get(&runs.buffer);
        let (node, folds) = run.map_or((NO_NODE, &[][..]), |run| (run.node, &run.folds[..]));
        let taken = Taken::new(&self.automaton, &runs.buffer, node, folds);
        let mut fails = false;
        let mut next = 0;
        while let Some(&(number, opened)) = seen.get(next) {
            next += 1;
            let state = &self.automaton.states[usize::from(number)];
            let opens = (opened | state.opens) & state.inside;
            let taken = taken.in_state(opens);
            for edge in &state.edges {
                match edge.action {
                    Action::PassOver if run.is_none() => continue,
                    Action::Take(stage) if !self.is_in_time(stage, run, at) => continue,
                    _ => {}
                }
                if !self.automaton.holds(&edge.guard, record, taken, answers) {
                    continue;
                }
                let meaning = self.automaton.states[usize::from(edge.target)].meaning;
                match edge.action {
                    Action::Free if meaning == Meaning::Fails => fails = true,
                    Action::Free if seen.iter().any(|&(known, _)| known == edge.target) => {}
                    Action::Free => seen.push((edge.target, opens)),
                    Action::PassOver => {
                        let completes = meaning == Meaning::Matches;
                        ways.push(Way { take: None, target: edge.target, opens, completes });
                    }
                    Action::Take(stage) => {
                        let completes = self.leads_to_the_end(edge.target, record, taken, answers);
                        ways.push(Way { take: Some(stage), target: edge.target, opens, completes });
                    }
                }
            }
        }
        fails
    }

    /// Whether the record comes in time after the one that the run took before.
    fn is_in_time(&self, stage: StageId, run: Option<&Run>, at: &At) -> bool {
        let step = self.automaton.stages[usize::from(stage)].step_millis;
        let Some((step, run)) = step.zip(run) else { return true };
        at.time.as_millis().saturating_sub(run.previous.as_millis()) < step
    }

    /// Whether a run that comes to a state with the record needs no other to be a match.
    fn leads_to_the_end(
        &self,
        state: StateId,
        record: &T,
        taken: Taken<'_, T>,
        answers: &mut Answers,
    ) -> bool {
        let state = &self.automaton.states[usize::from(state)];
        if state.meaning == Meaning::Matches {
            return true;
        }
        let leads_on = |edge: &&Edge| {
            edge.action == Action::Free
                && self.automaton.states[usize::from(edge.target)].meaning != Meaning::Fails
        };
        state.edges.iter().filter(leads_on).any(|edge| {
            self.automaton.holds(&edge.guard, record, taken, answers)
                && self.leads_to_the_end(edge.target, record, taken, answers)
        })
    }

    /// Drops the runs that began first, if there are too many or if they have taken too much.
    fn keep_to_the_limit(&self, runs: &mut Runs<T>) -> u64 {
        let Runs { runs: live, buffer, withheld, .. } = runs;
        let too_many = (live.len() + withheld.len()).saturating_sub(self.runs_per_key).min(live.len());
        live.drain(..too_many).for_each(|run| buffer.release(run.node));
        let mut dropped = too_many;
        while buffer.nodes() > PATTERN_TAKEN && !live.is_empty() {
            // An eighth at a time, because the rest moves up each time.
            let some = live.len().div_ceil(8);
            live.drain(..some).for_each(|run| buffer.release(run.node));
            dropped += some;
        }
        dropped as u64
    }
}
