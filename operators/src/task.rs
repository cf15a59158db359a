//! What a worker steps: one node of the plan, instantiated.

use highwater_state::{Delta, Epoch, Piece, Timestamp};

use crate::error::RunError;

/// How fast sources may read, over all workers.
pub trait Pace {
    /// How many of `wanted` records may be read now.
    fn take(&self, wanted: usize) -> usize;

    /// Gives back what was not used.
    fn give_back(&self, unused: usize);
}

/// Reads as fast as it can.
pub struct FullSpeed;

impl Pace for FullSpeed {
    fn take(&self, wanted: usize) -> usize {
        wanted
    }

    fn give_back(&self, _: usize) {}
}

/// Reads nothing.
pub(crate) struct Halted;

impl Pace for Halted {
    fn take(&self, _: usize) -> usize {
        0
    }

    fn give_back(&self, _: usize) {}
}

/// What one worker contributes to an epoch.
#[derive(Debug, Default)]
pub struct Contribution {
    /// What changed: state, watermarks, positions.
    pub delta: Delta,
    /// What each sink staged, by its name.
    pub receipts: Vec<(String, Vec<u8>)>,
    /// How many tasks the barrier has passed.
    pub(crate) passed: usize,
}

/// What a task is told at every step.
pub struct StepContext<'a> {
    /// Milliseconds since 1970 by a clock that only rises; the only one there is below the engine, and it comes from
    /// there.
    pub now: Timestamp,
    /// The epoch that sources are to end.
    pub ending: Option<Epoch>,
    /// Whether that epoch is the last one: after its barrier comes the end.
    pub last: bool,
    /// Whether it is the last one because all input of this worker has ended: nothing may be left on its way.
    pub finishing: bool,
    /// Whether the job is to stop: what waits for something outside is left to the next start.
    pub making_way: bool,
    /// How fast sources may read.
    pub pace: &'a dyn Pace,
    /// What the worker contributes to the epoch that is ending.
    pub contribution: &'a mut Contribution,
}

/// One node of the plan on one worker.
pub trait Task {
    /// Does a bounded amount of work; says whether it did any.
    fn step(&mut self, context: &mut StepContext<'_>) -> Result<bool, RunError>;

    /// Writes rows of the epoch whose barrier has passed, as long as the piece has room.
    fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<(), RunError> {
        let _ = piece;
        Ok(())
    }

    /// The backend has applied everything up to `epoch`.
    fn applied(&mut self, epoch: Epoch);

    /// Whether the task is a source all of whose splits have ended, or no source.
    fn is_exhausted(&self) -> bool {
        true
    }

    /// Whether the end has passed.
    fn has_ended(&self) -> bool;
}
