//! What a start finds, and what follows from it.
//!
//! [`judge`] is a pure function of four facts: the epoch that is applied, the one that is prepared, the decider's
//! marker, and whose state it is. Every crash point of `docs/decisions/0012-kafka-decides-redo-follows.md` is one of
//! its cases. Invariants: nothing is ever wiped or restored from scratch; what does not fit is refused with both sides
//! named, before an instance that runs is fenced if that can be seen before.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::sync::Arc;

use highwater_operators::decide::{Decide, Marker};
use highwater_operators::error::{Place, RunError};
use highwater_operators::graph::Graph;
use highwater_state::delta::Family;
use highwater_state::redo::{self, Redo};
use highwater_state::{Backend, Delta, Epoch, layout, persist};
use thiserror::Error;

use crate::error::JobError;
use crate::parts::Parts;
use crate::step::{Step, watched};

pub(crate) const FINISHED_KEY: &[u8] = b"finished";
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
    /// What this start signs its decisions with; the epoch is that of the last decision.
    pub(crate) marker: Marker,
}

/// The keys of the receipts that the backend holds: those of the last epoch that staged anything. The next one
/// deletes them by name; a range delete per epoch would pile up in RocksDB.
pub(crate) type Receipts = BTreeSet<Vec<u8>>;

/// An epoch that was prepared and neither applied nor dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prepared {
    pub(crate) epoch: Epoch,
    /// Who prepared it.
    pub(crate) instance: u64,
}

/// What to do with what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing is in doubt.
    GoOn,
    /// The prepared epoch was decided: it is applied.
    RollForward,
    /// The prepared epoch was never decided: it is dropped.
    Drop,
}

/// Why state and decider do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// The decider's marker was written for other state.
    #[error(
        "its last transaction, {epoch}, belongs to another state directory: either an instance with that directory \
            runs or ran, then start this program on it, because keyed state is not shared between instances; or it was \
            deleted, then choose another name for the transactions, and what follows its last epoch is computed anew"
    )]
    OtherState {
        /// The epoch of the marker.
        epoch: Epoch,
    },
    /// The state is older than the decider's marker.
    #[error(
        "its last transaction is {decided}, but the state directory is only at {applied}: it was restored from an \
            older copy or a savepoint; start from the newest state, or choose another name for the transactions, and \
            what followed {applied} is written once more"
    )]
    Behind {
        /// What the state holds.
        applied: Epoch,
        /// What the marker says.
        decided: Epoch,
    },
    /// The state is newer than the decider's marker.
    #[error(
        "its last transaction is {decided}, but the state directory is at {applied}: this is not the cluster that the \
            state was computed with, its sinks wrote to other topics in between, or the cluster has lost committed \
            transactions"
    )]
    Ahead {
        /// What the state holds.
        applied: Epoch,
        /// What the marker says.
        decided: Epoch,
    },
    /// An epoch is in doubt, and the decider does not know any more.
    #[error(
        "{prepared} was being committed when the last run ended, and the transactions' marker is gone: the group's \
            offsets have expired or were deleted, or the sinks write to other topics now, so nobody can tell whether \
            that epoch was written; the state directory is unharmed at {applied}: start from a savepoint of it under \
            another name of the transactions"
    )]
    Forgotten {
        /// What the state holds.
        applied: Epoch,
        /// What is in doubt.
        prepared: Epoch,
    },
}

/// What a start has to do, from what is applied, what is prepared, and what the decider says.
pub(crate) fn judge(
    state: u128,
    applied: Epoch,
    prepared: Option<Prepared>,
    marker: Option<Marker>,
) -> Result<Verdict, Mismatch> {
    let Some(marker) = marker else {
        return match prepared {
            Some(Prepared { epoch, .. }) => Err(Mismatch::Forgotten { applied, prepared: epoch }),
            None => Ok(Verdict::GoOn),
        };
    };
    let decided = marker.epoch;
    if marker.state != state {
        return Err(Mismatch::OtherState { epoch: decided });
    }
    if decided == applied {
        return Ok(if prepared.is_some() { Verdict::Drop } else { Verdict::GoOn });
    }
    // The same epoch of another instance is that of a copy of this state, which went on elsewhere.
    let own = Prepared { epoch: decided, instance: marker.instance };
    if prepared == Some(own) && decided > applied {
        return Ok(Verdict::RollForward);
    }
    Err(if decided > applied {
        Mismatch::Behind { applied, decided }
    } else {
        Mismatch::Ahead { applied, decided }
    })
}

/// Brings state, decider and sinks to one epoch.
pub(crate) fn recover(parts: &Parts) -> Result<Found, JobError> {
    let backend = &*parts.backend;
    let marker = match &parts.decider {
        Some(decider) if parts.shared => {
            watched(&parts.watch, Step::TakeOver, || decider.take_over(&parts.terms))
                .map_err(|cause| parts.undecided(cause))?;
            Marker { epoch: applied_epoch(backend)?, state: 0, instance: (parts.random)() as u64 }
        }
        Some(decider) => take_over(parts, &**decider)?,
        None => {
            if let Some(redo) = redo::read(backend)? {
                return Err(JobError::InDoubt { epoch: redo.epoch });
            }
            Marker { epoch: applied_epoch(backend)?, state: 0, instance: 0 }
        }
    };
    let committed = marker.epoch;
    let finished = backend.get(Family::Meta, FINISHED_KEY)?.is_some();
    let (keys, receipts) = read_receipts(backend)?;
    watched(&parts.watch, Step::Recover, || recover_sinks(&parts.graph, committed, &receipts))?;
    tracing::info!(%committed, finished, "recovered");
    Ok(Found { committed, finished, receipts: keys, marker })
}

fn recover_sinks(graph: &Graph, committed: Epoch, receipts: &[(String, Vec<u8>)]) -> Result<(), JobError> {
    for (place, sink) in graph.sinks() {
        let own = of_sink(receipts, place);
        sink.recover(committed, &own).map_err(|cause| RunError::Sink { place: place.clone(), cause })?;
    }
    for (name, _) in receipts {
        if !graph.sinks().any(|(place, _)| place.name.as_ref() == Some(name)) {
            tracing::warn!(sink = %name, %committed, "the last epoch staged results for a sink that is gone");
        }
    }
    Ok(())
}

/// Fences, settles the epoch in doubt, and writes this instance's marker.
fn take_over(parts: &Parts, decider: &dyn Decide) -> Result<Marker, JobError> {
    let backend = &*parts.backend;
    let state = identity(backend, &parts.random)?;
    let applied = applied_epoch(backend)?;
    let redo = redo::read(backend)?;
    let prepared = redo.as_ref().map(|redo| Prepared { epoch: redo.epoch, instance: redo.instance });
    let judged = |marker| {
        let decider = decider.describe();
        judge(state, applied, prepared, marker).map_err(|mismatch| JobError::Mismatch { decider, mismatch })
    };
    // An instance that does not fit must not fence one that does. What a look says may be out of date, so only that
    // is believed which cannot change any more.
    let seen = judged(decider.look(&parts.terms).map_err(|cause| parts.undecided(cause))?);
    if let Err(JobError::Mismatch {
        mismatch: Mismatch::OtherState { .. } | Mismatch::Behind { .. }, ..
    }) = seen
    {
        seen?;
    }
    let found = watched(&parts.watch, Step::TakeOver, || decider.take_over(&parts.terms))
        .map_err(|cause| parts.undecided(cause))?;
    let verdict = judged(found)?;
    let committed = watched(&parts.watch, Step::Settle, || settle(backend, verdict, applied, redo))?;
    let marker = Marker { epoch: committed, state, instance: (parts.random)() as u64 };
    watched(&parts.watch, Step::Announce, || decider.stage(&marker).and_then(|()| decider.decide(committed)))
        .map_err(|cause| parts.undecided(cause))?;
    Ok(marker)
}

fn settle(
    backend: &dyn Backend,
    verdict: Verdict,
    applied: Epoch,
    redo: Option<Redo>,
) -> Result<Epoch, JobError> {
    let Some(redo) = redo else {
        // What was applied last may not be synced, and a power cut may bring its redo back: beside the marker that this
        // start writes it would look like that of a copy. A synced write keeps everything before it.
        let (mut kept, key) = (Delta::default(), layout::IDENTITY_KEY);
        if let Some(row) = backend.get(Family::Meta, key)? {
            kept.put(Family::Meta, key, &row);
        }
        backend.commit(&kept)?;
        return Ok(applied);
    };
    let pieces = redo.pieces();
    let (mut delta, committed) = match verdict {
        Verdict::RollForward => (redo.delta, redo.epoch),
        Verdict::Drop | Verdict::GoOn => (Delta::default(), applied),
    };
    tracing::info!(prepared = %redo.epoch, applied = %applied, ?verdict, "an epoch was in doubt");
    redo::forget(pieces, &mut delta);
    backend.commit(&delta)?;
    Ok(committed)
}

/// What tells this state from every other; made at the first start, before anything is written outside.
fn identity(backend: &dyn Backend, random: &Random) -> Result<u128, JobError> {
    if let Some(bytes) = backend.get(Family::Meta, layout::IDENTITY_KEY)? {
        return Ok(persist::decode("identity", &bytes)?);
    }
    let (identity, mut row, mut delta) = (random(), Vec::new(), Delta::default());
    persist::encode("identity", &identity, &mut row)?;
    delta.put(Family::Meta, layout::IDENTITY_KEY, &row);
    backend.commit(&delta)?;
    Ok(identity)
}

fn applied_epoch(backend: &dyn Backend) -> Result<Epoch, JobError> {
    match backend.get(Family::Meta, layout::EPOCH_KEY)? {
        Some(bytes) => Ok(persist::decode("epoch", &bytes)?),
        None => Ok(Epoch(0)),
    }
}

/// Where identities come from; a simulation has its own.
pub(crate) type Random = Arc<dyn Fn() -> u128 + Send + Sync>;

/// Bits that no other start has: the keys of a hasher come from the operating system.
pub(crate) fn random() -> Random {
    let half = || u128::from(RandomState::new().hash_one(std::process::id()));
    Arc::new(move || half() << 64 | half())
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

/// The receipts of one sink.
pub(crate) fn of_sink(receipts: &[(String, Vec<u8>)], place: &Place) -> Vec<Vec<u8>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: u128 = 7;

    fn judged(applied: u64, prepared: Option<u64>, decided: Option<u64>) -> Result<Verdict, Mismatch> {
        let marker = decided.map(|epoch| Marker { epoch: Epoch(epoch), state: STATE, instance: 1 });
        let prepared = prepared.map(|epoch| Prepared { epoch: Epoch(epoch), instance: 1 });
        judge(STATE, Epoch(applied), prepared, marker)
    }

    #[test]
    fn every_crash_point_has_one_verdict() {
        assert_eq!(judged(0, None, None), Ok(Verdict::GoOn), "the first start");
        assert_eq!(judged(4, None, None), Ok(Verdict::GoOn), "state from before there was a decider");
        assert_eq!(judged(4, None, Some(4)), Ok(Verdict::GoOn), "before the delta was prepared");
        assert_eq!(judged(4, Some(5), Some(4)), Ok(Verdict::Drop), "prepared, and not decided");
        assert_eq!(judged(4, Some(5), Some(5)), Ok(Verdict::RollForward), "decided, and not applied");
        assert_eq!(judged(5, None, Some(5)), Ok(Verdict::GoOn), "applied");
        // Epochs in which nothing happened leave no trace.
        assert_eq!(judged(4, Some(9), Some(9)), Ok(Verdict::RollForward));
        assert_eq!(judged(4, Some(9), Some(4)), Ok(Verdict::Drop));
    }

    #[test]
    fn what_does_not_fit_is_refused_and_never_guessed() {
        let (four, five) = (Epoch(4), Epoch(5));
        assert_eq!(judged(4, None, Some(5)), Err(Mismatch::Behind { applied: four, decided: five }));
        assert_eq!(judged(4, Some(6), Some(5)), Err(Mismatch::Behind { applied: four, decided: five }));
        assert_eq!(judged(5, None, Some(4)), Err(Mismatch::Ahead { applied: five, decided: four }));
        assert_eq!(judged(4, Some(5), None), Err(Mismatch::Forgotten { applied: four, prepared: five }));
        let marker = Marker { epoch: five, state: STATE + 1, instance: 1 };
        let prepared = Some(Prepared { epoch: five, instance: 1 });
        let other = judge(STATE, four, prepared, Some(marker));
        assert_eq!(other, Err(Mismatch::OtherState { epoch: five }));
        // A copy of the state went on, and decided its own fifth epoch.
        let marker = Marker { epoch: five, state: STATE, instance: 2 };
        let copied = judge(STATE, four, prepared, Some(marker));
        assert_eq!(copied, Err(Mismatch::Behind { applied: four, decided: five }));
    }

    #[test]
    fn no_two_starts_have_the_same_bits() {
        let draw = random();
        let drawn: BTreeSet<u128> = (0..1000).map(|_| draw()).collect();
        assert_eq!(drawn.len(), 1000);
        assert!(drawn.iter().any(|bits| bits >> 64 != 0));
    }
}
