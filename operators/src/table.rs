//! The fourth noun, [`Table`]: one value per key, and the stream of its changes.
//!
//! A table is kept as state by the named verb that made it. What travels from there is its changes, each with the
//! value before it, so that whatever follows can tell an insertion from an update and from a deletion; `filter` and
//! `map_values` keep nothing. Invariant: the changes of one key come in order, and each has as its old value the
//! new value of the one before it. A table does not know how late a record is: its changes are in order of arrival.

mod broadcast;
mod diff;
mod filter;
mod join;
mod map_values;
mod stream_join;
mod upsert;

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use crate::batch::{Batch, KeyedBatch};
use crate::data::{Clock, Data};
use crate::keyed::KeyedStream;
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::stream::{EventTime, Stream, Wire, here};

pub(crate) use diff::Diff;

pub use broadcast::BroadcastJoin;
pub use join::TableJoin;
pub use stream_join::StreamTableJoin;

/// One value per key, kept as state under the name of the verb that made it.
///
/// Cloning a table lets several chains take it: its changes are cloned for all but one of them, and it is kept once.
///
/// ```
/// use highwater_operators::{interpret::interpret, memory::Memory, table::Table, topology::Topology};
///
/// let topology = Topology::new("stock");
/// let moves = topology.source("moves", Memory::source([("apples", 3), ("pears", 1), ("apples", -3)]));
/// let stock: Table<String, i64, _> = moves.key_by(|m| m.0.to_owned()).aggregate("stock", |a| a.sum(|m| m.1));
/// let (all, gone) = (Memory::sink(), Memory::sink());
/// stock.clone().to_stream().sink("all", all.clone());
/// let in_stock = stock.filter(|_, pieces| *pieces > 0);
/// in_stock.changes().filter(|change| change.new.is_none()).map(|change| change.key).sink("gone", gone.clone());
/// interpret(topology).expect("runs");
/// assert_eq!(all.take(), [("apples".to_owned(), 3), ("pears".to_owned(), 1), ("apples".to_owned(), 0)]);
/// assert_eq!(gone.take(), ["apples"]);
/// ```
#[must_use = "a table's changes go nowhere until they reach a sink"]
pub struct Table<K, V, C = EventTime> {
    /// Where every change is told with the value before it.
    diffs: Wire,
    /// Where the new values alone are told, by a table that is never deleted from; making them costs no old ones.
    values: Option<Wire>,
    marker: PhantomData<fn() -> (K, V, C)>,
}

/// One change of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change<K, V> {
    /// The key.
    pub key: K,
    /// The value before; `None` if the key had none.
    pub old: Option<V>,
    /// The value from here on; `None` if the key has none any more. Never `None` together with the old one; it may
    /// equal it.
    pub new: Option<V>,
}

impl<K: Clone + 'static, V: Clone + 'static, C> Clone for Table<K, V, C> {
    fn clone(&self) -> Self {
        let copy: fn(&KeyedBatch<K, Diff<V>>) -> KeyedBatch<K, Diff<V>> = KeyedBatch::clone;
        let mut graph = self.diffs.graph.borrow_mut();
        graph.ports.entry(self.diffs.port).or_default().copy = Some(Box::new(copy));
        if let Some(values) = &self.values {
            let copy: fn(&KeyedBatch<K, V>) -> KeyedBatch<K, V> = KeyedBatch::clone;
            graph.ports.entry(values.port).or_default().copy = Some(Box::new(copy));
        }
        drop(graph);
        Table { diffs: self.diffs.clone(), values: self.values.clone(), marker: PhantomData }
    }
}

impl<K: Data, V: Data, C: Clock> Table<K, V, C> {
    /// A table of which each change is told with its old value.
    fn at(diffs: Wire) -> Self {
        Table { diffs, values: None, marker: PhantomData }
    }

    /// A table that is never deleted from, which tells its new values at one output and its changes at another.
    pub(crate) fn at_both(values: Wire, diffs: Wire) -> Self {
        Table { diffs, values: Some(values), marker: PhantomData }
    }

    /// Every new value with its key, one for each change.
    ///
    /// Deletions are left out: take [`changes`](Table::changes) of a table that knows them, which is any that was
    /// filtered, joined or made by `upsert`. The values of a running aggregate, of `reduce` and of `latest` are told
    /// without making the old ones. A table whose changes nobody takes costs nothing to tell.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let counts = output_of(["a", "b", "a"], |words| {
    ///     words.key_by(|word| word.len()).count("words").to_stream()
    /// });
    /// assert_eq!(counts, [(1, 1), (1, 2), (1, 3)]);
    /// ```
    #[track_caller]
    pub fn to_stream(self) -> Stream<(K, V), C> {
        self.into_keyed().entries()
    }

    /// Every change with the value before it; deletions have no new one.
    ///
    /// Costs the table that is kept a second value for each change.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// # use highwater_operators::table::Change;
    /// let counts = output_of(["a", "b"], |words| {
    ///     words.key_by(|word| word.len()).count("words").changes()
    /// });
    /// let change = |old, new| Change { key: 1, old, new };
    /// assert_eq!(counts, [change(None, Some(1)), change(Some(1), Some(2))]);
    /// ```
    #[track_caller]
    pub fn changes(self) -> Stream<Change<K, V>, C> {
        let place = here("changes", None);
        let wire = self
            .diffs
            .then::<KeyedBatch<K, Diff<V>>, Outbox<Batch<Change<K, V>>>>(place, |_| Ok(Box::new(Tell)));
        Stream::at(wire)
    }

    /// The new values, still grouped by key; deletions are left out as by [`to_stream`](Table::to_stream).
    #[track_caller]
    pub fn into_keyed(self) -> KeyedStream<K, V, C> {
        let place = here("into_keyed", None);
        KeyedStream::at(match self.values {
            Some(values) => values,
            None => self
                .diffs
                .then::<KeyedBatch<K, Diff<V>>, Outbox<KeyedBatch<K, V>>>(place, |_| Ok(Box::new(NewValues))),
        })
    }

    /// Keeps the table without telling its changes to anyone.
    pub fn keep(self) {}
}

struct Tell;

impl<K: 'static, V: 'static> Operator<KeyedBatch<K, Diff<V>>, Outbox<Batch<Change<K, V>>>> for Tell {
    fn on_batch(
        &mut self,
        batch: &mut KeyedBatch<K, Diff<V>>,
        out: &mut Outbox<Batch<Change<K, V>>>,
    ) -> Result<(), Fault> {
        let KeyedBatch { keys, mut records, .. } = std::mem::take(batch);
        let diffs = std::mem::take(&mut records.values);
        let changes = keys.into_iter().zip(diffs).map(|(key, Diff { old, new })| Change { key, old, new });
        out.send(records.with_values(changes.collect()));
        Ok(())
    }
}

struct NewValues;

impl<K: 'static, V: 'static> Operator<KeyedBatch<K, Diff<V>>, Outbox<KeyedBatch<K, V>>> for NewValues {
    fn on_batch(
        &mut self,
        batch: &mut KeyedBatch<K, Diff<V>>,
        out: &mut Outbox<KeyedBatch<K, V>>,
    ) -> Result<(), Fault> {
        out.send(std::mem::take(batch).filter_map(|_, diff| diff.new));
        Ok(())
    }
}

impl<K: Data, T: Data, C: Clock> KeyedStream<K, T, C> {
    /// The records with their keys, no longer grouped.
    #[track_caller]
    pub fn entries(self) -> Stream<(K, T), C> {
        let place = here("entries", None);
        Stream::at(
            self.wire.then::<KeyedBatch<K, T>, Outbox<Batch<(K, T)>>>(place, |_| Ok(Box::new(Entries))),
        )
    }

    /// The records without their keys.
    #[track_caller]
    pub fn values(self) -> Stream<T, C> {
        let place = here("values", None);
        Stream::at(self.wire.then::<KeyedBatch<K, T>, Outbox<Batch<T>>>(place, |_| Ok(Box::new(Values))))
    }
}

struct Entries;

impl<K: 'static, T: 'static> Operator<KeyedBatch<K, T>, Outbox<Batch<(K, T)>>> for Entries {
    fn on_batch(
        &mut self,
        batch: &mut KeyedBatch<K, T>,
        out: &mut Outbox<Batch<(K, T)>>,
    ) -> Result<(), Fault> {
        let KeyedBatch { keys, mut records, .. } = std::mem::take(batch);
        let values = std::mem::take(&mut records.values);
        out.send(records.with_values(keys.into_iter().zip(values).collect()));
        Ok(())
    }
}

struct Values;

impl<K: 'static, T: 'static> Operator<KeyedBatch<K, T>, Outbox<Batch<T>>> for Values {
    fn on_batch(&mut self, batch: &mut KeyedBatch<K, T>, out: &mut Outbox<Batch<T>>) -> Result<(), Fault> {
        out.send(std::mem::take(batch).records);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
