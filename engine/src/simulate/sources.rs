//! The sources of a simulation: splits that can be read again, and topics of the simulated brokers.
//!
//! A topic is made at the first start: transactions of others stand between its records, aborted ones among them, and
//! its end comes while it is being read. Invariant: what is delivered are exactly the records that were given, each
//! split in order.

use std::sync::{Arc, Mutex, PoisonError};

use highwater_operators::decide::Decide;
use highwater_operators::error::Cause;
use highwater_operators::source::{Poll, Polled, Reader, Source};
use highwater_state::Epoch;

use super::broker::{Partition, Slot};
use super::dice::Dice;
use super::fault::Call;
use super::outside::{Outside, Process};
use super::planted::Bug;
use super::transactions::Transactions;

/// Where the records of a source are.
#[derive(Clone)]
pub(super) enum Place {
    /// In the interpreter's hands.
    Meaning,
    /// Somewhere that can be read again.
    Splits(Process),
    /// In a topic.
    Topic(Process, Arc<str>, Arc<Transactions>),
}

/// A source of a simulation; made by [`World::topic`](super::World::topic) and [`World::source`](super::World::source).
#[derive(Clone)]
pub struct SimulatedSource<T> {
    splits: Vec<Arc<Vec<T>>>,
    place: Place,
    /// Where readers were when they were dropped; only a planted bug looks.
    left_at: Arc<Mutex<Vec<usize>>>,
}

impl<T> SimulatedSource<T> {
    pub(super) fn new(splits: impl IntoIterator<Item = Vec<T>>, place: Place) -> Self {
        let splits: Vec<Arc<Vec<T>>> = splits.into_iter().map(Arc::new).collect();
        if let Place::Topic(process, name, _) = &place {
            let outside = &mut *process.lock();
            let lengths: Vec<usize> = splits.iter().map(|split| split.len()).collect();
            if !outside.broker.topics.contains_key(&**name) {
                let made = lengths.iter().map(|length| partition(*length, &mut outside.dice)).collect();
                outside.broker.topics.insert(name.to_string(), made);
            }
        }
        let left_at = Arc::new(Mutex::new(vec![0; splits.len()]));
        SimulatedSource { splits, place, left_at }
    }
}

/// The partition of a topic that holds so many records, in transactions of others.
fn partition(records: usize, dice: &mut Dice) -> Partition {
    let mut slots = Vec::new();
    let holes = dice.one_in(2);
    for record in 0..records {
        if holes && dice.one_in(8) {
            let aborted = 1 + dice.roll(3);
            slots.extend((0..aborted).map(|_| Slot::Aborted(dice.roll(records))));
            slots.push(Slot::Control);
        }
        slots.push(Slot::Record(record));
        if holes && dice.one_in(5) {
            slots.push(Slot::Control);
        }
    }
    let mut partition = Partition { slots, stable: 0 };
    (0..dice.roll(1 + records)).for_each(|_| partition.grow());
    partition
}

/// A transaction of somebody else ends: more of a topic can be read.
pub(super) fn grow(outside: &mut Outside) {
    let topics = outside.broker.topics.len();
    let topic = outside.dice.roll(topics);
    let Some(partitions) = outside.broker.topics.values_mut().nth(topic) else { return };
    let number = outside.dice.roll(partitions.len());
    if let Some(partition) = partitions.get_mut(number) {
        partition.grow();
    }
}

impl<T: Clone + Send + Sync + 'static> Source for SimulatedSource<T> {
    type Item = T;
    type Position = u64;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        Ok((0..self.splits.len()).map(|number| number.to_string()).collect())
    }

    fn open(
        &self,
        split: &str,
        from: Option<u64>,
    ) -> Result<Box<dyn Reader<Item = T, Position = u64>>, Cause> {
        let number: usize = split.parse()?;
        let records = self.splits.get(number).ok_or_else(|| format!("there is no split {split}"))?;
        if let Place::Topic(process, name, _) = &self.place {
            let committed = process.lock().broker.position(name, split);
            if committed.is_some_and(|committed| Some(committed) != from) {
                let reason = format!(
                    "split {split} of `{name}` goes on at {from:?}, and the last transaction says {committed:?}"
                );
                return Err(reason.into());
            }
        }
        let mut next = usize::try_from(from.unwrap_or(0))?;
        if self.is_planted(Bug::NotRewound) {
            next = next.max(self.left_at.lock().unwrap_or_else(PoisonError::into_inner)[number]);
        }
        Ok(Box::new(SimulatedReader {
            records: Arc::clone(records),
            number,
            next,
            delivered: from.unwrap_or(0),
            source: SimulatedSource {
                splits: Vec::new(),
                place: self.place.clone(),
                left_at: Arc::clone(&self.left_at),
            },
        }))
    }

    fn decider(&self) -> Option<Arc<dyn Decide>> {
        match &self.place {
            Place::Topic(_, _, transactions) => Some(Arc::clone(transactions) as _),
            Place::Meaning | Place::Splits(_) => None,
        }
    }
}

impl<T> SimulatedSource<T> {
    fn is_planted(&self, bug: Bug) -> bool {
        match &self.place {
            Place::Topic(process, ..) | Place::Splits(process) => process.lock().planted(bug),
            Place::Meaning => false,
        }
    }
}

struct SimulatedReader<T> {
    records: Arc<Vec<T>>,
    number: usize,
    next: usize,
    /// Records so far; only a planted bug takes it for a position.
    delivered: u64,
    source: SimulatedSource<T>,
}

impl<T: Clone> SimulatedReader<T> {
    /// Takes records up to the last stable offset of the partition.
    fn fetch(
        &mut self,
        partition: &Partition,
        limit: usize,
        uncommitted: bool,
        into: &mut Polled<T>,
    ) -> Poll {
        let end = if uncommitted { partition.slots.len() } else { partition.stable };
        let mut left = limit;
        while self.next < end {
            match partition.slots[self.next] {
                Slot::Record(record) if left > 0 => {
                    into.values.push(self.records[record].clone());
                    left -= 1;
                }
                Slot::Aborted(record) if uncommitted && left > 0 => {
                    into.values.push(self.records[record].clone());
                    left -= 1;
                }
                Slot::Aborted(_) if !uncommitted => {}
                Slot::Control => {}
                Slot::Record(_) | Slot::Aborted(_) => break,
            }
            self.next += 1;
        }
        if self.next >= partition.slots.len() { Poll::Finished } else { Poll::Ready }
    }

    fn take(&mut self, limit: usize, into: &mut Polled<T>) -> Poll {
        let until = self.records.len().min(self.next + limit);
        into.values.extend_from_slice(&self.records[self.next..until]);
        self.next = until;
        if until < self.records.len() { Poll::Ready } else { Poll::Finished }
    }

    fn note(&self) {
        self.source.left_at.lock().unwrap_or_else(PoisonError::into_inner)[self.number] = self.next;
    }
}

impl<T: Clone> Reader for SimulatedReader<T> {
    type Item = T;
    type Position = u64;

    fn poll(&mut self, limit: usize, into: &mut Polled<T>) -> Result<Poll, Cause> {
        let place = self.source.place.clone();
        let before = into.values.len();
        let polled = match &place {
            Place::Meaning => Ok(self.take(limit, into)),
            Place::Splits(process) => process.call(Call::Poll, |outside| {
                // Sometimes nothing comes, and mostly less than there is.
                let some = outside.dice.roll(limit + 1).min(1 + outside.dice.roll(8));
                Ok(self.take(some, into))
            }),
            Place::Topic(process, name, _) => process.call(Call::Poll, |outside| {
                let some = outside.dice.roll(limit + 1).min(1 + outside.dice.roll(8));
                let uncommitted = outside.planted(Bug::ReadsUncommitted);
                let partition = &outside.broker.topics[&**name][self.number];
                Ok(self.fetch(partition, some, uncommitted, into))
            }),
        };
        let taken = into.values.len() - before;
        self.delivered += taken as u64;
        self.note();
        Ok(match polled? {
            Poll::Ready if taken == 0 => Poll::Pending,
            other => other,
        })
    }

    fn position(&self) -> u64 {
        if self.source.is_planted(Bug::PositionCountsRecords) { self.delivered } else { self.next as u64 }
    }

    fn ends_epoch(&mut self, _: Epoch) {
        if let Place::Topic(_, name, transactions) = &self.source.place {
            transactions.note(name, &self.number.to_string(), self.position());
        }
    }
}
