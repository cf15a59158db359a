//! What comes out, summed up in each engine's own threads, so that outputs can be compared without keeping them.

use std::sync::{Arc, Mutex, PoisonError};

use highwater::operators::batch::Batch;
use highwater::operators::error::Cause;
use highwater::operators::sink::{Publish, Sink, Writer};
use highwater::state::Epoch;
use highwater_benches::tally::{Digest, Tally};

/// A sum that several threads add their parts to.
#[derive(Clone, Debug, Default)]
pub struct Total(Arc<Mutex<Tally>>);

impl Total {
    /// What has been added.
    pub fn tally(&self) -> Tally {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A sum of one thread, which is added when it is dropped.
    pub fn part(&self) -> Part {
        Part { total: self.clone(), tally: Tally::default() }
    }

    fn add(&self, part: &mut Tally) {
        let part = std::mem::take(part);
        let mut total = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        total.count = total.count.wrapping_add(part.count);
        total.sum = total.sum.wrapping_add(part.sum);
    }
}

/// A part of a [`Total`]; a clone is another part.
#[derive(Debug)]
pub struct Part {
    total: Total,
    tally: Tally,
}

impl Part {
    /// Adds a record.
    #[inline]
    pub fn add(&mut self, record: &impl Digest) {
        self.tally.add(record);
    }

    /// Adds so many records whose digests have this sum.
    #[inline]
    pub fn count(&mut self, records: u64, sum: u64) {
        self.tally.count += records;
        self.tally.sum = self.tally.sum.wrapping_add(sum);
    }

    /// Adds what there is to the total.
    pub fn flush(&mut self) {
        self.total.add(&mut self.tally);
    }
}

impl Clone for Part {
    fn clone(&self) -> Part {
        self.total.part()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.flush();
    }
}

/// What an aggregate says of a key and a window that ends at `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Told {
    /// The key.
    pub key: u64,
    /// Where the window ends, in ms.
    pub end: i64,
    /// What there is to say.
    pub value: u64,
}

impl Digest for Told {
    /// As that of Highwater's `Windowed`.
    #[inline]
    fn digest(&self) -> u64 {
        (self.key, self.value).digest() ^ self.end as u64
    }
}

/// A sink of Highwater that adds up what it is given.
#[derive(Clone, Debug)]
pub struct TotalSink<F> {
    total: Total,
    add: F,
}

impl<F> TotalSink<F> {
    /// Adds to `total` what `add` makes of each record.
    pub fn new(total: &Total, add: F) -> TotalSink<F> {
        TotalSink { total: total.clone(), add }
    }
}

impl<F: Send + Sync + 'static> Publish for TotalSink<F> {
    fn recover(&self, _: Epoch, _: &[Vec<u8>]) -> Result<(), Cause> {
        Ok(())
    }

    fn publish(&self, _: Epoch, _: &[Vec<u8>]) -> Result<(), Cause> {
        Ok(())
    }
}

impl<T, F: Fn(&T, &mut Tally) + Copy + Send + Sync + 'static> Sink<T> for TotalSink<F> {
    fn open(&self, _: usize) -> Result<Box<dyn Writer<T>>, Cause> {
        Ok(Box::new(TotalWriter { part: self.total.part(), add: self.add }))
    }
}

struct TotalWriter<F> {
    part: Part,
    add: F,
}

impl<T, F: Fn(&T, &mut Tally)> Writer<T> for TotalWriter<F> {
    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), Cause> {
        let mut tally = self.part.tally;
        batch.values.iter().for_each(|record| (self.add)(record, &mut tally));
        self.part.tally = tally;
        Ok(())
    }

    fn stage(&mut self, _: Epoch) -> Result<Vec<u8>, Cause> {
        self.part.flush();
        Ok(Vec::new())
    }
}
