//! One side of a join by interval or window: the rows that may still find partners, and those that wait for one.
//!
//! Rows are kept per key and bucket of time, in order of time inside, so that a record of the other side finds its
//! partners in one to three buckets, and so that a key with many records rewrites only the buckets that it is at.
//! Where the mode gives records without a partner, a note per key and last time of a partner says in which buckets to
//! look for them; it is read once, when the watermark has passed that time.
//!
//! Invariants: a row says whether it has had a partner, if its mode asks for it; a row that can find no partner any
//! more is not stored; a note is taken before the rows that it leads to are dropped.

use highwater_state::delta::Family;
use highwater_state::hash::key_hash;
use highwater_state::panes::Panes;
use highwater_state::table::{RowRef, Slot};
use highwater_state::{Delta, Epoch, Key, Persist, Piece, Timestamp};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::batch::KeyedBatch;
use crate::join::bounds::{Reach, passed};
use crate::opening::{NodeOpening, OpenError};
use crate::operator::{Fault, Progress};
use crate::outbox::{Outbox, Outputs};

/// A record that may still find partners.
#[derive(Serialize, Deserialize)]
struct Row<T> {
    time: Timestamp,
    /// It has had a partner; not kept up where the mode does not ask for it.
    matched: bool,
    record: T,
}

/// The records of a key and bucket, in order of time; most have one.
type Rows<T> = SmallVec<[Row<T>; 1]>;

/// One side of a join.
pub(super) struct Side<K, T, O> {
    reach: Reach,
    /// By bucket.
    rows: Panes<K, Rows<T>>,
    /// Only where the mode gives records of this side without a partner.
    alone: Option<Alone<K, T, O>>,
    /// How many rows are taken at once.
    most: usize,
    slots: Vec<Slot>,
    dropped: Vec<(K, Rows<T>)>,
}

/// The records of a side that have no partner yet.
struct Alone<K, T, O> {
    make: fn(T) -> O,
    /// By the last time of a partner: the buckets in which there are such records.
    waiting: Panes<K, Vec<Timestamp>>,
    /// What is being given up: notes of this time, read from the end.
    due: Vec<(K, Vec<Timestamp>)>,
    due_at: Timestamp,
    /// How many rows of the last note have been looked at.
    looked_at: usize,
}

/// What a batch of one side meets.
pub(super) struct Meeting<'a, K: 'static, O: 'static> {
    /// The smaller watermark of both sides.
    pub(super) watermark: Timestamp,
    /// How many pairs of the first record were emitted before the output was full.
    pub(super) emitted: &'a mut usize,
    pub(super) out: &'a mut Outbox<KeyedBatch<K, O>>,
}

impl<K: Key, T: Persist + Clone, O: 'static> Side<K, T, O> {
    pub(super) fn open(
        side: &str,
        reach: Reach,
        alone: Option<fn(T) -> O>,
        opening: &NodeOpening<'_>,
    ) -> Result<Self, OpenError> {
        // Whether a row has had a partner is known only while a mode asks for it.
        let filed = reach.filed() + if alone.is_some() { ", also without a partner" } else { "" };
        let rows = opening.store_filed::<K, Rows<T>>(Some(side), Family::Windows, &filed)?;
        let alone = match alone {
            None => None,
            Some(make) => {
                let waiting = format!("{side}-waiting");
                let waiting = opening.store::<K, Vec<Timestamp>>(Some(&waiting), Family::Timers)?;
                let waiting = Panes::open(waiting, opening.committed())?;
                Some(Alone { make, waiting, due: Vec::new(), due_at: Timestamp::MIN, looked_at: 0 })
            }
        };
        Ok(Side {
            reach,
            rows: Panes::open(rows, opening.committed())?,
            alone,
            most: opening.batch_records(),
            slots: Vec::new(),
            dropped: Vec::new(),
        })
    }

    /// Pairs the records of a batch of this side with what the other has, and stores those that may find more.
    /// Leaves in the batch what it did not come to, because the output is full.
    pub(super) fn take_in<U: Persist + Clone>(
        &mut self,
        batch: &mut KeyedBatch<K, T>,
        other: &mut Side<K, U, O>,
        pair: impl Fn(&T, &U) -> O,
        meeting: &mut Meeting<'_, K, O>,
    ) -> Result<(), Fault> {
        let matched = other.find(batch, self, pair, meeting)?;
        self.store(batch, &matched, meeting.watermark)
    }

    /// Emits the pairs that records of the `seeking` side make with the rows of this one, record by record until the
    /// output is full, and the records that can have none. Says of each record that it is done with whether it had a
    /// partner.
    fn find<S: Persist + Clone>(
        &mut self,
        batch: &KeyedBatch<K, S>,
        seeking: &Side<K, S, O>,
        pair: impl Fn(&S, &T) -> O,
        meeting: &mut Meeting<'_, K, O>,
    ) -> Result<Vec<bool>, Fault> {
        let KeyedBatch { keys, hashes, records } = batch;
        let mut probes = Vec::with_capacity(2 * keys.len());
        for (index, &time) in records.times.iter().enumerate() {
            let Some((first, last)) = seeking.reach.partners(time) else { continue };
            self.reach.buckets(first, last, |bucket| probes.push((index, bucket)));
        }
        let row = |probe: usize| {
            let (index, bucket) = probes[probe];
            RowRef { hash: hashes[index], time: bucket, key: &keys[index] }
        };
        let mut slots = std::mem::take(&mut self.slots);
        self.rows.look_up(probes.len(), row, &mut slots)?;
        let mut probed = probes.iter().zip(&slots).peekable();
        let mut matched = Vec::with_capacity(keys.len());
        for (index, &time) in records.times.iter().enumerate() {
            let partners = seeking.reach.partners(time);
            let emitted = std::mem::take(meeting.emitted);
            let mut met = 0;
            while let Some((_, &slot)) = probed.next_if(|((of, _), _)| *of == index) {
                let Some(((first, last), rows)) = partners.zip(self.rows.value(slot)) else { continue };
                let from = rows.partition_point(|row| row.time < first);
                let until = rows.partition_point(|row| row.time <= last);
                let next = from + emitted.saturating_sub(met).min(until - from);
                let mut at = next;
                while at < until && meeting.out.has_room() {
                    let pair = pair(&records.values[index], &rows[at].record);
                    let time = time.max(rows[at].time);
                    meeting.out.push_keyed(keys[index].clone(), hashes[index], pair, time);
                    at += 1;
                }
                met += at - from;
                let is_full = at < until;
                self.mark(slot, next, at);
                if is_full {
                    *meeting.emitted = met;
                    self.slots = slots;
                    return Ok(matched);
                }
            }
            if met == 0 && !seeking.may_match(time, meeting.watermark) {
                let of = (keys[index].clone(), hashes[index]);
                seeking.emit_alone(of, time, &records.values[index], meeting.out);
            }
            matched.push(met > 0);
        }
        self.slots = slots;
        Ok(matched)
    }

    /// Notes that rows have a partner, if the mode asks for it and it is not noted yet.
    fn mark(&mut self, slot: Slot, from: usize, until: usize) {
        let unmarked = |rows: &Rows<T>| rows[from..until].iter().any(|row| !row.matched);
        if self.alone.is_some() && self.rows.value(slot).is_some_and(unmarked) {
            let rows = self.rows.value_mut(slot).iter_mut().flatten();
            rows.skip(from).take(until - from).for_each(|row| row.matched = true);
        }
    }

    /// Whether a record may still find a partner that is on time.
    fn may_match(&self, time: Timestamp, watermark: Timestamp) -> bool {
        self.reach.last_partner(time) > passed(watermark)
    }

    fn emit_alone(
        &self,
        (key, hash): (K, u64),
        time: Timestamp,
        record: &T,
        out: &mut Outbox<KeyedBatch<K, O>>,
    ) {
        if let Some(alone) = &self.alone {
            out.push_keyed(key, hash, (alone.make)(record.clone()), self.reach.emitted_at(time));
        }
    }

    /// Takes the first records out of the batch, of which it is known whether they were matched, and stores those that
    /// may find partners.
    fn store(
        &mut self,
        batch: &mut KeyedBatch<K, T>,
        matched: &[bool],
        watermark: Timestamp,
    ) -> Result<(), Fault> {
        let done = matched.len();
        let KeyedBatch { keys, hashes, records } = batch;
        let times = &records.times;
        let stored: Vec<usize> = (0..done).filter(|&index| self.may_match(times[index], watermark)).collect();
        let reach = self.reach;
        let row = |number: usize| {
            let index = stored[number];
            RowRef { hash: hashes[index], time: reach.bucket(times[index]), key: &keys[index] }
        };
        self.rows.resolve(stored.len(), row, &mut self.slots)?;
        let mut values = records.values.drain(..done).enumerate();
        for (&index, &slot) in stored.iter().zip(&self.slots) {
            let Some((_, record)) = values.find(|(at, _)| *at == index) else { break };
            let rows = self.rows.value_mut(slot).get_or_insert_default();
            let (time, matched) = (times[index], matched[index]);
            let at = rows.partition_point(|row| row.time <= time);
            rows.insert(at, Row { time, matched, record });
        }
        drop(values);
        if let Some(alone) = &mut self.alone {
            let waits = |index: &usize| !matched[*index];
            let waiting: Vec<usize> = stored.into_iter().filter(waits).collect();
            alone.note(&waiting, keys, hashes, times, &reach)?;
        }
        keys.drain(..done);
        hashes.drain(..done);
        records.times.drain(..done);
        Ok(())
    }

    /// Emits the records that have found no partner up to the time `passed`, and will not.
    pub(super) fn give_up(
        &mut self,
        passed: Timestamp,
        out: &mut Outbox<KeyedBatch<K, O>>,
    ) -> Result<Progress, Fault> {
        let Some(alone) = &mut self.alone else { return Ok(Progress::Done) };
        loop {
            if alone.due.is_empty() {
                let Some(time) = alone.waiting.due(passed)? else { return Ok(Progress::Done) };
                alone.waiting.take(time, self.most, &mut alone.due)?;
                alone.due_at = time;
            }
            let notes = alone.due.iter().rev();
            let looked: Vec<(&K, Timestamp)> =
                notes.flat_map(|(key, buckets)| buckets.iter().map(move |&bucket| (key, bucket))).collect();
            let row = |number: usize| {
                let (key, time) = looked[number];
                RowRef { hash: key_hash(key), time, key }
            };
            self.rows.look_up(looked.len(), row, &mut self.slots)?;
            let mut slots = self.slots.iter();
            while let Some((key, buckets)) = alone.due.last() {
                let hash = key_hash(key);
                let mut seen = 0;
                for &slot in slots.by_ref().take(buckets.len()) {
                    let rows = self.rows.value(slot).map_or(&[][..], SmallVec::as_slice);
                    let last_partner = |row: &Row<T>| self.reach.last_partner(row.time);
                    let from = rows.partition_point(|row| last_partner(row) < Some(alone.due_at));
                    let until = rows.partition_point(|row| last_partner(row) <= Some(alone.due_at));
                    for row in &rows[from..until] {
                        seen += 1;
                        if row.matched || seen <= alone.looked_at {
                            continue;
                        }
                        if !out.has_room() {
                            alone.looked_at = seen - 1;
                            return Ok(Progress::Again);
                        }
                        let result = (alone.make)(row.record.clone());
                        out.push_keyed(key.clone(), hash, result, self.reach.emitted_at(row.time));
                    }
                }
                alone.looked_at = 0;
                alone.due.pop();
            }
        }
    }

    /// Drops the rows that reach no time after `passed`.
    pub(super) fn drop_through(&mut self, passed: Timestamp) -> Result<(), Fault> {
        let Some(through) = self.reach.dropped_through(passed) else { return Ok(()) };
        while let Some(bucket) = self.rows.due(through)? {
            self.rows.take(bucket, self.most, &mut self.dropped)?;
            self.dropped.clear();
        }
        Ok(())
    }

    pub(super) fn begin_freeze(&mut self, epoch: Epoch, delta: &mut Delta) {
        if let Some(alone) = &mut self.alone {
            alone.waiting.begin_freeze(epoch, delta);
        }
        self.rows.begin_freeze(epoch, delta);
    }

    pub(super) fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<(), Fault> {
        if let Some(alone) = &mut self.alone {
            alone.waiting.write_frozen(piece)?;
        }
        Ok(self.rows.write_frozen(piece)?)
    }

    pub(super) fn applied(&mut self, epoch: Epoch) {
        if let Some(alone) = &mut self.alone {
            alone.waiting.applied(epoch);
        }
        self.rows.applied(epoch);
    }
}

impl<K: Key, T, O> Alone<K, T, O> {
    /// Notes where the records of these numbers, which have been stored, are to be looked for.
    fn note(
        &mut self,
        waiting: &[usize],
        keys: &[K],
        hashes: &[u64],
        times: &[Timestamp],
        reach: &Reach,
    ) -> Result<(), Fault> {
        let row = |number: usize| {
            let index = waiting[number];
            let time = reach.last_partner(times[index]).unwrap_or(Timestamp::MIN);
            RowRef { hash: hashes[index], time, key: &keys[index] }
        };
        let mut slots = Vec::new();
        self.waiting.resolve(waiting.len(), row, &mut slots)?;
        for (&index, slot) in waiting.iter().zip(slots) {
            let bucket = reach.bucket(times[index]);
            if !self.waiting.value(slot).is_some_and(|buckets| buckets.contains(&bucket)) {
                self.waiting.value_mut(slot).get_or_insert_default().push(bucket);
            }
        }
        Ok(())
    }
}
