//! Joins of any stream with a table whose every row is on every worker.
//!
//! The table's changes are copied to all workers. Each key's changes come from the one worker that owns the key, over
//! one channel, so every worker sees them in the same order; and a worker is at a barrier when it has all changes
//! before it from all workers, so there all have the same rows. Therefore one of them, the first, writes the rows of
//! an epoch for all, and every worker of the next run reads all of them, whatever its number. What another worker
//! freezes is thrown away: it would be the same bytes. A worker may let go of a row that it has not changed since an
//! epoch that the backend has applied, and read it again from there: the backend is never ahead of an epoch that every
//! worker has frozen.
//!
//! Memory: as many rows as there are workers times keys of the table, in the shared table budget while they are in use
//! and on disk, once, otherwise; and the keys that records asked for in vain until the epoch ends.

use std::marker::PhantomData;
use std::sync::Arc;

use highwater_state::delta::Family;
use highwater_state::hash::key_hash;
use highwater_state::{Delta, Epoch, KEY_GROUPS, Key, Persist, Piece};

use crate::batch::{Batch, Either, KeyedBatch};
use crate::data::{Clock, Data};
use crate::exchange::Exchange;
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::stream::{EventTime, Stream, Wire, here};
use crate::table::stream_join::Followed;
use crate::table::{Diff, Table};

/// A stream and a table that is to be on every worker; says what becomes of a record without a row.
#[must_use = "a join does nothing until `inner` or `left` says what becomes of a record without a row"]
pub struct BroadcastJoin<K, T, V, F, C = EventTime> {
    stream: Wire,
    table: Wire,
    key: F,
    marker: PhantomData<fn() -> (K, T, V, C)>,
}

impl<T: Data, C: Clock> Stream<T, C> {
    /// Pairs each record with the value that the table has for a key of the record when it arrives, without moving
    /// the record: every worker has every row of the table.
    ///
    /// The table is not read first: a job begins with an empty one, and a stream that is short beside the table's may
    /// have passed before its first row is there.
    ///
    /// For small tables, and streams that are grouped by something else or not at all. Costs the memory of the whole
    /// table once per worker, and sends every change to every worker. As for
    /// [`join_table`](crate::keyed::KeyedStream::join_table), what a record meets depends on how the stream and the
    /// table's changes interleave, now on each worker by itself; within one worker a key never goes back to a value
    /// that it had before, also over a restart.
    ///
    /// Results have the event time of their record. The watermark is the smaller of the two inputs: a table that
    /// changes rarely holds it back until its source is idle (`Job::idle_after`) or has ended.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let records = [("EUR", 2), ("NOK", 3), ("rate of EUR", 11), ("EUR", 4)];
    /// let priced = output_of(records, |records| {
    ///     let (rates, orders) = records.branch(|record| record.0.starts_with("rate of "));
    ///     let rates = rates.key_by(|rate| rate.0.replace("rate of ", "")).upsert("rates", |rate| Some(rate.1));
    ///     orders.join_broadcast(rates, |order| order.0.to_owned()).left("priced").map(|(order, rate)| (order.1, rate))
    /// });
    /// assert_eq!(priced, [(2, None), (3, None), (4, Some(11))]);
    /// ```
    #[track_caller]
    pub fn join_broadcast<K: Key, V: Persist + Clone, F>(
        self,
        table: Table<K, V, C>,
        key: F,
    ) -> BroadcastJoin<K, T, V, F, C>
    where
        F: Fn(&T) -> K + Send + Sync + 'static,
    {
        // A node of its own, because the copies are for this join alone, and not for others that take the table.
        let place = here("broadcast", None);
        let copied = table
            .diffs
            .then::<KeyedBatch<K, Diff<V>>, Outbox<KeyedBatch<K, Diff<V>>>>(place, |_| Ok(Box::new(PassOn)));
        let mut graph = copied.graph.borrow_mut();
        let port = graph.ports.entry(copied.port).or_default();
        port.exchange = Some(Box::new(Exchange::<KeyedBatch<K, Diff<V>>>::to_all()));
        port.to_all = true;
        drop(graph);
        BroadcastJoin { stream: self.wire, table: copied, key, marker: PhantomData }
    }
}

impl<K: Key, T: Data, V: Persist + Clone, F, C: Clock> BroadcastJoin<K, T, V, F, C>
where
    F: Fn(&T) -> K + Send + Sync + 'static,
{
    /// The records whose key has a row, with its value; others are dropped.
    ///
    /// The name is what the rows are kept under.
    #[track_caller]
    pub fn inner(self, name: &str) -> Stream<(T, V), C> {
        self.look_up(name, |record, value| Some((record, value?.clone())))
    }

    /// Every record, with the value of its key's row if there is one.
    ///
    /// The name is what the rows are kept under.
    #[track_caller]
    pub fn left(self, name: &str) -> Stream<(T, Option<V>), C> {
        self.look_up(name, |record, value| Some((record, value.cloned())))
    }

    #[track_caller]
    fn look_up<P: Data>(self, name: &str, pair: fn(T, Option<&V>) -> Option<P>) -> Stream<P, C> {
        let place = here("join_broadcast", Some(name));
        let key = Arc::new(self.key);
        let wire = self.stream.join::<Batch<T>, KeyedBatch<K, Diff<V>>, Outbox<Batch<P>>>(
            &self.table,
            place,
            move |opening| {
                let mut store = opening.store::<K, V>(None, Family::Values)?;
                store.groups = 0..KEY_GROUPS;
                let writes = opening.worker.worker == 0;
                let rows = Followed::open(store, opening.committed())?;
                Ok(Box::new(LookUp { rows, writes, key: Arc::clone(&key), pair }))
            },
        );
        Stream::at(wire)
    }
}

/// Passes every change on; the exchange after it does the copying.
struct PassOn;

impl<K: 'static, V: 'static> Operator<KeyedBatch<K, Diff<V>>, Outbox<KeyedBatch<K, Diff<V>>>> for PassOn {
    fn on_batch(
        &mut self,
        batch: &mut KeyedBatch<K, Diff<V>>,
        out: &mut Outbox<KeyedBatch<K, Diff<V>>>,
    ) -> Result<(), Fault> {
        out.send(std::mem::take(batch));
        Ok(())
    }
}

struct LookUp<K, T, V, F, P> {
    rows: Followed<K, V>,
    /// Whether this worker writes the rows for all.
    writes: bool,
    key: Arc<F>,
    pair: fn(T, Option<&V>) -> Option<P>,
}

impl<K, T, V, F, P> Operator<Either<Batch<T>, KeyedBatch<K, Diff<V>>>, Outbox<Batch<P>>>
    for LookUp<K, T, V, F, P>
where
    K: Key,
    T: Data,
    V: Persist,
    F: Fn(&T) -> K,
    P: Data,
{
    fn on_batch(
        &mut self,
        batch: &mut Either<Batch<T>, KeyedBatch<K, Diff<V>>>,
        out: &mut Outbox<Batch<P>>,
    ) -> Result<(), Fault> {
        match std::mem::take(batch) {
            Either::Right(changes) => self.rows.change(changes)?,
            Either::Left(batch) => {
                let keys: Vec<K> = batch.values.iter().map(|record| (self.key)(record)).collect();
                let hashes: Vec<u64> = keys.iter().map(key_hash).collect();
                self.rows.resolve(&keys, &hashes)?;
                let mut number = 0..;
                out.send(batch.filter_map(|record| (self.pair)(record, self.rows.value(number.next()?))));
            }
        }
        Ok(())
    }

    fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        if self.writes {
            self.rows.begin_freeze(epoch, delta);
            return Ok(());
        }
        // The same rows as another worker writes; they are few, or they would not be on every worker.
        let mut unwritten = Delta::default();
        self.rows.begin_freeze(epoch, &mut unwritten);
        self.rows.write_frozen(&mut Piece::rest(&mut unwritten))
    }

    fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<(), Fault> {
        self.rows.write_frozen(piece)
    }

    fn applied(&mut self, epoch: Epoch) {
        self.rows.applied(epoch);
    }
}
