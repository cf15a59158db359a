//! How a plan becomes the tasks of one worker.
//!
//! The engine fills in [`WorkerOpening`]; every node is opened in the order of the plan with a [`NodeOpening`],
//! which hands it its edges, its state and its counters. Invariant: the same plan opened on every worker gives
//! edges that fit together, because they are named by the plan.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use highwater_state::budget::TableBudget;
use highwater_state::catalog::Catalog;
use highwater_state::delta::Family;
use highwater_state::error::Result as StateResult;
use highwater_state::shape::shape_of;
use highwater_state::{Backend, Epoch, Key, KeyGroup, Persist, persist, table};

use crate::batch::{Either, NO_SPLIT, Records, SplitId};
use crate::edge::{Deliver, Inputs, Joined, LocalEdge, MappedEdge, Receive, local_edge};
use crate::error::{Place, RunError};
use crate::exchange::{Crossing, EdgeId, Exchange, ExchangeEdge, RemoteEdge, Transport};
use crate::executor::Executor;
use crate::graph::{Counters, Graph, Port};
use crate::limits::Limits;
use crate::node::at_place;
use crate::operator::Fault;
use crate::outbox::Outbox;
use crate::task::Task;

/// Why a node cannot be opened.
pub type OpenError = Fault;

/// What one worker is opened with.
pub struct WorkerOpening<'a> {
    /// The worker's number.
    pub worker: usize,
    /// How many workers there are.
    pub workers: usize,
    /// Where decided epochs are kept.
    pub backend: Arc<dyn Backend>,
    /// Which name has which number on disk.
    pub catalog: Arc<Catalog>,
    /// The memory that all tables share.
    pub budget: Arc<TableBudget>,
    /// The last committed epoch.
    pub committed: Epoch,
    /// The limits of the job.
    pub limits: Limits,
    /// The channels to the other workers.
    pub transport: &'a dyn Transport,
    /// The names of all splits of every source, by the source's node number; split `i` is read by worker
    /// `i % workers`.
    pub splits: &'a BTreeMap<usize, Vec<String>>,
    /// How long a split may deliver nothing before it stops holding back the watermark.
    pub idle_after: Duration,
    /// Who drives the futures of asynchronous operators.
    pub executor: Arc<dyn Executor>,
}

/// What one node is opened with.
pub struct NodeOpening<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) number: usize,
    pub(crate) worker: &'a WorkerOpening<'a>,
    edges: &'a mut HashMap<(usize, usize), Box<dyn Any>>,
    next_output: usize,
}

/// Opens every node of the plan on one worker.
pub(crate) fn open_tasks(graph: &Graph, worker: &WorkerOpening<'_>) -> Result<Vec<Box<dyn Task>>, RunError> {
    let mut edges = HashMap::new();
    let mut tasks = Vec::with_capacity(graph.nodes.len());
    for (number, node) in graph.nodes.iter().enumerate() {
        let Some(open) = &node.open else { continue };
        let mut opening = NodeOpening { graph, number, worker, edges: &mut edges, next_output: 0 };
        tasks.push(open(&mut opening).map_err(|fault| at_place(&node.place, fault))?);
    }
    Ok(tasks)
}

impl NodeOpening<'_> {
    /// Where the node stands in the user's program.
    pub fn place(&self) -> &Place {
        &self.graph.nodes[self.number].place
    }

    /// What the node counts.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.graph.nodes[self.number].counters)
    }

    /// The name under which the node keeps state.
    ///
    /// # Panics
    /// If its verb has no name: only named verbs keep state.
    pub fn name(&self) -> &str {
        self.place().name.as_deref().expect("a verb that keeps state has a name")
    }

    /// How many records a batch holds at most.
    pub fn batch_records(&self) -> usize {
        self.worker.limits.batch_records
    }

    /// The last committed epoch.
    pub fn committed(&self) -> Epoch {
        self.worker.committed
    }

    /// The next output of the node, with an edge to everyone who takes it.
    pub(crate) fn outbox<B: Records>(&mut self) -> Result<Outbox<B>, OpenError> {
        let port = Port { node: self.number, output: self.next_output };
        self.next_output += 1;
        let plan = self.graph.ports.get(&port);
        let copy = plan.and_then(|plan| plan.copy.as_ref()).map(|copy| typed::<fn(&B) -> B>(copy.as_ref()));
        let exchange = self.exchange::<B>(port);
        let mut edges = Vec::new();
        for (to, input) in self.graph.consumers(port) {
            let (writer, reader) = local_edge::<B>(self.worker.limits.edge_batches);
            self.edges.insert((to, input), Box::new(reader));
            let local: Box<dyn Deliver<B>> = Box::new(writer);
            edges.push(match exchange {
                None => local,
                Some(exchange) => self.exchange_edge(EdgeId { to, input }, exchange, local),
            });
        }
        let delivered = Arc::clone(&self.graph.nodes[self.number].counters.records_out[port.output]);
        Ok(Outbox::new(edges, copy, self.worker.limits.batch_records, delivered))
    }

    /// The inputs of the node, all joined.
    pub(crate) fn inputs<B: Records>(&mut self) -> Inputs<B> {
        let mut edges = Vec::new();
        for input in 0..self.graph.nodes[self.number].inputs.len() {
            edges.append(&mut self.edges_of::<B>(input));
        }
        joined(edges, |_| 0)
    }

    /// The inputs of a node that takes one type from its first input and another from its second.
    pub(crate) fn two_inputs<L: Records, R: Records>(&mut self) -> Inputs<Either<L, R>> {
        let left = self.edges_of::<L>(0).into_iter().map(|edge| edge.map(Either::<L, R>::Left));
        let left: Vec<_> = left.collect();
        let right = self.edges_of::<R>(1).into_iter().map(|edge| edge.map(Either::<L, R>::Right));
        let first_right = left.len();
        let edges = left.into_iter().chain(right).collect();
        joined(edges, |number| usize::from(number >= first_right))
    }

    /// The edges from this worker and from the others that lead to one input of the node.
    fn edges_of<B: Records>(&mut self, input: usize) -> Vec<OpenEdge<B>> {
        let port = self.graph.nodes[self.number].inputs[input];
        let local = self.edges.remove(&(self.number, input)).expect("a node is opened after its inputs");
        let local = local.downcast::<LocalEdge<B>>();
        let local = local.expect("both ends of an edge are made from one declaration");
        let mut edges = vec![OpenEdge { receive: local, known: self.known(port, None) }];
        if self.exchange::<B>(port).is_some() {
            let edge = EdgeId { to: self.number, input };
            for from in self.others() {
                let receive = Box::new(RemoteEdge(self.worker.transport.receiver(edge, from)));
                edges.push(OpenEdge { receive, known: self.known(port, Some(from)) });
            }
        }
        edges
    }

    /// What is known of the edge from a port: that of this worker, or of another one.
    fn known(&self, port: Port, from: Option<usize>) -> KnownEdge {
        KnownEdge {
            silent: from.is_some_and(|from| !self.may_bring_records(port, from)),
            splits: self.splits_brought(port.node, from.unwrap_or(self.worker.worker)),
        }
    }

    /// Whether a worker can have records at a port: it reads a split above it, or there is an exchange above, or
    /// something whose kept records may be of another worker.
    fn may_bring_records(&self, port: Port, worker: usize) -> bool {
        let workers = self.worker.workers;
        let splits = |node: usize| self.worker.splits.get(&node).map_or(0, Vec::len);
        let exchanged = |port: &Port| self.graph.ports.get(port).is_some_and(|plan| plan.exchange.is_some());
        let mut look_at = vec![port.node];
        while let Some(node) = look_at.pop() {
            let inputs = &self.graph.nodes[node].inputs;
            let keeps = self.graph.nodes[node].asynchronous;
            if keeps
                || (0..splits(node)).any(|split| split % workers == worker)
                || inputs.iter().any(exchanged)
            {
                return true;
            }
            look_at.extend(inputs.iter().map(|port| port.node));
        }
        false
    }

    /// The splits whose status reaches this node: those of the origins above that are read by this worker, or by
    /// any worker where there is an exchange in between.
    pub(crate) fn splits_heard_of(&self, origins: &[usize]) -> Vec<SplitId> {
        self.splits_heard_at(self.number, self.worker.worker, origins)
    }

    /// The splits whose status a node passes on at one worker; none where the stream has event time.
    fn splits_brought(&self, node: usize, worker: usize) -> Vec<SplitId> {
        let origins = self.graph.split_origins(node);
        self.splits_heard_at(node, worker, &origins)
    }

    fn splits_heard_at(&self, node: usize, at: usize, origins: &[usize]) -> Vec<SplitId> {
        let workers = self.worker.workers;
        let mut heard_of = Vec::new();
        for &origin in origins {
            let source = origin as u32;
            let exchanged = self.graph.exchange_between(origin, node);
            for worker in (0..workers).filter(|&worker| exchanged || worker == at) {
                let Some(splits) = self.worker.splits.get(&origin) else {
                    heard_of.push(SplitId { source, index: worker as u32 });
                    continue;
                };
                let before = heard_of.len();
                let own = (worker..splits.len()).step_by(workers);
                heard_of.extend(own.map(|index| SplitId { source, index: index as u32 }));
                if heard_of.len() == before {
                    heard_of.push(SplitId { source, index: NO_SPLIT });
                }
            }
        }
        heard_of
    }

    fn others(&self) -> impl Iterator<Item = usize> {
        let own = self.worker.worker;
        (0..self.worker.workers).filter(move |&worker| worker != own)
    }

    fn exchange<B: Records>(&self, port: Port) -> Option<Exchange<B>> {
        let plan = self.graph.ports.get(&port)?.exchange.as_ref()?;
        (self.worker.workers > 1).then(|| typed::<Exchange<B>>(plan.as_ref()))
    }

    fn exchange_edge<B: Records>(
        &self,
        edge: EdgeId,
        exchange: Exchange<B>,
        local: Box<dyn Deliver<B>>,
    ) -> Box<dyn Deliver<B>> {
        Box::new(ExchangeEdge::new(exchange, local, self.crossing(edge)))
    }

    fn crossing(&self, edge: EdgeId) -> Crossing {
        let own = self.worker.worker;
        let channel = |to| (to != own).then(|| self.worker.transport.sender(edge, to));
        Crossing::new(own, (0..self.worker.workers).map(channel))
    }

    /// Where the node files rows of `K` and `V`: under its own name, and the handle's behind a slash.
    ///
    /// # Errors
    /// HW-9: if the name was used for rows of another type.
    pub fn store<K: Key, V: Persist>(
        &self,
        handle: Option<&str>,
        family: Family,
    ) -> StateResult<table::Place> {
        self.store_filed::<K, V>(handle, family, "")
    }

    /// As [`store`](Self::store), of rows that can be found only by who files them in the same way; `filed` says how.
    ///
    /// # Errors
    /// HW-9: if the name was used for rows of another type, or for rows that were filed in another way.
    pub(crate) fn store_filed<K: Key, V: Persist>(
        &self,
        handle: Option<&str>,
        family: Family,
        filed: &str,
    ) -> StateResult<table::Place> {
        let name = match handle {
            Some(handle) => format!("{}/{handle}", self.name()),
            None => self.name().to_owned(),
        };
        let shape = format!("{} -> {}{filed}", shape_of::<K>(), shape_of::<V>());
        Ok(table::Place {
            store: self.worker.catalog.store(&name, family, &shape)?,
            name,
            family,
            backend: Arc::clone(&self.worker.backend),
            budget: Arc::clone(&self.worker.budget),
            groups: KeyGroup::range(self.worker.worker, self.worker.workers),
        })
    }

    /// A value kept in a meta row.
    pub fn meta<V: Persist>(&self, key: &[u8]) -> StateResult<Option<V>> {
        let bytes = self.worker.backend.get(Family::Meta, key)?;
        bytes.map(|bytes| persist::decode(&String::from_utf8_lossy(key), &bytes)).transpose()
    }
}

/// An edge that leads to a node.
struct OpenEdge<B> {
    receive: Box<dyn Receive<B>>,
    known: KnownEdge,
}

/// What is known of an edge before it is read.
struct KnownEdge {
    /// It never brings records.
    silent: bool,
    /// The splits whose status it brings.
    splits: Vec<SplitId>,
}

impl<B: 'static> OpenEdge<B> {
    fn map<C: 'static>(self, map: fn(B) -> C) -> OpenEdge<C> {
        OpenEdge { receive: Box::new(MappedEdge { edge: self.receive, map }), known: self.known }
    }
}

fn joined<B>(edges: Vec<OpenEdge<B>>, side: impl Fn(usize) -> usize) -> Inputs<B> {
    let (mut sided, mut known) = (Vec::with_capacity(edges.len()), Vec::with_capacity(edges.len()));
    for (number, edge) in edges.into_iter().enumerate() {
        sided.push((side(number), edge.receive));
        known.push(edge.known);
    }
    let mut inputs = Inputs::with_sides(sided);
    tell(inputs.joined(), &known);
    inputs
}

fn tell(joined: &mut Joined, edges: &[KnownEdge]) {
    if edges.len() > 1 {
        let brought = edges.iter().enumerate();
        joined.share_splits(
            brought.flat_map(|(number, edge)| edge.splits.iter().map(move |&split| (number, split))),
        );
    }
    let silent = edges.iter().enumerate().filter(|(_, edge)| edge.silent);
    silent.for_each(|(number, _)| joined.brings_nothing(number));
}

fn typed<V: Copy + 'static>(value: &(dyn Any + Send + Sync)) -> V {
    *value.downcast_ref::<V>().expect("a port is declared and opened with one type")
}
