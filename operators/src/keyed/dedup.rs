//! `dedup`: drops records whose key has passed lately.
//!
//! What is remembered of a key is the event time of its last record that was passed on. It is forgotten when the
//! watermark has gone further than the ttl behind that time: a timer is filed for that point, and moved with what is
//! remembered. Invariants: every remembered time has a timer at or before its end, unless it lives to the end of time
//! or was remembered under a longer ttl in an earlier run; and a record meets exactly what is to be remembered at its
//! watermark, whether it has been deleted yet or not.
//!
//! Memory: a time and a timer per key that is remembered, in the shared table budget, on disk beyond it. It does not
//! know lateness: a record behind the watermark is treated like any other.

use std::time::Duration;

use highwater_state::delta::Family;
use highwater_state::hash::key_hash;
use highwater_state::panes::Panes;
use highwater_state::table::{RowRef, Slot, Table};
use highwater_state::{Delta, Epoch, Key, Piece, Timestamp};

use crate::batch::KeyedBatch;
use crate::data::{Data, HasEventTime};
use crate::keyed::KeyedStream;
use crate::keyed::ttl::Ttl;
use crate::lateness::KeptWatermark;
use crate::operator::{Fault, Operator, Progress};
use crate::outbox::Outbox;
use crate::stream::here;

impl<K, T: Data, C> KeyedStream<K, T, C> {
    /// Passes the first record of each key, and drops those of the same key that are at most `ttl` before or after
    /// it in event time.
    ///
    /// The next record that is further away is passed on, and takes the place of the first. What is remembered of a
    /// key is forgotten when the watermark has gone further than `ttl` behind it. A `ttl` of zero drops records of
    /// the same key and time. The records that are passed on keep their order and their event times; one that comes
    /// behind the watermark is treated like any other, and is as late to what follows as it was here.
    ///
    /// Choose `ttl` larger than the distance in event time between copies: for a source that delivers a record again
    /// with the same event time, the out-of-orderness of the stream is enough.
    ///
    /// Memory: one time per key that is remembered, hence the keys of one `ttl` (and of the out-of-orderness). It
    /// survives a restart, also one with another `ttl`, by which it is judged then.
    ///
    /// ```
    /// # use highwater_operators::testkit::timed_output_of;
    /// use std::time::Duration;
    ///
    /// let once = timed_output_of([(0, "pay 1"), (3, "pay 2"), (4, "pay 1"), (11, "pay 1")], |payments| {
    ///     payments.key_by(|payment| payment.to_string()).dedup("once", Duration::from_millis(10)).values()
    /// });
    /// assert_eq!(once, [(0, "pay 1"), (3, "pay 2"), (11, "pay 1")]);
    /// ```
    #[track_caller]
    pub fn dedup(self, name: &str, ttl: Duration) -> KeyedStream<K, T>
    where
        K: Key,
        C: HasEventTime,
    {
        let place = here("dedup", Some(name));
        let wire = self.wire.then::<KeyedBatch<K, T>, Outbox<KeyedBatch<K, T>>>(place, move |opening| {
            let passed = opening.store::<K, Timestamp>(None, Family::Values)?;
            let timers = opening.store::<K, ()>(Some("timers"), Family::Timers)?;
            Ok(Box::new(Dedup {
                ttl: Ttl::new(ttl),
                passed: Table::<K, Timestamp>::open(passed, opening.committed())?,
                timers: Panes::<K, ()>::open(timers, opening.committed())?,
                watermark: KeptWatermark::open(opening)?,
                most: opening.batch_records(),
                slots: Vec::new(),
                passes: Vec::new(),
                moves: Vec::new(),
                due: Vec::new(),
            }))
        });
        KeyedStream::at(wire)
    }
}

struct Dedup<K> {
    ttl: Ttl,
    /// By key: the event time of its last record that was passed on.
    passed: Table<K, Timestamp>,
    timers: Panes<K, ()>,
    watermark: KeptWatermark,
    most: usize,
    slots: Vec<Slot>,
    /// By record of the batch: whether it is passed on.
    passes: Vec<bool>,
    /// Timers to be set and deleted, in order, by the number of the record that says so.
    moves: Vec<(usize, Timestamp, Option<()>)>,
    due: Vec<(K, ())>,
}

impl<K: Key> Dedup<K> {
    /// Notes for every record whether it is passed on, and what is remembered then.
    fn judge(&mut self, times: &[Timestamp]) {
        let watermark = self.watermark.get();
        self.passes.clear();
        self.moves.clear();
        for (index, (&time, &slot)) in times.iter().zip(&self.slots).enumerate() {
            let before = self.passed.value(slot).copied();
            let alive = before.filter(|&before| !self.is_forgotten(before, watermark));
            let passes = !alive.is_some_and(|alive| self.ttl.spans(alive, time));
            self.passes.push(passes);
            if !passes {
                continue;
            }
            let expired = before.and_then(|before| self.ttl.expiry(before));
            self.moves.extend(expired.map(|at| (index, at, None)));
            match self.ttl.expiry(time) {
                Some(at) if at <= watermark => {
                    if before.is_some() {
                        *self.passed.value_mut(slot) = None;
                    }
                }
                expiry => {
                    *self.passed.value_mut(slot) = Some(time);
                    self.moves.extend(expiry.map(|at| (index, at, Some(()))));
                }
            }
        }
    }

    fn is_forgotten(&self, remembered: Timestamp, watermark: Timestamp) -> bool {
        self.ttl.expiry(remembered).is_some_and(|expiry| expiry <= watermark)
    }

    /// Forgets what is to be forgotten of the keys whose timers fired.
    fn forget(&mut self, watermark: Timestamp) -> Result<(), Fault> {
        let due = self.due.drain(..).map(|(key, ())| (key_hash(&key), key));
        let due: Vec<(u64, K)> = due.collect();
        let row = |number: usize| RowRef { hash: due[number].0, time: Timestamp::MIN, key: &due[number].1 };
        self.passed.resolve(due.len(), row, &mut self.slots)?;
        let (mut keys, mut hashes) = (Vec::new(), Vec::new());
        self.moves.clear();
        for ((hash, key), &slot) in due.into_iter().zip(&self.slots) {
            let Some(&remembered) = self.passed.value(slot) else { continue };
            if self.is_forgotten(remembered, watermark) {
                *self.passed.value_mut(slot) = None;
            } else if let Some(expiry) = self.ttl.expiry(remembered) {
                // The timer was set by a shorter ttl, in an earlier run.
                self.moves.push((keys.len(), expiry, Some(())));
                keys.push(key);
                hashes.push(hash);
            }
        }
        self.move_timers(&keys, &hashes)
    }

    fn move_timers(&mut self, keys: &[K], hashes: &[u64]) -> Result<(), Fault> {
        let moves = &self.moves;
        let row = |number: usize| {
            let (index, time, _) = moves[number];
            RowRef { hash: hashes[index], time, key: &keys[index] }
        };
        self.timers.resolve(moves.len(), row, &mut self.slots)?;
        for (&(_, _, set), &slot) in moves.iter().zip(&self.slots) {
            if self.timers.value(slot).copied() != set {
                *self.timers.value_mut(slot) = set;
            }
        }
        Ok(())
    }
}

impl<K: Key, T: Data> Operator<KeyedBatch<K, T>, Outbox<KeyedBatch<K, T>>> for Dedup<K> {
    fn on_batch(
        &mut self,
        batch: &mut KeyedBatch<K, T>,
        out: &mut Outbox<KeyedBatch<K, T>>,
    ) -> Result<(), Fault> {
        let mut batch = std::mem::take(batch);
        let KeyedBatch { keys, hashes, records } = &mut batch;
        let row = |index: usize| RowRef { hash: hashes[index], time: Timestamp::MIN, key: &keys[index] };
        self.passed.resolve(keys.len(), row, &mut self.slots)?;
        self.judge(&records.times);
        self.move_timers(keys, hashes)?;
        if self.passes.contains(&false) {
            keep(keys, &self.passes);
            keep(hashes, &self.passes);
            keep(&mut records.values, &self.passes);
            keep(&mut records.times, &self.passes);
        }
        out.send(batch);
        Ok(())
    }

    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        _: &mut Outbox<KeyedBatch<K, T>>,
    ) -> Result<Progress, Fault> {
        while let Some(time) = self.timers.due(watermark)? {
            self.due.clear();
            self.timers.take(time, self.most, &mut self.due)?;
            self.forget(watermark)?;
        }
        self.watermark.rise(watermark);
        Ok(Progress::Done)
    }

    fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        self.watermark.freeze(delta)?;
        self.passed.begin_freeze(epoch, delta);
        self.timers.begin_freeze(epoch, delta);
        Ok(())
    }

    fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<(), Fault> {
        self.passed.write_frozen(piece)?;
        Ok(self.timers.write_frozen(piece)?)
    }

    fn applied(&mut self, epoch: Epoch) {
        self.passed.applied(epoch);
        self.timers.applied(epoch);
    }
}

/// Keeps the items that are marked, in order.
fn keep<T>(items: &mut Vec<T>, marks: &[bool]) {
    let mut marks = marks.iter();
    items.retain(|_| marks.next().is_some_and(|&marked| marked));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use highwater_state::Backend;
    use highwater_state::backend::memory::MemoryBackend;
    use proptest::prelude::*;

    use super::*;
    use crate::interpret::{end_epoch, open, publish};
    use crate::limits::Limits;
    use crate::memory::Memory;
    use crate::task::FullSpeed;
    use crate::testkit::{Harness, at, batched_output_of};
    use crate::topology::Topology;

    /// The number of a record, its key and its event time.
    type Numbered = (usize, u8, i64);

    fn numbered(records: &[(u8, i64)]) -> Vec<Numbered> {
        records.iter().enumerate().map(|(number, &(key, time))| (number, key, time)).collect()
    }

    /// What is passed on, by its meaning: all that is remembered is looked at before every record.
    fn model(records: &[Numbered], lag: i64, ttl: u64) -> Vec<(usize, i64)> {
        let (lag, ttl) = (i128::from(lag), i128::from(ttl));
        let mut remembered: BTreeMap<u8, i128> = BTreeMap::new();
        let (mut watermark, mut passed) = (i128::MIN, Vec::new());
        for &(number, key, time) in records {
            let wide = i128::from(time);
            remembered.retain(|_, kept| watermark <= *kept + ttl);
            if remembered.get(&key).is_none_or(|kept| (wide - kept).abs() > ttl) {
                passed.push((number, time));
                remembered.insert(key, wide);
            }
            watermark = watermark.max(wide - lag);
        }
        passed
    }

    fn with_restarts(records: &[Numbered], lag: i64, ttl: u64) -> (Vec<(usize, i64)>, usize) {
        let mut harness = harness(ttl);
        let mut watermark = Timestamp::MIN;
        for record in records {
            harness.record(*record, at(record.2));
            let reached = at(record.2.saturating_sub(lag));
            if reached > watermark {
                watermark = reached;
                harness.watermark(watermark);
            }
        }
        let passed = harness.take().into_iter().map(|(number, time)| (number, time.as_millis()));
        (passed.collect(), harness.rows())
    }

    fn harness(ttl: u64) -> Harness<Numbered, usize> {
        Harness::new(|stream| {
            let keyed = stream.key_by(|record: &Numbered| record.1);
            keyed.dedup("once", Duration::from_millis(ttl)).values().map(|record| record.0)
        })
    }

    fn in_batches(records: &[Numbered], lag: i64, ttl: u64) -> Vec<(usize, i64)> {
        let timed = records.iter().map(|record| (record.2, *record));
        let passed = batched_output_of(timed, Duration::from_millis(lag.unsigned_abs()), |stream| {
            let keyed = stream.key_by(|record: &Numbered| record.1);
            keyed.dedup("once", Duration::from_millis(ttl)).values().map(|record| record.0)
        });
        passed.into_iter().map(|(time, number)| (number, time)).collect()
    }

    #[test]
    fn what_is_forgotten_leaves_no_row_and_what_is_remembered_leaves_two() {
        let mut harness = harness(10);
        harness.record((0, 1, 100), at(100));
        harness.record((1, 2, 105), at(105));
        harness.record((2, 2, 130), at(130));
        assert_eq!(harness.rows(), 4, "a time and a timer per key");
        harness.watermark(at(110));
        assert_eq!(harness.rows(), 4, "the watermark does not exceed 110");
        harness.watermark(at(111));
        assert_eq!(harness.rows(), 2);
        harness.record((3, 2, 50), at(50));
        assert_eq!(harness.rows(), 0, "a record so late is forgotten at once, and with it what it replaced");
        harness.record((4, 2, 130), at(130));
        harness.watermark(Timestamp::MAX);
        assert_eq!(harness.rows(), 0);
        let passed: Vec<usize> = harness.take().into_iter().map(|(number, _)| number).collect();
        assert_eq!(passed, [0, 1, 2, 3, 4]);
    }

    /// Runs a job on the state of an earlier one, to the end of its first records.
    fn run_on(backend: &Arc<dyn Backend>, epoch: Epoch, ttl: u64, records: &[Numbered]) -> Vec<usize> {
        let (topology, sink) = (Topology::new("runs"), Memory::sink());
        let source = topology.source("records", Memory::source(records.to_vec()).unending());
        let keyed = source.event_time(|record| at(record.2), Duration::ZERO).key_by(|record| record.1);
        let passed = keyed.dedup("once", Duration::from_millis(ttl)).values();
        passed.map(|record| record.0).sink("sink", sink.clone());
        let graph = topology.finish().expect("a topology");
        let mut flow = open(&graph, backend, epoch, Limits::default()).expect("opens");
        while flow.step(at(0), &FullSpeed).expect("runs") {}
        let contribution = end_epoch(&mut flow, epoch.next(), true).expect("ends");
        backend.commit(&contribution.delta).expect("commits");
        publish(&graph, epoch.next(), &contribution).expect("publishes");
        sink.take()
    }

    #[test]
    fn what_was_remembered_under_another_ttl_lives_by_the_new_one() {
        let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::default());
        let records =
            numbered(&[(1, 100), (2, 105), (1, 115), (2, 114), (2, 130), (3, 140), (3, 155), (3, 160)]);
        assert_eq!(run_on(&backend, Epoch(0), 10, &records[..2]), [0, 1]);
        let longer = run_on(&backend, Epoch(1), 20, &records[..6]);
        assert_eq!(
            longer,
            [4, 5],
            "the timer for 1 at 111 fires before the record at 115 and must not forget"
        );
        assert_eq!(run_on(&backend, Epoch(2), 5, &records[..7]), [6]);
        assert_eq!(run_on(&backend, Epoch(3), 5, &records), [0; 0]);
    }

    #[test]
    fn a_ttl_that_outlives_time_remembers_for_ever() {
        let mut harness = harness(u64::MAX);
        harness.record((0, 1, i64::MAX), Timestamp::MAX);
        harness.watermark(Timestamp::MAX);
        harness.record((1, 1, i64::MIN), Timestamp::MIN);
        assert_eq!(harness.take(), [(0, Timestamp::MAX)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(192))]

        #[test]
        fn what_is_passed_on_is_what_it_means(
            records in prop::collection::vec((0u8..3, -40i64..40), 0..40),
            lag in prop_oneof![Just(0i64), 0i64..60],
            ttl in prop_oneof![Just(0u64), 0u64..30],
        ) {
            let records = numbered(&records);
            let expected = model(&records, lag, ttl);
            let (passed, _) = with_restarts(&records, lag, ttl);
            prop_assert_eq!(&passed, &expected);
            prop_assert_eq!(in_batches(&records, lag, ttl), expected);
        }

        #[test]
        fn the_ends_of_time_are_times_like_others(
            records in prop::collection::vec(
                (0u8..2, prop_oneof![i64::MIN..i64::MIN + 9, i64::MAX - 9..=i64::MAX, -4i64..4]),
                0..12,
            ),
            ttl in prop_oneof![0u64..9, Just(u64::MAX / 2), Just(u64::MAX)],
        ) {
            // Here the watermark never goes to the end of time, where everything has been forgotten.
            let records: Vec<_> = numbered(&records).into_iter().filter(|record| record.2 < i64::MAX).collect();
            let (passed, _) = with_restarts(&records, 0, ttl);
            prop_assert_eq!(passed, model(&records, 0, ttl));
        }

        #[test]
        fn rows_are_bounded_by_the_keys_that_are_remembered(
            times in prop::collection::vec((0u8..5, 0i64..30), 1..60),
        ) {
            let mut now = 0;
            let rising: Vec<_> = times.iter().map(|&(key, step)| { now += step; (key, now) }).collect();
            let last = rising[rising.len() - 1].1;
            let alive = rising.iter().filter(|record| record.1 + 20 >= last).map(|record| record.0);
            let alive: std::collections::BTreeSet<u8> = alive.collect();
            let (_, rows) = with_restarts(&numbered(&rising), 0, 20);
            prop_assert!(rows <= 2 * alive.len(), "{rows} rows");
        }
    }
}
