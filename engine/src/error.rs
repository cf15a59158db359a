//! Why a job cannot start, or has ended before its input did.

use highwater_connectors::kafka::KafkaError;
use highwater_operators::error::{Cause, Place, RunError, TopologyError, TryAgain};
use highwater_state::{Epoch, StateError};
use thiserror::Error;

pub use crate::recovery::Mismatch;

/// An error of a job; its text says what happened, where in the user's program, and what to do next.
///
/// Its `Debug` form is the same text, because that is what Rust prints of an error that `main` returns.
#[derive(Error)]
#[non_exhaustive]
pub enum JobError {
    /// The topology is no topology; every fault that was found.
    #[error("the topology cannot run: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Topology(Vec<TopologyError>),
    /// The state directory belongs to a job whose input has ended, and the topology now reads more.
    #[error(
        "the input of this state directory ended in an earlier run, and `{split}` of source `{source_name}` was no \
         part of it; use a new state directory to read it"
    )]
    Ended {
        /// The source's name.
        source_name: String,
        /// The split that is new.
        split: String,
    },
    /// A setting of the job is out of its limits.
    #[error("{setting} is {found}; it must be {allowed}")]
    Setting {
        /// The setting, by the method that sets it.
        setting: &'static str,
        /// What it was set to.
        found: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// A job that is to run again has event time.
    #[error(
        "{place} gives the topology event time, and `again` is for those without: the end of the input that an earlier \
            run has read was the end of time; leave `again` out, or give the job a state directory of its own"
    )]
    TimeHasEnded {
        /// The first operator that gives event time.
        place: Place,
    },
    /// A setting makes sense only with state on disk.
    #[error("{setting} needs a state directory; name one with `Job::state`")]
    NoState {
        /// The setting, by the method that sets it.
        setting: &'static str,
    },
    /// A savepoint was asked for, and the job ended before it was made.
    #[error(
        "no savepoint was made, because the job has ended; `Job::savepoint_on_stop` makes one at the end"
    )]
    NotRunning,
    /// The state directory cannot be used, or a commit failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// A source, an operator or a sink failed. Nothing is lost: a restart on the same state directory continues
    /// from the last committed epoch.
    #[error(transparent)]
    Run(#[from] RunError),
    /// What decides epochs failed. Nothing is lost: what was decided is applied at the next start, what was not is done
    /// again.
    #[error("{decider}: {cause}")]
    Undecided {
        /// Who decides.
        decider: String,
        /// What it said.
        cause: Cause,
    },
    /// The state directory and what decides epochs do not fit together.
    #[error("{decider}: {mismatch}")]
    Mismatch {
        /// Who decides.
        decider: String,
        /// What does not fit.
        mismatch: Mismatch,
    },
    /// Exactly once needs a place to keep what the decider does not.
    #[error(
        "{place} has state, positions or results of which {decider} know nothing: give the job a state directory \
            with `Job::state`"
    )]
    NeedsState {
        /// Who decides.
        decider: String,
        /// The operator or source.
        place: Place,
    },
    /// The last run left an epoch that only its transactions can decide, and the topology has none any more.
    #[error(
        "{epoch} was being committed when the last run ended, and only the transactions that it was part of can \
            tell whether it was; run the program once more with its former sinks"
    )]
    InDoubt {
        /// What is in doubt.
        epoch: Epoch,
    },
    /// A closure of the user, or a bug of ours, panicked.
    #[error(
        "worker {worker} panicked: {message}; nothing is lost: a restart continues from the last committed epoch"
    )]
    Panicked {
        /// The worker's number.
        worker: usize,
        /// What it said.
        message: String,
    },
    /// An epoch did not end in the time that it may take.
    #[error(
        "an epoch has not ended for {waited:?}: a sink or an operator does not come back; the job stops, and a \
            restart continues from the last committed epoch"
    )]
    Stuck {
        /// How long the coordinator waited.
        waited: std::time::Duration,
    },
    /// The operating system refused a thread or a signal handler.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

impl JobError {
    /// Whether doing the epoch again from the last committed one may help.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            // Who reads without the transactions in which others write does not know that it may be tried again.
            JobError::Run(RunError::Source { cause, .. })
                if matches!(cause.downcast_ref(), Some(KafkaError::Unreachable { .. })) =>
            {
                true
            }
            JobError::Run(error) => error.may_pass(),
            JobError::Undecided { cause, .. } => cause.is::<TryAgain>(),
            _ => false,
        }
    }
}

impl std::fmt::Debug for JobError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_main_prints_of_an_error_is_its_text() {
        let error = JobError::Setting { setting: "workers", found: "0".to_owned(), allowed: "1 to 128" };
        assert_eq!(format!("{error:?}"), "workers is 0; it must be 1 to 128");
    }
}
