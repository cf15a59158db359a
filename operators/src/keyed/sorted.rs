//! `sorted`: the records of each key in the order of event time.
//!
//! A record waits until the watermark says that nothing earlier can come: for a short while in a list of the most
//! recent ones, because where the stream is nearly in order most leave soon; at the end of an epoch, or when the list
//! is full, as state. Invariant: what is filed as state came before all that is in the list. Memory: the list has a
//! limit, state is on disk when the table budget is exceeded; how much that is depends on the out-of-orderness of the
//! stream.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

use highwater_state::delta::Family;
use highwater_state::hash::key_hash;
use highwater_state::panes::Panes;
use highwater_state::table::{RowRef, Slot};
use highwater_state::{Delta, Epoch, Key, Persist, Piece, Timestamp};

use crate::batch::{Batch, KeyedBatch};
use crate::data::{Data, HasEventTime};
use crate::keyed::KeyedStream;
use crate::lateness::KeptWatermark;
use crate::limits::SORTED_RECENT_BATCHES;
use crate::operator::{Fault, Operator, Progress};
use crate::outbox::{Outbox, Outputs};
use crate::stream::{Stream, Wire, add_node, here, set_operator};

impl<K, T: Data, C> KeyedStream<K, T, C> {
    /// Puts the records of each key in the order of their event times; equal times stay in the order in which
    /// they came.
    ///
    /// A record leaves when the watermark has passed its event time. One that comes behind the watermark is
    /// late: it is not in the first stream, but in the second.
    ///
    /// What waits survives a restart.
    ///
    /// ```
    /// # use highwater_operators::testkit::timed_output_of;
    /// let sorted = timed_output_of([(30, 'c'), (10, 'a'), (20, 'b')], |letters| {
    ///     let (sorted, _late) = letters.key_by(|_| ()).sorted("by-time");
    ///     sorted.values()
    /// });
    /// assert_eq!(sorted, [(10, 'a'), (20, 'b'), (30, 'c')]);
    /// ```
    #[track_caller]
    pub fn sorted(self, name: &str) -> (KeyedStream<K, T>, Stream<T>)
    where
        K: Key,
        T: Persist,
        C: HasEventTime,
    {
        let node = add_node(&self.wire.graph, here("sorted", Some(name)), vec![self.wire.port]);
        let wire = self.wire.output_of(node, 0);
        set_sorted::<K, T>(&wire, None);
        let late = wire.output(1);
        (KeyedStream::at(wire), Stream::at(late))
    }
}

/// Says which of two records of one key and time comes first.
pub(crate) type Ties<T> = Arc<dyn Fn(&T, &T) -> Ordering + Send + Sync>;

/// Makes a node one that sorts; its outputs are the records in order, and the late ones.
pub(crate) fn set_sorted<K: Key, T: Persist>(wire: &Wire, ties: Option<Ties<T>>) {
    set_operator::<KeyedBatch<K, T>, Out<K, T>>(&wire.graph, wire.port.node, move |opening| {
        let store = opening.store::<K, Vec<T>>(None, Family::Windows)?;
        Ok(Box::new(Sorted {
            recent: VecDeque::new(),
            waiting: Panes::<K, Vec<T>>::open(store, opening.committed())?,
            watermark: KeptWatermark::open(opening)?,
            ties: ties.clone(),
            most: opening.batch_records(),
            slots: Vec::new(),
            leaving: Vec::new(),
        }))
    });
}

type Out<K, T> = (Outbox<KeyedBatch<K, T>>, Outbox<Batch<T>>);

/// A record that has not left yet.
struct Recent<K, T> {
    time: Timestamp,
    hash: u64,
    key: K,
    value: T,
}

struct Sorted<K, T> {
    ties: Option<Ties<T>>,
    recent: VecDeque<Recent<K, T>>,
    waiting: Panes<K, Vec<T>>,
    watermark: KeptWatermark,
    most: usize,
    slots: Vec<Slot>,
    leaving: Vec<(K, Vec<T>)>,
}

impl<K: Key, T: Persist> Sorted<K, T> {
    /// Puts the recent records in order; those of different keys at one time stand in any order.
    fn sort(&mut self) {
        let recent = self.recent.make_contiguous();
        let order = |one: &Recent<K, T>, other: &Recent<K, T>| match &self.ties {
            None => one.time.cmp(&other.time),
            // Ties of one key only, so its records must stand together.
            Some(ties) => (one.time, one.hash)
                .cmp(&(other.time, other.hash))
                .then_with(|| ties(&one.value, &other.value)),
        };
        if !recent.is_sorted_by(|one, other| order(one, other).is_le()) {
            recent.sort_by(order);
        }
    }

    /// Files the first of the recent records as state.
    fn file(&mut self, count: usize) -> Result<(), Fault> {
        let (recent, slots) = (&self.recent, &mut self.slots);
        let row = |index: usize| {
            let Recent { time, hash, key, .. } = &recent[index];
            RowRef { hash: *hash, time: *time, key }
        };
        self.waiting.resolve(count, row, slots)?;
        for (recent, &slot) in self.recent.drain(..count).zip(&self.slots) {
            self.waiting.value_mut(slot).get_or_insert_default().push(recent.value);
        }
        Ok(())
    }

    /// Emits the recent records up to a time, of which nothing is filed as state.
    fn emit_recent(&mut self, through: Timestamp, out: &mut Out<K, T>) -> Progress {
        while self.recent.front().is_some_and(|first| first.time <= through) {
            if !out.has_room() {
                return Progress::Again;
            }
            if let Some(Recent { time, hash, key, value }) = self.recent.pop_front() {
                out.0.push_keyed(key, hash, value, time);
            }
        }
        Progress::Done
    }

    /// Emits what is filed as state up to a time.
    fn emit_filed(&mut self, through: Timestamp, out: &mut Out<K, T>) -> Result<Progress, Fault> {
        while let Some(time) = self.waiting.due(through)? {
            if !out.has_room() {
                return Ok(Progress::Again);
            }
            self.waiting.take(time, self.most, &mut self.leaving)?;
            for (key, mut records) in self.leaving.drain(..) {
                if let Some(ties) = &self.ties {
                    records.sort_by(|one, other| ties(one, other));
                }
                let hash = key_hash(&key);
                records.into_iter().for_each(|record| out.0.push_keyed(key.clone(), hash, record, time));
            }
        }
        Ok(Progress::Done)
    }
}

impl<K: Key, T: Persist> Operator<KeyedBatch<K, T>, Out<K, T>> for Sorted<K, T> {
    fn on_batch(&mut self, batch: &mut KeyedBatch<K, T>, out: &mut Out<K, T>) -> Result<(), Fault> {
        let KeyedBatch { keys, hashes, records } = std::mem::take(batch);
        let watermark = self.watermark.get();
        let rows = keys.into_iter().zip(hashes).zip(records.times).zip(records.values);
        for (((key, hash), time), value) in rows {
            if time < watermark {
                out.1.push(value, time);
            } else {
                self.recent.push_back(Recent { time, hash, key, value });
            }
        }
        if self.recent.len() > SORTED_RECENT_BATCHES * self.most {
            self.file(self.recent.len())?;
        }
        Ok(())
    }

    fn on_watermark(&mut self, watermark: Timestamp, out: &mut Out<K, T>) -> Result<Progress, Fault> {
        // A record at the watermark itself may still be followed by one of the same time.
        let through = match watermark {
            Timestamp::MAX => Timestamp::MAX,
            _ => Timestamp::from_millis(watermark.as_millis().saturating_sub(1)),
        };
        self.sort();
        if self.waiting.due(through)?.is_some() {
            self.file(self.recent.partition_point(|recent| recent.time <= through))?;
        }
        let filed = self.emit_filed(through, out)?;
        if matches!(filed, Progress::Again) || matches!(self.emit_recent(through, out), Progress::Again) {
            return Ok(Progress::Again);
        }
        self.watermark.rise(watermark);
        Ok(Progress::Done)
    }

    fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        self.watermark.freeze(delta)?;
        self.file(self.recent.len())?;
        self.waiting.begin_freeze(epoch, delta);
        Ok(())
    }

    fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<(), Fault> {
        Ok(self.waiting.write_frozen(piece)?)
    }

    fn applied(&mut self, epoch: Epoch) {
        self.waiting.applied(epoch);
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::{Harness, at};

    #[test]
    fn equal_times_stay_in_the_order_of_arrival_and_late_records_are_returned() {
        let mut harness = Harness::new(|stream| {
            let (sorted, late) = stream.key_by(|_: &String| 0u8).sorted("by-time");
            sorted.values().map(|name| ("sorted", name)).merge(late.map(|name| ("late", name)))
        });
        harness.record("b".to_owned(), at(20));
        harness.record("a1".to_owned(), at(10));
        harness.record("a2".to_owned(), at(10));
        harness.watermark(at(20));
        harness.record("late".to_owned(), at(19));
        harness.record("b2".to_owned(), at(20));
        harness.watermark(at(21));
        let (sorted, late): (Vec<_>, Vec<_>) =
            harness.take().into_iter().partition(|((kind, _), _)| *kind == "sorted");
        let sorted: Vec<_> = sorted.into_iter().map(|((_, name), _)| name).collect();
        assert_eq!(sorted, ["a1", "a2", "b", "b2"]);
        assert_eq!(late, [(("late", "late".to_owned()), at(19))]);
    }
}
