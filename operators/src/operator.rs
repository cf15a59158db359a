//! What an operator must do.
//!
//! An operator is called once per batch, never once per record, by a node of the flow that owns its inputs
//! and its output. It knows no thread, no clock and no channel (HW-7): same input in the same order, same
//! output. It keeps what must survive in tables of the state crate and hands over what changed when an epoch
//! ends.

use highwater_state::{Delta, Epoch, Piece, StateError, Timestamp};

use crate::batch::{Records, SplitId};
use crate::error::Cause;
use crate::outbox::Outputs;
use crate::signal::SplitStatus;
use crate::source::BadRecord;

/// Whether a call did all that it was called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All done.
    Done,
    /// The output is full: call again with the same argument when it has room.
    Again,
}

/// Why an operator cannot go on; its node adds where it stands in the user's program.
#[derive(Debug)]
pub enum Fault {
    /// The user's code, a source or a sink said so.
    Failed(Cause),
    /// Its state failed.
    State(StateError),
    /// A record is bad and the policy is to fail.
    BadRecord(BadRecord),
}

impl From<StateError> for Fault {
    fn from(error: StateError) -> Self {
        Fault::State(error)
    }
}

/// One operator on one worker.
///
/// `In` is what travels to it, `Out` what it fills: one [`Outbox`](crate::outbox::Outbox) or a tuple of them.
pub trait Operator<In: Records, Out: Outputs> {
    /// Deals with records from the front of the batch, and drops them from it, until it is empty or `out` has
    /// no room left. Never called with an empty batch; called again with what it left.
    fn on_batch(&mut self, batch: &mut In, out: &mut Out) -> Result<(), Fault>;

    /// The watermark that the records of the next batch meet on their own input; for operators with two inputs, which
    /// judge lateness by it. Called before each batch.
    fn batch_watermark(&mut self, watermark: Timestamp) {
        let _ = watermark;
    }

    /// How far the watermark of each side of the input has come; for operators with two inputs, which keep it. Called
    /// before [`freeze`](Self::freeze), and alike on all workers.
    fn side_watermarks(&mut self, sides: &[Timestamp]) {
        let _ = sides;
    }

    /// The clock stands at `now`, milliseconds since 1970; it never falls. Called at every step, for operators that
    /// wait for something else than their input. Says whether it did anything.
    fn on_clock(&mut self, now: Timestamp, out: &mut Out) -> Result<bool, Fault> {
        let _ = (now, out);
        Ok(false)
    }

    /// The job is to stop, and nothing more is read: the operator waits for nothing outside, and keeps what it cannot
    /// deal with at once for the next start. Called before every further batch.
    fn make_way(&mut self) {}

    /// Whether nothing waits here for anything but input and time: the last epoch of an input that has ended does not
    /// end before. One that ends because the job is to stop does, so what waits must be kept with every epoch.
    fn is_settled(&self) -> bool {
        true
    }

    /// No record with a smaller event time will come, except late ones. Watermarks rise from call to call; the
    /// node passes each on when the operator is done with it, if [`passes_watermarks`](Self::passes_watermarks).
    fn on_watermark(&mut self, watermark: Timestamp, out: &mut Out) -> Result<Progress, Fault> {
        let _ = (watermark, out);
        Ok(Progress::Done)
    }

    /// Nothing is to be expected for now, or something again; only streams with event time carry these.
    fn on_idle(&mut self, idle: bool, out: &mut Out) {
        if idle { out.idle() } else { out.active() }
    }

    /// A split of a source changed its status; only streams without event time carry these.
    fn on_split(&mut self, split: SplitId, status: SplitStatus, out: &mut Out) -> Result<(), Fault> {
        out.split(split, status);
        Ok(())
    }

    /// Whether the watermarks of the input are those of the output.
    fn passes_watermarks(&self) -> bool {
        true
    }

    /// Whether the operator can take a batch now; sinks say no while what they write to is behind.
    fn ready(&mut self) -> bool {
        true
    }

    /// The epoch ends here: what changed in it goes into the delta. Records wait for this; tables only set apart what
    /// changed ([`Table::begin_freeze`](highwater_state::table::Table::begin_freeze)).
    fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        let _ = (epoch, delta);
        Ok(())
    }

    /// Writes what [`freeze`](Self::freeze) set apart in tables, as long as the piece has room; called again and again
    /// between batches until all of it is written, before the next epoch ends. An operator must ask every table that
    /// it freezes.
    fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<(), Fault> {
        let _ = piece;
        Ok(())
    }

    /// Sinks only: makes what was written in the epoch durable, and says in the receipt how to publish it.
    fn stage(&mut self, epoch: Epoch) -> Result<Option<Vec<u8>>, Fault> {
        let _ = epoch;
        Ok(None)
    }

    /// The backend has applied everything up to `epoch`.
    fn applied(&mut self, epoch: Epoch) {
        let _ = epoch;
    }
}
