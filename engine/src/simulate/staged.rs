//! A sink that stages, as files do: what a worker took becomes durable at the end of the epoch and visible when the
//! epoch is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use highwater_operators::batch::Batch;
use highwater_operators::error::Cause;
use highwater_operators::sink::Writer;
use highwater_state::Epoch;

use super::broker::Written;
use super::fault::Call;
use super::outside::Process;
use super::planted::Bug;
use super::transactions::written;

/// An epoch and a worker.
type Place = (u64, u64);

/// What a staging sink has on disk.
#[derive(Default)]
pub(super) struct Directory {
    staged: BTreeMap<Place, Vec<Written>>,
    /// What has been published, by where it was staged.
    shown: BTreeSet<Place>,
    pub(super) published: Vec<Written>,
}

impl Directory {
    fn show(&mut self, place: Place, twice: bool) -> Result<(), Cause> {
        if self.shown.contains(&place) {
            if twice && let Some(again) = self.staged.remove(&place) {
                self.published.extend(again);
            }
            return Ok(());
        }
        let staged = self
            .staged
            .remove(&place)
            .ok_or_else(|| format!("what worker {} staged for epoch {} is not there", place.1, place.0))?;
        if twice {
            let copies = staged.iter().map(|one| Written { record: Box::new(()), text: one.text.clone() });
            self.staged.insert(place, copies.collect());
        }
        self.published.extend(staged);
        self.shown.insert(place);
        Ok(())
    }
}

/// A staging sink, as one process sees it.
#[derive(Clone)]
pub(super) struct Staging {
    pub(super) process: Process,
    pub(super) name: String,
}

impl Staging {
    fn show(&self, receipts: &[Vec<u8>]) -> Result<(), Cause> {
        for receipt in receipts {
            let place = place_of(receipt)?;
            self.process.call_at_home(Call::Publish, |outside| {
                let twice = outside.planted(Bug::PublishedTwice);
                if outside.planted(Bug::PublishedBeforeCommitted) {
                    return Ok(());
                }
                outside.directories.entry(self.name.clone()).or_default().show(place, twice)
            })?;
        }
        Ok(())
    }

    pub(super) fn recover(&self, last: Epoch, receipts: &[Vec<u8>]) -> Result<(), Cause> {
        self.show(receipts)?;
        self.process.call_at_home(Call::Recover, |outside| {
            let twice = outside.planted(Bug::PublishedTwice);
            let early = outside.planted(Bug::PublishedBeforeCommitted);
            let directory = outside.directories.entry(self.name.clone()).or_default();
            if last == Epoch(0) && !early {
                *directory = Directory::default();
            }
            if !twice {
                directory.staged.clear();
            }
            Ok(())
        })
    }

    pub(super) fn publish(&self, receipts: &[Vec<u8>]) -> Result<(), Cause> {
        self.show(receipts)
    }
}

/// Writes one worker's records.
pub(super) struct StagingWriter {
    staging: Staging,
    worker: u64,
    records: Vec<Written>,
}

impl StagingWriter {
    pub(super) fn new(staging: Staging, worker: usize) -> Self {
        StagingWriter { staging, worker: worker as u64, records: Vec::new() }
    }
}

impl<T: Clone + Debug + Send + 'static> Writer<T> for StagingWriter {
    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), Cause> {
        self.records.extend(batch.values.drain(..).map(written));
        Ok(())
    }

    fn stage(&mut self, epoch: Epoch) -> Result<Vec<u8>, Cause> {
        if self.records.is_empty() {
            return Ok(Vec::new());
        }
        let records = std::mem::take(&mut self.records);
        let place = (epoch.0, self.worker);
        self.staging.process.call_at_home(Call::Keep, |outside| {
            let early = outside.planted(Bug::PublishedBeforeCommitted);
            let directory = outside.directories.entry(self.staging.name.clone()).or_default();
            if early {
                directory.published.extend(records);
            } else {
                directory.staged.insert(place, records);
            }
            Ok(())
        })?;
        Ok([place.0.to_be_bytes(), place.1.to_be_bytes()].concat())
    }
}

fn place_of(receipt: &[u8]) -> Result<Place, Cause> {
    let number = |from: usize| -> Option<u64> {
        Some(u64::from_be_bytes(receipt.get(from..from + 8)?.try_into().ok()?))
    };
    let place = number(0).zip(number(8));
    place.ok_or_else(|| format!("{receipt:?} is no receipt of this sink").into())
}
