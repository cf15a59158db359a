//! A source that a test writes to while a job reads it.

use std::sync::{Arc, Mutex};

use highwater::operators::source::{Poll, Polled, Reader, Source};
use highwater::prelude::*;

/// Records that can be added to; one split, `0`, whose position is the number of records before it. Never ends.
#[derive(Clone)]
pub struct Feed<T>(Arc<Mutex<Vec<T>>>);

impl<T> Feed<T> {
    pub fn new() -> Feed<T> {
        Feed(Arc::new(Mutex::new(Vec::new())))
    }

    /// Adds records; says the position behind the last.
    pub fn write(&self, records: impl IntoIterator<Item = T>) -> u64 {
        let mut all = self.0.lock().unwrap();
        all.extend(records);
        all.len() as u64
    }
}

impl<T: Clone + Send + Sync + 'static> Source for Feed<T> {
    type Item = T;
    type Position = u64;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        Ok(vec!["0".to_owned()])
    }

    fn open(&self, _: &str, from: Option<u64>) -> Result<Box<dyn Reader<Item = T, Position = u64>>, Cause> {
        Ok(Box::new(Reading { feed: self.clone(), next: from.unwrap_or(0) }))
    }
}

struct Reading<T> {
    feed: Feed<T>,
    next: u64,
}

impl<T: Clone> Reader for Reading<T> {
    type Item = T;
    type Position = u64;

    fn poll(&mut self, limit: usize, into: &mut Polled<T>) -> Result<Poll, Cause> {
        let all = self.feed.0.lock().unwrap();
        let some = all.iter().skip(self.next as usize).take(limit);
        into.values.extend(some.cloned());
        self.next += into.values.len() as u64;
        Ok(Poll::Pending)
    }

    fn position(&self) -> u64 {
        self.next
    }

    fn lag(&self) -> Option<u64> {
        Some((self.feed.0.lock().unwrap().len() as u64).saturating_sub(self.next))
    }
}
