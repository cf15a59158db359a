//! The plan of a topology: nodes, ports and edges, without types.
//!
//! Verbs add nodes; the engine and the interpreter instantiate them once per worker. Invariant: a node's inputs
//! are ports of nodes with smaller numbers, so the order of the numbers is an order of the flow, and there is
//! no cycle.

mod picture;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use highwater_state::id::is_name;

use crate::decide::{Decide, is_same};
use crate::error::{Place, TopologyError};
use crate::limits::Limits;
use crate::measure::{Lags, Latency, Watermarks};
use crate::opening::{NodeOpening, OpenError};
use crate::position::PositionType;
use crate::sink::Publish;
use crate::task::Task;

pub use picture::{Edge, Moves};

/// One output of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The node's number.
    pub node: usize,
    /// Which of its outputs.
    pub output: usize,
}

pub(crate) type Open = dyn Fn(&mut NodeOpening<'_>) -> Result<Box<dyn Task>, OpenError> + Send + Sync;
pub(crate) type Splits = dyn Fn() -> Result<Vec<String>, crate::error::Cause> + Send + Sync;

/// One node of the plan.
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) inputs: Vec<Port>,
    pub(crate) open: Option<Box<Open>>,
    /// Whether split signals begin here.
    pub(crate) origin: bool,
    /// Whether it hands futures to an executor. What waits for them may move to any worker over a restart.
    pub(crate) asynchronous: bool,
    pub(crate) source: Option<Box<Splits>>,
    /// What the positions of a source are.
    pub(crate) positions: Option<PositionType>,
    pub(crate) sink: Option<Arc<dyn Publish>>,
    /// Who decides epochs, if a source or sink has a say in it.
    pub(crate) decider: Option<Arc<dyn Decide>>,
    pub(crate) counters: Arc<Counters>,
}

/// What is known of one output of a node.
#[derive(Default)]
pub(crate) struct PortPlan {
    /// `fn(&B) -> B`, where the stream was cloned.
    pub(crate) copy: Option<Box<dyn Any + Send + Sync>>,
    /// `Exchange<B>`, behind a `key_by` and before a table that is on every worker.
    pub(crate) exchange: Option<Box<dyn Any + Send + Sync>>,
    /// Whether the exchange copies every record to every worker.
    pub(crate) to_all: bool,
}

/// What a node counts, over all workers.
#[derive(Debug, Default)]
pub struct Counters {
    /// Records that went in.
    pub records_in: AtomicU64,
    /// Records that came out, by output: the second is the late or the bad ones, or changes with their old values, and
    /// the third the late ones of the other side of a join.
    pub records_out: [Arc<AtomicU64>; 3],
    /// Records that were skipped as bad by the operator's policy.
    pub skipped: Arc<AtomicU64>,
    /// Runs of a pattern that were dropped because their key had too many.
    pub runs_dropped: AtomicU64,
    /// How far event time has come.
    pub watermarks: Watermarks,
    /// How old records are when they reach a sink, by their event times: their batch's last one.
    pub latency: Latency,
    /// How many records of each split of a source are still to be read, at the end of the last epoch.
    pub lags: Lags,
}

/// The plan of a topology.
#[derive(Default)]
pub struct Graph {
    pub(crate) name: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) ports: BTreeMap<Port, PortPlan>,
    pub(crate) errors: Vec<TopologyError>,
}

impl Graph {
    /// The topology's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether anything in it hands futures to an executor.
    pub fn is_asynchronous(&self) -> bool {
        self.nodes.iter().any(|node| node.asynchronous)
    }

    /// How many batches of a source may wait in queues at most, over all workers: on the edges inside each, and in the
    /// channels between them, where a batch is cut among the workers.
    pub fn batches_in_queues(&self, limits: &Limits, workers: usize) -> usize {
        let ports = || self.nodes.iter().flat_map(|node| &node.inputs);
        let crossing = |port: &&Port| self.ports.get(port).is_some_and(|plan| plan.exchange.is_some());
        let local = ports().count() * limits.edge_batches * workers;
        local + ports().filter(crossing).count() * limits.channel_batches * (workers - 1)
    }

    /// Where each node stands in the user's program, and what it counts; in the order of their numbers.
    pub fn nodes(&self) -> impl Iterator<Item = (&Place, &Arc<Counters>)> {
        self.nodes.iter().map(|node| (&node.place, &node.counters))
    }

    /// The sources, by node number: what they are called, and what asks for their splits.
    pub fn sources(&self) -> impl Iterator<Item = (usize, &Place, &Splits)> {
        let sources = self.nodes.iter().enumerate();
        sources.filter_map(|(number, node)| Some((number, &node.place, node.source.as_deref()?)))
    }

    /// What the positions of the source with this name are; `None` if there is none.
    pub fn positions_of(&self, source: &str) -> Option<PositionType> {
        let named = |node: &&Node| node.place.name.as_deref() == Some(source);
        self.nodes.iter().filter(|node| node.source.is_some()).find(named)?.positions
    }

    /// The operators that keep state under a name; sources and sinks aside.
    pub fn with_state(&self) -> impl Iterator<Item = &Place> {
        let nodes = self.nodes.iter().filter(|node| node.source.is_none() && node.sink.is_none());
        nodes.map(|node| &node.place).filter(|place| place.name.is_some())
    }

    /// The sinks: what they are called, and what makes committed epochs visible.
    pub fn sinks(&self) -> impl Iterator<Item = (&Place, &Arc<dyn Publish>)> {
        self.nodes.iter().filter_map(|node| Some((&node.place, node.sink.as_ref()?)))
    }

    /// Who decides epochs: the decider of the sinks. `None` if no sink has one, whatever sources have; those keep their
    /// positions in the state directory.
    pub fn decider(&self) -> Option<&Arc<dyn Decide>> {
        let sinks = self.nodes.iter().filter(|node| node.sink.is_some());
        sinks.filter_map(|node| node.decider.as_ref()).next()
    }

    /// The first operator that keeps state; sources and sinks aside.
    pub fn first_with_state(&self) -> Option<&Place> {
        self.with_state().next()
    }

    /// The first source whose positions, or sink whose results, the decider does not keep.
    pub fn first_beside_the_decider(&self) -> Option<&Place> {
        let mut ends = self.nodes.iter().filter(|node| node.source.is_some() || node.sink.is_some());
        let decider = self.decider()?;
        let beside = |node: &&Node| !node.decider.as_ref().is_some_and(|own| is_same(own, decider));
        ends.find(beside).map(|node| &node.place)
    }

    /// The faults of the plan that can be seen before it runs.
    ///
    /// # Errors
    /// All of them: names used twice or that cannot be names, arguments that no operator can work with, no
    /// source.
    pub fn check(&self) -> Result<(), Vec<TopologyError>> {
        let mut errors = self.errors.clone();
        let mut names: BTreeMap<&str, &Place> = BTreeMap::new();
        for place in self.nodes.iter().map(|node| &node.place) {
            let Some(name) = &place.name else { continue };
            if !is_name(name) {
                errors.push(TopologyError::Name { place: place.clone() });
            }
            if let Some(first) = names.insert(name, place) {
                let (first, second) = (first.clone(), place.clone());
                errors.push(TopologyError::DuplicateName { name: name.clone(), first, second });
            }
        }
        for node in self.nodes.iter().filter(|node| node.open.is_none()) {
            let reason = match node.place.verb {
                "join" => "the join gives nothing; end it with `inner`, `left`, `right` or `outer`",
                "join_as_of" => "the join gives nothing; end it with `inner` or `left`",
                "pattern" => "the matches are never selected; end it with `select`",
                _ => "the window is never aggregated; end it with `count`, `aggregate`, `reduce` or `apply`",
            };
            errors.push(TopologyError::Argument { place: node.place.clone(), reason: reason.to_owned() });
        }
        let mut taken = std::collections::BTreeSet::new();
        for port in self.nodes.iter().flat_map(|node| &node.inputs) {
            let is_copied = self.ports.get(port).is_some_and(|plan| plan.copy.is_some());
            if !taken.insert(*port) && !is_copied {
                let reason =
                    "one of its outputs is taken twice; take it once and clone the stream".to_owned();
                errors.push(TopologyError::Argument { place: self.nodes[port.node].place.clone(), reason });
            }
        }
        let mut deciders = self.nodes.iter().filter_map(|node| Some((&node.place, node.decider.as_ref()?)));
        if let Some((first, decider)) = deciders.next()
            && let Some((second, _)) = deciders.find(|(_, other)| !is_same(decider, other))
        {
            let reason = format!(
                "it writes or reads in other transactions than {first}; make all of them from one clone of the cluster"
            );
            errors.push(TopologyError::Argument { place: second.clone(), reason });
        }
        if self.nodes.iter().all(|node| node.source.is_none()) {
            errors.push(TopologyError::NoSource { topology: self.name.clone() });
        }
        if !is_name(&self.name) {
            let place =
                Place { verb: "topology", name: Some(self.name.clone()), location: Location::caller() };
            errors.push(TopologyError::Name { place });
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The topology in words, one line a node: its number, verb and name, and where its records come from.
    pub fn describe(&self) -> String {
        let mut text = format!("topology {}\n", self.name);
        for (number, node) in self.nodes.iter().enumerate() {
            let from: Vec<String> = node.inputs.iter().map(|port| self.describe_port(*port)).collect();
            let arrow = if from.is_empty() { String::new() } else { format!("  <- {}", from.join(", ")) };
            text.push_str(&format!("{number:>4}  {}{arrow}\n", node.place));
        }
        text
    }

    fn describe_port(&self, port: Port) -> String {
        let moves = match self.ports.get(&port) {
            Some(plan) if plan.to_all => " to all",
            Some(plan) if plan.exchange.is_some() => " by key",
            _ => "",
        };
        let output = if port.output == 0 { String::new() } else { format!(".{}", port.output) };
        format!("{}{output}{moves}", port.node)
    }

    pub(crate) fn consumers(&self, port: Port) -> Vec<(usize, usize)> {
        let mut consumers = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let inputs = node.inputs.iter().enumerate();
            consumers.extend(inputs.filter(|(_, from)| **from == port).map(|(input, _)| (number, input)));
        }
        consumers
    }

    /// Whether any way that split signals take from one node down to another leads over an exchange.
    pub(crate) fn exchange_between(&self, above: usize, below: usize) -> bool {
        let mut seen = BTreeSet::new();
        let mut look_at = vec![(below, false)];
        while let Some((node, crossed)) = look_at.pop() {
            if node == above && crossed {
                return true;
            }
            if node != below && self.ends_splits(node) {
                continue;
            }
            let ports = self.nodes[node].inputs.iter();
            let further = ports.map(|port| {
                let plan = self.ports.get(port);
                (port.node, crossed || plan.is_some_and(|plan| plan.exchange.is_some()))
            });
            look_at.extend(further.filter(|&step| seen.insert(step)));
        }
        false
    }

    /// The numbers of the nodes above this one at which split signals begin.
    pub(crate) fn origins_above(&self, node: usize) -> Vec<usize> {
        let mut found = Vec::new();
        let mut look_at: Vec<usize> = self.nodes[node].inputs.iter().map(|port| port.node).collect();
        while let Some(number) = look_at.pop() {
            if self.nodes[number].origin {
                found.push(number);
            } else {
                look_at.extend(self.nodes[number].inputs.iter().map(|port| port.node));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The numbers of the nodes at which the split signals begin that come out of this one.
    pub(crate) fn split_origins(&self, node: usize) -> Vec<usize> {
        let mut found = BTreeSet::new();
        let (mut look_at, mut seen) = (vec![node], BTreeSet::new());
        while let Some(number) = look_at.pop() {
            if self.nodes[number].origin {
                found.insert(number);
            } else if !self.ends_splits(number) && seen.insert(number) {
                look_at.extend(self.nodes[number].inputs.iter().map(|port| port.node));
            }
        }
        found.into_iter().collect()
    }

    /// Whether no split signal that goes into the node comes out of it: a stream begins or gets event time there.
    fn ends_splits(&self, node: usize) -> bool {
        self.nodes[node].origin || self.nodes[node].place.verb == "event_time"
    }
}
