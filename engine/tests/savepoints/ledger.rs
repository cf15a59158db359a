//! A sink that remembers with which epoch each record was published.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use highwater::operators::batch::Batch;
use highwater::operators::sink::{Publish, Sink, Writer};
use highwater::prelude::Cause;
use highwater::state::Epoch;

/// What several sinks have published, by epoch; each of them is a clone with a number of its own.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Kept>>, usize);

#[derive(Default)]
struct Kept {
    staged: BTreeMap<(usize, Epoch, usize), Vec<String>>,
    published: BTreeMap<Epoch, Vec<String>>,
}

impl Ledger {
    /// The sink with this number, of the same ledger.
    pub fn sink(&self, number: usize) -> Ledger {
        Ledger(Arc::clone(&self.0), number)
    }

    /// What the epochs up to this one have published.
    pub fn until(&self, last: Epoch) -> Vec<String> {
        let kept = self.0.lock().expect("no panic");
        kept.published.range(..=last).flat_map(|(_, records)| records.clone()).collect()
    }

    /// Everything that has been published.
    pub fn all(&self) -> Vec<String> {
        self.until(Epoch(u64::MAX))
    }
}

impl Publish for Ledger {
    /// What was staged for an epoch that never was is dropped: its records come again, perhaps at another worker.
    fn recover(&self, epoch: Epoch, receipts: &[Vec<u8>]) -> Result<(), Cause> {
        self.0.lock().expect("no panic").staged.retain(|&(sink, at, _), _| sink != self.1 || at <= epoch);
        self.publish(epoch, receipts)
    }

    fn publish(&self, epoch: Epoch, _: &[Vec<u8>]) -> Result<(), Cause> {
        let mut kept = self.0.lock().expect("no panic");
        let mut later = kept.staged.split_off(&(self.1, Epoch(0), 0));
        let mut staged = later.split_off(&(self.1, epoch.next(), 0));
        std::mem::swap(&mut staged, &mut later);
        kept.staged.append(&mut later);
        let records: Vec<String> = staged.into_values().flatten().collect();
        kept.published.entry(epoch).or_default().extend(records);
        Ok(())
    }
}

impl Sink<String> for Ledger {
    fn open(&self, worker: usize) -> Result<Box<dyn Writer<String>>, Cause> {
        Ok(Box::new(LedgerWriter { ledger: self.clone(), worker, records: Vec::new() }))
    }
}

struct LedgerWriter {
    ledger: Ledger,
    worker: usize,
    records: Vec<String>,
}

impl Writer<String> for LedgerWriter {
    fn write(&mut self, batch: &mut Batch<String>) -> Result<(), Cause> {
        self.records.append(&mut batch.values);
        Ok(())
    }

    fn stage(&mut self, epoch: Epoch) -> Result<Vec<u8>, Cause> {
        if self.records.is_empty() {
            return Ok(Vec::new());
        }
        let records = std::mem::take(&mut self.records);
        self.ledger.0.lock().expect("no panic").staged.insert((self.ledger.1, epoch, self.worker), records);
        Ok(vec![1])
    }
}
