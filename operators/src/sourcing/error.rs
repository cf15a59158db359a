//! What can be wrong with kept events, in words for the person who runs the job: which event, and what to do.

use highwater_state::StateError;
use thiserror::Error;

/// An error of what is kept of an event-sourced aggregate.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourcingError {
    /// An event cannot be read; nothing is passed over.
    #[error(
        "version {version} of the aggregate {aggregate} in `{store}`, an event of the kind `{kind}` in its version \
            {schema}, {fault}"
    )]
    Event {
        /// The state that holds the events.
        store: String,
        /// The aggregate, as JSON.
        aggregate: String,
        /// Which of its events it is.
        version: u64,
        /// The kind of the event; `?` if that cannot be read either.
        kind: String,
        /// The version of its kind that it was written as; 0 if that cannot be read either.
        schema: u32,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The events of an aggregate are not numbered without a gap.
    #[error(
        "the aggregate {aggregate} in `{store}` has an event with version {found} where {expected} should be: events \
            are missing, the state directory is damaged; restore it from a savepoint or a copy"
    )]
    Missing {
        /// The state that holds the events.
        store: String,
        /// The aggregate, as JSON.
        aggregate: String,
        /// The version that is missing.
        expected: u64,
        /// The version that is there.
        found: u64,
    },
    /// The events of an aggregate end before its state does.
    #[error(
        "the events of the aggregate {aggregate} in `{store}` end at version {last}, and its state is made of \
            {version}: events are missing, the state directory is damaged; restore it from a savepoint or a copy"
    )]
    Cut {
        /// The state that holds the events.
        store: String,
        /// The aggregate, as JSON.
        aggregate: String,
        /// The last version that is there.
        last: u64,
        /// How many events there were.
        version: u64,
    },
    /// A later edition of the state was kept: the earlier one has not followed since.
    #[error(
        "the aggregates of `{operator}` were kept with revision {kept}, and the program has revision {asked}, whose \
            states have not followed since; revisions only rise: give it a greater one than {kept}"
    )]
    Revision {
        /// The name of the operator.
        operator: String,
        /// The latest revision that was kept.
        kept: u32,
        /// The one that the program has.
        asked: u32,
    },
    /// Events were kept that the program does not know how to read, or would read as something else (HW-9).
    #[error("`{store}` holds events of the kind `{kind}` in its version {schema}, {reason}")]
    Unreadable {
        /// The state that holds the events.
        store: String,
        /// Their kind.
        kind: String,
        /// The version of their kind.
        schema: u32,
        /// Why, and what to do.
        reason: String,
    },
    /// How the events are kept cannot be worked with.
    #[error("{0}")]
    Definition(String),
    /// The state store failed, or is damaged.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Why one event cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Fault {
    /// The program does not have its kind.
    #[error(
        "is unknown: the program has no such kind; bring the variant back, or say what becomes of it with `upcast`"
    )]
    UnknownKind,
    /// The program does not have this version of its kind.
    #[error(
        "is unknown: the program knows versions 1 to {known} of the kind; it was written by a newer program"
    )]
    UnknownVersion {
        /// The version that the program writes.
        known: u32,
    },
    /// Its bytes are not what its kind and version hold.
    #[error("is broken ({0}): the state directory is damaged; restore it from a savepoint or a copy")]
    Broken(String),
}
