//! `fold`, `reduce`, `aggregate`, `count`: one value per key, kept for ever and updated with every record.
//!
//! Memory: one row per key, in the shared table budget while it is in use and on disk otherwise; a row is never
//! dropped.

use std::sync::Arc;

use highwater_state::delta::Family;
use highwater_state::table::{RowRef, Slot, Table as Rows};
use highwater_state::{Delta, Epoch, Key, Persist, Piece, Timestamp};

use crate::aggregate::update::{Aggregating, Counting, Folding, Reducing, Update};
use crate::aggregate::{Agg, Aggregate};
use crate::batch::{Batch, KeyedBatch};
use crate::data::Clock;
use crate::error::Place;
use crate::keyed::KeyedStream;
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::stream::here;
use crate::table::{Diff, Table};

impl<K, T: 'static, C: Clock> KeyedStream<K, T, C> {
    /// Keeps one value per key: `initial` before the first record, changed by `f` with each.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let longest = output_of(["a b", "a"].map(str::to_owned), |lines| {
    ///     lines.key_by(|_| ()).fold("longest", || 0, |longest, line| *longest = line.len().max(*longest)).to_stream()
    /// });
    /// assert_eq!(longest, [((), 3), ((), 3)]);
    /// ```
    #[track_caller]
    pub fn fold<A: Persist + Clone>(
        self,
        name: &str,
        initial: impl Fn() -> A + Send + Sync + 'static,
        f: impl Fn(&mut A, T) + Send + Sync + 'static,
    ) -> Table<K, A, C>
    where
        K: Key,
    {
        self.running(here("fold", Some(name)), Folding::new(initial, f))
    }

    /// Keeps one record per key: the first, combined by `f` with each that follows.
    #[track_caller]
    pub fn reduce(self, name: &str, f: impl Fn(T, T) -> T + Send + Sync + 'static) -> Table<K, T, C>
    where
        K: Key,
        T: Persist + Clone,
    {
        self.running(here("reduce", Some(name)), Reducing(f))
    }

    /// Keeps aggregates per key: those of [`Agg`], tuples of up to eight of them, or your own.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let stats = output_of([3, 5], |numbers| {
    ///     numbers.key_by(|_| ()).aggregate("stats", |a| (a.count(), a.sum(|n: &i32| *n))).to_stream()
    /// });
    /// assert_eq!(stats, [((), (1, 3)), ((), (2, 8))]);
    /// ```
    #[track_caller]
    pub fn aggregate<A: Aggregate<T>>(self, name: &str, of: impl FnOnce(Agg<T>) -> A) -> Table<K, A::Out, C>
    where
        K: Key,
    {
        self.running(here("aggregate", Some(name)), Aggregating(of(Agg::default())))
    }

    /// Counts the records of each key.
    #[track_caller]
    pub fn count(self, name: &str) -> Table<K, u64, C>
    where
        K: Key,
    {
        self.running(here("count", Some(name)), Counting)
    }

    pub(crate) fn running<U: Update<T>>(self, place: Place, update: U) -> Table<K, U::Value, C>
    where
        K: Key,
    {
        if let Err(reason) = update.check() {
            self.wire.refuse(&place, reason);
        }
        let update = Arc::new(update);
        let wire = self.wire.then::<KeyedBatch<K, T>, Out<K, U::Value>>(place, move |opening| {
            let store = opening.store::<K, U::Kept>(None, Family::Values)?;
            let rows = Rows::open(store, opening.committed())?;
            Ok(Box::new(Running { rows, slots: Vec::new(), update: Arc::clone(&update) }))
        });
        let diffs = wire.output(1);
        Table::at_both(wire, diffs)
    }
}

/// The new values, and the changes with the values before them.
type Out<K, V> = (Outbox<KeyedBatch<K, V>>, Outbox<KeyedBatch<K, Diff<V>>>);

struct Running<K, A, U> {
    rows: Rows<K, A>,
    slots: Vec<Slot>,
    update: Arc<U>,
}

impl<K: Key, A, U> Running<K, A, U> {
    /// Changes the rows, and makes the value before and after each change; the value alone, too, if `values` is to be
    /// filled.
    fn diffs<T>(
        &mut self,
        changes: impl Iterator<Item = (T, Timestamp)>,
        values: Option<&mut Vec<U::Value>>,
    ) -> Vec<Diff<U::Value>>
    where
        T: 'static,
        A: Persist,
        U: Update<T, Kept = A>,
    {
        let (rows, update, mut values) = (&mut self.rows, &self.update, values);
        let diffs = changes.zip(&self.slots).map(|((value, time), &slot)| {
            let kept = rows.value_mut(slot);
            let old = kept.as_ref().map(|kept| update.value(kept));
            update.add(kept, value, time);
            let kept = kept.as_ref().expect("an update leaves a value");
            if let Some(values) = &mut values {
                values.push(update.value(kept));
            }
            Diff { old, new: Some(update.value(kept)) }
        });
        diffs.collect()
    }
}

impl<K: Key, T: 'static, U: Update<T>> Operator<KeyedBatch<K, T>, Out<K, U::Value>>
    for Running<K, U::Kept, U>
{
    fn on_batch(&mut self, batch: &mut KeyedBatch<K, T>, out: &mut Out<K, U::Value>) -> Result<(), Fault> {
        let batch = std::mem::take(batch);
        let (keys, hashes) = (&batch.keys, &batch.hashes);
        let row = |index: usize| RowRef { hash: hashes[index], time: Timestamp::MIN, key: &keys[index] };
        let mut records = batch.records;
        let values = std::mem::take(&mut records.values);
        let times = records.times.iter().copied().chain(std::iter::repeat(Timestamp::MIN));
        if out.1.is_taken() {
            self.rows.resolve(keys.len(), row, &mut self.slots)?;
            let mut told = out.0.is_taken().then(|| Vec::with_capacity(values.len()));
            let diffs = self.diffs(values.into_iter().zip(times), told.as_mut());
            if let Some(told) = told {
                let (keys, hashes) = (batch.keys.clone(), batch.hashes.clone());
                let records = Batch { values: told, times: records.times.clone(), split: records.split };
                out.0.send(KeyedBatch { keys, hashes, records });
            }
            let records = records.with_values(diffs);
            out.1.send(KeyedBatch { keys: batch.keys, hashes: batch.hashes, records });
            return Ok(());
        }
        let (update, is_told) = (&self.update, out.0.is_taken());
        let mut changes = values.into_iter().zip(times);
        let mut changed = Vec::with_capacity(if is_told { keys.len() } else { 0 });
        self.rows.change_each(keys.len(), row, |_, kept| {
            let Some((value, time)) = changes.next() else { return };
            update.add(kept, value, time);
            if is_told {
                changed.push(update.value(kept.as_ref().expect("an update leaves a value")));
            }
        })?;
        if !is_told {
            return Ok(());
        }
        out.0.send(KeyedBatch {
            keys: batch.keys,
            hashes: batch.hashes,
            records: records.with_values(changed),
        });
        Ok(())
    }

    fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        self.rows.begin_freeze(epoch, delta);
        Ok(())
    }

    fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<(), Fault> {
        Ok(self.rows.write_frozen(piece)?)
    }

    fn applied(&mut self, epoch: Epoch) {
        self.rows.applied(epoch);
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::{Harness, at};

    #[test]
    fn the_value_of_each_key_survives_a_restart_after_every_record() {
        let mut harness = Harness::new(|stream| {
            stream
                .key_by(|number: &i64| number % 2)
                .aggregate("sums", |a| (a.count(), a.sum(|n| *n)))
                .to_stream()
        });
        (1..=5).for_each(|number| harness.record(number, at(number)));
        let found: Vec<_> = harness.take().into_iter().map(|(change, _)| change).collect();
        let expected = [(1, (1, 1)), (0, (1, 2)), (1, (2, 4)), (0, (2, 6)), (1, (3, 9))];
        assert_eq!(found, expected);
    }

    #[test]
    fn reduce_begins_with_the_first_record() {
        let mut harness =
            Harness::new(|stream| stream.key_by(|_: &i64| ()).reduce("product", |a, b| a * b).to_stream());
        [3, 5, 7].into_iter().for_each(|number| harness.record(number, at(number)));
        let found: Vec<_> = harness.take().into_iter().map(|(((), product), _)| product).collect();
        assert_eq!(found, [3, 15, 105]);
    }
}
