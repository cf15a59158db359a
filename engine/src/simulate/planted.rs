//! Bugs that tests plant, to see whether the simulation finds them.
//!
//! Each is a protocol done wrong at one place. Only a test can plant one ([`Simulation::plant`] is compiled for tests
//! of this crate alone); without one every function here says that there is nothing to do differently.
//!
//! [`Simulation::plant`]: super::Simulation

use highwater_operators::exchange::{Channel, ChannelEnd, EdgeId, Erased, Transport};
use highwater_operators::signal::Signal;
use highwater_state::delta::{Change, Family};
use highwater_state::{Delta, layout, redo};
use std::collections::VecDeque;

use super::outside::Outside;

/// What stands in a redo before the changes: an epoch and an instance.
const REDO_PREFIX_BYTES: usize = 16;

/// A protocol done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code, reason = "only tests plant bugs"))]
pub(super) enum Bug {
    /// The positions are written before the rest of the epoch.
    PositionsFirst,
    /// The positions are written after the rest of the epoch.
    PositionsLast,
    /// The delta is applied before the transaction is decided.
    AppliedBeforeTheDecision,
    /// The redo is not synced before the transaction is decided.
    RedoUnsynced,
    /// An epoch that is rolled forward is dropped.
    RedoDropped,
    /// The receipts of what sinks staged are not kept.
    ReceiptsForgotten,
    /// The brokers let producers go on that have been taken over.
    NothingFenced,
    /// The marker is not part of the transaction.
    MarkerAtOnce,
    /// An epoch in which no position moved is not kept.
    EpochsOfTimersForgotten,
    /// A barrier overtakes the batches before it in a channel.
    BarrierOvertakes,
    /// Timers are not there after a restart.
    TimersLost,
    /// Watermarks are not there after a restart.
    WatermarksLost,
    /// A sink shows what it staged before the epoch is committed.
    PublishedBeforeCommitted,
    /// A sink that publishes an epoch twice shows it twice.
    PublishedTwice,
    /// Writers go on between the end of the epoch and its decision.
    WritesBeforeTheDecision,
    /// A source reads what is not committed, or was aborted.
    ReadsUncommitted,
    /// A position counts records, where offsets have holes.
    PositionCountsRecords,
    /// A reader that is opened again in the same process goes on where it was, and not at the position.
    NotRewound,
    /// A producer is used again after an outcome that is not known.
    ProducerUsedAgain,
    /// The marker is read while a transaction that is decided waits for its completion.
    PositionsReadUnstable,
    /// Nobody asks whether the brokers have all records.
    LostRecordsIgnored,
}

/// What is written in place of one write.
pub(super) fn writes(bug: Option<Bug>, delta: &Delta, synced: bool) -> Option<Vec<(Delta, bool)>> {
    let all = |_: Family, _: &Change<'_>| true;
    let is_position = |family: Family, change: &Change<'_>| {
        family == Family::Meta && key_of(change).starts_with(b"position/")
    };
    let keeps_redo = puts(delta, Family::Redo, b"head").is_some();
    match bug? {
        Bug::PositionsFirst => Some(vec![
            (only(delta, is_position), synced),
            (only(delta, |family, change| !is_position(family, change)), synced),
        ]),
        Bug::PositionsLast => Some(vec![
            (only(delta, |family, change| !is_position(family, change)), synced),
            (only(delta, is_position), synced),
        ]),
        Bug::EpochsOfTimersForgotten => {
            let is_epoch = puts(delta, Family::Meta, layout::EPOCH_KEY).is_some();
            let moved = delta.changes().any(|(family, change)| is_position(family, &change));
            (is_epoch && !moved).then(Vec::new)
        }
        Bug::AppliedBeforeTheDecision if keeps_redo => {
            let record: Vec<u8> =
                delta.changes().flat_map(|(_, change)| piece_of(&change).to_vec()).collect();
            let applied = redo::decode(record.get(REDO_PREFIX_BYTES..)?).ok()?;
            let applied = only(&applied, |_, change| key_of(change) != layout::EPOCH_KEY);
            Some(vec![(only(delta, all), true), (applied, true)])
        }
        Bug::RedoUnsynced if keeps_redo => Some(vec![(only(delta, all), false)]),
        Bug::RedoDropped if synced && deletes_redo(delta) => {
            let of_the_protocol = |family: Family, change: &Change<'_>| {
                family == Family::Redo || key_of(change) == layout::EPOCH_KEY
            };
            Some(vec![(only(delta, of_the_protocol), true)])
        }
        Bug::ReceiptsForgotten => {
            Some(vec![(only(delta, |_, change| !key_of(change).starts_with(b"receipt/")), synced)])
        }
        _ => None,
    }
}

/// What is lost when a process starts.
pub(super) fn at_start(outside: &mut Outside) {
    let mut lost = Delta::default();
    match outside.bug() {
        Some(Bug::TimersLost) => lost.delete_range(Family::Timers, &[], &[u8::MAX; 64]),
        Some(Bug::WatermarksLost) => {
            lost.delete_range(Family::Meta, b"watermark/", &layout::after_prefix(b"watermark/"));
        }
        _ => return,
    }
    outside.disk.write(&lost, true).expect("rows in memory are written");
}

fn key_of<'a>(change: &Change<'a>) -> &'a [u8] {
    match *change {
        Change::Put { key, .. } | Change::Delete { key } => key,
        Change::DeleteRange { from, .. } => from,
    }
}

fn piece_of<'a>(change: &Change<'a>) -> &'a [u8] {
    match *change {
        Change::Put { key, value } if key.starts_with(b"piece/") => value,
        _ => &[],
    }
}

fn puts<'a>(delta: &'a Delta, family: Family, key: &[u8]) -> Option<Change<'a>> {
    let mut changes = delta.changes().filter(|(of, _)| *of == family).map(|(_, change)| change);
    changes.find(|change| matches!(change, Change::Put { .. }) && key_of(change) == key)
}

fn deletes_redo(delta: &Delta) -> bool {
    delta.changes().any(|(family, change)| family == Family::Redo && matches!(change, Change::Delete { .. }))
}

fn only(delta: &Delta, keep: impl Fn(Family, &Change<'_>) -> bool) -> Delta {
    let mut kept = Delta::default();
    for (family, change) in delta.changes().filter(|(family, change)| keep(*family, change)) {
        match change {
            Change::Put { key, value } => kept.put(family, key, value),
            Change::Delete { key } => kept.delete(family, key),
            Change::DeleteRange { from, to } => kept.delete_range(family, from, to),
        }
    }
    kept
}

/// Channels in which barriers overtake batches.
pub(super) struct Overtaking<T>(pub(super) T);

impl<T: Transport> Transport for Overtaking<T> {
    fn sender(&self, edge: EdgeId, to: usize) -> Box<dyn Channel> {
        self.0.sender(edge, to)
    }

    fn receiver(&self, edge: EdgeId, from: usize) -> Box<dyn ChannelEnd> {
        Box::new(OvertakingEnd { end: self.0.receiver(edge, from), waiting: VecDeque::new() })
    }
}

struct OvertakingEnd {
    end: Box<dyn ChannelEnd>,
    waiting: VecDeque<Erased>,
}

impl ChannelEnd for OvertakingEnd {
    fn try_receive(&mut self) -> Option<Erased> {
        while let Some(signal) = self.end.try_receive() {
            self.waiting.push_back(signal);
        }
        let barrier = self.waiting.iter().position(|signal| matches!(signal, Signal::Barrier(_)));
        self.waiting.remove(barrier.unwrap_or(0))
    }
}
