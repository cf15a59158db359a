//! Where a program begins: a name, and the sources of its streams.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::error::TopologyError;
use crate::graph::{Graph, Port};
use crate::position::PositionType;
use crate::source::{BadRecord, Source};
use crate::source_task::SourceTask;
use crate::stateless::tried::Tried;
use crate::stream::{Stream, Untimed, Wire, add_node, here};

/// A pipeline that is being written.
///
/// ```
/// use highwater_operators::{interpret::interpret, memory::Memory, topology::Topology};
///
/// let even = Memory::sink();
/// let topology = Topology::new("even-numbers");
/// topology
///     .source("numbers", Memory::source([1, 2, 3, 4]))
///     .filter(|number| number % 2 == 0)
///     .sink("even", even.clone());
/// interpret(topology).expect("runs");
/// assert_eq!(even.take(), [2, 4]);
/// ```
pub struct Topology {
    graph: Rc<RefCell<Graph>>,
}

impl Topology {
    /// An empty topology; its name tells it from others in logs and on disk.
    pub fn new(name: &str) -> Topology {
        let graph = Graph { name: name.to_owned(), ..Graph::default() };
        Topology { graph: Rc::new(RefCell::new(graph)) }
    }

    /// Reads a source; a record that cannot be decoded ends the job with an error that says where it came from.
    ///
    /// The name is what the positions are kept under: a source that is renamed is read from its beginning.
    #[track_caller]
    pub fn source<S: Source>(&self, name: &str, source: S) -> Stream<S::Item, Untimed> {
        self.try_source(name, source).or_fail()
    }

    /// Reads a source, and lets the caller say what becomes of records that cannot be decoded.
    #[track_caller]
    pub fn try_source<S: Source>(&self, name: &str, source: S) -> Tried<S::Item, BadRecord, Untimed> {
        let place = here("source", Some(name));
        let graph = Rc::clone(&self.graph);
        Tried::new(move |on_bad| {
            let node = add_node(&graph, place, Vec::new());
            let source = Arc::new(source);
            let splits = Arc::clone(&source);
            let mut plan = graph.borrow_mut();
            let plan_node = &mut plan.nodes[node];
            plan_node.origin = true;
            plan_node.decider = source.decider();
            plan_node.positions = Some(PositionType::of::<S::Position>());
            plan_node.source = Some(Box::new(move || splits.splits()));
            plan_node.open =
                Some(Box::new(move |opening| Ok(Box::new(SourceTask::open(&*source, on_bad, opening)?))));
            drop(plan);
            Wire { graph, port: Port { node, output: 0 } }
        })
    }

    /// The finished plan. Streams that have not reached a sink by now never will.
    ///
    /// # Errors
    /// What can be seen to be wrong before anything runs; see [`Graph::check`].
    pub fn finish(self) -> Result<Graph, Vec<TopologyError>> {
        let graph = std::mem::take(&mut *self.graph.borrow_mut());
        graph.check()?;
        Ok(graph)
    }

    /// The topology in words, one line a node.
    pub fn describe(&self) -> String {
        self.graph.borrow().describe()
    }
}
