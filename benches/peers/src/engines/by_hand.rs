//! State over event time, written by hand, and the loop around it.
//!
//! The same state stands inside the loop, Timely's operators and Renoir's custom operators, so that they differ in
//! what the engine adds.

use highwater_benches::feed::Repeat;
use highwater_benches::tally::{Digest, Tally};

use crate::pool::{Share, Watermark};

/// A record with its time.
pub trait Timed: Repeat {
    /// When it happened, in ms.
    fn at(&self) -> i64;
}

impl Timed for crate::pool::Visit {
    #[inline]
    fn at(&self) -> i64 {
        self.at
    }
}

/// What is kept of the records of many keys, and told as event time goes on.
pub trait State: Default + Clone + Send + 'static {
    /// What comes in.
    type Record: Timed;
    /// What comes out.
    type Result: Digest + Send + Clone + 'static;

    /// Adds a record.
    fn add(&mut self, record: &Self::Record, tell: impl FnMut(Self::Result));

    /// Tells and forgets what ends at or before the watermark, in ms.
    fn close(&mut self, watermark: i64, tell: impl FnMut(Self::Result));
}

/// The loop: a watermark after each batch.
pub fn run<S: State>(records: Share<S::Record>) -> Tally {
    let (mut state, mut tally, mut watermark) = (S::default(), Tally::default(), Watermark::default());
    records.for_each_batch(|batch| {
        for record in batch {
            watermark.see(record.at());
            state.add(record, |result| tally.add(&result));
        }
        state.close(watermark.now(), |result| tally.add(&result));
    });
    state.close(i64::MAX, |result| tally.add(&result));
    tally
}
