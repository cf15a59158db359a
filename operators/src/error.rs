//! Errors of topologies and operators, in words for the person who runs the job: what happened, in which
//! operator, at which of the user's lines, and what to do next.

use std::panic::Location;

use highwater_state::StateError;
use thiserror::Error;

use crate::source::Origin;

/// The reason given by a source, a sink or a closure of the user.
pub type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// A cause that may pass: the job forgets the epoch, and does it again from the last committed one.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct TryAgain(pub Cause);

/// Where in the user's program an operator stands, and what it is called there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The verb: `filter`, `window`.
    pub verb: &'static str,
    /// The user's name for it, where the verb has one.
    pub name: Option<String>,
    /// The user's line.
    pub location: &'static Location<'static>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => {
                write!(f, "{} `{name}` ({}:{})", self.verb, self.location.file(), self.location.line())
            }
            None => write!(f, "{} ({}:{})", self.verb, self.location.file(), self.location.line()),
        }
    }
}

/// An error while a topology runs.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// A closure or an operator of the user returned an error, and the policy is to fail.
    #[error("{place} failed: {cause}")]
    Operator {
        /// The operator.
        place: Place,
        /// What it said.
        cause: Cause,
    },
    /// A record could not be decoded, and the policy is to fail.
    #[error(
        "{place} met a bad record at {origin}: {reason}; nothing is lost: correct the input or let the source skip \
            or dead-letter bad records, and start again"
    )]
    BadRecord {
        /// The source.
        place: Place,
        /// Where the record came from.
        origin: Origin,
        /// Why it is bad.
        reason: String,
    },
    /// A source cannot be read.
    #[error("{place} cannot be read: {cause}")]
    Source {
        /// The source.
        place: Place,
        /// Why.
        cause: Cause,
    },
    /// A sink cannot be written.
    #[error(
        "{place} cannot be written: {cause}; nothing is lost: a restart continues from the last committed epoch"
    )]
    Sink {
        /// The sink.
        place: Place,
        /// Why.
        cause: Cause,
    },
    /// The state of an operator failed.
    #[error("{place}: {cause}")]
    State {
        /// The operator.
        place: Place,
        /// Why.
        cause: StateError,
    },
}

impl RunError {
    /// Whether doing the epoch again from the last committed one may help: its cause is a [`TryAgain`].
    pub fn may_pass(&self) -> bool {
        match self {
            RunError::Operator { cause, .. }
            | RunError::Source { cause, .. }
            | RunError::Sink { cause, .. } => cause.is::<TryAgain>(),
            RunError::BadRecord { .. } | RunError::State { .. } => false,
        }
    }
}

/// A fault of the topology itself, found before it runs.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// Two operators have one name.
    #[error(
        "two operators are called `{name}`: {first} and {second}; what is kept under a name belongs to one of them: \
            sources, operators and sinks each need a name of their own"
    )]
    DuplicateName {
        /// The name.
        name: String,
        /// The first.
        first: Place,
        /// The second.
        second: Place,
    },
    /// A name that cannot be one.
    #[error("{place}: a name has 1 to 200 of the characters A-Z a-z 0-9 . _ -")]
    Name {
        /// The operator.
        place: Place,
    },
    /// An argument that no operator can work with.
    #[error("{place}: {reason}")]
    Argument {
        /// The operator.
        place: Place,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// Nothing is read.
    #[error("the topology `{topology}` has no source")]
    NoSource {
        /// The topology's name.
        topology: String,
    },
}
