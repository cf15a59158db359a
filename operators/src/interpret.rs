//! The reference interpreter: the meaning of a topology.
//!
//! One worker, one record at a time, no clock, no channel, state in memory, one epoch. What the engine emits,
//! with any number of workers and after any crash, is what the interpreter emits (HW-8), where nothing is late or
//! there is one split: with several, which records are late depends on how they interleave. Every source must end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_state::backend::memory::MemoryBackend;
use highwater_state::budget::TableBudget;
use highwater_state::catalog::Catalog;
use highwater_state::{Backend, Epoch, Timestamp};
use thiserror::Error;

use crate::error::{RunError, TopologyError};
use crate::exchange::{Channel, ChannelEnd, EdgeId, Transport};
use crate::executor::{Executor, InPlace};
use crate::flow::Flow;
use crate::graph::Graph;
use crate::limits::Limits;
use crate::node::at_place;
use crate::opening::WorkerOpening;
use crate::operator::Fault;
use crate::task::{Contribution, FullSpeed};
use crate::topology::Topology;

/// Why a topology cannot be interpreted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InterpretError {
    /// It is no topology.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Topology(Vec<TopologyError>),
    /// It failed while it ran.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// The interpreter's clock stands still: at the beginning of 1970.
pub(crate) const STANDING_CLOCK: Timestamp = Timestamp::from_millis(0);

/// Runs a topology over sources that end, in the caller's thread, to its end.
///
/// # Errors
/// The faults of the topology, and those of its operators, sources and sinks.
pub fn interpret(topology: Topology) -> Result<(), InterpretError> {
    run(topology, |flow| {
        while flow.step(STANDING_CLOCK, &FullSpeed)? || !flow.is_exhausted() {}
        Ok(())
    })
}

/// Runs a topology until its sources have nothing more to deliver, as a job does that is stopped then: event time
/// stays where the records have brought it, and what waits for a later time is not emitted.
///
/// # Errors
/// As for [`interpret`].
pub fn interpret_until_silent(topology: Topology) -> Result<(), InterpretError> {
    run(topology, |flow| {
        while flow.step(STANDING_CLOCK, &FullSpeed)? {}
        Ok(())
    })
}

fn run(
    topology: Topology,
    steps: impl FnOnce(&mut Flow) -> Result<(), RunError>,
) -> Result<(), InterpretError> {
    let graph = topology.finish().map_err(InterpretError::Topology)?;
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::default());
    recover_sinks(&graph, Epoch(0))?;
    let mut flow = open(&graph, &backend, Epoch(0), Limits { batch_records: 1, ..Limits::default() })?;
    steps(&mut flow)?;
    let contribution = end_epoch(&mut flow, Epoch(1), true)?;
    publish(&graph, Epoch(1), &contribution)?;
    Ok(())
}

/// Opens a plan on one worker, in memory.
pub(crate) fn open(
    graph: &Graph,
    backend: &Arc<dyn Backend>,
    committed: Epoch,
    limits: Limits,
) -> Result<Flow, RunError> {
    open_with(graph, backend, committed, limits, Arc::new(InPlace))
}

/// The same with futures driven by somebody else.
pub(crate) fn open_with(
    graph: &Graph,
    backend: &Arc<dyn Backend>,
    committed: Epoch,
    limits: Limits,
    executor: Arc<dyn Executor>,
) -> Result<Flow, RunError> {
    let catalog = Catalog::open(&**backend).expect("a backend in memory does not fail");
    open_named(graph, backend, committed, (limits, executor), &Arc::new(catalog))
}

/// The same with names that are kept by somebody else.
pub(crate) fn open_named(
    graph: &Graph,
    backend: &Arc<dyn Backend>,
    committed: Epoch,
    (limits, executor): (Limits, Arc<dyn Executor>),
    catalog: &Arc<Catalog>,
) -> Result<Flow, RunError> {
    let mut splits = BTreeMap::new();
    for (number, place, list) in graph.sources() {
        splits.insert(number, list().map_err(|cause| at_place(place, Fault::Failed(cause)))?);
    }
    Flow::open(
        graph,
        &WorkerOpening {
            worker: 0,
            workers: 1,
            backend: Arc::clone(backend),
            catalog: Arc::clone(catalog),
            budget: Arc::new(TableBudget::new(usize::MAX)),
            committed,
            limits,
            transport: &Alone,
            splits: &splits,
            idle_after: Duration::MAX,
            executor,
        },
    )
}

/// Steps until the barrier has passed everything.
pub(crate) fn end_epoch(flow: &mut Flow, epoch: Epoch, last: bool) -> Result<Contribution, RunError> {
    end_epoch_at(STANDING_CLOCK, flow, epoch, last)
}

/// The same while the clock stands elsewhere.
pub(crate) fn end_epoch_at(
    now: Timestamp,
    flow: &mut Flow,
    epoch: Epoch,
    last: bool,
) -> Result<Contribution, RunError> {
    flow.end_epoch(epoch, last);
    loop {
        flow.step(now, &FullSpeed)?;
        if let Some((_, contribution)) = flow.take_contribution() {
            return Ok(contribution);
        }
    }
}

/// Lets every sink begin after `last`.
pub(crate) fn recover_sinks(graph: &Graph, last: Epoch) -> Result<(), RunError> {
    for (place, sink) in graph.sinks() {
        sink.recover(last, &[]).map_err(|cause| at_place(place, Fault::Failed(cause)))?;
    }
    Ok(())
}

/// Lets every sink show what it staged.
pub(crate) fn publish(graph: &Graph, epoch: Epoch, contribution: &Contribution) -> Result<(), RunError> {
    for (place, sink) in graph.sinks() {
        let own = contribution.receipts.iter().filter(|(name, _)| Some(name) == place.name.as_ref());
        let receipts: Vec<_> = own.map(|(_, receipt)| receipt.clone()).collect();
        if !receipts.is_empty() {
            sink.publish(epoch, &receipts).map_err(|cause| at_place(place, Fault::Failed(cause)))?;
        }
    }
    Ok(())
}

/// The transport of a worker that has no others.
pub(crate) struct Alone;

impl Transport for Alone {
    fn sender(&self, _: EdgeId, _: usize) -> Box<dyn Channel> {
        unreachable!("a single worker has nobody to send to")
    }

    fn receiver(&self, _: EdgeId, _: usize) -> Box<dyn ChannelEnd> {
        unreachable!("a single worker has nobody to receive from")
    }
}
