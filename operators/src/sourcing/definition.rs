//! What an aggregate is, and how its events are kept.

use std::sync::Arc;

use highwater_state::Persist;

use crate::data::Data;
use crate::limits::{EVENTS_PER_COMMAND, SNAPSHOT_EVERY};
use crate::sourcing::error::SourcingError;
use crate::sourcing::upcast::Upcast;

/// A type whose values are made by events: the state of an aggregate, which begins as its `default()`.
///
/// Both functions must be pure: what they do may depend on the state and the argument alone, or a rebuilt state would
/// be another one. What depends on time takes it from the command.
///
/// ```
/// use highwater_operators::sourcing::EventSourced;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Stock {
///     pieces: u32,
/// }
///
/// #[derive(Clone, Serialize, Deserialize)]
/// enum Moved {
///     Arrived { pieces: u32 },
///     Left { pieces: u32 },
/// }
///
/// impl EventSourced for Stock {
///     type Command = i32;
///     type Event = Moved;
///     type Rejection = String;
///
///     fn decide(&self, pieces: i32) -> Result<Vec<Moved>, String> {
///         match u32::try_from(pieces) {
///             Ok(pieces) => Ok(vec![Moved::Arrived { pieces }]),
///             Err(_) if pieces.unsigned_abs() > self.pieces => Err(format!("only {} are left", self.pieces)),
///             Err(_) => Ok(vec![Moved::Left { pieces: pieces.unsigned_abs() }]),
///         }
///     }
///
///     fn evolve(&mut self, event: &Moved) {
///         match event {
///             Moved::Arrived { pieces } => self.pieces += pieces,
///             Moved::Left { pieces } => self.pieces -= pieces,
///         }
///     }
/// }
/// ```
pub trait EventSourced: Persist + Default {
    /// What it is asked to do.
    type Command: Data;
    /// What can happen to it: an enum, whose variants are the kinds of events, or a struct with named fields. Each kind
    /// is kept under the name that serde has for it; kinds may be added and change places.
    type Event: Persist + Clone;
    /// Why it may refuse.
    type Rejection: Data;

    /// What a command makes happen, nothing included, or why it does not.
    ///
    /// # Errors
    /// The rejection: it is the answer to the command, and the job goes on.
    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Rejection>;

    /// How an event changes it. It has happened: there is nothing to refuse.
    fn evolve(&mut self, event: &Self::Event);
}

/// How the events of an aggregate are kept; the same for the operator and for whoever reads its
/// [`EventStore`](super::EventStore).
pub struct Sourcing<A: EventSourced> {
    pub(crate) snapshot_every: u64,
    pub(crate) revision: u32,
    pub(crate) events_per_command: usize,
    pub(crate) upcasts: Vec<Arc<Upcast<A::Event>>>,
}

impl<A: EventSourced> Clone for Sourcing<A> {
    fn clone(&self) -> Self {
        Sourcing { upcasts: self.upcasts.clone(), ..*self }
    }
}

impl<A: EventSourced> Default for Sourcing<A> {
    fn default() -> Self {
        Sourcing::new()
    }
}

impl<A: EventSourced> Sourcing<A> {
    /// A snapshot every [`SNAPSHOT_EVERY`] events, at most [`EVENTS_PER_COMMAND`] events a command, and no event of an
    /// earlier type.
    pub fn new() -> Sourcing<A> {
        Sourcing {
            snapshot_every: SNAPSHOT_EVERY,
            revision: 1,
            events_per_command: EVENTS_PER_COMMAND,
            upcasts: Vec::new(),
        }
    }

    /// Keeps the state of an aggregate every so many of its events, so that no look at its past goes through more than
    /// these. May be changed at any time; what is kept already stays.
    pub fn snapshot_every(self, events: u64) -> Sourcing<A> {
        Sourcing { snapshot_every: events, ..self }
    }

    /// How many events one command may make; one that makes more is denied.
    pub fn events_per_command(self, events: usize) -> Sourcing<A> {
        Sourcing { events_per_command: events, ..self }
    }

    /// Which edition of `evolve` and of the state's type this is, counted from 1. Raise it when either changes, and
    /// never lower it: each aggregate is made anew from its events when it is asked next, and what was kept of the
    /// earlier edition becomes an orphan (`Job::drop_state`).
    pub fn revision(self, revision: u32) -> Sourcing<A> {
        Sourcing { revision, ..self }
    }

    /// Says what becomes of the events of a kind that were written as version `from` of it: those of version `from +
    /// 1`, or of the last of these steps the event as it is today, of whatever kind.
    ///
    /// Events are never rewritten. The type of an old version has the fields that the variant had then; what it is
    /// called does not matter. A kind of which no old version is named has version 1. Steps must lead from version 1 to
    /// today without a gap, each giving what the next one takes; a topology whose steps do not is refused.
    ///
    /// ```
    /// use highwater_operators::sourcing::{EventSourced, Sourcing};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct OpenedV1 {
    ///     owner: String,
    /// }
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct OpenedV2 {
    ///     owner: String,
    ///     currency: String,
    /// }
    ///
    /// #[derive(Clone, Serialize, Deserialize)]
    /// enum Entry {
    ///     Opened { owner: String, currency: String, limit: u64 },
    /// }
    /// # #[derive(Default, Serialize, Deserialize)]
    /// # struct Account;
    /// # impl EventSourced for Account {
    /// #     type Command = ();
    /// #     type Event = Entry;
    /// #     type Rejection = ();
    /// #     fn decide(&self, _: ()) -> Result<Vec<Entry>, ()> {
    /// #         Ok(Vec::new())
    /// #     }
    /// #     fn evolve(&mut self, _: &Entry) {}
    /// # }
    ///
    /// let sourcing = Sourcing::<Account>::new()
    ///     .upcast("Opened", 1, |old: OpenedV1| OpenedV2 { owner: old.owner, currency: "EUR".to_owned() })
    ///     .upcast("Opened", 2, |old: OpenedV2| Entry::Opened {
    ///         owner: old.owner,
    ///         currency: old.currency,
    ///         limit: 0,
    ///     });
    /// assert!(sourcing.check().is_ok());
    /// ```
    pub fn upcast<Old: Persist, New: 'static>(
        mut self,
        kind: &str,
        from: u32,
        f: impl Fn(Old) -> New + Send + Sync + 'static,
    ) -> Sourcing<A> {
        self.upcasts.push(Arc::new(Upcast::new(kind, from, f)));
        self
    }

    /// Looks at what can be known without any event; the topology does so too.
    ///
    /// # Errors
    /// What cannot be worked with, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if self.snapshot_every == 0 {
            return Err("a snapshot every 0 events; give 1 or more".to_owned());
        }
        if self.revision == 0 {
            return Err("revisions are counted from 1".to_owned());
        }
        self.codec().map(drop)
    }

    /// Refuses to go back to an edition that has been left: its states do not know what happened since.
    pub(crate) fn compare(
        &self,
        operator: &str,
        kept: impl Iterator<Item = (String, String)>,
    ) -> Result<(), SourcingError> {
        let prefix = format!("{operator}/state.");
        let revisions = kept.filter_map(|(name, _)| name.strip_prefix(&prefix)?.parse::<u32>().ok());
        match revisions.max() {
            Some(kept) if kept > self.revision => {
                Err(SourcingError::Revision { operator: operator.to_owned(), kept, asked: self.revision })
            }
            _ => Ok(()),
        }
    }

    /// The name of a part of what is kept of an aggregate's state, in the operator with this name.
    pub(crate) fn part(&self, part: &str) -> String {
        if self.revision == 1 { part.to_owned() } else { format!("{part}.{}", self.revision) }
    }
}
