//! In which order records leave an operator that gets their answers in any order.
//!
//! Every record stands in a lane and leaves after those before it there: one lane for all keeps the order of the
//! stream, one for each key that of the key, one for each record none. Signals stand between records and overtake
//! none, nor are they overtaken: what comes before a watermark leaves before it, and what comes behind it, behind it
//! (HW-3). It does not know what a record is.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use highwater_state::Timestamp;

use crate::batch::SplitId;
use crate::signal::SplitStatus;

/// A signal that keeps its place between records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    Watermark(Timestamp),
    /// Nothing is to be expected for now, or something again.
    Idle(bool),
    Split(SplitId, SplitStatus),
}

/// What leaves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Leaving<E> {
    Signal(Control),
    Record(E),
}

struct Placed<E> {
    lane: u64,
    done: bool,
    record: E,
}

/// The records that have not left, and the signals between them.
pub(crate) struct Lineup<E> {
    next: u64,
    records: BTreeMap<u64, Placed<E>>,
    /// By lane: the numbers of its records in order. Never iterated over.
    lanes: HashMap<u64, VecDeque<u64>>,
    /// Records that are done and first in their lanes.
    first: BTreeSet<u64>,
    /// Each stands before the record with its number, and behind those with smaller ones.
    signals: VecDeque<(u64, Control)>,
}

impl<E> Lineup<E> {
    pub(crate) fn new() -> Self {
        Lineup {
            next: 0,
            records: BTreeMap::new(),
            lanes: HashMap::new(),
            first: BTreeSet::new(),
            signals: VecDeque::new(),
        }
    }

    /// The number of the record that is put at the end next.
    pub(crate) fn next_number(&self) -> u64 {
        self.next
    }

    /// Passes over numbers, up to this one.
    pub(crate) fn skip_to(&mut self, number: u64) {
        self.next = self.next.max(number);
    }

    /// Puts a record at the end.
    pub(crate) fn push(&mut self, lane: u64, record: E) -> u64 {
        let number = self.next;
        self.next += 1;
        self.records.insert(number, Placed { lane, done: false, record });
        self.lanes.entry(lane).or_default().push_back(number);
        number
    }

    /// Puts a signal at the end. One of the same kind that stands there already is replaced: nothing comes between.
    pub(crate) fn signal(&mut self, signal: Control) {
        if let Some((before, last)) = self.signals.back_mut().filter(|(before, _)| *before == self.next) {
            let replaced = match (*last, signal) {
                (Control::Split(one, _), Control::Split(other, _)) => one == other,
                (one, other) => std::mem::discriminant(&one) == std::mem::discriminant(&other),
            };
            if replaced {
                (*before, *last) = (self.next, signal);
                return;
            }
        }
        self.signals.push_back((self.next, signal));
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut E> {
        self.records.get_mut(&number).map(|placed| &mut placed.record)
    }

    /// The records in their order.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut E)> {
        self.records.iter_mut().map(|(&number, placed)| (number, &mut placed.record))
    }

    /// A record may leave when it is its turn.
    pub(crate) fn done(&mut self, number: u64) {
        let Some(placed) = self.records.get_mut(&number) else { return };
        placed.done = true;
        if self.lanes.get(&placed.lane).and_then(VecDeque::front) == Some(&number) {
            self.first.insert(number);
        }
    }

    /// Takes out what may leave now.
    pub(crate) fn leave(&mut self) -> Option<Leaving<E>> {
        let oldest = self.records.first_key_value().map_or(self.next, |(&number, _)| number);
        let bound = self.signals.front().map_or(u64::MAX, |&(before, _)| before);
        if bound <= oldest {
            return self.signals.pop_front().map(|(_, signal)| Leaving::Signal(signal));
        }
        let number = self.first.first().copied().filter(|&number| number < bound)?;
        self.first.remove(&number);
        let placed = self.records.remove(&number)?;
        self.leave_lane(placed.lane);
        Some(Leaving::Record(placed.record))
    }

    fn leave_lane(&mut self, lane: u64) {
        let Some(numbers) = self.lanes.get_mut(&lane) else { return };
        numbers.pop_front();
        match numbers.front() {
            None => drop(self.lanes.remove(&lane)),
            Some(next) if self.records.get(next).is_some_and(|placed| placed.done) => {
                self.first.insert(*next);
            }
            Some(_) => {}
        }
    }

    /// How many records have not left.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether neither a record nor a signal is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.signals.is_empty()
    }
}
