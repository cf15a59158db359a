//! What a pattern is made into: states, and edges that a record may take a run along.
//!
//! A run stands in one state. A record that comes is compared with the edges that leave the state, and with those of
//! every state that can be reached along free edges: `take` adds the record to the run, `pass_over` leaves it out, and
//! `free` moves on without deciding about the record. Invariant: an automaton is the same for every worker and after
//! every restart of the same program, because runs are kept with the numbers of its states.
//!
//! The semantics follow the automaton of Apache Flink's CEP library, which goes back to SASE (Agrawal et al.,
//! "Efficient Pattern Matching over Event Streams", SIGMOD 2008).

use crate::pattern::plan::Condition;
use crate::pattern::run::Folded;
use crate::pattern::taken::Taken;

/// The number of a state.
pub(super) type StateId = u16;
/// The number of a condition.
pub(super) type TestId = u16;
/// The number of a stage that takes records, in the order in which the pattern names them.
pub(super) type StageId = u16;

/// When an edge may be taken.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Guard {
    Always,
    /// The record satisfies this condition.
    Is(TestId),
    Not(Box<Guard>),
    All(Box<[Guard]>),
}

impl Guard {
    /// Whether it holds when there is no record, which satisfies no condition.
    pub(super) fn holds_without_a_record(&self) -> bool {
        match self {
            Guard::Always => true,
            Guard::Is(_) => false,
            Guard::Not(guard) => !guard.holds_without_a_record(),
            Guard::All(all) => all.iter().all(Guard::holds_without_a_record),
        }
    }

    pub(super) fn not(self) -> Guard {
        match self {
            Guard::Not(inner) => *inner,
            guard => Guard::Not(Box::new(guard)),
        }
    }

    pub(super) fn and(self, other: Guard) -> Guard {
        match (self, other) {
            (Guard::Always, guard) | (guard, Guard::Always) => guard,
            (Guard::All(all), guard) => {
                let mut all = all.into_vec();
                all.push(guard);
                Guard::All(all.into())
            }
            (one, other) => Guard::All(Box::new([one, other])),
        }
    }
}

/// What happens along an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The run takes the record for a stage.
    Take(StageId),
    /// The run leaves the record out.
    PassOver,
    /// The run stands in the target as well, and the record is compared there.
    Free,
}

/// A way out of a state.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) action: Action,
    pub(super) target: StateId,
    pub(super) guard: Guard,
}

/// What it means to stand in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The run waits for records.
    Waits,
    /// The run is a match.
    Matches,
    /// The run is none, nor is whatever became of it along other edges of the same record.
    Fails,
    /// The run is a match if its time ends here.
    MatchesInTime,
}

/// A place in a pattern.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) meaning: Meaning,
    pub(super) edges: Vec<Edge>,
    /// Milliseconds after the run's last record at which the run's time ends here.
    pub(super) step_millis: Option<i64>,
    /// The groups of which a record that is taken here begins a round, one bit each.
    pub(super) opens: u32,
    /// The groups that the state stands in.
    pub(super) inside: u32,
}

/// A condition as the automaton asks it.
pub(super) struct Test<T> {
    pub(super) condition: Condition<T>,
    /// The innermost group that it stands in, as its bit; 0 for none.
    pub(super) group: u32,
    /// The first stage and the first group of the list that it stands in.
    pub(super) first: Position,
    /// The stage that it belongs to, if that takes records.
    pub(super) own: StageId,
}

/// What is known of a stage that takes records.
#[derive(Clone, Debug)]
pub(super) struct TakingStage {
    pub(super) name: String,
    /// Milliseconds within which its record comes after the one before.
    pub(super) step_millis: Option<i64>,
    /// Which accumulator is kept in the place of its records.
    pub(super) fold: Option<u16>,
}

/// A pattern that can be run.
pub(super) struct Automaton<T> {
    pub(super) states: Vec<State>,
    pub(super) start: StateId,
    pub(super) tests: Vec<Test<T>>,
    pub(super) stages: Vec<TakingStage>,
    /// By their numbers; those around others first.
    pub(super) groups: Vec<Group>,
    /// By state: whether a run that stands there is a match when its time is over.
    pub(super) matches_in_time: Vec<bool>,
}

/// A place among the stages that take records, and among the groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub(super) stage: StageId,
    pub(super) group: u16,
}

/// A group of stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) first: StageId,
    pub(super) until: StageId,
    pub(super) bit: u32,
}

/// The answers that conditions have given for one record, and for the run that is looked at.
#[derive(Default)]
pub(super) struct Answers {
    /// By test: of tests that look at the record alone, 0 where it was not asked, 1 for no, 2 for yes.
    of_record: Vec<u8>,
    /// The same of tests that look at the run; the second of two where the record would begin a round.
    of_run: Vec<u8>,
}

impl Answers {
    /// Forgets everything: another record has come.
    pub(super) fn next_record(&mut self, tests: usize) {
        self.of_record.clear();
        self.of_record.resize(tests, 0);
        self.next_run(tests);
    }

    /// Forgets what depends on the run.
    pub(super) fn next_run(&mut self, tests: usize) {
        self.of_run.clear();
        self.of_run.resize(2 * tests, 0);
    }
}

impl<T> Automaton<T> {
    /// Whether a guard holds for a record and a run, of which `taken` is what it has taken before.
    pub(super) fn holds(
        &self,
        guard: &Guard,
        record: &T,
        taken: Taken<'_, T>,
        answers: &mut Answers,
    ) -> bool {
        match guard {
            Guard::Always => true,
            Guard::Is(test) => self.satisfies(*test, record, taken, answers),
            Guard::Not(guard) => !self.holds(guard, record, taken, answers),
            Guard::All(all) => all.iter().all(|guard| self.holds(guard, record, taken, answers)),
        }
    }

    fn satisfies(&self, number: TestId, record: &T, taken: Taken<'_, T>, answers: &mut Answers) -> bool {
        let test = &self.tests[usize::from(number)];
        let known = &mut answers.of_record[usize::from(number)];
        if *known == 0 {
            *known = 1 + u8::from(test.condition.any_of.iter().any(|test| test(record)));
        }
        if *known == 1 || test.condition.all_of.is_empty() {
            return *known == 2;
        }
        let taken = taken.asked_by(test.group, test.first, test.own);
        let known = &mut answers.of_run[2 * usize::from(number) + usize::from(taken.begins_round())];
        if *known == 0 {
            *known = 1 + u8::from(test.condition.all_of.iter().all(|test| test(record, taken)));
        }
        *known == 2
    }

    /// The accumulators of a run that has taken nothing.
    pub(super) fn no_folds(&self) -> Vec<Option<Folded>> {
        let count = self.stages.iter().filter(|stage| stage.fold.is_some()).count();
        (0..count).map(|_| None).collect()
    }
}
