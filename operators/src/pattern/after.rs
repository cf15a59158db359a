//! What becomes of other runs and matches once a match is given: the after-match skip strategies.
//!
//! With a strategy that skips, a match waits while a run lives that began before it, because that run's match would
//! come first and may skip this one. Invariant: matches are given in the order in which they began; of those that
//! began with one record, those that were found first, and of these the one whose records came earliest.

use std::cmp::Ordering;

use highwater_state::Timestamp;

use crate::error::Cause;
use crate::pattern::automaton::{Automaton, StageId};
use crate::pattern::buffer::Buffer;
use crate::pattern::plan::AfterMatch;
use crate::pattern::run::{Run, Runs, Withheld};
use crate::pattern::step::{Machine, Outcome, Told};

/// A strategy with the stage's number in the place of its name.
pub(super) struct Skip {
    to: To,
    /// What is said if a match does not have what is skipped to.
    stage: String,
    fail_on_miss: bool,
}

#[derive(Clone, Copy)]
enum To {
    Nothing,
    Next,
    PastLast,
    /// `None` where the stage takes no records.
    First(Option<StageId>),
    Last(Option<StageId>),
}

impl Skip {
    pub(super) fn new<T>(after: &AfterMatch, fail_on_miss: bool, automaton: &Automaton<T>) -> Self {
        let number = |name: &String| {
            let at = automaton.stages.iter().position(|stage| stage.name == *name);
            at.map(|at| at as StageId)
        };
        let to = match after {
            AfterMatch::NoSkip => To::Nothing,
            AfterMatch::SkipToNext => To::Next,
            AfterMatch::SkipPastLast => To::PastLast,
            AfterMatch::SkipToFirst(stage) => To::First(number(stage)),
            AfterMatch::SkipToLast(stage) => To::Last(number(stage)),
        };
        Skip { to, stage: after.stage().unwrap_or_default().to_owned(), fail_on_miss }
    }

    /// Gives the matches that need not wait: those found now, and those that waited for what has ended since.
    pub(super) fn give<T>(
        &self,
        machine: &Machine<T>,
        runs: &mut Runs<T>,
        found: &mut Vec<Run>,
        at: Timestamp,
        told: &mut impl Told<T>,
    ) -> Result<(), Cause> {
        if let To::Nothing = self.to {
            for run in found.drain(..) {
                told.told(Outcome::Matched, &runs.buffer, &run, at);
                runs.drop_run(&run);
            }
            return Ok(());
        }
        if found.is_empty() && runs.withheld.is_empty() {
            return Ok(());
        }
        if !found.is_empty() {
            let instant = runs.next;
            runs.withheld.extend(found.drain(..).map(|run| Withheld { run, found: instant }));
            let buffer = &runs.buffer;
            runs.withheld.make_contiguous().sort_by(|one, other| order(buffer, one, other));
        }
        while let Some(first) = runs.withheld.front() {
            if runs.runs.first().is_some_and(|run| run.began < first.run.began) {
                break;
            }
            let Some(Withheld { run, .. }) = runs.withheld.pop_front() else { break };
            told.told(Outcome::Matched, &runs.buffer, &run, at);
            let bound = self.bound(machine, &runs.buffer, &run);
            runs.drop_run(&run);
            if let Some(bound) = bound? {
                prune(runs, bound);
            }
        }
        Ok(())
    }

    /// What begins before this position is dropped.
    fn bound<T>(&self, machine: &Machine<T>, buffer: &Buffer<T>, run: &Run) -> Result<Option<u64>, Cause> {
        let stage = match self.to {
            To::Nothing => return Ok(None),
            To::Next => return Ok(Some(run.began.position + 1)),
            To::PastLast => return Ok(Some(run.last + 1)),
            To::First(stage) | To::Last(stage) => stage,
        };
        let taken = stage.and_then(|stage| ends(machine, buffer, run, stage));
        let target = taken.map(|(first, last)| if let To::First(_) = self.to { first } else { last });
        match target {
            None if self.fail_on_miss => {
                Err(format!("a match took nothing for stage `{}`, which is to be skipped to", self.stage)
                    .into())
            }
            Some(target) if self.fail_on_miss && target == run.began.position => Err(format!(
                "a match begins with stage `{}`, so skipping to it would find the match for ever",
                self.stage
            )
            .into()),
            target => Ok(target),
        }
    }
}

/// The positions of the first and the last record that a run took for a stage.
fn ends<T>(machine: &Machine<T>, buffer: &Buffer<T>, run: &Run, stage: StageId) -> Option<(u64, u64)> {
    if let Some(fold) = machine.automaton.stages[usize::from(stage)].fold {
        let folded = run.folds.get(usize::from(fold))?.as_ref()?;
        return Some((folded.first, folded.last));
    }
    let mut taken = buffer.back_from(run.node).filter(|node| node.stage == stage).map(|node| node.position);
    let last = taken.next()?;
    Some((taken.last().unwrap_or(last), last))
}

fn order<T>(buffer: &Buffer<T>, one: &Withheld, other: &Withheld) -> Ordering {
    let known = |withheld: &Withheld| (withheld.run.began, withheld.found);
    known(one).cmp(&known(other)).then_with(|| {
        let positions = |withheld: &Withheld| {
            let mut all: Vec<u64> = buffer.back_from(withheld.run.node).map(|node| node.position).collect();
            all.reverse();
            all
        };
        positions(one).cmp(&positions(other))
    })
}

/// Drops the runs and withheld matches that began before a position.
fn prune<T>(runs: &mut Runs<T>, bound: u64) {
    let began = runs.runs.partition_point(|run| run.began.position < bound);
    let Runs { buffer, runs: live, withheld, .. } = runs;
    live.drain(..began).for_each(|run| buffer.release(run.node));
    let began = withheld.partition_point(|withheld| withheld.run.began.position < bound);
    withheld.drain(..began).for_each(|withheld| buffer.release(withheld.run.node));
}
