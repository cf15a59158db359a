//! Tools for testing operators and topologies.
//!
//! The [`Harness`] is hard on an operator on purpose: its outputs have room for one record, and after every
//! input it is torn down and built anew from what an epoch committed. An operator that forgets a field in its
//! state fails every test; one that asks for room goes through all that it does when there is none.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use highwater_state::backend::memory::MemoryBackend;
use highwater_state::catalog::Catalog;
use highwater_state::delta::Family;
use highwater_state::error::Result as StateResult;
use highwater_state::{Backend, Committed, Epoch, StateError, StoreId, Timestamp};

use crate::batch::Batch;
use crate::data::Data;
use crate::error::RunError;
use crate::executor::InPlace;
use crate::flow::Flow;
use crate::graph::Graph;
use crate::interpret::{
    STANDING_CLOCK, end_epoch, end_epoch_at, interpret, open, open_named, publish, recover_sinks,
};
use crate::limits::Limits;
use crate::memory::{Memory, MemorySink};
use crate::operator::{Fault, Operator};
use crate::outbox::{Outbox, Outputs};
use crate::source::{Poll, Polled, Reader, Source};
use crate::stream::{Stream, Untimed, here};
use crate::task::FullSpeed;
use crate::topology::Topology;

/// The time `millis` milliseconds after 1970.
pub fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// What a chain without event time gives for some records, in order.
///
/// # Panics
/// If the topology fails.
pub fn output_of<T, U>(
    records: impl IntoIterator<Item = T>,
    chain: impl FnOnce(Stream<T, Untimed>) -> Stream<U, Untimed>,
) -> Vec<U>
where
    T: Data + Clone + Sync,
    U: Data,
{
    let topology = Topology::new("output");
    let sink = Memory::sink();
    chain(topology.source("records", Memory::source(records))).sink("sink", sink.clone());
    interpret(topology).expect("the topology runs");
    sink.take()
}

/// What a chain with event time gives for some records with times in milliseconds: each result with its time,
/// in order. The watermark reaches the end of time after the last record.
///
/// # Panics
/// If the topology fails.
pub fn timed_output_of<T, U>(
    records: impl IntoIterator<Item = (i64, T)>,
    chain: impl FnOnce(Stream<T>) -> Stream<U>,
) -> Vec<(i64, U)>
where
    T: Data + Clone + Sync,
    U: Data,
{
    let topology = Topology::new("output");
    let sink = Memory::sink();
    let source = topology.source("records", Memory::source(records));
    let timed = source.event_time(|record: &(i64, T)| at(record.0), Duration::from_secs(1_000_000));
    with_times(chain(timed.map(|(_, record)| record))).sink("sink", sink.clone());
    interpret(topology).expect("the topology runs");
    sink.take().into_iter().map(|(result, time): (U, Timestamp)| (time.as_millis(), result)).collect()
}

/// As [`timed_output_of`], but the records come in batches as large as a job's, and the watermark follows them at
/// the distance of `out_of_orderness`. What it gives must not differ from what single records give, where an operator
/// says that batches make no difference.
///
/// # Panics
/// If the topology fails.
pub fn batched_output_of<T, U>(
    records: impl IntoIterator<Item = (i64, T)>,
    out_of_orderness: Duration,
    chain: impl FnOnce(Stream<T>) -> Stream<U>,
) -> Vec<(i64, U)>
where
    T: Data + Clone + Sync,
    U: Data,
{
    let topology = Topology::new("batches");
    let sink = Memory::sink();
    let source = topology.source("records", Memory::source(records));
    let timed = source.event_time(|record: &(i64, T)| at(record.0), out_of_orderness);
    with_times(chain(timed.map(|(_, record)| record))).sink("sink", sink.clone());
    let graph = topology.finish().expect("the chain is a topology");
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::default());
    recover_sinks(&graph, Epoch(0)).expect("a sink in memory does not fail");
    let mut flow = open(&graph, &backend, Epoch(0), Limits::default()).expect("the chain opens");
    while flow.step(STANDING_CLOCK, &FullSpeed).expect("the chain runs") || !flow.is_exhausted() {}
    let contribution = end_epoch(&mut flow, Epoch(1), true).expect("the epoch ends");
    publish(&graph, Epoch(1), &contribution).expect("a sink in memory does not fail");
    sink.take().into_iter().map(|(result, time): (U, Timestamp)| (time.as_millis(), result)).collect()
}

/// Makes each record's event time part of it.
fn with_times<T: Data>(stream: Stream<T>) -> Stream<(T, Timestamp)> {
    let place = here("with_times", None);
    let wire =
        stream.wire.then::<Batch<T>, Outbox<Batch<(T, Timestamp)>>>(place, |_| Ok(Box::new(WithTimes)));
    Stream::at(wire)
}

struct WithTimes;

impl<T: 'static> Operator<Batch<T>, Outbox<Batch<(T, Timestamp)>>> for WithTimes {
    fn on_batch(
        &mut self,
        batch: &mut Batch<T>,
        out: &mut Outbox<Batch<(T, Timestamp)>>,
    ) -> Result<(), Fault> {
        let values = std::mem::take(&mut batch.values);
        let paired = values.into_iter().zip(batch.times.iter().copied()).collect();
        out.send(batch.with_values(paired));
        Ok(())
    }
}

/// What a script holds.
enum Input<T> {
    Record(T, Timestamp),
    Watermark(Timestamp),
}

type Script<T> = Arc<Mutex<VecDeque<Input<T>>>>;

/// Runs a chain of operators input by input, with a restart after each and room for one record at its outputs.
///
/// ```
/// use highwater_operators::testkit::{Harness, at};
///
/// let mut harness = Harness::new(|stream| stream.key_by(|word: &&str| *word == "a").count("words").to_stream());
/// harness.record("a", at(1));
/// harness.record("a", at(2));
/// assert_eq!(harness.take(), [((true, 1), at(1)), ((true, 2), at(2))]);
/// ```
pub struct Harness<T: 'static, U: 'static> {
    graph: Graph,
    script: Script<T>,
    sink: MemorySink<(U, Timestamp)>,
    kept: Kept,
    flow: Flow,
    clock: Timestamp,
}

/// What a [`Harness`] has committed, to be read as a state directory is.
#[derive(Clone)]
pub struct Kept {
    backend: Arc<dyn Backend>,
    catalog: Arc<Catalog>,
    epoch: Epoch,
}

impl Kept {
    fn new() -> Kept {
        Kept { backend: Arc::new(MemoryBackend::default()), catalog: Arc::default(), epoch: Epoch(0) }
    }

    /// Opens a plan as after a restart.
    fn open(&mut self, graph: &Graph) -> Result<Flow, RunError> {
        let catalog = Catalog::open(&*self.backend).expect("a backend in memory does not fail");
        self.catalog = Arc::new(catalog);
        open_named(graph, &self.backend, self.epoch, (Limits::tiny(), Arc::new(InPlace)), &self.catalog)
    }

    /// The rows, to be damaged by a test.
    pub fn rows(&self) -> &Arc<dyn Backend> {
        &self.backend
    }
}

impl Committed for Kept {
    fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn state(&self, name: &str) -> StateResult<(StoreId, Family, String)> {
        let known = || self.states().into_iter().map(|(name, _)| name).collect();
        let unknown =
            || StateError::Unknown { name: name.to_owned(), path: "the harness".into(), known: known() };
        self.catalog.find(name).ok_or_else(unknown)
    }

    fn states(&self) -> Vec<(String, String)> {
        self.catalog.names().into_iter().map(|(name, _, shape)| (name, shape)).collect()
    }
}

impl<T: Data + Clone + Sync, U: Data> Harness<T, U> {
    /// Builds the chain.
    ///
    /// # Panics
    /// If it is no topology.
    pub fn new(chain: impl FnOnce(Stream<T>) -> Stream<U>) -> Self {
        Self::opened(Kept::new(), chain).unwrap_or_else(|error| panic!("the chain opens: {error}"))
    }

    /// Builds a chain on what another one has committed, as a program that was changed does.
    ///
    /// # Errors
    /// If the chain cannot work with what is kept.
    ///
    /// # Panics
    /// If it is no topology.
    pub fn after(kept: Kept, chain: impl FnOnce(Stream<T>) -> Stream<U>) -> Result<Self, RunError> {
        Self::opened(kept, chain)
    }

    fn opened(mut kept: Kept, chain: impl FnOnce(Stream<T>) -> Stream<U>) -> Result<Self, RunError> {
        let topology = Topology::new("harness");
        let script: Script<T> = Arc::default();
        let sink = Memory::sink();
        let source = topology.source("script", ScriptSource { script: Arc::clone(&script) });
        let place = here("scripted_time", None);
        let timed =
            source.wire.then::<Batch<Input<T>>, Outbox<Batch<T>>>(place, |_| Ok(Box::new(ScriptedTime)));
        with_times(chain(Stream::at(timed))).sink("sink", sink.clone());
        let graph = topology.finish().expect("the chain is a topology");
        recover_sinks(&graph, kept.epoch).expect("a sink in memory does not fail");
        let flow = kept.open(&graph)?;
        Ok(Harness { graph, script, sink, kept, flow, clock: STANDING_CLOCK })
    }

    /// Feeds one record.
    ///
    /// # Panics
    /// If the chain fails.
    pub fn record(&mut self, record: T, time: Timestamp) {
        self.feed(Input::Record(record, time));
    }

    /// Raises the watermark.
    ///
    /// # Panics
    /// If the chain fails.
    pub fn watermark(&mut self, watermark: Timestamp) {
        self.feed(Input::Watermark(watermark));
    }

    /// Sets the clock, which stands at the beginning of 1970 until then. Because a restart follows every input, it
    /// may also be set back: as if a machine had lost its time while the job stood still.
    ///
    /// # Panics
    /// If the chain fails.
    pub fn clock(&mut self, now: Timestamp) {
        self.clock = now;
        self.run_and_restart();
    }

    /// What came out since the last call, with its event times.
    pub fn take(&mut self) -> Vec<(U, Timestamp)> {
        self.sink.take()
    }

    /// What is committed.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// How many rows the operators keep, timers included: what grows if an operator forgets to forget.
    ///
    /// # Panics
    /// Never: a backend in memory does not fail.
    pub fn rows(&self) -> usize {
        let mut rows = 0;
        for family in [Family::Values, Family::Windows, Family::Timers] {
            let mut count = |_: &[u8], _: &[u8]| {
                rows += 1;
                ControlFlow::Continue(())
            };
            self.kept
                .backend
                .scan(family, &[], &[0xff; 16], &mut count)
                .expect("a backend in memory does not fail");
        }
        rows
    }

    fn feed(&mut self, input: Input<T>) {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).push_back(input);
        self.run_and_restart();
    }

    fn run_and_restart(&mut self) {
        while self.flow.step(self.clock, &FullSpeed).expect("the chain runs") {}
        let epoch = self.kept.epoch.next();
        self.kept.epoch = epoch;
        let ended = end_epoch_at(self.clock, &mut self.flow, epoch, false);
        let mut contribution = ended.expect("the epoch ends");
        self.kept.catalog.take_changes(&mut contribution.delta);
        self.kept.backend.commit(&contribution.delta).expect("a backend in memory does not fail");
        publish(&self.graph, epoch, &contribution).expect("a sink in memory does not fail");
        recover_sinks(&self.graph, epoch).expect("a sink in memory does not fail");
        self.flow = self.kept.open(&self.graph).expect("the chain opens again");
    }
}

struct ScriptSource<T> {
    script: Script<T>,
}

impl<T: Send + 'static> Source for ScriptSource<T> {
    type Item = Input<T>;
    type Position = ();

    fn splits(&self) -> Result<Vec<String>, crate::error::Cause> {
        Ok(vec!["script".to_owned()])
    }

    fn open(
        &self,
        _: &str,
        _: Option<()>,
    ) -> Result<Box<dyn Reader<Item = Input<T>, Position = ()>>, crate::error::Cause> {
        Ok(Box::new(ScriptReader { script: Arc::clone(&self.script) }))
    }
}

struct ScriptReader<T> {
    script: Script<T>,
}

impl<T> Reader for ScriptReader<T> {
    type Item = Input<T>;
    type Position = ();

    fn poll(&mut self, limit: usize, into: &mut Polled<Input<T>>) -> Result<Poll, crate::error::Cause> {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        let count = limit.min(script.len());
        into.values.extend(script.drain(..count));
        Ok(Poll::Pending)
    }

    fn position(&self) {}
}

/// Turns a script into records with times and watermarks.
struct ScriptedTime;

impl<T: 'static> Operator<Batch<Input<T>>, Outbox<Batch<T>>> for ScriptedTime {
    fn on_batch(&mut self, batch: &mut Batch<Input<T>>, out: &mut Outbox<Batch<T>>) -> Result<(), Fault> {
        for input in batch.values.drain(..) {
            match input {
                Input::Record(record, time) => out.push(record, time),
                Input::Watermark(watermark) => out.watermark(watermark),
            }
        }
        Ok(())
    }

    fn on_split(
        &mut self,
        _: crate::batch::SplitId,
        _: crate::signal::SplitStatus,
        _: &mut Outbox<Batch<T>>,
    ) -> Result<(), Fault> {
        Ok(())
    }
}
