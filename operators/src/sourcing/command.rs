//! What goes into an aggregate, and what it answers.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use highwater_state::Timestamp;

/// Something that an aggregate is asked to do.
///
/// ```
/// use highwater_operators::sourcing::Command;
///
/// let command = Command::new("deposit-17", 250).correlated_to("transfer-4").expecting(3);
/// assert_eq!((command.correlation.as_str(), command.expected), ("transfer-4", Some(3)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Command<C> {
    /// What the sender calls it: the causation id of the events that it makes happen.
    pub id: String,
    /// What it belongs to, for example the request of a user: it is passed on to its events and its reply.
    pub correlation: String,
    /// The version that the aggregate must have for it to be obeyed; 0 if there must be none yet. Any will do if it is
    /// `None`.
    pub expected: Option<u64>,
    /// What is asked for.
    pub body: C,
}

impl<C> Command<C> {
    /// A command that belongs to nothing but itself and is obeyed at any version.
    pub fn new(id: impl Into<String>, body: C) -> Command<C> {
        let id = id.into();
        Command { correlation: id.clone(), id, expected: None, body }
    }

    /// Says what it belongs to.
    pub fn correlated_to(self, correlation: impl Into<String>) -> Command<C> {
        Command { correlation: correlation.into(), ..self }
    }

    /// Says which version the aggregate must have; 0 if it must not be there yet. One that has another answers with
    /// [`Denial::Conflict`].
    pub fn expecting(self, version: u64) -> Command<C> {
        Command { expected: Some(version), ..self }
    }
}

/// The answer to one command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply<K, E, R> {
    /// The aggregate that was asked.
    pub aggregate: K,
    /// The id of the command.
    pub command: String,
    /// What the command belongs to.
    pub correlation: String,
    /// The event time of the command.
    pub at: Timestamp,
    /// What became of it.
    pub outcome: Result<Accepted<E>, Denial<R>>,
}

/// A command was obeyed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted<E> {
    /// The version of the aggregate from here on. One that made nothing happen leaves it as it was.
    pub version: u64,
    /// What it made happen.
    pub events: Vec<E>,
}

/// A command was not obeyed; nothing happened.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Denial<R> {
    /// The aggregate has another version than the sender expected.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The aggregate's own rules are against it.
    #[error("the aggregate rejects the command: {0}")]
    Rejected(R),
    /// It would have made more happen at once than
    /// [`Sourcing::events_per_command`](super::Sourcing::events_per_command) allows.
    #[error("the command makes {events} events, the limit is {limit}; split it, or raise the limit")]
    TooMany {
        /// How many events it would have made.
        events: usize,
        /// How many one command may make.
        limit: usize,
    },
}

/// An aggregate has another version than was expected: somebody else changed it in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error, Serialize, Deserialize)]
#[error("the aggregate has version {found}, and {expected} was expected; read it again and decide anew")]
pub struct Conflict {
    /// The version that was expected.
    pub expected: u64,
    /// The version that it has.
    pub found: u64,
}
