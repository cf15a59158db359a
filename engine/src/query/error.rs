//! What can go wrong with a question to a running job.

use std::time::Duration;

use highwater_state::StateError;
use thiserror::Error;

/// Why a question to a running job has no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum QueryError {
    /// There is no table of this name.
    #[error("there is no table `{table}` in the topology `{topology}`; there are: {}", known.join(", "))]
    Unknown {
        /// The name that was asked for.
        table: String,
        /// The topology.
        topology: String,
        /// The names there are.
        known: Box<[String]>,
    },
    /// The table is one of the topology, and nothing of it has been committed.
    #[error(
        "nothing of the table `{table}` has been committed yet: ask again when an epoch has ended, or wait for it with \
            `Queries::at_least`"
    )]
    NothingYet {
        /// The table.
        table: String,
    },
    /// The job keeps no rows that could be read.
    #[error(
        "the rows of `{table}` cannot be read, because a job without a state directory keeps them for its operators \
            only; start it with `Job::queryable`, or give it a directory with `Job::state`"
    )]
    NotKept {
        /// The table.
        table: String,
    },
    /// The job has ended, and what it kept is closed.
    #[error(
        "the job `{topology}` has ended and is not there to be asked any more; what is in its state directory can be \
            read with `StateReader`, and a job that is started again has queries of its own"
    )]
    Ended {
        /// The topology.
        topology: String,
    },
    /// What was waited for did not come in time.
    #[error("{asked} has not been reached in {waited:?}: {reached}; ask again, or with a longer timeout")]
    TimedOut {
        /// What was waited for.
        asked: String,
        /// What has been reached.
        reached: String,
        /// How long it was waited.
        waited: Duration,
    },
    /// What was waited for will not come, because the job has ended.
    #[error("{asked} will not be reached, because the job has ended: {reached}")]
    NeverReached {
        /// What was waited for.
        asked: String,
        /// What has been reached.
        reached: String,
    },
    /// There is no source of this name.
    #[error("the topology `{topology}` has no source `{name}`; there are: {}", known.join(", "))]
    UnknownSource {
        /// The name that was asked for.
        name: String,
        /// The topology.
        topology: String,
        /// The sources there are.
        known: Box<[String]>,
    },
    /// A position is none of the type that the source has.
    #[error("the position {position} is none of the source `{name}`: {reason}")]
    Position {
        /// The source.
        name: String,
        /// What was given.
        position: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The state cannot be read as it was asked for.
    #[error(transparent)]
    State(#[from] StateError),
}
