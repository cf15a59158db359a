//! A model of transactional brokers: topics with holes in their offsets, one transactional producer at a time, and a
//! group's positions.
//!
//! It keeps what Kafka promises and nothing more: records of a transaction are visible to who reads what is committed
//! once it is, and none of them if it is not; the last stable offset stands before the first open transaction; a new
//! producer of the same name fences the old one and ends what it left open; requests may arrive long after their
//! sender has given up. A transaction is decided before it is complete: what reads the positions waits for that. It
//! knows nothing of processes, and rolls no dice.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};

use highwater_operators::decide::Marker;
use thiserror::Error;

/// The split of a topic and the next offset that is read of it.
pub(super) type Positions = BTreeMap<(String, String), u64>;

/// A record that was written to a sink: itself, and what it looks like.
pub(super) struct Written {
    pub(super) record: Box<dyn Any + Send>,
    pub(super) text: String,
}

/// What a topic has at one offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// The record with this number in its partition.
    Record(usize),
    /// A record of a transaction that was aborted: it looks like that one, and nobody may see it.
    Aborted(usize),
    /// The end of a transaction.
    Control,
}

/// A partition that is read.
#[derive(Clone, Debug, Default)]
pub(super) struct Partition {
    pub(super) slots: Vec<Slot>,
    /// Offsets from here on belong to transactions that are open.
    pub(super) stable: usize,
}

impl Partition {
    /// One more transaction ends, or more records without one have come.
    pub(super) fn grow(&mut self) {
        let next = self.slots[self.stable..].iter().position(|slot| *slot == Slot::Control);
        self.stable = next.map_or(self.slots.len(), |at| self.stable + at + 1);
    }
}

#[derive(Clone, Debug, Default)]
struct Committed {
    marker: Option<Marker>,
    positions: Positions,
}

/// The one transaction that is open or being completed.
#[derive(Debug)]
struct Transaction {
    number: u64,
    pending: Committed,
    decided: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Open,
    Committed,
    Aborted,
}

struct Output {
    sink: String,
    transaction: u64,
    standing: Standing,
    written: Written,
}

/// A request that is on its way.
pub(super) enum Request {
    /// Commit.
    End { epoch: u32 },
    /// Records for a sink, of one writer.
    Produce { epoch: u32, sink: String, records: Vec<Written> },
}

/// What became of a request that had been on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrived {
    Done,
    Refused,
}

/// Why the brokers refuse a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the brokers have fenced the producer")]
pub(super) struct Fenced;

/// The brokers of one cluster.
#[derive(Default)]
pub(super) struct Broker {
    pub(super) topics: BTreeMap<String, Vec<Partition>>,
    outputs: Vec<Output>,
    /// The epoch of the last producer; requests of older ones are refused.
    epoch: u32,
    transaction: Option<Transaction>,
    transactions: u64,
    committed: Committed,
    pub(super) on_the_way: VecDeque<Request>,
    /// Producers of which records were refused or lost: their next flush says so.
    refused: Vec<u32>,
    /// A planted bug: nobody is fenced.
    pub(super) lets_all_in: bool,
    /// A planted bug: the marker does not wait for the decision.
    pub(super) marks_at_once: bool,
}

impl Broker {
    /// A new producer: whatever is decided is completed, whatever is open is aborted, older producers are fenced.
    pub(super) fn new_producer(&mut self) -> u32 {
        self.end_what_is_open();
        self.epoch += 1;
        self.epoch
    }

    /// What is decided is completed, what is open is aborted; nobody is fenced.
    pub(super) fn end_what_is_open(&mut self) {
        self.complete();
        self.abort();
    }

    /// The brokers give up the open transaction, and fence its producer.
    pub(super) fn time_out(&mut self) -> bool {
        if self.transaction.as_ref().is_none_or(|open| open.decided) {
            return false;
        }
        self.abort();
        self.epoch += 1;
        true
    }

    fn admit(&self, epoch: u32) -> Result<(), Fenced> {
        if epoch == self.epoch || self.lets_all_in { Ok(()) } else { Err(Fenced) }
    }

    /// The transaction that the producer writes; a new one if none is open.
    fn open(&mut self) -> &mut Transaction {
        self.complete();
        if self.transaction.is_none() {
            self.transactions += 1;
        }
        let number = self.transactions;
        let pending = Committed::default;
        self.transaction.get_or_insert_with(|| Transaction { number, pending: pending(), decided: false })
    }

    fn produce(&mut self, epoch: u32, sink: String, records: Vec<Written>) -> Result<(), Fenced> {
        if let Err(fenced) = self.admit(epoch) {
            self.refused.push(epoch);
            return Err(fenced);
        }
        let transaction = self.open().number;
        let standing = Standing::Open;
        let outputs =
            records.into_iter().map(|written| Output { sink: sink.clone(), transaction, standing, written });
        self.outputs.extend(outputs);
        Ok(())
    }

    /// Records of this producer never arrive.
    pub(super) fn lose(&mut self, epoch: u32) {
        self.refused.push(epoch);
    }

    /// Adds positions and marker to the transaction.
    pub(super) fn stage(&mut self, epoch: u32, marker: &Marker, positions: &Positions) -> Result<(), Fenced> {
        self.admit(epoch)?;
        let pending = &mut self.open().pending;
        pending.marker = Some(*marker);
        pending.positions.extend(positions.iter().map(|(split, next)| (split.clone(), *next)));
        if self.marks_at_once {
            self.committed.marker = Some(*marker);
        }
        Ok(())
    }

    /// Decides that the open transaction is committed; nothing happens if there is none.
    pub(super) fn end(&mut self, epoch: u32) -> Result<(), Fenced> {
        self.admit(epoch)?;
        if let Some(open) = &mut self.transaction {
            open.decided = true;
        }
        Ok(())
    }

    /// Completes the transaction that is decided.
    pub(super) fn complete(&mut self) {
        let Some(decided) = self.transaction.take_if(|open| open.decided) else { return };
        self.committed.marker = decided.pending.marker.or(self.committed.marker);
        self.committed.positions.extend(decided.pending.positions);
        self.settle(decided.number, Standing::Committed);
    }

    fn abort(&mut self) {
        if let Some(open) = self.transaction.take() {
            self.settle(open.number, Standing::Aborted);
        }
    }

    fn settle(&mut self, transaction: u64, standing: Standing) {
        let of = self.outputs.iter_mut().rev().filter(|output| output.transaction == transaction);
        of.for_each(|output| output.standing = standing);
    }

    /// The next request that is on its way arrives.
    pub(super) fn deliver(&mut self) -> Option<(Request, Arrived)> {
        let request = self.on_the_way.pop_front()?;
        Some(match request {
            Request::End { epoch } => {
                let open = self.transaction.is_some();
                let arrived = if open && self.end(epoch).is_ok() { Arrived::Done } else { Arrived::Refused };
                (Request::End { epoch }, arrived)
            }
            Request::Produce { epoch, sink, records } => {
                let arrived = self.produce(epoch, sink, records);
                let arrived = if arrived.is_ok() { Arrived::Done } else { Arrived::Refused };
                (Request::Produce { epoch, sink: String::new(), records: Vec::new() }, arrived)
            }
        })
    }

    /// Whether all records of the producer have arrived, once all requests have.
    pub(super) fn flush(&mut self, epoch: u32) -> Result<(), Fenced> {
        let was_refused = self.refused.contains(&epoch);
        self.refused.retain(|refused| *refused != epoch);
        if was_refused { Err(Fenced) } else { Ok(()) }
    }

    /// The marker as of the last complete transaction.
    pub(super) fn marker(&self) -> Option<Marker> {
        self.committed.marker
    }

    /// Where the group goes on reading.
    pub(super) fn position(&self, topic: &str, split: &str) -> Option<u64> {
        self.committed.positions.get(&(topic.to_owned(), split.to_owned())).copied()
    }

    /// What who reads committed records sees in the end: all that was committed, by sink, in the order of arrival.
    pub(super) fn committed(&mut self) -> BTreeMap<String, Vec<Written>> {
        self.complete();
        let mut seen: BTreeMap<String, Vec<Written>> = BTreeMap::new();
        for output in self.outputs.drain(..).filter(|output| output.standing == Standing::Committed) {
            seen.entry(output.sink).or_default().push(output.written);
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_state::Epoch;

    fn send(broker: &mut Broker, epoch: u32, text: &str) -> Option<Arrived> {
        let records = vec![Written { record: Box::new(()), text: text.to_owned() }];
        broker.on_the_way.push_back(Request::Produce { epoch, sink: "out".to_owned(), records });
        broker.deliver().map(|(_, arrived)| arrived)
    }

    fn seen(broker: &mut Broker) -> Vec<String> {
        broker.committed().remove("out").unwrap_or_default().into_iter().map(|record| record.text).collect()
    }

    fn marker(epoch: u64) -> Marker {
        Marker { epoch: Epoch(epoch), state: 1, instance: 2 }
    }

    #[test]
    fn what_is_committed_shows_and_what_a_new_producer_finds_open_does_not() {
        let mut broker = Broker::default();
        let first = broker.new_producer();
        assert_eq!(send(&mut broker, first, "kept"), Some(Arrived::Done));
        broker.stage(first, &marker(1), &Positions::new()).expect("is open");
        broker.end(first).expect("commits");
        assert_eq!(broker.marker(), None, "it is decided, and not complete");
        send(&mut broker, first, "lost");
        assert_eq!(broker.marker(), Some(marker(1)), "the next transaction waits for it");
        broker.stage(first, &marker(2), &Positions::new()).expect("is open");
        let second = broker.new_producer();
        assert_eq!(broker.marker(), Some(marker(1)));
        assert_eq!(send(&mut broker, first, "late"), Some(Arrived::Refused));
        assert_eq!(broker.end(first), Err(Fenced));
        assert_eq!((broker.flush(first), broker.flush(first)), (Err(Fenced), Ok(())));
        send(&mut broker, second, "next");
        broker.end(second).expect("commits");
        assert_eq!(seen(&mut broker), ["kept", "next"]);
    }

    #[test]
    fn a_transaction_that_times_out_is_aborted_and_its_producer_fenced() {
        let mut broker = Broker::default();
        let producer = broker.new_producer();
        assert!(!broker.time_out(), "nothing is open");
        send(&mut broker, producer, "lost");
        assert!(broker.time_out());
        assert_eq!(broker.end(producer), Err(Fenced));
        assert_eq!(seen(&mut broker), [""; 0]);
    }

    #[test]
    fn the_last_stable_offset_goes_from_the_end_of_one_transaction_to_the_next() {
        let slots = vec![Slot::Record(0), Slot::Control, Slot::Aborted(0), Slot::Control, Slot::Record(1)];
        let mut partition = Partition { slots, stable: 0 };
        let stable: Vec<usize> = std::iter::from_fn(|| {
            partition.grow();
            Some(partition.stable)
        })
        .take(4)
        .collect();
        assert_eq!(stable, [2, 4, 5, 5]);
    }
}
