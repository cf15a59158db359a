//! State over event time, written by hand, and the loop around it.
//!
//! The same state stands inside the loop, Timely's operators and Renoir's custom operators, so that they differ in
//! what the engine adds.

use std::collections::BTreeMap;

use highwater_benches::feed::Repeat;
use highwater_benches::tally::{Digest, Tally};

use crate::pool::{Share, Watermark};

/// A record with its time.
pub trait Timed: Send + 'static {
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
    type Record: Send + 'static;
    /// What comes out.
    type Result: Send + Clone + 'static;

    /// Adds a record.
    fn add(&mut self, record: Self::Record, tell: impl FnMut(Self::Result));

    /// Tells and forgets what ends at or before the watermark, in ms.
    fn close(&mut self, watermark: i64, tell: impl FnMut(Self::Result));
}

/// The loop: a watermark after each batch.
pub fn run<S: State<Record: Repeat + Timed, Result: Digest>>(records: Share<S::Record>) -> Tally {
    let (mut state, mut tally, mut watermark) = (S::default(), Tally::default(), Watermark::default());
    records.for_each_batch(|batch| {
        for record in batch {
            watermark.see(record.at());
            state.add(*record, |result| tally.add(&result));
        }
        state.close(watermark.now(), |result| tally.add(&result));
    });
    state.close(i64::MAX, |result| tally.add(&result));
    tally
}

/// What is kept for each window that is open, by the window's end.
#[derive(Clone, Debug)]
pub struct ByEnd<W> {
    open: BTreeMap<i64, W>,
    /// The window of the last record, out of `open` while records fall into it; none of them ends at `i64::MAX`.
    current: (i64, W),
    /// The last that was emptied.
    spare: W,
}

impl<W: Default> Default for ByEnd<W> {
    fn default() -> ByEnd<W> {
        ByEnd { open: BTreeMap::new(), current: (i64::MAX, W::default()), spare: W::default() }
    }
}

impl<W: Default> ByEnd<W> {
    /// What is kept for the window that ends at `end`.
    #[inline]
    pub fn at(&mut self, end: i64) -> &mut W {
        if end != self.current.0 {
            self.turn_to(end);
        }
        &mut self.current.1
    }

    fn turn_to(&mut self, end: i64) {
        let spare = &mut self.spare;
        let window = self.open.remove(&end).unwrap_or_else(|| std::mem::take(spare));
        let (before, window) = std::mem::replace(&mut self.current, (end, window));
        if before == i64::MAX {
            self.spare = window;
        } else {
            self.open.insert(before, window);
        }
    }

    /// Has every window emptied that ends at or before the watermark.
    pub fn close(&mut self, watermark: i64, mut empty: impl FnMut(i64, &mut W)) {
        if self.current.0 <= watermark && self.current.0 < i64::MAX {
            self.turn_to(i64::MAX);
        }
        while let Some(first) = self.open.first_entry().filter(|first| *first.key() <= watermark) {
            let (end, mut window) = first.remove_entry();
            empty(end, &mut window);
            self.spare = window;
        }
    }
}
