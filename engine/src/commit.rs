//! Making an epoch durable and visible, and finding out at a start where the last one ended.
//!
//! Without a transactional sink the synced write of one epoch's delta is the decision: before it the epoch has
//! not happened, after it it has. Then the sinks publish; a crash between the two repeats the publishing at the
//! next start (`docs/decisions/0003-the-commit-is-one-write.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use highwater_operators::error::{Place, RunError};
use highwater_operators::graph::Graph;
use highwater_operators::task::Contribution;
use highwater_state::catalog::Catalog;
use highwater_state::delta::Family;
use highwater_state::{Backend, Delta, Epoch, layout, persist};

use crate::error::JobError;

const FINISHED_KEY: &[u8] = b"finished";
const RECEIPTS: &[u8] = b"receipt/";

/// What a start finds.
#[derive(Debug)]
pub(crate) struct Found {
    /// The last committed epoch; 0 if there is none.
    pub(crate) committed: Epoch,
    /// Whether all input had been dealt with in it.
    pub(crate) finished: bool,
    /// The receipts that the backend holds.
    pub(crate) receipts: Receipts,
}

/// The keys of the receipts that the backend holds: those of the last epoch that staged anything. The next one
/// deletes them by name; a range delete per epoch would pile up in RocksDB.
pub(crate) type Receipts = BTreeSet<Vec<u8>>;

/// Reads what the last run left, and lets every sink publish it again.
pub(crate) fn recover(graph: &Graph, backend: &dyn Backend) -> Result<Found, JobError> {
    let committed = match backend.get(Family::Meta, layout::EPOCH_KEY)? {
        Some(bytes) => persist::decode("epoch", &bytes)?,
        None => Epoch(0),
    };
    let finished = backend.get(Family::Meta, FINISHED_KEY)?.is_some();
    let (keys, receipts) = read_receipts(backend)?;
    for (place, sink) in graph.sinks() {
        let own = of_sink(&receipts, place);
        sink.recover(committed, &own).map_err(|cause| RunError::Sink { place: place.clone(), cause })?;
    }
    for (name, _) in &receipts {
        if !graph.sinks().any(|(place, _)| place.name.as_ref() == Some(name)) {
            tracing::warn!(sink = %name, %committed, "the last epoch staged results for a sink that is gone");
        }
    }
    tracing::info!(%committed, finished, "recovered");
    Ok(Found { committed, finished, receipts: keys })
}

/// Refuses splits that a job whose input has ended knows nothing of: they would never be read (HW-6).
pub(crate) fn refuse_new_splits(
    graph: &Graph,
    backend: &dyn Backend,
    splits: &BTreeMap<usize, Vec<String>>,
) -> Result<(), JobError> {
    for (number, place, _) in graph.sources() {
        let source_name = place.name.clone().unwrap_or_default();
        for split in splits.get(&number).into_iter().flatten() {
            if backend.get(Family::Meta, &layout::position_key(&source_name, split))?.is_none() {
                return Err(JobError::Ended { source_name, split: split.clone() });
            }
        }
    }
    Ok(())
}

/// Warns of splits that were being read and are not there any more: what was left of them will not be read.
pub(crate) fn warn_of_missing_splits(
    graph: &Graph,
    backend: &dyn Backend,
    splits: &BTreeMap<usize, Vec<String>>,
) -> Result<(), JobError> {
    for (number, place, _) in graph.sources() {
        let prefix = layout::position_key(place.name.as_deref().unwrap_or_default(), "");
        let listed = splits.get(&number).map(Vec::as_slice).unwrap_or_default();
        backend.scan(Family::Meta, &prefix, &layout::after_prefix(&prefix), &mut |key, _| {
            let split = String::from_utf8_lossy(&key[prefix.len()..]);
            if !listed.iter().any(|listed| *listed == split) {
                tracing::warn!(source = %place, %split, "was being read and is gone; what was left is not read");
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(())
}

/// Commits an epoch and lets the sinks publish it. `finished` says that all input has been dealt with.
pub(crate) fn commit(
    graph: &Graph,
    backend: &Arc<dyn Backend>,
    catalog: &Catalog,
    epoch: Epoch,
    contributions: Vec<Contribution>,
    finished: bool,
    kept: &mut Receipts,
) -> Result<(), JobError> {
    let mut delta = Delta::default();
    let mut receipts = Vec::new();
    for (worker, contribution) in contributions.into_iter().enumerate() {
        if delta.is_empty() {
            delta = contribution.delta;
        } else {
            delta.append(&contribution.delta);
        }
        receipts.extend(contribution.receipts.into_iter().map(|(sink, receipt)| (worker, sink, receipt)));
    }
    catalog.take_changes(&mut delta);
    if delta.is_empty() && receipts.is_empty() && !finished {
        // Nothing has happened, so there is nothing that a restart would have to know.
        return Ok(());
    }
    let mut number = Vec::new();
    persist::encode("epoch", &epoch, &mut number)?;
    delta.put(Family::Meta, layout::EPOCH_KEY, &number);
    std::mem::take(kept).iter().for_each(|key| delta.delete(Family::Meta, key));
    for (worker, sink, receipt) in &receipts {
        let key = layout::receipt_key(sink, *worker);
        delta.put(Family::Meta, &key, receipt);
        kept.insert(key);
    }
    if finished {
        delta.put(Family::Meta, FINISHED_KEY, &number);
    }
    backend.commit(&delta)?;
    let receipts: Vec<_> = receipts.into_iter().map(|(_, sink, receipt)| (sink, receipt)).collect();
    for (place, sink) in graph.sinks() {
        let own = of_sink(&receipts, place);
        if !own.is_empty() {
            sink.publish(epoch, &own).map_err(|cause| RunError::Sink { place: place.clone(), cause })?;
        }
    }
    tracing::debug!(%epoch, changes = delta.len(), bytes = delta.bytes(), "committed");
    Ok(())
}

fn of_sink(receipts: &[(String, Vec<u8>)], place: &Place) -> Vec<Vec<u8>> {
    let own = receipts.iter().filter(|(name, _)| place.name.as_ref() == Some(name));
    own.map(|(_, receipt)| receipt.clone()).collect()
}

/// The receipts of the last epoch and their keys; the receipts in the order of the workers.
fn read_receipts(backend: &dyn Backend) -> Result<(Receipts, Vec<(String, Vec<u8>)>), JobError> {
    let (mut keys, mut found) = (Receipts::new(), Vec::new());
    backend.scan(Family::Meta, RECEIPTS, &layout::after_prefix(RECEIPTS), &mut |key, receipt| {
        keys.insert(key.to_vec());
        let name = String::from_utf8_lossy(&key[RECEIPTS.len()..]).into_owned();
        if let Some((sink, worker)) = name.rsplit_once('/') {
            found.push((sink.to_owned(), worker.parse::<usize>().unwrap_or(0), receipt.to_vec()));
        }
        ControlFlow::Continue(())
    })?;
    found.sort_by_key(|(_, worker, _)| *worker);
    Ok((keys, found.into_iter().map(|(sink, _, receipt)| (sink, receipt)).collect()))
}
