//! Records that are due at a rate, each with the time when it was due; and a sink that says how late they are.
//!
//! What is due while nobody asks is handed out later with the time when it was due, so that a worker that stands still
//! for a while is seen in every record that came meanwhile, not in one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use highwater::operators::batch::Batch;
use highwater::operators::error::Cause;
use highwater::operators::sink::{Publish, Sink, Writer};
use highwater::operators::source::{Poll, Polled, Reader, Source};
use highwater::state::Epoch;

use crate::cpu::thread_time;
use crate::delays::Delays;
use crate::feed::BATCH_RECORDS;

/// A record of 16 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// One of the keys.
    pub key: u64,
    /// When it was due, in ns since the clock was started.
    pub at: u64,
}

/// A clock that starts when it is first asked.
#[derive(Clone, Default)]
pub struct Clock(Arc<OnceLock<Instant>>);

impl Clock {
    /// Nanoseconds since it was first asked.
    pub fn now(&self) -> u64 {
        self.0.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

/// What a run is: how long, how fast, over how many keys.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// For how long records come.
    pub length: Duration,
    /// What comes before is not measured.
    pub warm_up: Duration,
    /// Records a second; `None`: as fast as they are taken.
    pub rate: Option<f64>,
    /// How many keys, all of them used before one is used again; no multiple of the distance from one key to the next.
    pub keys: u64,
    /// Splits of the source; a key is always in the same one.
    pub splits: u64,
}

/// From one key to the next: a prime, so that keys come in no order that memory likes.
const STRIDE: u64 = 382_001_747;

/// A source that follows a course.
#[derive(Clone)]
pub struct Paced {
    course: Course,
    clock: Clock,
    delivered: Arc<AtomicU64>,
}

impl Paced {
    /// A source, and the clock that it goes by.
    pub fn new(course: Course) -> Paced {
        assert!(
            course.keys.is_multiple_of(course.splits) && !course.keys.is_multiple_of(STRIDE),
            "{course:?}"
        );
        Paced { course, clock: Clock::default(), delivered: Arc::default() }
    }

    /// A sink that measures how late the records of this source are.
    pub fn delays(&self) -> DelaySink {
        let warm_up = self.course.warm_up.as_nanos() as u64;
        DelaySink { clock: self.clock.clone(), warm_up, found: Arc::default() }
    }

    /// Records a second that were delivered after the warm-up.
    pub fn rate(&self) -> f64 {
        let measured = self.course.length - self.course.warm_up;
        self.delivered.load(Ordering::Relaxed) as f64 / measured.as_secs_f64()
    }
}

impl Source for Paced {
    type Item = Due;
    type Position = u64;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        Ok((0..self.course.splits).map(|split| split.to_string()).collect())
    }

    fn open(
        &self,
        split: &str,
        _: Option<u64>,
    ) -> Result<Box<dyn Reader<Item = Due, Position = u64>>, Cause> {
        let split = split.parse().map_err(|error| Cause::from(format!("split {split}: {error}")))?;
        Ok(Box::new(PacedReader { paced: self.clone(), split, sent: 0, began: false, behind: 0 }))
    }
}

struct PacedReader {
    paced: Paced,
    split: u64,
    sent: u64,
    began: bool,
    /// Records that were sent before the warm-up was over.
    behind: u64,
}

impl Reader for PacedReader {
    type Item = Due;
    type Position = u64;

    fn poll(&mut self, limit: usize, into: &mut Polled<Due>) -> Result<Poll, Cause> {
        let Course { length, warm_up, rate, keys, splits } = self.paced.course;
        let now = self.paced.clock.now();
        if !self.began && now >= warm_up.as_nanos() as u64 {
            (self.began, self.behind) = (true, self.sent);
        }
        if now >= length.as_nanos() as u64 {
            self.paced.delivered.fetch_add(self.sent - self.behind, Ordering::Relaxed);
            return Ok(Poll::Finished);
        }
        let nanos_a_record = rate.map(|rate| 1e9 * splits as f64 / rate);
        let due = match nanos_a_record {
            Some(nanos) => ((now as f64 / nanos) as u64).saturating_sub(self.sent),
            None => BATCH_RECORDS as u64,
        };
        let (from, count) = (self.sent, due.min(limit as u64));
        into.values.extend((from..from + count).map(|number| {
            let key = (number * STRIDE % (keys / splits)) * splits + self.split;
            Due { key, at: nanos_a_record.map_or(now, |nanos| (number as f64 * nanos) as u64) }
        }));
        self.sent += count;
        Ok(if count == 0 { Poll::Pending } else { Poll::Ready })
    }

    fn position(&self) -> u64 {
        self.sent
    }
}

/// What a [`DelaySink`] found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The delays of all records, in ns.
    pub records: Delays,
    /// The largest delay between two barriers, in ns: that of the record for which an epoch was worst.
    pub epochs: Vec<u64>,
    /// The longest CPU time of the worker between two batches that came to the sink, in each epoch and in ns: what a
    /// record waits for that the worker itself does. It does not hold what others of the machine take.
    pub pauses: Vec<u64>,
}

/// A sink that measures how late the records are that come to it.
#[derive(Clone)]
pub struct DelaySink {
    clock: Clock,
    warm_up: u64,
    found: Arc<Mutex<Found>>,
}

impl DelaySink {
    /// What it found up to the last barrier.
    pub fn found(&self) -> Found {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Publish for DelaySink {
    fn recover(&self, _: Epoch, _: &[Vec<u8>]) -> Result<(), Cause> {
        Ok(())
    }

    fn publish(&self, _: Epoch, _: &[Vec<u8>]) -> Result<(), Cause> {
        Ok(())
    }
}

impl<K> Sink<(K, (u64, u64))> for DelaySink {
    fn open(&self, _: usize) -> Result<Box<dyn Writer<(K, (u64, u64))>>, Cause> {
        let sink = self.clone();
        Ok(Box::new(DelayWriter { sink, delays: Delays::default(), looked: 0, cpu: 0, pause: 0 }))
    }
}

struct DelayWriter {
    sink: DelaySink,
    delays: Delays,
    /// When the CPU time of this thread was read last, and what it was.
    looked: u64,
    cpu: u64,
    /// The longest that was between two batches of this epoch.
    pause: u64,
}

/// The CPU time of this thread is a call of the kernel, so it is not asked for again for so long, in ns.
const LOOK_AGAIN: u64 = 200_000;

impl<K> Writer<(K, (u64, u64))> for DelayWriter {
    fn write(&mut self, batch: &mut Batch<(K, (u64, u64))>) -> Result<(), Cause> {
        let now = self.sink.clock.now();
        for &(_, (_, due)) in batch.values.iter().filter(|(_, (_, due))| *due >= self.sink.warm_up) {
            self.delays.add(now.saturating_sub(due));
        }
        if now - self.looked >= LOOK_AGAIN {
            let cpu = thread_time().as_nanos() as u64;
            if self.looked >= self.sink.warm_up {
                self.pause = self.pause.max(cpu - self.cpu);
            }
            (self.looked, self.cpu) = (now, cpu);
        }
        Ok(())
    }

    fn stage(&mut self, _: Epoch) -> Result<Vec<u8>, Cause> {
        let delays = std::mem::take(&mut self.delays);
        let mut found = self.sink.found.lock().unwrap_or_else(PoisonError::into_inner);
        if delays.count() > 0 {
            found.epochs.push(delays.most());
            found.pauses.push(std::mem::take(&mut self.pause));
        }
        found.records.merge(&delays);
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_a_split_come_before_one_comes_again_and_nothing_before_it_is_due() {
        let length = Duration::from_secs(3600);
        let course = Course { length, warm_up: Duration::ZERO, rate: Some(2e6), keys: 1000, splits: 2 };
        let paced = Paced::new(course);
        let mut reader = Source::open(&paced, "1", None).expect("it opens");
        let mut polled = Polled::default();
        while polled.values.len() < 500 {
            reader.poll(500 - polled.values.len(), &mut polled).expect("it delivers");
        }
        let now = paced.clock.now();
        assert!(polled.values.iter().all(|record| record.at <= now && record.key % 2 == 1));
        let mut keys: Vec<u64> = polled.values.iter().map(|record| record.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 500);
        assert_eq!(polled.values[499].at, 499_000);
    }
}
