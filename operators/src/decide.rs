//! Who decides that an epoch has happened, where it is not the state directory.
//!
//! Without a decider the synced write of an epoch's delta is the decision. A transactional system outside can make
//! a better one, because records that were written to it cannot be taken back: its commit shows them, and with them
//! a [`Marker`] that names the epoch. Then the delta follows: kept as redo before the decision, applied after it,
//! dropped if the marker says that the decision never fell (`docs/decisions/0012-kafka-decides-redo-follows.md`).
//!
//! Invariants that a decider keeps: the marker changes only with a committed transaction; after
//! [`take_over`](Decide::take_over) nothing that an earlier instance has open can be committed any more; a decision
//! whose outcome is not known is an error, and the marker tells the outcome after the next take-over.
//!
//! It does not know what an epoch changed.

use std::sync::Arc;
use std::time::Duration;

use highwater_state::Epoch;
use serde::{Deserialize, Serialize};

use crate::error::Cause;

/// What a committed transaction says of the job that wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The epoch that is decided.
    pub epoch: Epoch,
    /// Which state it belongs to: random, made at the first start on a state directory and kept in it.
    pub state: u128,
    /// Which instance wrote it: random, made at every take-over.
    pub instance: u64,
}

/// How long things take; what a decider derives its own limits from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Time between two epochs.
    pub epoch_interval: Duration,
    /// How long an epoch may take from its barrier to its decision.
    pub epoch_timeout: Duration,
}

/// Decides epochs by transactions of its own.
///
/// Called by the thread that commits, one call at a time; [`is_called_back`](Decide::is_called_back) also by others.
pub trait Decide: Send + Sync + 'static {
    /// What it is, for errors and logs: `the transactions "views" of localhost:9092`.
    fn describe(&self) -> String;

    /// The marker, read without disturbing an instance that runs and without waiting for a transaction that is being
    /// committed, so it may be older than the last decision; `None` if nothing was ever decided, or so long ago that it
    /// is forgotten.
    ///
    /// # Errors
    /// If the outside world fails.
    fn look(&self, terms: &Terms) -> Result<Option<Marker>, Cause>;

    /// Fences every earlier instance, ends what it left open, and reads the marker then. Called at every start, and
    /// again after every error: whatever was not decided is forgotten.
    ///
    /// # Errors
    /// If the outside world fails.
    fn take_over(&self, terms: &Terms) -> Result<Option<Marker>, Cause>;

    /// Adds the marker and the positions of the sources that belong to this decider to the transaction of the epoch
    /// that is ending; every writer has staged it.
    ///
    /// # Errors
    /// If the outside world fails: the epoch is not decided.
    fn stage(&self, marker: &Marker) -> Result<(), Cause>;

    /// Commits the transaction: the decision. Once it returns the epoch is decided, and writers may write the next.
    ///
    /// # Errors
    /// If it failed, or its outcome is not known.
    fn decide(&self, epoch: Epoch) -> Result<(), Cause>;

    /// Nothing happened in the epoch, so nothing is decided: writers may write the next.
    fn pass_over(&self, epoch: Epoch);

    /// The job runs without state of its own, and shares its input with other instances of the program from now on:
    /// called before anything else, once.
    ///
    /// # Errors
    /// If it cannot be shared; the default.
    fn share(&self) -> Result<(), Cause> {
        Err(format!("{} cannot be shared by several instances", self.describe()).into())
    }

    /// Waits until this instance has a share of the input, at most so long; says whether it has. Only called after
    /// [`share`](Decide::share).
    ///
    /// # Errors
    /// If the outside world fails.
    fn join(&self, within: Duration) -> Result<bool, Cause> {
        let _ = within;
        Ok(true)
    }

    /// Whether the share is called back: the job ends its epoch and calls [`let_go`](Decide::let_go).
    fn is_called_back(&self) -> bool {
        false
    }

    /// Gives the share back: what was read of it is decided, or given up.
    fn let_go(&self) {}

    /// The job has ended: gives up what is open, so that nobody has to wait for it.
    fn leave(&self) {}
}

/// Whether two deciders are one.
pub fn is_same(one: &Arc<dyn Decide>, other: &Arc<dyn Decide>) -> bool {
    Arc::as_ptr(one).cast::<()>() == Arc::as_ptr(other).cast::<()>()
}
