//! A sink that drops what it takes, and counts it: for measuring a topology without the cost of an output.
//!
//! Invariant: the count is the number of records that reached a writer. Nothing of it survives a restart, and
//! records of an epoch that is repeated after a failure count again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use highwater_operators::batch::Batch;
use highwater_operators::error::Cause;
use highwater_operators::sink::{Publish, Sink, Writer};
use highwater_state::Epoch;

/// Drops every record; clones count together.
///
/// ```
/// use highwater_connectors::blackhole::Blackhole;
/// use highwater_operators::batch::Batch;
/// use highwater_operators::sink::Sink;
///
/// let blackhole = Blackhole::new();
/// blackhole.open(0)?.write(&mut Batch::untimed(vec!["a", "b"]))?;
/// assert_eq!(blackhole.count(), 2);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Blackhole {
    records: Arc<AtomicU64>,
}

impl Blackhole {
    /// A sink that has dropped nothing yet.
    pub fn new() -> Self {
        Blackhole::default()
    }

    /// How many records were dropped so far, by all workers.
    pub fn count(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }
}

impl Publish for Blackhole {
    fn recover(&self, _last: Epoch, _receipts: &[Vec<u8>]) -> Result<(), Cause> {
        Ok(())
    }

    fn publish(&self, _epoch: Epoch, _receipts: &[Vec<u8>]) -> Result<(), Cause> {
        Ok(())
    }
}

impl<T> Sink<T> for Blackhole {
    fn open(&self, _worker: usize) -> Result<Box<dyn Writer<T>>, Cause> {
        Ok(Box::new(self.clone()))
    }
}

impl<T> Writer<T> for Blackhole {
    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), Cause> {
        self.records.fetch_add(batch.len() as u64, Ordering::Relaxed);
        batch.values.clear();
        batch.times.clear();
        Ok(())
    }

    fn stage(&mut self, _epoch: Epoch) -> Result<Vec<u8>, Cause> {
        Ok(Vec::new())
    }
}
