//! `join_as_of`: each left record with what was valid on the right side at its time.
//!
//! A left record waits until the watermark has passed its time; then no version that it could take can come on time,
//! and the result does not depend on the order of arrival. Versions are kept per key in the order of their times.
//!
//! Invariant: of two versions of one time the one that came last is kept; a version is dropped only when a later one
//! lies at or before the watermark, so that no left record can take it.

use std::marker::PhantomData;

use highwater_state::delta::Family;
use highwater_state::hash::key_hash;
use highwater_state::panes::Panes;
use highwater_state::table::{RowRef, Slot, Table};
use highwater_state::{Delta, Epoch, Key, Persist, Piece, Timestamp};
use serde::{Deserialize, Serialize};

use crate::batch::{Either, KeyedBatch};
use crate::data::{Data, HasEventTime};
use crate::join::bounds::passed;
use crate::join::lateness::{Watermarks, set_late_aside};
use crate::join::timed::{In, Out};
use crate::keyed::KeyedStream;
use crate::opening::{NodeOpening, OpenError};
use crate::operator::{Fault, Operator, Progress};
use crate::outbox::Outputs;
use crate::stream::{Stream, Wire, add_join, here, set_join};

/// A stream that is joined with the versions of another; a mode makes a stream of it:
/// [`inner`](AsOfStream::inner) or [`left`](AsOfStream::left).
#[must_use = "a join does nothing until it is ended with `inner` or `left`"]
pub struct AsOfStream<K, L, R> {
    wire: Wire,
    marker: PhantomData<fn() -> (K, L, R)>,
}

impl<K, L: Data, C> KeyedStream<K, L, C> {
    /// Joins each record of this stream, the left one, with the last record of the other, the right one, that has the
    /// same key and a time at or before its own. Right records are versions of their key's row; of two versions of one
    /// time the one that came last counts.
    ///
    /// A left record is answered once the watermark has passed its time, and keeps that time; records of a key leave in
    /// the order of their times. A record that is behind the watermark when it comes is late: it is not answered, or is
    /// no version.
    ///
    /// Versions and waiting records survive a restart under the name of the mode. Memory: every left record that the
    /// watermark has not passed; and per key the versions that the watermark had not passed when the last of them came,
    /// with the one before them. A key's last version stays for ever, because it may be asked for at any time to come:
    /// there is a row for every key that the right side ever had. All of it is in the shared table budget, and on disk
    /// beyond it; and the keys that have no version until the epoch ends in which they were answered. A name that was
    /// that of a join by interval or window is refused at the start.
    ///
    /// ```
    /// # use highwater_operators::testkit::timed_output_of;
    /// let events = [(10, ('p', 100)), (30, ('p', 120)), (20, ('t', 3)), (35, ('t', 1))]; // prices and trades
    /// let worth = timed_output_of(events, |events| {
    ///     let (trades, prices) = events.branch(|event| event.0 == 't');
    ///     let trades = trades.key_by(|_| "share".to_owned());
    ///     let joined = trades.join_as_of(prices.key_by(|_| "share".to_owned()));
    ///     joined.inner("worth").values().map(|(trade, price)| trade.1 * price.1)
    /// });
    /// assert_eq!(worth, [(20, 300), (35, 120)]);
    /// ```
    #[track_caller]
    pub fn join_as_of<R: Persist + Clone, D>(self, other: KeyedStream<K, R, D>) -> AsOfStream<K, L, R>
    where
        K: Key,
        L: Persist + Clone,
        C: HasEventTime,
        D: HasEventTime,
    {
        let wire = add_join(&self.wire, &other.wire, here("join_as_of", None));
        AsOfStream { wire, marker: PhantomData }
    }
}

impl<K: Key, L: Persist + Clone, R: Persist + Clone> AsOfStream<K, L, R> {
    /// The streams of the late left and the late right records; without this they are counted and dropped.
    pub fn with_late(self) -> (Self, Stream<L>, Stream<R>) {
        let (left, right) = (Stream::at(self.wire.output(1)), Stream::at(self.wire.output(2)));
        (self, left, right)
    }

    /// The left records for which there is a version, each with it; the others are dropped.
    #[track_caller]
    pub fn inner(self, name: &str) -> KeyedStream<K, (L, R)> {
        self.ended(name, |left, right| Some((left, right?)))
    }

    /// All left records, each with its version where there is one.
    #[track_caller]
    pub fn left(self, name: &str) -> KeyedStream<K, (L, Option<R>)> {
        self.ended(name, |left, right| Some((left, right)))
    }

    #[track_caller]
    fn ended<O: Data>(self, name: &str, answer: fn(L, Option<R>) -> Option<O>) -> KeyedStream<K, O> {
        let node = self.wire.port.node;
        self.wire.graph.borrow_mut().nodes[node].place = here("join_as_of", Some(name));
        set_join::<KeyedBatch<K, L>, KeyedBatch<K, R>, Out<K, L, R, O>>(
            &self.wire.graph,
            node,
            move |opening| Ok(Box::new(AsOf::open(answer, opening)?)),
        );
        KeyedStream::at(self.wire)
    }
}

/// A right record, valid from its time until that of the next.
#[derive(Serialize, Deserialize)]
struct Version<R> {
    time: Timestamp,
    record: R,
}

struct AsOf<K, L, R, O> {
    answer: fn(L, Option<R>) -> Option<O>,
    /// In the order of their times, which are all different.
    versions: Table<K, Vec<Version<R>>>,
    /// By their times.
    waiting: Panes<K, Vec<L>>,
    watermarks: Watermarks,
    most: usize,
    slots: Vec<Slot>,
    taken: Vec<(K, Vec<L>)>,
    /// What is being answered, of this time, from the end.
    due: Vec<(K, std::vec::IntoIter<L>)>,
    due_at: Timestamp,
}

impl<K: Key, L: Persist + Clone, R: Persist + Clone, O: Data> AsOf<K, L, R, O> {
    fn open(answer: fn(L, Option<R>) -> Option<O>, opening: &NodeOpening<'_>) -> Result<Self, OpenError> {
        // Under the names that other joins use too, so that a join which has become another is refused.
        let versions = opening.store::<K, Vec<Version<R>>>(Some("right"), Family::Values)?;
        let waiting = opening.store_filed::<K, Vec<L>>(Some("left"), Family::Windows, " as of")?;
        Ok(AsOf {
            answer,
            versions: Table::open(versions, opening.committed())?,
            waiting: Panes::open(waiting, opening.committed())?,
            watermarks: Watermarks::open(opening)?,
            most: opening.batch_records(),
            slots: Vec::new(),
            taken: Vec::new(),
            due: Vec::new(),
            due_at: Timestamp::MIN,
        })
    }

    fn wait(&mut self, batch: KeyedBatch<K, L>) -> Result<(), Fault> {
        let KeyedBatch { keys, hashes, records } = batch;
        let times = records.times;
        let row = |index: usize| RowRef { hash: hashes[index], time: times[index], key: &keys[index] };
        self.waiting.resolve(keys.len(), row, &mut self.slots)?;
        for (record, &slot) in records.values.into_iter().zip(&self.slots) {
            self.waiting.value_mut(slot).get_or_insert_default().push(record);
        }
        Ok(())
    }

    fn add_versions(&mut self, batch: KeyedBatch<K, R>) -> Result<(), Fault> {
        let KeyedBatch { keys, hashes, records } = batch;
        let row = |index: usize| RowRef { hash: hashes[index], time: Timestamp::MIN, key: &keys[index] };
        self.versions.resolve(keys.len(), row, &mut self.slots)?;
        let watermark = self.watermarks.both();
        let rows = records.values.into_iter().zip(records.times).zip(&self.slots);
        for ((record, time), &slot) in rows {
            let versions = self.versions.value_mut(slot).get_or_insert_default();
            let at = versions.partition_point(|version| version.time < time);
            match versions.get_mut(at).filter(|version| version.time == time) {
                Some(version) => version.record = record,
                None => versions.insert(at, Version { time, record }),
            }
            let reached = versions.partition_point(|version| version.time <= watermark);
            versions.drain(..reached.saturating_sub(1));
        }
        Ok(())
    }

    /// Answers the waiting records up to the time `passed`, in order of time.
    fn answer(&mut self, passed: Timestamp, out: &mut Out<K, L, R, O>) -> Result<Progress, Fault> {
        loop {
            if self.due.is_empty() {
                let Some(time) = self.waiting.due(passed)? else { return Ok(Progress::Done) };
                self.waiting.take(time, self.most, &mut self.taken)?;
                self.due.extend(self.taken.drain(..).map(|(key, records)| (key, records.into_iter())));
                self.due_at = time;
            }
            let row = |number: usize| {
                let (key, _) = &self.due[self.due.len() - 1 - number];
                RowRef { hash: key_hash(key), time: Timestamp::MIN, key }
            };
            self.versions.resolve(self.due.len(), row, &mut self.slots)?;
            let mut slots = self.slots.iter();
            while let Some(((key, records), &slot)) = self.due.last_mut().zip(slots.next()) {
                let hash = key_hash(key);
                if self.versions.value(slot).is_none() {
                    // A row that is dirty and absent is let go at the epoch's end; otherwise keys without versions
                    // would stay in memory for ever, where state is kept in memory only.
                    self.versions.value_mut(slot);
                }
                let versions = self.versions.value(slot).map_or(&[][..], Vec::as_slice);
                let valid = versions.partition_point(|version| version.time <= self.due_at);
                let version = valid.checked_sub(1).map(|at| &versions[at].record);
                while records.len() > 0 {
                    if !out.0.has_room() {
                        return Ok(Progress::Again);
                    }
                    let answers = records.next().and_then(|left| (self.answer)(left, version.cloned()));
                    if let Some(answer) = answers {
                        out.0.push_keyed(key.clone(), hash, answer, self.due_at);
                    }
                }
                self.due.pop();
            }
        }
    }
}

impl<K, L, R, O> Operator<In<K, L, R>, Out<K, L, R, O>> for AsOf<K, L, R, O>
where
    K: Key,
    L: Persist + Clone,
    R: Persist + Clone,
    O: Data,
{
    fn on_batch(&mut self, batch: &mut In<K, L, R>, out: &mut Out<K, L, R, O>) -> Result<(), Fault> {
        match std::mem::take(batch) {
            Either::Left(mut batch) => {
                set_late_aside(&mut batch, self.watermarks.left(), &mut out.1.0);
                self.wait(batch)
            }
            Either::Right(mut batch) => {
                set_late_aside(&mut batch, self.watermarks.right(), &mut out.1.1);
                self.add_versions(batch)
            }
        }
    }

    fn batch_watermark(&mut self, watermark: Timestamp) {
        self.watermarks.meets(watermark);
    }

    fn on_watermark(&mut self, watermark: Timestamp, out: &mut Out<K, L, R, O>) -> Result<Progress, Fault> {
        if let Some(passed) = passed(watermark)
            && self.answer(passed, out)? == Progress::Again
        {
            return Ok(Progress::Again);
        }
        self.watermarks.rise(watermark);
        Ok(Progress::Done)
    }

    fn side_watermarks(&mut self, sides: &[Timestamp]) {
        self.watermarks.rise_sides(sides);
    }

    fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        self.watermarks.freeze(delta)?;
        self.waiting.begin_freeze(epoch, delta);
        self.versions.begin_freeze(epoch, delta);
        Ok(())
    }

    fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<(), Fault> {
        self.waiting.write_frozen(piece)?;
        Ok(self.versions.write_frozen(piece)?)
    }

    fn applied(&mut self, epoch: Epoch) {
        self.waiting.applied(epoch);
        self.versions.applied(epoch);
    }
}
