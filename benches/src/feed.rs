//! Hands out records of a pool, batch by batch: to a loop as they are, to the engine as a source.

use std::sync::Arc;

use highwater::operators::error::Cause;
use highwater::operators::source::{Poll, Polled, Reader, Source};

/// Records handed out at once, at most; as many as the engine asks for.
pub const BATCH_RECORDS: usize = 1024;

/// A record that can be handed out again.
pub trait Repeat: Copy + Send + Sync + 'static {
    /// The record as it is in this round; 0 is the first.
    fn repeated(self, round: u64) -> Self;
}

/// A number of records from a pool, which is begun again when it is at its end.
#[derive(Clone)]
pub struct Feed<T> {
    pool: Arc<Vec<T>>,
    records: u64,
    next: u64,
}

impl<T: Repeat> Feed<T> {
    /// `records` records of the pool, which is not empty.
    pub fn new(pool: &Arc<Vec<T>>, records: u64) -> Feed<T> {
        assert!(!pool.is_empty(), "a pool holds records");
        Feed { pool: Arc::clone(pool), records, next: 0 }
    }

    /// The first half of what is left, or the second.
    pub fn half(&self, second: bool) -> Feed<T> {
        let middle = self.next + (self.records - self.next) / 2;
        let (next, records) = if second { (middle, self.records) } else { (self.next, middle) };
        Feed { pool: Arc::clone(&self.pool), records, next }
    }

    /// Appends the next records, [`BATCH_RECORDS`] or `limit` at most; says whether there were any.
    #[inline]
    pub fn fill(&mut self, limit: usize, into: &mut Vec<T>) -> bool {
        let size = self.pool.len() as u64;
        let (round, from) = (self.next / size, (self.next % size) as usize);
        let left = usize::try_from(self.records - self.next).unwrap_or(usize::MAX);
        let until = self.pool.len().min(from + limit.min(BATCH_RECORDS).min(left));
        into.extend(self.pool[from..until].iter().map(|record| record.repeated(round)));
        self.next += (until - from) as u64;
        until > from
    }

    /// Calls `f` with every batch of what is left, in one buffer.
    #[inline]
    pub fn for_each_batch(mut self, mut f: impl FnMut(&[T])) {
        let mut batch = Vec::with_capacity(BATCH_RECORDS);
        while self.fill(BATCH_RECORDS, &mut batch) {
            f(&batch);
            batch.clear();
        }
    }
}

impl<T: Repeat> Source for Feed<T> {
    type Item = T;
    type Position = u64;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        Ok(vec!["pool".to_owned()])
    }

    fn open(&self, _: &str, from: Option<u64>) -> Result<Box<dyn Reader<Item = T, Position = u64>>, Cause> {
        Ok(Box::new(Feed { next: from.unwrap_or(0), ..self.clone() }))
    }
}

impl<T: Repeat> Reader for Feed<T> {
    type Item = T;
    type Position = u64;

    fn poll(&mut self, limit: usize, into: &mut Polled<T>) -> Result<Poll, Cause> {
        self.fill(limit, &mut into.values);
        Ok(if self.next == self.records { Poll::Finished } else { Poll::Ready })
    }

    fn position(&self) -> u64 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Repeat for (u64, u64) {
        fn repeated(self, round: u64) -> Self {
            (self.0, round)
        }
    }

    #[test]
    fn the_pool_is_begun_again_until_all_records_are_out() {
        let pool = Arc::new((0..1500).map(|number| (number, 0)).collect());
        let mut batches = Vec::new();
        Feed::new(&pool, 2000).for_each_batch(|batch| batches.push((batch.len(), batch[0])));
        assert_eq!(batches, [(1024, (0, 0)), (476, (1024, 0)), (500, (0, 1))]);
    }
}
