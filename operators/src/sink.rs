//! What a sink must do.
//!
//! Each worker has a writer of its own. At a barrier the writer makes what it took durable but not visible, and
//! gives a receipt; the receipts are committed with the epoch; then [`Publish::publish`] makes the epoch visible.
//! A crash between the two repeats the publishing at the next start, hence the invariant that a sink keeps:
//! publishing the same epoch twice gives the same as publishing it once.

use std::sync::Arc;

use highwater_state::Epoch;

use crate::batch::Batch;
use crate::decide::Decide;
use crate::error::Cause;

/// Somewhere that records go to.
pub trait Sink<T>: Publish {
    /// Opens the writer of one worker; called after [`Publish::recover`].
    ///
    /// # Errors
    /// If the outside world fails.
    fn open(&self, worker: usize) -> Result<Box<dyn Writer<T>>, Cause>;
}

/// The half of a sink that makes committed epochs visible; called by the thread that commits.
pub trait Publish: Send + Sync + 'static {
    /// Called once at every start, before anything else: `last` is the last committed epoch and `receipts` what
    /// was staged for it. Publishes it again, throws away what a process that died staged for later epochs, and
    /// begins anew where `last` is 0.
    ///
    /// # Errors
    /// If the outside world fails, or does not fit the state: it was published from a later epoch.
    fn recover(&self, last: Epoch, receipts: &[Vec<u8>]) -> Result<(), Cause>;

    /// Makes what the receipts name visible; `receipts` are in the order of the workers, without empty ones.
    /// Called once per epoch that staged something.
    ///
    /// # Errors
    /// If the outside world fails: the job stops, and the next start publishes again.
    fn publish(&self, epoch: Epoch, receipts: &[Vec<u8>]) -> Result<(), Cause>;

    /// Who decides epochs, if this sink writes in transactions: what it took becomes visible with the decision. All
    /// sinks and sources of a topology that have a decider must have the same. The writers of such a sink are not
    /// [`ready`](Writer::ready) between [`stage`](Writer::stage) and the decision, and their receipts are empty only
    /// if they wrote nothing.
    fn decider(&self) -> Option<Arc<dyn Decide>> {
        None
    }
}

/// Takes records for one worker.
pub trait Writer<T> {
    /// Takes all records out of the batch; may buffer.
    ///
    /// # Errors
    /// If the outside world fails; the record that cannot be written is named.
    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), Cause>;

    /// Whether the writer can take another batch now. A writer that is not ready is asked again later; its
    /// worker goes on with other work, and the streams behind it fill up.
    fn ready(&mut self) -> bool {
        true
    }

    /// Makes everything taken since the last call durable but not visible, and says in the receipt how to find
    /// it; an empty receipt if there is nothing to publish.
    ///
    /// # Errors
    /// If the outside world fails.
    fn stage(&mut self, epoch: Epoch) -> Result<Vec<u8>, Cause>;
}
