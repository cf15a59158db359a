//! What can go wrong in a simulation, and how often it did.
//!
//! A [`Call`] is everything by which a process reaches outside; it can die before and after each, and most can fail
//! without having done anything, or after they have done it. Invariant: every fault that a run injects is counted, so
//! that a test can say that none was left out.

use std::collections::BTreeMap;
use std::fmt;

use crate::step::{Moment, Step};

/// A call of a process to something outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Call {
    /// The state directory: a synced write.
    Write,
    /// The state directory: a write that is durable with the next synced one.
    Apply,
    /// The brokers: the marker is read.
    Look,
    /// The brokers: earlier producers are fenced, and the marker is read.
    TakeOver,
    /// The brokers: positions and marker join the transaction.
    Stage,
    /// The brokers: the transaction is committed.
    Decide,
    /// The brokers: records are sent into the transaction.
    Produce,
    /// The brokers: what was sent is waited for.
    Flush,
    /// A sink that stages: records are made durable, and not visible.
    Keep,
    /// A sink that stages: what was kept becomes visible.
    Publish,
    /// A sink that stages: a start publishes again, and throws away what was kept for later.
    Recover,
    /// A source is polled.
    Poll,
}

impl Call {
    /// All of them.
    pub const ALL: &'static [Call] = &[
        Call::Write,
        Call::Apply,
        Call::Look,
        Call::TakeOver,
        Call::Stage,
        Call::Decide,
        Call::Produce,
        Call::Flush,
        Call::Keep,
        Call::Publish,
        Call::Recover,
        Call::Poll,
    ];

    /// Whether the call can have been done although it says that it failed.
    pub fn may_lose_its_answer(self) -> bool {
        !matches!(self, Call::Look | Call::Poll)
    }
}

/// Something that goes wrong, or happens at an awkward moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The process is killed between two moves of its workers.
    Killed,
    /// The process is killed before the call does anything.
    KilledBefore(Call),
    /// The process is killed when the call has done everything.
    KilledAfter(Call),
    /// The process is killed at a step of a start or of a commit.
    KilledAt(Step, Moment),
    /// The call fails, and has done nothing.
    Failed(Call),
    /// The call says that it failed, and has done everything.
    AnswerLost(Call),
    /// A power cut takes back writes that were not synced.
    WritesLost,
    /// A commit request arrives when the process that sent it has given up waiting, and commits.
    LateCommit,
    /// A commit request arrives when its producer has been fenced, and is refused.
    LateCommitRefused,
    /// Records arrive when their producer has been fenced, and are refused.
    LateRecordsRefused,
    /// Records that were sent never arrive; who waits for them is told.
    RecordsLost,
    /// The brokers give up a transaction that has been open for too long.
    TimedOut,
    /// A process stands still, its successor starts, and it wakes up again.
    Woken,
    /// A process is refused by the brokers because another one has taken over.
    Fenced,
    /// The job is asked to stop, and is started again with another number of workers.
    Stopped,
    /// New splits are announced: all workers end, and begin anew in the same process.
    Divided,
    /// The clock jumps forward by minutes to hours.
    ClockForward,
    /// The clock is set back between two starts.
    ClockBack,
    /// A job whose input has ended is started once more.
    StartedAgain,
}

impl Fault {
    /// All that can be.
    pub fn all() -> Vec<Fault> {
        let mut all = vec![
            Fault::Killed,
            Fault::WritesLost,
            Fault::LateCommit,
            Fault::LateCommitRefused,
            Fault::LateRecordsRefused,
            Fault::RecordsLost,
            Fault::TimedOut,
            Fault::Woken,
            Fault::Fenced,
            Fault::Stopped,
            Fault::Divided,
            Fault::ClockForward,
            Fault::ClockBack,
            Fault::StartedAgain,
        ];
        for &call in Call::ALL {
            all.extend([Fault::KilledBefore(call), Fault::KilledAfter(call), Fault::Failed(call)]);
            all.extend(call.may_lose_its_answer().then_some(Fault::AnswerLost(call)));
        }
        for &step in Step::ALL {
            all.extend([Moment::Before, Moment::After].map(|moment| Fault::KilledAt(step, moment)));
        }
        all
    }
}

/// How often each fault was injected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    counts: BTreeMap<Fault, u64>,
}

impl Coverage {
    pub(super) fn count(&mut self, fault: Fault) {
        *self.counts.entry(fault).or_insert(0) += 1;
    }

    /// Adds what another run has seen.
    pub fn add(&mut self, other: &Coverage) {
        for (fault, count) in &other.counts {
            *self.counts.entry(*fault).or_insert(0) += count;
        }
    }

    /// How often this fault was injected.
    pub fn of(&self, fault: Fault) -> u64 {
        self.counts.get(&fault).copied().unwrap_or(0)
    }

    /// How many faults were injected in all.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The faults that never were. Without a transactional sink those of the brokers cannot be, and without another
    /// one those of sinks that stage.
    pub fn missing(&self) -> Vec<Fault> {
        Fault::all().into_iter().filter(|fault| self.of(*fault) == 0).collect()
    }
}

impl fmt::Display for Coverage {
    /// One line for each fault, with how often it was injected.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (fault, count) in &self.counts {
            writeln!(f, "{count:>8}  {fault:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_counted_is_missing() {
        let mut coverage = Coverage::default();
        assert_eq!(coverage.missing().len(), Fault::all().len());
        coverage.count(Fault::Killed);
        let mut sum = coverage.clone();
        sum.add(&coverage);
        assert_eq!((sum.of(Fault::Killed), sum.total()), (2, 2));
        assert!(!sum.missing().contains(&Fault::Killed));
        assert_eq!(sum.to_string(), "       2  Killed\n");
    }
}
