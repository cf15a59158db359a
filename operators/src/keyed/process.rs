//! `process`: an operator of the user's own, with typed state per key and timers in event time.

mod context;
mod expiry;
mod handles;
mod state;
#[cfg(test)]
mod ttl_tests;

use std::sync::Arc;

use highwater_state::delta::Family;
use highwater_state::hash::key_hash;
use highwater_state::panes::Panes;
use highwater_state::{Delta, Epoch, Key, Piece, Timestamp};

use crate::batch::KeyedBatch;
use crate::data::{Data, HasEventTime};
use crate::error::Cause;
use crate::keyed::KeyedStream;
use crate::lateness::KeptWatermark;
use crate::operator::{Fault, Operator, Progress};
use crate::outbox::{Outbox, Outputs};
use crate::stream::here;
use state::StateTable;

pub use context::Context;
pub use handles::{List, Map, States, StatesWithTtl, Value};

/// What a user's keyed operator must do.
///
/// It sees one key at a time; its handles read and write that key's state. There is one instance per worker, and
/// what it keeps outside its handles does not survive a restart.
pub trait KeyedOperator<K, T>: 'static {
    /// What it emits.
    type Out: Data;

    /// A record of the key that the context stands at.
    ///
    /// # Errors
    /// Whatever makes it impossible to go on: the job ends, naming the operator and the user's line.
    fn on_record(&mut self, record: T, context: &mut Context<'_, K, Self::Out>) -> Result<(), Cause>;

    /// A timer of the key that the context stands at: the watermark has reached `at`. Timers fire in the order
    /// of their times; two of one time and key are one.
    ///
    /// # Errors
    /// As for [`on_record`](KeyedOperator::on_record).
    fn on_timer(&mut self, at: Timestamp, context: &mut Context<'_, K, Self::Out>) -> Result<(), Cause> {
        let _ = (at, context);
        Ok(())
    }
}

impl<K, T: Data, C> KeyedStream<K, T, C> {
    /// Runs an operator of the user's own.
    ///
    /// `make` is called once per worker and declares the operator's state: each handle has a name, under which
    /// its state survives a restart, as do the timers. State is kept until the operator clears it, or for as long as
    /// [`ttl`](States::ttl) says.
    ///
    /// ```
    /// use highwater_operators::error::Cause;
    /// use highwater_operators::keyed::process::{Context, KeyedOperator, Value};
    /// # use highwater_operators::testkit::timed_output_of;
    ///
    /// /// Passes the first record of each key.
    /// struct First {
    ///     seen: Value<bool>,
    /// }
    ///
    /// impl<T: Send + 'static> KeyedOperator<char, T> for First {
    ///     type Out = T;
    ///     fn on_record(&mut self, record: T, context: &mut Context<'_, char, T>) -> Result<(), Cause> {
    ///         if self.seen.get(context)?.is_none() {
    ///             self.seen.set(context, true)?;
    ///             context.emit(record);
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let first = timed_output_of([(1, 'a'), (2, 'b'), (3, 'a')], |letters| {
    ///     letters.key_by(|letter| *letter).process("first", |states| First { seen: states.value("seen") }).values()
    /// });
    /// assert_eq!(first, [(1, 'a'), (2, 'b')]);
    /// ```
    ///
    /// With `states.ttl(hour).value("seen")` it would pass a key again when it has been silent for more than an hour
    /// after the last record that was passed, and would keep the keys of one hour only.
    ///
    /// Memory: a row per key and handle that holds something, and a timer for each that is set, in the shared table
    /// budget, on disk beyond it.
    #[track_caller]
    pub fn process<P: KeyedOperator<K, T>>(
        self,
        name: &str,
        make: impl Fn(&mut States<'_, K>) -> P + Send + Sync + 'static,
    ) -> KeyedStream<K, P::Out>
    where
        K: Key,
        C: HasEventTime,
    {
        let make = Arc::new(make);
        let place = here("process", Some(name));
        let wire = self.wire.then::<KeyedBatch<K, T>, Outbox<KeyedBatch<K, P::Out>>>(place, move |opening| {
            let timers = opening.store::<K, ()>(Some("timers"), Family::Timers)?;
            let timers = Panes::open(timers, opening.committed())?;
            let watermark = KeptWatermark::open(opening)?;
            let mut states = States::new(opening);
            let operator = make(&mut states);
            let tables = states.finish()?;
            let most = opening.batch_records();
            let (reached, due) = (watermark.get(), Vec::new());
            Ok(Box::new(Process { operator, tables, timers, watermark, reached, most, due, fetched: 0 }))
        });
        KeyedStream::at(wire)
    }
}

struct Process<K, P> {
    operator: P,
    tables: Vec<Box<dyn StateTable<K>>>,
    timers: Panes<K, ()>,
    watermark: KeptWatermark,
    /// The watermark, or the time of the latest timer that has fired on the way to the next.
    reached: Timestamp,
    most: usize,
    due: Vec<(K, ())>,
    /// How many records a full output left of a batch whose rows have been fetched.
    fetched: usize,
}

impl<K: Key, P> Process<K, P> {
    /// Fires the timers up to `through`; `Again` if `heed_room` and the output is full before all have fired.
    fn fire<T, O>(
        &mut self,
        through: Timestamp,
        heed_room: bool,
        out: &mut Outbox<KeyedBatch<K, O>>,
    ) -> Result<Progress, Fault>
    where
        P: KeyedOperator<K, T, Out = O>,
        O: 'static,
    {
        while let Some(time) = self.timers.due(through)? {
            if heed_room && !out.has_room() {
                return Ok(Progress::Again);
            }
            let mut due = std::mem::take(&mut self.due);
            self.timers.take(time, self.most, &mut due)?;
            self.reached = self.reached.max(time);
            for (key, ()) in due.drain(..) {
                let hash = key_hash(&key);
                let watermark = self.watermark.get().max(through);
                let mut context = Context {
                    key: &key,
                    hash,
                    time,
                    watermark,
                    reached: self.reached,
                    overdue: false,
                    tables: &mut self.tables,
                    timers: &mut self.timers,
                    out,
                };
                self.operator.on_timer(time, &mut context).map_err(Fault::Failed)?;
            }
            self.due = due;
        }
        Ok(Progress::Done)
    }

    /// Deletes the state that has died; after the timers, whose times come before the watermark.
    fn expire(&mut self, watermark: Timestamp) -> Result<(), Fault> {
        Ok(self.tables.iter_mut().try_for_each(|table| table.expire(watermark))?)
    }
}

impl<K, T, P> Operator<KeyedBatch<K, T>, Outbox<KeyedBatch<K, P::Out>>> for Process<K, P>
where
    K: Key,
    T: 'static,
    P: KeyedOperator<K, T>,
{
    fn on_batch(
        &mut self,
        batch: &mut KeyedBatch<K, T>,
        out: &mut Outbox<KeyedBatch<K, P::Out>>,
    ) -> Result<(), Fault> {
        let KeyedBatch { mut keys, mut hashes, mut records } = std::mem::take(batch);
        if keys.len() != self.fetched {
            self.tables.iter_mut().try_for_each(|table| table.prefetch(&keys, &hashes))?;
        }
        let mut values = std::mem::take(&mut records.values).into_iter();
        let mut done = 0;
        // A handful of records between two looks at the room that is left.
        while values.len() > 0 && out.has_room() {
            for value in values.by_ref().take(16) {
                let (key, hash, time) = (&keys[done], hashes[done], records.times[done]);
                let watermark = self.watermark.get();
                let mut context = Context {
                    key,
                    hash,
                    time,
                    watermark,
                    reached: self.reached,
                    overdue: false,
                    tables: &mut self.tables,
                    timers: &mut self.timers,
                    out,
                };
                self.operator.on_record(value, &mut context).map_err(Fault::Failed)?;
                done += 1;
                if context.overdue {
                    // Before the next record, as if each came in a batch of its own; and without a look at the
                    // room, because they belong to this one.
                    self.fire(watermark, false, out)?;
                    self.expire(watermark)?;
                }
            }
        }
        self.fetched = values.len();
        if values.len() > 0 {
            keys.drain(..done);
            hashes.drain(..done);
            records.times.drain(..done);
            records.values = values.collect();
            *batch = KeyedBatch { keys, hashes, records };
        }
        Ok(())
    }

    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        out: &mut Outbox<KeyedBatch<K, P::Out>>,
    ) -> Result<Progress, Fault> {
        let progress = self.fire(watermark, true, out)?;
        if progress == Progress::Done {
            self.watermark.rise(watermark);
            self.reached = self.watermark.get();
            self.expire(self.reached)?;
        }
        Ok(progress)
    }

    fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        self.watermark.freeze(delta)?;
        self.timers.begin_freeze(epoch, delta);
        self.tables.iter_mut().for_each(|table| table.begin_freeze(epoch, delta));
        Ok(())
    }

    fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<(), Fault> {
        self.timers.write_frozen(piece)?;
        Ok(self.tables.iter_mut().try_for_each(|table| table.write_frozen(piece))?)
    }

    fn applied(&mut self, epoch: Epoch) {
        self.timers.applied(epoch);
        self.tables.iter_mut().for_each(|table| table.applied(epoch));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Harness, at};

    /// Emits how many records a key had when it has been silent for ten milliseconds.
    struct Silence {
        records: Value<u64>,
        last: Value<Timestamp>,
    }

    impl KeyedOperator<char, char> for Silence {
        type Out = (char, u64);

        fn on_record(&mut self, _: char, context: &mut Context<'_, char, (char, u64)>) -> Result<(), Cause> {
            let ten = std::time::Duration::from_millis(10);
            if let Some(last) = self.last.get(context)?.copied() {
                context.delete_timer(last + ten)?;
            }
            *self.records.get_mut(context)?.get_or_insert(0) += 1;
            let now = context.time();
            self.last.set(context, now)?;
            context.set_timer(now + ten)?;
            Ok(())
        }

        fn on_timer(
            &mut self,
            _: Timestamp,
            context: &mut Context<'_, char, (char, u64)>,
        ) -> Result<(), Cause> {
            let records = self.records.get_mut(context)?.take().unwrap_or(0);
            self.last.clear(context)?;
            context.emit((*context.key(), records));
            Ok(())
        }
    }

    /// Sets a timer at the time of each record, and emits how many records there were since the last one fired.
    struct AtOnce {
        records: Value<u64>,
    }

    impl KeyedOperator<char, char> for AtOnce {
        type Out = u64;

        fn on_record(&mut self, _: char, context: &mut Context<'_, char, u64>) -> Result<(), Cause> {
            *self.records.get_mut(context)?.get_or_insert(0) += 1;
            let time = context.time();
            Ok(context.set_timer(time)?)
        }

        fn on_timer(&mut self, _: Timestamp, context: &mut Context<'_, char, u64>) -> Result<(), Cause> {
            let records = self.records.get_mut(context)?.take().unwrap_or(0);
            (0..3).for_each(|_| context.emit(records));
            Ok(())
        }
    }

    #[test]
    fn a_timer_that_is_due_when_it_is_set_fires_before_the_next_record_also_where_the_output_is_full() {
        let late: Vec<(i64, char)> = (0..400).map(|_| (5, 'a')).collect();
        let topology = crate::topology::Topology::new("overdue");
        let sink = crate::memory::Memory::sink();
        let records = [(100, 'z')].into_iter().chain(late);
        topology
            .source("records", crate::memory::Memory::source(records))
            .event_time(|record| at(record.0), std::time::Duration::ZERO)
            .map(|(_, letter)| letter)
            .key_by(|letter| *letter)
            .process("at-once", |states| AtOnce { records: states.value("records") })
            .values()
            .sink("sink", sink.clone());
        let graph = topology.finish().expect("a topology");
        let backend: Arc<dyn highwater_state::Backend> =
            Arc::new(highwater_state::backend::memory::MemoryBackend::default());
        let limits = crate::limits::Limits { edge_batches: 1, ..Default::default() };
        let mut flow = crate::interpret::open(&graph, &backend, Epoch(0), limits).expect("opens");
        let contribution = loop {
            flow.step(Timestamp::MIN, &crate::task::FullSpeed).expect("runs");
            if flow.is_exhausted() {
                break crate::interpret::end_epoch(&mut flow, Epoch(1), true).expect("ends");
            }
        };
        crate::interpret::publish(&graph, Epoch(1), &contribution).expect("publishes");
        assert_eq!(sink.take(), vec![1; 3 * 401]);
    }

    #[test]
    fn state_and_timers_survive_a_restart_after_every_input() {
        let mut harness = Harness::new(|stream| {
            let keyed = stream.key_by(|letter: &char| *letter);
            let make = |states: &mut States<'_, char>| Silence {
                records: states.value("records"),
                last: states.value("last"),
            };
            keyed.process("silence", make).values()
        });
        harness.record('a', at(0));
        harness.record('b', at(2));
        harness.record('a', at(5));
        harness.watermark(at(11));
        assert_eq!(harness.take(), [], "the timer of `a` at 10 was deleted");
        harness.watermark(at(15));
        assert_eq!(harness.take(), [(('b', 1), at(12)), (('a', 2), at(15))]);
        harness.record('a', at(16));
        harness.watermark(Timestamp::MAX);
        assert_eq!(harness.take(), [(('a', 1), at(26))]);
    }
}
