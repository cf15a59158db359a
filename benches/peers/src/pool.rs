//! The input: records that were generated once, handed out again and again, to each engine in the way it reads.
//!
//! All engines get the same records in the same batches. Where there are several workers, each has a share: one batch
//! in as many as there are workers, so that event time goes on evenly in all shares. A loop and Timely are given
//! batches, Highwater polls for them, Renoir pulls record by record out of an iterator.
//!
//! A batch is copied out of the pool for each of them, the iterator included: the copy stands for decoding. Without it
//! the compiler would see through the iterator, and read of each record the fields that are needed and no others.

use std::sync::Arc;

use highwater::operators::error::Cause;
use highwater::operators::source::{Poll, Polled, Reader, Source};
use highwater::state::Timestamp;
use highwater_benches::feed::{BATCH_RECORDS, Repeat};
use highwater_benches::input::{Click, JITTER_MILLIS};
use serde::{Deserialize, Serialize};

/// A click as all engines can send it: a page and when it was seen, 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// One of 100 000 pages; their numbers are scattered over 64 bits.
    pub page: u64,
    /// When it was seen, in ms of event time.
    pub at: i64,
}

impl From<Click> for Visit {
    fn from(click: Click) -> Visit {
        Visit { page: click.page, at: click.at.as_millis() }
    }
}

impl Visit {
    fn click(self) -> Click {
        Click { page: self.page, at: Timestamp::from_millis(self.at) }
    }
}

impl Repeat for Visit {
    #[inline]
    fn repeated(self, round: u64) -> Visit {
        Visit::from(self.click().repeated(round))
    }
}

/// How far event time is known to have gone: no record that comes later is as old as this.
#[derive(Clone, Copy, Debug)]
pub struct Watermark {
    latest: i64,
}

impl Default for Watermark {
    fn default() -> Watermark {
        Watermark { latest: JITTER_MILLIS as i64 }
    }
}

impl Watermark {
    /// Takes note of a record's time.
    #[inline]
    pub fn see(&mut self, at: i64) {
        self.latest = self.latest.max(at);
    }

    /// The watermark, in ms of event time; not negative.
    #[inline]
    pub fn now(&self) -> i64 {
        self.latest - JITTER_MILLIS as i64
    }
}

/// Records to be handed out again and again.
#[derive(Clone, Debug)]
pub struct Pool<T>(Arc<Vec<T>>);

impl<T: Repeat> Pool<T> {
    /// A pool of whole batches.
    ///
    /// # Panics
    /// If there are none, or the last is not full.
    pub fn new(records: Vec<T>) -> Pool<T> {
        assert!(
            !records.is_empty() && records.len().is_multiple_of(BATCH_RECORDS),
            "a pool has whole batches"
        );
        Pool(Arc::new(records))
    }

    /// All of `records` records, in one share.
    pub fn all(&self, records: u64) -> Share<T> {
        self.share(records, 0, 1)
    }

    /// The share number `share` of `shares` in `records` records.
    pub fn share(&self, records: u64, share: u64, shares: u64) -> Share<T> {
        Share { pool: Arc::clone(&self.0), records, share, shares, next: 0, batch: Vec::new(), at: 0 }
    }

    /// The same records as a source with a split for each of `shares` shares.
    pub fn source(&self, records: u64, shares: usize) -> Splits<T> {
        Splits { pool: self.clone(), records, shares: shares as u64 }
    }
}

/// A part of the records, in order.
#[derive(Clone, Debug)]
pub struct Share<T> {
    pool: Arc<Vec<T>>,
    records: u64,
    share: u64,
    shares: u64,
    /// How many records of this share are out, or in hand.
    next: u64,
    /// The batch that an iterator has in hand, and how many of it are out.
    batch: Vec<T>,
    at: usize,
}

impl<T: Repeat> Share<T> {
    /// The next records of one batch, where they stand in the pool: from, until, and which time it is.
    fn advance(&mut self, limit: usize) -> (usize, usize, u64) {
        let batch = BATCH_RECORDS as u64;
        let (number, offset) = (self.next / batch, self.next % batch);
        let from = (number * self.shares + self.share) * batch + offset;
        let count = (batch - offset).min(limit as u64).min(self.records.saturating_sub(from));
        self.next += count;
        let place = (from % self.pool.len() as u64) as usize;
        (place, place + count as usize, from / self.pool.len() as u64)
    }

    /// Appends the next batch, or `limit` records of it; says whether there was any.
    #[inline]
    pub fn fill(&mut self, limit: usize, into: &mut Vec<T>) -> bool {
        let (from, until, round) = self.advance(limit);
        into.extend(self.pool[from..until].iter().map(|record| record.repeated(round)));
        until > from
    }

    #[inline(never)]
    fn refill(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        self.fill(BATCH_RECORDS, &mut batch);
        (self.batch, self.at) = (batch, 0);
    }

    /// Whether there is nothing more to come.
    pub fn is_out(&self) -> bool {
        let batch = BATCH_RECORDS as u64;
        (self.next / batch * self.shares + self.share) * batch + self.next % batch >= self.records
    }

    /// Calls `f` with every batch, in one buffer.
    #[inline]
    pub fn for_each_batch(mut self, mut f: impl FnMut(&[T])) {
        let mut batch = Vec::with_capacity(BATCH_RECORDS);
        while self.fill(BATCH_RECORDS, &mut batch) {
            f(&batch);
            batch.clear();
        }
    }
}

impl<T: Repeat> Iterator for Share<T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        if self.at == self.batch.len() {
            self.refill();
        }
        let record = self.batch.get(self.at).copied()?;
        self.at += 1;
        Some(record)
    }
}

/// A source of Highwater: a split for each share.
#[derive(Clone, Debug)]
pub struct Splits<T> {
    pool: Pool<T>,
    records: u64,
    shares: u64,
}

impl<T: Repeat> Source for Splits<T> {
    type Item = T;
    type Position = u64;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        Ok((0..self.shares).map(|share| share.to_string()).collect())
    }

    fn open(
        &self,
        split: &str,
        from: Option<u64>,
    ) -> Result<Box<dyn Reader<Item = T, Position = u64>>, Cause> {
        let share =
            Share { next: from.unwrap_or(0), ..self.pool.share(self.records, split.parse()?, self.shares) };
        Ok(Box::new(share))
    }
}

impl<T: Repeat> Reader for Share<T> {
    type Item = T;
    type Position = u64;

    fn poll(&mut self, limit: usize, into: &mut Polled<T>) -> Result<Poll, Cause> {
        Ok(if self.fill(limit, &mut into.values) { Poll::Ready } else { Poll::Finished })
    }

    fn position(&self) -> u64 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Pool<Visit> {
        Pool::new((0..2048).map(|page| Visit { page, at: 1 }).collect())
    }

    #[test]
    fn shares_together_are_all_records_once() {
        let mut all: Vec<Visit> = pool().all(5000).collect();
        let mut shared: Vec<Visit> = (0..2).flat_map(|share| pool().share(5000, share, 2)).collect();
        assert_eq!((all.len(), all[4999].page), (5000, 4999 % 2048));
        let key = |visit: &Visit| (visit.at, visit.page);
        all.sort_by_key(key);
        shared.sort_by_key(key);
        assert_eq!(all, shared);
    }

    #[test]
    fn batches_are_what_the_iterator_gives_and_begin_where_a_position_says() {
        let expected: Vec<Visit> = pool().share(5000, 1, 3).collect();
        let (mut found, mut share) = (Vec::new(), pool().share(5000, 1, 3));
        assert!(share.fill(1000, &mut found));
        share = Share { next: share.position(), ..pool().share(5000, 1, 3) };
        share.for_each_batch(|batch| found.extend_from_slice(batch));
        assert_eq!(found, expected);
    }
}
