//! How fast sources may read: as a bucket fills with time, and only while there is memory for what they change.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use highwater_operators::task::Pace;
use highwater_state::budget::TableBudget;

/// At most `rate` records a second, with bursts of at most a twentieth of it.
pub(crate) struct Bucket {
    rate: f64,
    content: Mutex<(f64, Instant)>,
}

impl Bucket {
    pub(crate) fn new(rate: u64) -> Self {
        Bucket { rate: rate as f64, content: Mutex::new((0.0, Instant::now())) }
    }

    fn burst(&self) -> f64 {
        (self.rate / 20.0).max(1.0)
    }
}

impl Pace for Bucket {
    fn take(&self, wanted: usize) -> usize {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let filled = content.0 + now.duration_since(content.1).as_secs_f64() * self.rate;
        let taken = filled.min(self.burst()).floor().min(wanted as f64);
        *content = (filled.min(self.burst()) - taken, now);
        taken as usize
    }

    fn give_back(&self, unused: usize) {
        self.content.lock().unwrap_or_else(PoisonError::into_inner).0 += unused as f64;
    }
}

/// Reads nothing while the tables can take no more changes before a commit.
pub(crate) struct WithinMemory {
    pub(crate) pace: Arc<dyn Pace + Send + Sync>,
    pub(crate) budget: Arc<TableBudget>,
}

impl Pace for WithinMemory {
    fn take(&self, wanted: usize) -> usize {
        if self.budget.is_exhausted() { 0 } else { self.pace.take(wanted) }
    }

    fn give_back(&self, unused: usize) {
        self.pace.give_back(unused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_given_than_the_burst_and_what_is_given_back_can_be_taken_again() {
        let bucket = Bucket::new(1);
        bucket.give_back(5);
        assert_eq!(bucket.take(10), 1, "a burst is at least one record");
        assert_eq!(bucket.take(10), 0);
        bucket.give_back(1);
        assert_eq!(bucket.take(10), 1);
    }
}
