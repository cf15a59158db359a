//! The records that a key's runs have taken, each kept once, however many runs share it.
//!
//! What a run took is a chain of nodes, from the last record back to the first; runs that took the same records up to
//! some point share the chain up to there. Invariant: a node lives as long as a run or a later node refers to it, and
//! a record as long as a node does, so a key's buffer is empty when it has no run.

use highwater_state::Timestamp;
use serde::{Deserialize, Serialize};

use crate::pattern::automaton::StageId;

/// The number of a node.
pub(super) type NodeId = u32;
/// Stands for no node, before a run's first record.
pub(super) const NO_NODE: NodeId = NodeId::MAX;
const NO_RECORD: u32 = u32::MAX;

/// A record that some run has taken.
#[derive(Serialize, Deserialize)]
struct Kept<T> {
    record: T,
    references: u32,
}

/// One record in the chain of a run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Node {
    record: u32,
    references: u32,
    /// The node of the record that the run took before.
    pub(super) previous: NodeId,
    /// The last node of another stage before.
    pub(super) before_stage: NodeId,
    pub(super) stage: StageId,
    /// How many records the run took for the stage without one of another stage between, with this one.
    pub(super) count: u32,
    /// The groups of which it begins a round, one bit each.
    pub(super) opens: u32,
    pub(super) time: Timestamp,
    /// The number of the record among those of its key.
    pub(super) position: u64,
}

/// A node as it is to be.
pub(super) struct NewNode {
    pub(super) previous: NodeId,
    pub(super) stage: StageId,
    pub(super) opens: u32,
    pub(super) time: Timestamp,
    pub(super) position: u64,
}

/// What is numbered and given back.
#[derive(Serialize, Deserialize)]
struct Numbered<V> {
    places: Vec<Option<V>>,
    free: Vec<u32>,
}

impl<V> Default for Numbered<V> {
    fn default() -> Self {
        Numbered { places: Vec::new(), free: Vec::new() }
    }
}

impl<V> Numbered<V> {
    fn put(&mut self, value: V) -> u32 {
        match self.free.pop() {
            Some(number) => {
                self.places[number as usize] = Some(value);
                number
            }
            None => {
                // Most keys have one: room for four is given only to those that have two.
                if self.places.is_empty() {
                    self.places.reserve_exact(1);
                }
                self.places.push(Some(value));
                (self.places.len() - 1) as u32
            }
        }
    }

    fn remove(&mut self, number: u32) {
        self.places[number as usize] = None;
        self.free.push(number);
        if self.free.len() == self.places.len() {
            *self = Numbered::default();
        } else if self.free.len() > 64 && self.free.len().is_power_of_two() {
            self.trim();
        }
    }

    /// Gives back the empty places at the end.
    fn trim(&mut self) {
        let before = self.places.len();
        let full = self.places.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        if full <= before / 2 {
            self.places.truncate(full);
            self.places.shrink_to_fit();
            self.free.retain(|&number| (number as usize) < full);
            self.free.shrink_to_fit();
        }
    }

    /// Whether exactly the empty places are free.
    fn is_sound(&self) -> bool {
        let mut empty = vec![false; self.places.len()];
        let free = self.free.iter().all(|&number| match empty.get_mut(number as usize) {
            Some(seen) => !std::mem::replace(seen, true),
            None => false,
        });
        free && self.places.iter().zip(empty).all(|(place, empty)| place.is_none() == empty)
    }

    fn get(&self, number: u32) -> Option<&V> {
        self.places.get(number as usize)?.as_ref()
    }

    fn get_mut(&mut self, number: u32) -> &mut V {
        self.places[number as usize].as_mut().expect("what is referred to is kept")
    }

    fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

/// The records of one key, and the chains of its runs.
#[derive(Serialize, Deserialize)]
pub(super) struct Buffer<T> {
    records: Numbered<Kept<T>>,
    nodes: Numbered<Node>,
}

impl<T> Default for Buffer<T> {
    fn default() -> Self {
        Buffer { records: Numbered::default(), nodes: Numbered::default() }
    }
}

/// A record while it is being dealt with: kept from the moment that the first run takes it.
pub(super) struct Incoming<T> {
    record: Option<T>,
    number: u32,
}

impl<T> Incoming<T> {
    pub(super) fn new(record: T) -> Self {
        Incoming { record: Some(record), number: NO_RECORD }
    }

    pub(super) fn get<'a>(&'a self, buffer: &'a Buffer<T>) -> &'a T {
        match &self.record {
            Some(record) => record,
            None => buffer.record(self.number),
        }
    }
}

impl<T> Buffer<T> {
    /// Adds a node for the record, with one reference to it.
    pub(super) fn add(&mut self, new: NewNode, incoming: &mut Incoming<T>) -> NodeId {
        if let Some(record) = incoming.record.take() {
            // One reference is the incoming record's own.
            incoming.number = self.records.put(Kept { record, references: 1 });
        }
        self.records.get_mut(incoming.number).references += 1;
        let (before_stage, count) = match self.node(new.previous) {
            None => (NO_NODE, 1),
            Some(previous) if previous.stage == new.stage && new.opens == 0 => {
                (previous.before_stage, previous.count + 1)
            }
            Some(_) => (new.previous, 1),
        };
        self.retain(new.previous);
        self.nodes.put(Node {
            record: incoming.number,
            references: 1,
            previous: new.previous,
            before_stage,
            stage: new.stage,
            count,
            opens: new.opens,
            time: new.time,
            position: new.position,
        })
    }

    /// One more refers to the node.
    pub(super) fn retain(&mut self, node: NodeId) {
        if node != NO_NODE {
            self.nodes.get_mut(node).references += 1;
        }
    }

    /// One less refers to the node; it goes with the last, and its record and those before it as well.
    pub(super) fn release(&mut self, mut node: NodeId) {
        while node != NO_NODE {
            let at = self.nodes.get_mut(node);
            at.references -= 1;
            if at.references > 0 {
                return;
            }
            let &mut Node { record, previous, .. } = at;
            self.nodes.remove(node);
            self.release_record(record);
            node = previous;
        }
    }

    /// Every run has been compared with the record: it stays if one of them took it.
    pub(super) fn settle(&mut self, incoming: Incoming<T>) {
        if incoming.record.is_none() {
            self.release_record(incoming.number);
        }
    }

    fn release_record(&mut self, number: u32) {
        let kept = self.records.get_mut(number);
        kept.references -= 1;
        if kept.references == 0 {
            self.records.remove(number);
        }
    }

    pub(super) fn node(&self, node: NodeId) -> Option<&Node> {
        self.nodes.get(node)
    }

    fn record(&self, number: u32) -> &T {
        &self.records.get(number).expect("a record is kept while a node refers to it").record
    }

    /// The record of a node.
    pub(super) fn record_of(&self, node: &Node) -> &T {
        self.record(node.record)
    }

    /// The chain from a node back to the first.
    pub(super) fn back_from(&self, node: NodeId) -> impl Iterator<Item = &Node> {
        std::iter::successors(self.node(node), |node| self.node(node.previous))
    }

    /// Whether what was read back holds together: every number means something, chains lead back in the order of the
    /// records, and references are as many as counted, when runs refer to these nodes.
    pub(super) fn is_sound(&self, stages: usize, of_runs: impl Iterator<Item = NodeId>) -> bool {
        let mut nodes = vec![0u32; self.nodes.places.len()];
        let mut records = vec![0u32; self.records.places.len()];
        let mut refer = |to: NodeId| match nodes.get_mut(to as usize) {
            Some(references) => {
                *references += 1;
                true
            }
            None => to == NO_NODE,
        };
        let mut sound = self.nodes.is_sound() && self.records.is_sound();
        for node in self.nodes.places.iter().flatten() {
            let is_before = |other: NodeId| match self.node(other) {
                None => other == NO_NODE,
                Some(other) => other.position < node.position,
            };
            sound &= usize::from(node.stage) < stages && refer(node.previous);
            sound &= is_before(node.previous) && is_before(node.before_stage);
            match records.get_mut(node.record as usize) {
                Some(references) => *references += 1,
                None => sound = false,
            }
        }
        for node in of_runs {
            sound &= (node == NO_NODE || self.node(node).is_some()) && refer(node);
        }
        let counted = |(place, count): (&Option<Node>, u32)| place.map_or(0, |node| node.references) == count;
        let kept = |(place, count): (&Option<Kept<T>>, u32)| {
            place.as_ref().map_or(0, |kept| kept.references) == count
        };
        sound
            && self.nodes.places.iter().zip(nodes).all(counted)
            && self.records.places.iter().zip(records).all(kept)
    }

    /// How many nodes there are.
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// How many nodes there are, and how many records.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.nodes.len(), self.records.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(
        buffer: &mut Buffer<char>,
        previous: NodeId,
        stage: StageId,
        incoming: &mut Incoming<char>,
    ) -> NodeId {
        let new = NewNode { previous, stage, opens: 0, time: Timestamp::from_millis(0), position: 0 };
        buffer.add(new, incoming)
    }

    #[test]
    fn runs_share_what_they_took_and_the_last_one_gives_it_back() {
        let mut buffer = Buffer::default();
        let mut incoming = Incoming::new('a');
        let a = add(&mut buffer, NO_NODE, 0, &mut incoming);
        buffer.settle(incoming);
        let mut incoming = Incoming::new('b');
        let b = add(&mut buffer, a, 1, &mut incoming);
        let other = add(&mut buffer, a, 2, &mut incoming);
        assert_eq!(incoming.get(&buffer), &'b');
        buffer.settle(incoming);
        assert_eq!(buffer.sizes(), (3, 2), "`b` is kept once for two nodes");
        buffer.release(a);
        buffer.release(b);
        let chain: Vec<char> = buffer.back_from(other).map(|node| *buffer.record_of(node)).collect();
        assert_eq!(chain, ['b', 'a']);
        buffer.release(other);
        assert_eq!(buffer.sizes(), (0, 0));
    }

    #[test]
    fn a_record_that_is_taken_and_given_back_at_once_can_be_taken_again() {
        let mut buffer = Buffer::default();
        let mut incoming = Incoming::new('a');
        let first = add(&mut buffer, NO_NODE, 0, &mut incoming);
        buffer.release(first);
        let second = add(&mut buffer, NO_NODE, 0, &mut incoming);
        buffer.settle(incoming);
        assert_eq!(buffer.sizes(), (1, 1));
        buffer.release(second);
        assert_eq!(buffer.sizes(), (0, 0));
    }

    #[test]
    fn a_node_counts_the_records_of_its_stage() {
        let mut buffer = Buffer::default();
        let mut last = NO_NODE;
        for stage in [0, 1, 1, 1, 0] {
            last = add(&mut buffer, last, stage, &mut Incoming::new('a'));
        }
        let counts: Vec<(u32, bool)> = buffer
            .back_from(last)
            .map(|node| (node.count, buffer.node(node.before_stage).is_some()))
            .collect();
        assert_eq!(counts, [(1, true), (3, true), (2, true), (1, true), (1, false)]);
    }
}
