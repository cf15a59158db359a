//! A source whose records the test supplies while the job runs, and keeps over its restarts.

use std::sync::{Arc, Mutex};

use highwater::operators::source::{Poll, Polled, Reader, Source};
use highwater::prelude::Cause;

/// Splits that never end.
#[derive(Clone)]
pub struct Feed<T>(Vec<Arc<Mutex<Vec<T>>>>);

impl<T> Feed<T> {
    pub fn of(splits: usize) -> Self {
        Feed((0..splits).map(|_| Arc::default()).collect())
    }

    pub fn put(&self, split: usize, records: impl IntoIterator<Item = T>) {
        self.0[split].lock().expect("no panic").extend(records);
    }
}

impl<T: Clone + Send + Sync + 'static> Source for Feed<T> {
    type Item = T;
    type Position = u64;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        Ok((0..self.0.len()).map(|split| split.to_string()).collect())
    }

    fn open(
        &self,
        split: &str,
        from: Option<u64>,
    ) -> Result<Box<dyn Reader<Item = T, Position = u64>>, Cause> {
        let records = Arc::clone(&self.0[split.parse::<usize>()?]);
        Ok(Box::new(FeedReader { records, next: from.unwrap_or(0) as usize }))
    }
}

struct FeedReader<T> {
    records: Arc<Mutex<Vec<T>>>,
    next: usize,
}

impl<T: Clone> Reader for FeedReader<T> {
    type Item = T;
    type Position = u64;

    fn poll(&mut self, limit: usize, into: &mut Polled<T>) -> Result<Poll, Cause> {
        let records = self.records.lock().expect("no panic");
        let until = records.len().min(self.next + limit);
        into.values.extend_from_slice(&records[self.next..until]);
        self.next = until;
        Ok(Poll::Pending)
    }

    fn position(&self) -> u64 {
        self.next as u64
    }
}
