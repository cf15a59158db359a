//! The operator that combines the records of a batch that have one key and lie in one piece of time.
//!
//! A part stands where the first of its records stood, and has the largest of their event times. Records that may be
//! late are passed on one by one ([`Fence`]); whether they are depends on their piece alone, within a batch, so that a
//! record never overtakes a part of its key and piece. Keeps nothing over batches.

use std::sync::Arc;

use highwater_state::hash::with_time;
use highwater_state::{Delta, Epoch, Key, Timestamp};

use super::fence::Fence;
use crate::aggregate::update::{Partials, Update};
use crate::batch::{Batch, KeyedBatch};
use crate::data::Data;
use crate::operator::{Fault, Operator, Progress};
use crate::outbox::{Outbox, Outputs};
use crate::window::Piece;

pub(super) type PieceOf = dyn Fn(Timestamp) -> Piece + Send + Sync;

/// What crosses: a record, or what is kept of several.
pub(crate) enum Combined<T, A> {
    /// One record.
    Record(T),
    /// What is kept of records of one key and one piece of time.
    Part(A),
}

impl<T, A> Combined<T, A> {
    /// The record; asked for only where there can be no part.
    pub(super) fn record(self) -> T {
        match self {
            Combined::Record(record) => record,
            Combined::Part(_) => unreachable!("records that may be late are not combined"),
        }
    }
}

/// Adds parts as well as records.
pub(crate) struct Merging<U>(pub(super) Arc<U>);

impl<T: Data, U: Update<T>> Update<Combined<T, U::Kept>> for Merging<U> {
    type Kept = U::Kept;
    type Value = U::Value;
    #[inline]
    fn add(&self, kept: &mut Option<U::Kept>, record: Combined<T, U::Kept>, time: Timestamp) {
        match (record, kept) {
            (Combined::Record(record), kept) => self.0.add(kept, record, time),
            (Combined::Part(part), Some(kept)) => self.0.merge(kept, part),
            (Combined::Part(part), kept) => *kept = Some(part),
        }
    }
    fn add_shared(&self, kept: &mut Option<U::Kept>, record: &Combined<T, U::Kept>, time: Timestamp) {
        match (record, kept) {
            (Combined::Record(record), kept) => self.0.add_shared(kept, record, time),
            (Combined::Part(part), Some(kept)) => self.0.merge(kept, part.clone()),
            (Combined::Part(part), kept) => *kept = Some(part.clone()),
        }
    }
    fn merge(&self, kept: &mut U::Kept, later: U::Kept) {
        self.0.merge(kept, later);
    }
    fn value(&self, kept: &U::Kept) -> U::Value {
        self.0.value(kept)
    }
    fn last_value(&self, kept: U::Kept) -> U::Value {
        self.0.last_value(kept)
    }
    fn partials(&self) -> Partials {
        self.0.partials()
    }
}

/// Where no group is, in the index of groups.
const EMPTY: u32 = u32::MAX;

/// Records of one batch that become one.
struct Group<K, T, A> {
    key: K,
    hash: u64,
    /// The start of the piece.
    start: Timestamp,
    /// The largest of the records' times.
    time: Timestamp,
    combined: Combined<T, Option<A>>,
}

impl<K, T, A> Group<K, T, A> {
    fn add<U: Update<T, Kept = A>>(&mut self, update: &U, record: T, time: Timestamp) {
        let mut kept = match std::mem::replace(&mut self.combined, Combined::Part(None)) {
            Combined::Part(kept) => kept,
            Combined::Record(first) => {
                let mut kept = None;
                update.add(&mut kept, first, self.time);
                kept
            }
        };
        update.add(&mut kept, record, time);
        self.combined = Combined::Part(kept);
        self.time = self.time.max(time);
    }
}

pub(super) struct Combine<K, T, U: Update<T>> {
    update: Arc<U>,
    piece_of: Arc<PieceOf>,
    fence: Fence,
    /// Whether there is anything to combine for.
    combines: bool,
    groups: Vec<Group<K, T, U::Kept>>,
    /// Where each group stands, by its hash: a table with open addressing, made anew for each batch.
    index: Vec<u32>,
}

impl<K: Key, T: Data, U: Update<T>> Combine<K, T, U> {
    pub(super) fn new(update: Arc<U>, piece_of: Arc<PieceOf>, fence: Fence, combines: bool) -> Self {
        Combine { update, piece_of, fence, combines, groups: Vec::new(), index: Vec::new() }
    }

    /// The number of the group of this key and piece, or the place in the index where it is to stand.
    fn find(&self, key: &K, hash: u64, start: Timestamp) -> Result<usize, usize> {
        let mask = self.index.len() - 1;
        let mut place = with_time(hash, start.as_millis()) as usize & mask;
        loop {
            let number = self.index[place];
            if number == EMPTY {
                return Err(place);
            }
            let group = &self.groups[number as usize];
            if group.hash == hash && group.start == start && group.key == *key {
                return Ok(number as usize);
            }
            place = (place + 1) & mask;
        }
    }

    /// Puts the records into groups, in the order of their first ones.
    fn group(&mut self, batch: KeyedBatch<K, T>) {
        let KeyedBatch { keys, hashes, records } = batch;
        self.index.clear();
        self.index.resize(2 * keys.len().next_power_of_two(), EMPTY);
        let times = records.times.iter().copied().chain(std::iter::repeat(Timestamp::MIN));
        let mut piece: Option<(Piece, bool)> = None;
        for (((key, hash), record), time) in keys.into_iter().zip(hashes).zip(records.values).zip(times) {
            let (found, is_ahead) = match piece {
                Some(known) if known.0.range.contains(time) => known,
                _ => {
                    let found = (self.piece_of)(time);
                    (found, self.fence.is_ahead(found.first_end))
                }
            };
            piece = Some((found, is_ahead));
            let start = found.range.start;
            if is_ahead {
                match self.find(&key, hash, start) {
                    Ok(number) => {
                        self.groups[number].add(&*self.update, record, time);
                        continue;
                    }
                    Err(place) => self.index[place] = self.groups.len() as u32,
                }
            }
            self.groups.push(Group { key, hash, start, time, combined: Combined::Record(record) });
        }
    }
}

type Out<K, T, A> = Outbox<KeyedBatch<K, Combined<T, A>>>;

impl<K, T, U> Operator<KeyedBatch<K, T>, Out<K, T, U::Kept>> for Combine<K, T, U>
where
    K: Key,
    T: Data,
    U: Update<T>,
{
    fn on_batch(&mut self, batch: &mut KeyedBatch<K, T>, out: &mut Out<K, T, U::Kept>) -> Result<(), Fault> {
        let KeyedBatch { keys, hashes, mut records } = std::mem::take(batch);
        if !self.combines {
            let values = std::mem::take(&mut records.values).into_iter().map(Combined::Record).collect();
            out.send(KeyedBatch { keys, hashes, records: records.with_values(values) });
            return Ok(());
        }
        let (split, timed) = (records.split, !records.times.is_empty());
        self.group(KeyedBatch { keys, hashes, records });
        let mut combined =
            KeyedBatch { records: Batch { split, ..Batch::default() }, ..KeyedBatch::default() };
        for group in self.groups.drain(..) {
            combined.keys.push(group.key);
            combined.hashes.push(group.hash);
            combined.records.values.push(match group.combined {
                Combined::Record(record) => Combined::Record(record),
                Combined::Part(kept) => Combined::Part(kept.expect("an update leaves a value")),
            });
            if timed {
                combined.records.times.push(group.time);
            }
        }
        out.send(combined);
        Ok(())
    }

    fn on_watermark(&mut self, watermark: Timestamp, _: &mut Out<K, T, U::Kept>) -> Result<Progress, Fault> {
        self.fence.watermark(watermark);
        Ok(Progress::Done)
    }

    fn on_idle(&mut self, idle: bool, out: &mut Out<K, T, U::Kept>) {
        self.fence.idle(idle);
        if idle { out.idle() } else { out.active() }
    }

    fn freeze(&mut self, epoch: Epoch, _: &mut Delta) -> Result<(), Fault> {
        self.fence.epoch_ends(epoch);
        Ok(())
    }

    fn applied(&mut self, epoch: Epoch) {
        self.fence.applied(epoch);
    }
}
