//! Late records of a join: each side is judged by its own watermark, and keeps it.
//!
//! Invariant: which records are late does not depend on how the two sides are read in turn, nor on a restart.

use highwater_state::{Delta, Timestamp};

use crate::batch::{Batch, KeyedBatch};
use crate::lateness::KeptWatermark;
use crate::opening::{NodeOpening, OpenError};
use crate::outbox::Outbox;

/// The watermarks of a join: of each side, and the smaller of both.
pub(super) struct Watermarks {
    both: KeptWatermark,
    left: KeptWatermark,
    right: KeptWatermark,
    /// What the records of the batch meet on their own side.
    met: Timestamp,
}

impl Watermarks {
    pub(super) fn open(opening: &NodeOpening<'_>) -> Result<Self, OpenError> {
        Ok(Watermarks {
            both: KeptWatermark::open(opening)?,
            left: KeptWatermark::open_side("left", opening)?,
            right: KeptWatermark::open_side("right", opening)?,
            met: Timestamp::MIN,
        })
    }

    /// The smaller of both.
    pub(super) fn both(&self) -> Timestamp {
        self.both.get()
    }

    /// Notes what the records of the next batch meet on their own side.
    pub(super) fn meets(&mut self, watermark: Timestamp) {
        self.met = watermark;
    }

    /// Left records with a smaller time are late.
    pub(super) fn left(&self) -> Timestamp {
        self.met.max(self.left.get())
    }

    /// Right records with a smaller time are late.
    pub(super) fn right(&self) -> Timestamp {
        self.met.max(self.right.get())
    }

    /// Both sides have come to `watermark`.
    pub(super) fn rise(&mut self, watermark: Timestamp) {
        for kept in [&mut self.both, &mut self.left, &mut self.right] {
            kept.rise(watermark);
        }
    }

    /// Notes how far each side has come.
    pub(super) fn rise_sides(&mut self, sides: &[Timestamp]) {
        for (kept, &side) in [&mut self.left, &mut self.right].into_iter().zip(sides) {
            kept.rise(side);
        }
    }

    pub(super) fn freeze(&mut self, delta: &mut Delta) -> Result<(), OpenError> {
        for kept in [&mut self.both, &mut self.left, &mut self.right] {
            kept.freeze(delta)?;
        }
        Ok(())
    }
}

/// Moves the records that are late at `watermark` to their stream.
pub(super) fn set_late_aside<K, T: 'static>(
    batch: &mut KeyedBatch<K, T>,
    watermark: Timestamp,
    late: &mut Outbox<Batch<T>>,
) {
    if batch.records.times.iter().all(|&time| time >= watermark) {
        return;
    }
    let KeyedBatch { keys, hashes, records } = std::mem::take(batch);
    batch.records.split = records.split;
    let rows = keys.into_iter().zip(hashes).zip(records.values).zip(records.times);
    for (((key, hash), value), time) in rows {
        if time < watermark {
            late.push(value, time);
        } else {
            batch.keys.push(key);
            batch.hashes.push(hash);
            batch.records.values.push(value);
            batch.records.times.push(time);
        }
    }
}
