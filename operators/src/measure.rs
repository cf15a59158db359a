//! What a node measures beside what it counts: how far event time has come at it, and how old what it gets is.
//!
//! Invariant: the hot path pays for a batch and never for a record: a store of a number for each watermark, two
//! additions for each batch that reaches a sink, a note for each split at the end of an epoch. It reads no clock; the
//! time of day is the engine's.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use highwater_state::Timestamp;

/// The watermark of a node on every worker.
#[derive(Debug, Default)]
pub struct Watermarks {
    of_workers: Mutex<Vec<(usize, Arc<AtomicI64>)>>,
}

impl Watermarks {
    /// What the node on this worker writes its watermark to; begins before all time.
    pub(crate) fn of(&self, worker: usize) -> Arc<AtomicI64> {
        let own = Arc::new(AtomicI64::new(Timestamp::MIN.as_millis()));
        let mut of_workers = self.of_workers.lock().unwrap_or_else(PoisonError::into_inner);
        of_workers.retain(|(other, _)| *other != worker);
        of_workers.push((worker, Arc::clone(&own)));
        own
    }

    /// The watermark of the worker on which it is least; `None` if one of them has had none.
    pub fn least(&self) -> Option<Timestamp> {
        let of_workers = self.of_workers.lock().unwrap_or_else(PoisonError::into_inner);
        let least = of_workers.iter().map(|(_, own)| own.load(Ordering::Relaxed)).min()?;
        Some(Timestamp::from_millis(least)).filter(|least| *least > Timestamp::MIN)
    }
}

/// How many records of each split are still to be read, where that is known.
#[derive(Debug, Default)]
pub struct Lags {
    of_splits: Mutex<BTreeMap<String, u64>>,
}

impl Lags {
    pub(crate) fn set(&self, split: &str, lag: Option<u64>) {
        let Some(lag) = lag else { return };
        let mut of_splits = self.of_splits.lock().unwrap_or_else(PoisonError::into_inner);
        match of_splits.get_mut(split) {
            Some(known) => *known = lag,
            None => drop(of_splits.insert(split.to_owned(), lag)),
        }
    }

    /// By split, in the order of their names.
    pub fn read(&self) -> Vec<(String, u64)> {
        let of_splits = self.of_splits.lock().unwrap_or_else(PoisonError::into_inner);
        of_splits.iter().map(|(split, lag)| (split.clone(), *lag)).collect()
    }
}

/// How many buckets there are: the last one that has an end ends at 2 to the 22nd milliseconds, 70 minutes.
const BUCKETS: usize = 24;

/// How old records are when they come, in buckets of which each is twice as wide as the one before.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [AtomicU64; BUCKETS],
    millis: AtomicU64,
}

/// What was measured of a latency.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    /// How many records there were that were at most so old, and no less than the bucket before says; without end for
    /// the last.
    pub buckets: Vec<(Option<Duration>, u64)>,
    /// How many records there were.
    pub count: u64,
    /// How old all of them were together.
    pub sum: Duration,
}

impl Latency {
    /// Takes down that so many records came at `now` whose event times are up to `time`.
    pub(crate) fn observe(&self, records: usize, time: Timestamp, now: Timestamp) {
        let millis = now.as_millis().saturating_sub(time.as_millis()).max(0) as u64;
        // The least power of two that is not below it.
        let bucket = (u64::BITS - millis.saturating_sub(1).leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)].fetch_add(records as u64, Ordering::Relaxed);
        self.millis.fetch_add(millis.saturating_mul(records as u64), Ordering::Relaxed);
    }

    /// What has been measured so far.
    pub fn read(&self) -> Latencies {
        let bucket = |(number, count): (usize, &AtomicU64)| {
            let end = (number + 1 < BUCKETS).then(|| Duration::from_millis(1 << number));
            (end, count.load(Ordering::Relaxed))
        };
        let buckets: Vec<_> = self.buckets.iter().enumerate().map(bucket).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        Latencies { buckets, count, sum: Duration::from_millis(self.millis.load(Ordering::Relaxed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_that_is_behind_is_told() {
        let watermarks = Watermarks::default();
        let (first, second) = (watermarks.of(0), watermarks.of(1));
        first.store(7, Ordering::Relaxed);
        assert_eq!(watermarks.least(), None, "the second has had none");
        second.store(5, Ordering::Relaxed);
        assert_eq!(watermarks.least(), Some(Timestamp::from_millis(5)));
        watermarks.of(1).store(9, Ordering::Relaxed);
        assert_eq!(watermarks.least(), Some(Timestamp::from_millis(7)), "the worker was opened anew");
    }

    #[test]
    fn ages_fall_into_the_bucket_that_ends_at_or_behind_them() {
        let (latency, at) = (Latency::default(), Timestamp::from_millis);
        for (age, records) in [(0, 1), (1, 1), (2, 1), (3, 1), (1 << 22, 1), (1 << 40, 5)] {
            latency.observe(records, at(1000), at(1000 + age));
        }
        latency.observe(1, at(1000), at(999));
        let read = latency.read();
        let filled: Vec<_> = read.buckets.iter().filter(|(_, count)| *count > 0).collect();
        let millis = Duration::from_millis;
        assert_eq!(
            filled,
            [
                &(Some(millis(1)), 3),
                &(Some(millis(2)), 1),
                &(Some(millis(4)), 1),
                &(Some(millis(1 << 22)), 1),
                &(None, 5)
            ]
        );
        assert_eq!(read.count, 11);
    }
}
