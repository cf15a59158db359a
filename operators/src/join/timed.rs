//! The operator behind [`join`](crate::keyed::KeyedStream::join): two [`Side`]s, and the order in which they go.
//!
//! A batch of one side first meets the rows of the other, then becomes rows itself; so each pair is found once, by
//! whichever of its records comes second. A watermark first gives up the records that can have no partner any more,
//! then drops what nothing can reach.

use highwater_state::{Delta, Epoch, Key, Persist, Piece, Timestamp};

use crate::batch::{Batch, Either, KeyedBatch, Records};
use crate::join::bounds::{Reach, held_back, passed};
use crate::join::lateness::{Watermarks, set_late_aside};
use crate::join::side::{Meeting, Side};
use crate::opening::{NodeOpening, OpenError};
use crate::operator::{Fault, Operator, Progress};
use crate::outbox::{Outbox, Outputs};

/// What a join emits, its late left records and its late right records.
pub(super) type Out<K, L, R, O> = (Outbox<KeyedBatch<K, O>>, (Outbox<Batch<L>>, Outbox<Batch<R>>));

/// What a join takes.
pub(super) type In<K, L, R> = Either<KeyedBatch<K, L>, KeyedBatch<K, R>>;

/// What a mode makes of pairs, and of records without a partner where it gives them.
pub(super) struct Mode<L, R, O> {
    pub(super) pair: fn(L, R) -> O,
    pub(super) left: Option<fn(L) -> O>,
    pub(super) right: Option<fn(R) -> O>,
}

impl<L, R, O> Clone for Mode<L, R, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L, R, O> Copy for Mode<L, R, O> {}

/// The operator.
pub(super) struct TimedJoin<K, L, R, O> {
    pair: fn(L, R) -> O,
    left: Side<K, L, O>,
    right: Side<K, R, O>,
    watermarks: Watermarks,
    /// How many pairs of the first record of the batch were emitted before the output was full.
    emitted: usize,
    /// How far the output's watermark stays behind.
    hold: i128,
    left_behind: Timestamp,
}

impl<K: Key, L: Persist + Clone, R: Persist + Clone, O: 'static> TimedJoin<K, L, R, O> {
    pub(super) fn open(
        reach: Reach,
        mode: Mode<L, R, O>,
        opening: &NodeOpening<'_>,
    ) -> Result<Self, OpenError> {
        let mirrored = reach.mirrored();
        let left = mode.left.map_or(0, |_| reach.hold());
        let right = mode.right.map_or(0, |_| mirrored.hold());
        Ok(TimedJoin {
            pair: mode.pair,
            left: Side::open("left", reach, mode.left, opening)?,
            right: Side::open("right", mirrored, mode.right, opening)?,
            watermarks: Watermarks::open(opening)?,
            emitted: 0,
            hold: left.max(right),
            left_behind: Timestamp::MIN,
        })
    }
}

impl<K, L, R, O> Operator<In<K, L, R>, Out<K, L, R, O>> for TimedJoin<K, L, R, O>
where
    K: Key,
    L: Persist + Clone,
    R: Persist + Clone,
    O: 'static,
{
    fn on_batch(&mut self, batch: &mut In<K, L, R>, out: &mut Out<K, L, R, O>) -> Result<(), Fault> {
        let (out, (late_left, late_right)) = out;
        let watermark = self.watermarks.both();
        let mut meeting = Meeting { watermark, emitted: &mut self.emitted, out };
        let pair = self.pair;
        match batch {
            Either::Left(batch) => {
                set_late_aside(batch, self.watermarks.left(), late_left);
                if batch.count() > 0 {
                    let pair = |left: &L, right: &R| pair(left.clone(), right.clone());
                    self.left.take_in(batch, &mut self.right, pair, &mut meeting)?;
                }
            }
            Either::Right(batch) => {
                set_late_aside(batch, self.watermarks.right(), late_right);
                if batch.count() > 0 {
                    let pair = |right: &R, left: &L| pair(left.clone(), right.clone());
                    self.right.take_in(batch, &mut self.left, pair, &mut meeting)?;
                }
            }
        }
        Ok(())
    }

    fn batch_watermark(&mut self, watermark: Timestamp) {
        self.watermarks.meets(watermark);
    }

    fn on_watermark(&mut self, watermark: Timestamp, out: &mut Out<K, L, R, O>) -> Result<Progress, Fault> {
        if let Some(passed) = passed(watermark) {
            for progress in [self.left.give_up(passed, &mut out.0)?, self.right.give_up(passed, &mut out.0)?]
            {
                if progress == Progress::Again {
                    return Ok(Progress::Again);
                }
            }
            self.left.drop_through(passed)?;
            self.right.drop_through(passed)?;
        }
        self.watermarks.rise(watermark);
        let held_back = held_back(watermark, self.hold);
        if held_back > self.left_behind {
            self.left_behind = held_back;
            out.watermark(held_back);
        }
        Ok(Progress::Done)
    }

    /// A record that is emitted without a partner has its own time, and the watermark that leaves must not be ahead of
    /// it: it stays behind by as much as a record waits at most. By a fixed distance, so that all workers agree.
    fn passes_watermarks(&self) -> bool {
        false
    }

    fn side_watermarks(&mut self, sides: &[Timestamp]) {
        self.watermarks.rise_sides(sides);
    }

    fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        self.watermarks.freeze(delta)?;
        self.left.begin_freeze(epoch, delta);
        self.right.begin_freeze(epoch, delta);
        Ok(())
    }

    fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<(), Fault> {
        self.left.write_frozen(piece)?;
        self.right.write_frozen(piece)
    }

    fn applied(&mut self, epoch: Epoch) {
        self.left.applied(epoch);
        self.right.applied(epoch);
    }
}
