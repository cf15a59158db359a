//! Joins of a keyed stream with a table: each record meets the row of its key as it is when the record arrives.
//!
//! The join keeps the rows of the table that it was told of, and changes them as the table's changes arrive. Invariant:
//! a record sees the table after exactly those changes of its key that the join took before the record.
//!
//! Memory: one row per key of the table, in the shared table budget while it is in use and on disk otherwise, and the
//! keys that records asked for in vain until the epoch ends.

use std::marker::PhantomData;

use highwater_state::delta::Family;
use highwater_state::table::{Place as Store, RowRef, Slot, Table as Rows};
use highwater_state::{Delta, Epoch, Key, Persist, Piece, Timestamp};

use crate::batch::{Either, KeyedBatch};
use crate::data::{Clock, Data};
use crate::keyed::KeyedStream;
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::stream::{EventTime, Wire, here};
use crate::table::{Diff, Table};

/// A keyed stream and a table with keys of one type that are to be joined; says what becomes of a record without a row.
#[must_use = "a join does nothing until `inner` or `left` says what becomes of a record without a row"]
pub struct StreamTableJoin<K, T, V, C = EventTime> {
    stream: Wire,
    table: Wire,
    marker: PhantomData<fn() -> (K, T, V, C)>,
}

impl<K: Key, T: Data, C: Clock> KeyedStream<K, T, C> {
    /// Pairs each record with the value that the table has for its key when the record arrives.
    ///
    /// What a record meets depends on how the stream and the table's changes interleave, and may differ from run to
    /// run: a record that is read before the row that it belongs to finds none. Where that must not be, both need
    /// event time: `join_as_of` is the join that looks a record's row up as of the record's time. The table is not read
    /// first. A change of the
    /// table emits nothing; to have results follow the table, join two tables.
    ///
    /// Results have the event time of their record. The watermark is the smaller of the two inputs: a table that
    /// changes rarely holds it back until its source is idle (`Job::idle_after`) or has ended.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let records = [("rate", 7), ("order", 2), ("rate", 8), ("order", 3)];
    /// let priced = output_of(records, |records| {
    ///     let of = |kind| records.clone().filter(move |record: &(&str, i32)| record.0 == kind).key_by(|_| ());
    ///     let rates = of("rate").upsert("rates", |record| Some(record.1));
    ///     of("order").join_table(rates).inner("priced").values().map(|((_, pieces), rate)| pieces * rate)
    /// });
    /// assert_eq!(priced, [14, 24]);
    /// ```
    pub fn join_table<V: Persist + Clone>(self, table: Table<K, V, C>) -> StreamTableJoin<K, T, V, C> {
        StreamTableJoin { stream: self.wire, table: table.diffs, marker: PhantomData }
    }
}

impl<K: Key, T: Data, V: Persist + Clone, C: Clock> StreamTableJoin<K, T, V, C> {
    /// The records whose key has a row, with its value; others are dropped.
    ///
    /// The name is what the rows are kept under.
    #[track_caller]
    pub fn inner(self, name: &str) -> KeyedStream<K, (T, V), C> {
        self.look_up(name, |record, value| Some((record, value?.clone())))
    }

    /// Every record, with the value of its key's row if there is one.
    ///
    /// The name is what the rows are kept under.
    #[track_caller]
    pub fn left(self, name: &str) -> KeyedStream<K, (T, Option<V>), C> {
        self.look_up(name, |record, value| Some((record, value.cloned())))
    }

    #[track_caller]
    fn look_up<P: Data>(self, name: &str, pair: fn(T, Option<&V>) -> Option<P>) -> KeyedStream<K, P, C> {
        let place = here("join_table", Some(name));
        let wire = self.stream.join::<KeyedBatch<K, T>, KeyedBatch<K, Diff<V>>, Outbox<KeyedBatch<K, P>>>(
            &self.table,
            place,
            move |opening| {
                let store = opening.store::<K, V>(None, Family::Values)?;
                Ok(Box::new(LookUp { rows: Followed::open(store, opening.committed())?, pair }))
            },
        );
        KeyedStream::at(wire)
    }
}

/// The rows of a table that is kept elsewhere, after the changes that were taken so far.
pub(crate) struct Followed<K, V> {
    rows: Rows<K, V>,
    slots: Vec<Slot>,
}

impl<K: Key, V: Persist> Followed<K, V> {
    pub(crate) fn open(store: Store, committed: Epoch) -> Result<Self, Fault> {
        Ok(Followed { rows: Rows::open(store, committed)?, slots: Vec::new() })
    }

    /// Takes changes of the table.
    pub(crate) fn change(&mut self, batch: KeyedBatch<K, Diff<V>>) -> Result<(), Fault> {
        self.resolve(&batch.keys, &batch.hashes)?;
        for (diff, &slot) in batch.records.values.into_iter().zip(&self.slots) {
            *self.rows.value_mut(slot) = diff.new;
        }
        Ok(())
    }

    /// Finds the rows of these keys, for [`value`](Followed::value).
    pub(crate) fn resolve(&mut self, keys: &[K], hashes: &[u64]) -> Result<(), Fault> {
        let row = |index: usize| RowRef { hash: hashes[index], time: Timestamp::MIN, key: &keys[index] };
        Ok(self.rows.resolve(keys.len(), row, &mut self.slots)?)
    }

    /// The value of one of the keys that were resolved last, by its number.
    pub(crate) fn value(&mut self, number: usize) -> Option<&V> {
        let slot = self.slots[number];
        if self.rows.value(slot).is_none() {
            // A row that is dirty and absent is let go at the epoch's end; otherwise keys that are never in the table
            // would stay in memory for ever, where state is kept in memory only.
            self.rows.value_mut(slot);
        }
        self.rows.value(slot)
    }

    pub(crate) fn begin_freeze(&mut self, epoch: Epoch, delta: &mut Delta) {
        self.rows.begin_freeze(epoch, delta);
    }

    pub(crate) fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<(), Fault> {
        Ok(self.rows.write_frozen(piece)?)
    }

    pub(crate) fn applied(&mut self, epoch: Epoch) {
        self.rows.applied(epoch);
    }
}

struct LookUp<K, T, V, P> {
    rows: Followed<K, V>,
    pair: fn(T, Option<&V>) -> Option<P>,
}

impl<K, T, V, P> Operator<Either<KeyedBatch<K, T>, KeyedBatch<K, Diff<V>>>, Outbox<KeyedBatch<K, P>>>
    for LookUp<K, T, V, P>
where
    K: Key,
    T: Data,
    V: Persist,
    P: Data,
{
    fn on_batch(
        &mut self,
        batch: &mut Either<KeyedBatch<K, T>, KeyedBatch<K, Diff<V>>>,
        out: &mut Outbox<KeyedBatch<K, P>>,
    ) -> Result<(), Fault> {
        match std::mem::take(batch) {
            Either::Right(changes) => self.rows.change(changes)?,
            Either::Left(batch) => {
                self.rows.resolve(&batch.keys, &batch.hashes)?;
                let mut number = 0..;
                out.send(batch.filter_map(|_, record| (self.pair)(record, self.rows.value(number.next()?))));
            }
        }
        Ok(())
    }

    fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        self.rows.begin_freeze(epoch, delta);
        Ok(())
    }

    fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<(), Fault> {
        self.rows.write_frozen(piece)
    }

    fn applied(&mut self, epoch: Epoch) {
        self.rows.applied(epoch);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use highwater_state::KeyGroup;
    use highwater_state::backend::memory::MemoryBackend;
    use highwater_state::budget::TableBudget;
    use highwater_state::hash::key_hash;
    use highwater_state::id::StoreId;

    use super::*;
    use crate::batch::Batch;

    #[test]
    fn keys_that_are_not_in_the_table_stay_in_memory_for_an_epoch_only() {
        let store = Store {
            name: "rows".to_owned(),
            store: StoreId(1),
            family: Family::Values,
            backend: Arc::new(MemoryBackend::new()),
            budget: Arc::new(TableBudget::new(usize::MAX)),
            groups: KeyGroup::range(0, 1),
        };
        let mut followed: Followed<u64, u64> = Followed::open(store, Epoch(0)).expect("opens");
        let hashes = |keys: &[u64]| keys.iter().map(key_hash).collect::<Vec<_>>();
        let diff = Diff { old: None, new: Some(7) };
        let change = KeyedBatch { keys: vec![0], hashes: hashes(&[0]), records: Batch::untimed(vec![diff]) };
        followed.change(change).expect("takes changes");
        for epoch in 1..4 {
            let keys: Vec<u64> = (0..1000).collect();
            followed.resolve(&keys, &hashes(&keys)).expect("resolves");
            let found: Vec<_> = (0..1000).filter_map(|number| followed.value(number).copied()).collect();
            assert_eq!((found, followed.rows.len()), (vec![7], 1000));
            let mut delta = Delta::default();
            followed.begin_freeze(Epoch(epoch), &mut delta);
            followed.write_frozen(&mut Piece::rest(&mut delta)).expect("is written");
            assert_eq!((delta.len(), followed.rows.len()), (usize::from(epoch == 1), 1));
            followed.applied(Epoch(epoch));
        }
    }
}
