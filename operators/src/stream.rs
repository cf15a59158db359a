//! The four nouns' common ground, and the first of them: [`Stream`].
//!
//! A stream is a place in a plan, not a pipe: verbs add nodes to the plan, and nothing runs until a job does.
//! Its verbs are inherent methods, one file each, beside their mechanisms.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::panic::Location;
use std::rc::Rc;

use crate::batch::{Batch, Either, Records};
use crate::error::{Place, TopologyError};
use crate::graph::{Graph, Node, Port};
use crate::opening::{NodeOpening, OpenError};
use crate::operator::Operator;
use crate::outbox::Outputs;

/// Marks a stream whose records have event times.
#[derive(Clone, Copy, Debug)]
pub enum EventTime {}

/// Marks a stream whose records have none yet.
#[derive(Clone, Copy, Debug)]
pub enum Untimed {}

/// Records in order, with event time (`Stream<T>`) or without (`Stream<T, Untimed>`).
///
/// Cloning a stream lets two chains take it: every record is cloned for all but one of them.
#[must_use = "a stream does nothing until it reaches a sink"]
pub struct Stream<T, C = EventTime> {
    pub(crate) wire: Wire,
    pub(crate) marker: PhantomData<fn() -> (T, C)>,
}

impl<T, C> Stream<T, C> {
    pub(crate) fn at(wire: Wire) -> Self {
        Stream { wire, marker: PhantomData }
    }
}

impl<T: Clone + 'static, C> Clone for Stream<T, C> {
    fn clone(&self) -> Self {
        let copy: fn(&Batch<T>) -> Batch<T> = Batch::clone;
        let mut graph = self.wire.graph.borrow_mut();
        graph.ports.entry(self.wire.port).or_default().copy = Some(Box::new(copy));
        drop(graph);
        Stream::at(self.wire.clone())
    }
}

/// An output of a node in the plan that is being written.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) graph: Rc<RefCell<Graph>>,
    pub(crate) port: Port,
}

impl Wire {
    /// Adds a node that takes this output; gives its first output.
    pub(crate) fn then<In, Out>(
        &self,
        place: Place,
        open: impl Fn(&mut NodeOpening<'_>) -> Result<Box<dyn Operator<In, Out>>, OpenError>
        + Send
        + Sync
        + 'static,
    ) -> Wire
    where
        In: Records,
        Out: Outputs,
    {
        let node = add_node(&self.graph, place, vec![self.port]);
        set_operator(&self.graph, node, open);
        self.output_of(node, 0)
    }

    /// Adds a node that takes this output and another; gives its first output. Outputs of different topologies are
    /// refused.
    pub(crate) fn join<L, R, Out>(
        &self,
        other: &Wire,
        place: Place,
        open: impl Fn(&mut NodeOpening<'_>) -> Result<Box<dyn Operator<Either<L, R>, Out>>, OpenError>
        + Send
        + Sync
        + 'static,
    ) -> Wire
    where
        L: Records,
        R: Records,
        Out: Outputs,
    {
        let wire = add_join(self, other, place);
        set_join(&wire.graph, wire.port.node, open);
        wire
    }

    pub(crate) fn output_of(&self, node: usize, output: usize) -> Wire {
        Wire { graph: Rc::clone(&self.graph), port: Port { node, output } }
    }

    /// Another output of the same node.
    pub(crate) fn output(&self, output: usize) -> Wire {
        self.output_of(self.port.node, output)
    }

    /// Notes that an argument cannot be worked with; the topology is refused when it is checked.
    pub(crate) fn refuse(&self, place: &Place, reason: impl Into<String>) {
        let error = TopologyError::Argument { place: place.clone(), reason: reason.into() };
        self.graph.borrow_mut().errors.push(error);
    }
}

/// Where a verb stands; called from functions with `#[track_caller]`.
#[track_caller]
pub(crate) fn here(verb: &'static str, name: Option<&str>) -> Place {
    Place { verb, name: name.map(str::to_owned), location: Location::caller() }
}

pub(crate) fn add_node(graph: &Rc<RefCell<Graph>>, place: Place, inputs: Vec<Port>) -> usize {
    let mut graph = graph.borrow_mut();
    graph.nodes.push(Node {
        place,
        inputs,
        open: None,
        origin: false,
        asynchronous: false,
        source: None,
        positions: None,
        sink: None,
        decider: None,
        counters: Default::default(),
    });
    graph.nodes.len() - 1
}

pub(crate) fn set_operator<In, Out>(
    graph: &Rc<RefCell<Graph>>,
    node: usize,
    open: impl Fn(&mut NodeOpening<'_>) -> Result<Box<dyn Operator<In, Out>>, OpenError> + Send + Sync + 'static,
) where
    In: Records,
    Out: Outputs,
{
    graph.borrow_mut().nodes[node].open = Some(Box::new(move |opening| {
        let operator = open(opening)?;
        let inputs = opening.inputs();
        let out = Out::open(opening)?;
        let (place, counters, worker) = (opening.place().clone(), opening.counters(), opening.worker.worker);
        Ok(Box::new(crate::node::Node::new(place, inputs, operator, out, counters, worker)))
    }));
}

/// Adds a node that takes two outputs, whose operator is set later; gives its first output. Outputs of different
/// topologies are refused.
pub(crate) fn add_join(left: &Wire, right: &Wire, place: Place) -> Wire {
    let mut inputs = vec![left.port];
    if Rc::ptr_eq(&left.graph, &right.graph) {
        inputs.push(right.port);
    } else {
        // A port of the other plan means nothing in this one.
        left.refuse(&place, "the two streams belong to different topologies; make both from one `Topology`");
    }
    let node = add_node(&left.graph, place, inputs);
    left.output_of(node, 0)
}

/// As [`set_operator`], of a node with two inputs.
pub(crate) fn set_join<L, R, Out>(
    graph: &Rc<RefCell<Graph>>,
    node: usize,
    open: impl Fn(&mut NodeOpening<'_>) -> Result<Box<dyn Operator<Either<L, R>, Out>>, OpenError>
    + Send
    + Sync
    + 'static,
) where
    L: Records,
    R: Records,
    Out: Outputs,
{
    graph.borrow_mut().nodes[node].open = Some(Box::new(move |opening| {
        let operator = open(opening)?;
        let inputs = opening.two_inputs::<L, R>();
        let out = Out::open(opening)?;
        let (place, counters, worker) = (opening.place().clone(), opening.counters(), opening.worker.worker);
        Ok(Box::new(crate::node::Node::new(place, inputs, operator, out, counters, worker)))
    }));
}
