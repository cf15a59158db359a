//! What comes out, summed up so that two outputs can be compared without keeping them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use highwater::operators::batch::Batch;
use highwater::operators::error::Cause;
use highwater::operators::sink::{Publish, Sink, Writer};
use highwater::operators::window::Windowed;
use highwater::state::Epoch;

use crate::input::Wide;

/// A record that can be told from others by a number that is cheap to compute.
pub trait Digest {
    /// The number.
    fn digest(&self) -> u64;
}

impl Digest for Wide {
    #[inline]
    fn digest(&self) -> u64 {
        self.amount ^ self.id ^ self.rest[3]
    }
}

impl Digest for (u64, u64) {
    #[inline]
    fn digest(&self) -> u64 {
        (self.0 ^ self.1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl Digest for Windowed<u64, u64> {
    #[inline]
    fn digest(&self) -> u64 {
        (self.key, self.value).digest() ^ self.window.end.as_millis() as u64
    }
}

/// How many records there were, and the sum of their digests; in whatever order they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many records.
    pub count: u64,
    /// The sum of their digests.
    pub sum: u64,
}

impl Tally {
    /// Adds a record.
    #[inline]
    pub fn add(&mut self, record: &impl Digest) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(record.digest());
    }
}

/// A sink that sums up what it is given; clones sum up together.
#[derive(Clone, Debug, Default)]
pub struct TallySink {
    count: Arc<AtomicU64>,
    sum: Arc<AtomicU64>,
}

impl TallySink {
    /// What was given so far, up to the last barrier.
    pub fn tally(&self) -> Tally {
        Tally { count: self.count.load(Ordering::Relaxed), sum: self.sum.load(Ordering::Relaxed) }
    }
}

impl Publish for TallySink {
    fn recover(&self, _: Epoch, _: &[Vec<u8>]) -> Result<(), Cause> {
        Ok(())
    }

    fn publish(&self, _: Epoch, _: &[Vec<u8>]) -> Result<(), Cause> {
        Ok(())
    }
}

impl<T: Digest> Sink<T> for TallySink {
    fn open(&self, _: usize) -> Result<Box<dyn Writer<T>>, Cause> {
        Ok(Box::new(TallyWriter { sink: self.clone(), tally: Tally::default() }))
    }
}

struct TallyWriter {
    sink: TallySink,
    tally: Tally,
}

impl<T: Digest> Writer<T> for TallyWriter {
    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), Cause> {
        let mut tally = self.tally;
        batch.values.iter().for_each(|record| tally.add(record));
        self.tally = tally;
        Ok(())
    }

    fn stage(&mut self, _: Epoch) -> Result<Vec<u8>, Cause> {
        let tally = std::mem::take(&mut self.tally);
        self.sink.count.fetch_add(tally.count, Ordering::Relaxed);
        self.sink.sum.fetch_add(tally.sum, Ordering::Relaxed);
        Ok(Vec::new())
    }
}
