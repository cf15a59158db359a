//! The steps of a start and of a commit, by name: the places where a process can die.
//!
//! What a crash before or after each of them leaves, and what the next start makes of it, is the table in
//! `docs/decisions/0012-kafka-decides-redo-follows.md`. Tests kill processes here; a program can watch them for its own
//! logs. Invariant: every call that changes something outside the process while an epoch is committed, or a job
//! starts, is inside one of these steps.

use std::fmt;
use std::sync::Arc;

/// One step of a start or of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Step {
    /// A start fences earlier instances at the decider and reads its marker.
    TakeOver,
    /// A start applies or drops the epoch that was prepared and not applied.
    Settle,
    /// A start writes its own marker.
    Announce,
    /// A start lets the sinks publish the last epoch again, and throw away what was staged for later ones.
    Recover,
    /// The workers are told to end the epoch; sources send its barrier.
    Order,
    /// All workers have passed the barrier: every sink has staged, every change is in the delta.
    Gather,
    /// The delta is kept as redo, synced.
    Prepare,
    /// The positions and the marker are in the decider's transaction.
    Stage,
    /// The decider commits its transaction: the decision.
    Decide,
    /// The delta is applied and the redo dropped.
    Apply,
    /// Where there is no decider: the synced write of the delta, which is the decision.
    Write,
    /// The sinks publish.
    Publish,
    /// The workers are told that the epoch is applied.
    Tell,
}

impl Step {
    /// All of them, in the order in which they come.
    pub const ALL: &'static [Step] = &[
        Step::TakeOver,
        Step::Settle,
        Step::Announce,
        Step::Recover,
        Step::Order,
        Step::Gather,
        Step::Prepare,
        Step::Stage,
        Step::Decide,
        Step::Apply,
        Step::Write,
        Step::Publish,
        Step::Tell,
    ];

    /// Its place in [`ALL`](Step::ALL), from 1.
    pub fn number(self) -> usize {
        self as usize + 1
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {self:?}", self.number())
    }
}

/// On which side of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// Nothing of it has happened.
    Before,
    /// All of it has happened.
    After,
}

/// Called before and after every step, by the thread that commits.
pub(crate) type Watch = Arc<dyn Fn(Step, Moment) + Send + Sync>;

/// Does a step, watched; a step that fails has no end.
pub(crate) fn watched<T, E>(watch: &Watch, step: Step, run: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    watch(step, Moment::Before);
    let done = run()?;
    watch(step, Moment::After);
    Ok(done)
}

/// Watches nothing.
pub(crate) fn unwatched() -> Watch {
    Arc::new(|_, _| {})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_in_the_order_of_the_list() {
        let numbers: Vec<usize> = Step::ALL.iter().map(|step| step.number()).collect();
        assert_eq!(numbers, (1..=13).collect::<Vec<_>>());
        assert_eq!(Step::Decide.to_string(), "9 Decide");
    }
}
