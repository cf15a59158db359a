//! A chain over a source with event time, stepped by hand: the test says which answers come, what the clock shows,
//! when epochs end and when the process dies.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use highwater_state::backend::memory::MemoryBackend;
use highwater_state::{Backend, Epoch, Timestamp};

use crate::batch::Batch;
use crate::data::Data;
use crate::error::RunError;
use crate::executor::{Executor, Work};
use crate::flow::Flow;
use crate::graph::Graph;
use crate::interpret::{open_with, publish, recover_sinks};
use crate::limits::Limits;
use crate::memory::{Memory, MemorySink};
use crate::operator::{Fault, Operator, Progress};
use crate::outbox::{Outbox, Outputs};
use crate::stream::{Stream, here};
use crate::task::FullSpeed;
use crate::testkit::at;
use crate::topology::Topology;

/// Steps in which nothing moves, after which nothing will.
const STANDSTILL: usize = 20;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is asked: a service whose answers the test gives.
#[derive(Clone, Default)]
pub struct Outside {
    asked: Arc<Mutex<Vec<i64>>>,
    answers: Arc<Mutex<HashMap<i64, VecDeque<Result<String, String>>>>>,
}

impl Outside {
    /// A request, which waits for its answer.
    pub fn ask(&self, number: i64) -> impl Future<Output = Result<String, String>> + Send + use<> {
        let outside = self.clone();
        lock(&self.asked).push(number);
        std::future::poll_fn(move |_| {
            let mut answers = lock(&outside.answers);
            match answers.get_mut(&number).and_then(VecDeque::pop_front) {
                Some(answer) => Poll::Ready(answer),
                None => Poll::Pending,
            }
        })
    }

    /// What was asked, in order, since the last call.
    pub fn asked(&self) -> Vec<i64> {
        std::mem::take(&mut lock(&self.asked))
    }

    /// Gives one answer to a request about this number, made or to be made.
    pub fn answer(&self, number: i64, answer: Result<&str, &str>) {
        let answer = answer.map(str::to_owned).map_err(str::to_owned);
        lock(&self.answers).entry(number).or_default().push_back(answer);
    }
}

/// Drives futures when it is told to.
#[derive(Default)]
pub struct ByHand(Mutex<Vec<Work>>);

impl ByHand {
    /// Polls every future once; those that have not come to their end stay.
    pub fn poll_all(&self) {
        let works = std::mem::take(&mut *lock(&self.0));
        let mut context = Context::from_waker(Waker::noop());
        for mut work in works {
            if work.as_mut().poll(&mut context).is_pending() {
                lock(&self.0).push(work);
            }
        }
    }

    /// How many futures have not come to their end.
    pub fn running(&self) -> usize {
        lock(&self.0).len()
    }

    /// Lets all futures go, as a runtime does that is shut down.
    pub fn drop_all(&self) {
        let works = std::mem::take(&mut *lock(&self.0));
        drop(works);
    }
}

impl Executor for ByHand {
    fn spawn(&self, work: Work) {
        lock(&self.0).push(work);
    }
}

/// What a chain emits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<U> {
    Record(U, Timestamp),
    Watermark(Timestamp),
}

struct Watch;

impl<U: 'static> Operator<Batch<U>, Outbox<Batch<Event<U>>>> for Watch {
    fn on_batch(&mut self, batch: &mut Batch<U>, out: &mut Outbox<Batch<Event<U>>>) -> Result<(), Fault> {
        let values = std::mem::take(&mut batch.values);
        for (value, &time) in values.into_iter().zip(&batch.times) {
            out.push(Event::Record(value, time), time);
        }
        Ok(())
    }

    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        out: &mut Outbox<Batch<Event<U>>>,
    ) -> Result<Progress, Fault> {
        out.push(Event::Watermark(watermark), watermark);
        out.flush();
        Ok(Progress::Done)
    }
}

pub struct Rig<U: 'static> {
    graph: Graph,
    backend: Arc<dyn Backend>,
    epoch: Epoch,
    flow: Flow,
    limits: Limits,
    pub executor: Arc<ByHand>,
    pub clock: Timestamp,
    sink: MemorySink<Event<U>>,
}

impl<U: Data> Rig<U> {
    /// A chain over numbers with event times in milliseconds; the watermark is the greatest time.
    pub fn new(records: &[(i64, i64)], limits: Limits, chain: impl FnOnce(Stream<i64>) -> Stream<U>) -> Self {
        let topology = Topology::new("rig");
        let sink = Memory::sink();
        let source = topology.source("records", Memory::source(records.to_vec()));
        let timed = source.event_time(|record: &(i64, i64)| at(record.0), Duration::ZERO);
        let chained = chain(timed.map(|(_, number)| number));
        let place = here("watch", None);
        let wire = chained.wire.then::<Batch<U>, Outbox<Batch<Event<U>>>>(place, |_| Ok(Box::new(Watch)));
        Stream::<Event<U>>::at(wire).sink("sink", sink.clone());
        let graph = topology.finish().expect("the chain is a topology");
        let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::default());
        recover_sinks(&graph, Epoch(0)).expect("a sink in memory does not fail");
        let executor = Arc::new(ByHand::default());
        let flow = Self::open(&graph, &backend, Epoch(0), &limits, &executor);
        Rig { graph, backend, epoch: Epoch(0), flow, limits, executor, clock: at(0), sink }
    }

    fn open(
        graph: &Graph,
        backend: &Arc<dyn Backend>,
        epoch: Epoch,
        limits: &Limits,
        executor: &Arc<ByHand>,
    ) -> Flow {
        let executor = Arc::clone(executor);
        open_with(graph, backend, epoch, limits.clone(), executor).expect("the chain opens")
    }

    pub fn try_step(&mut self) -> Result<bool, RunError> {
        self.flow.step(self.clock, &FullSpeed)
    }

    pub fn step(&mut self) -> bool {
        self.try_step().expect("the chain runs")
    }

    pub fn is_exhausted(&self) -> bool {
        self.flow.is_exhausted()
    }

    /// Lets all futures come as far as they can, and steps until nothing moves.
    pub fn run(&mut self) {
        loop {
            self.executor.poll_all();
            if !self.step() {
                return;
            }
        }
    }

    /// Moves the clock by some milliseconds, and runs.
    pub fn wait(&mut self, millis: u64) {
        self.clock = self.clock + Duration::from_millis(millis);
        self.run();
    }

    /// Asks for the end of the epoch, and steps until it has come; if nothing moves any more, `stuck` must help.
    pub fn end_epoch(&mut self, last: bool, mut stuck: impl FnMut()) {
        self.epoch = self.epoch.next();
        self.flow.end_epoch(self.epoch, last);
        let mut standing = 0;
        let contribution = loop {
            standing = if self.step() { 0 } else { standing + 1 };
            if let Some((_, contribution)) = self.flow.take_contribution() {
                break contribution;
            }
            if standing > STANDSTILL {
                stuck();
                self.executor.poll_all();
                self.clock = self.clock + Duration::from_secs(1);
            }
            assert!(standing < 50 * STANDSTILL, "the epoch does not end");
        };
        self.backend.commit(&contribution.delta).expect("a backend in memory does not fail");
        publish(&self.graph, self.epoch, &contribution).expect("a sink in memory does not fail");
        self.flow.applied(self.epoch);
    }

    /// Ends the epoch, without any answer.
    pub fn commit(&mut self) {
        self.end_epoch(false, || panic!("the epoch waits for an answer"));
    }

    /// What is not committed is gone.
    pub fn crash(&mut self) {
        self.executor.drop_all();
        recover_sinks(&self.graph, self.epoch).expect("a sink in memory does not fail");
        self.flow = Self::open(&self.graph, &self.backend, self.epoch, &self.limits, &self.executor);
    }

    /// How many changes the end of an epoch writes now.
    pub fn changes(&mut self) -> usize {
        let before = self.epoch;
        self.epoch = before.next();
        self.flow.end_epoch(self.epoch, false);
        loop {
            self.step();
            if let Some((_, contribution)) = self.flow.take_contribution() {
                self.backend.commit(&contribution.delta).expect("a backend in memory does not fail");
                self.flow.applied(self.epoch);
                return contribution.delta.len();
            }
        }
    }

    /// What has been committed since the last call.
    pub fn take(&self) -> Vec<Event<U>> {
        self.sink.take()
    }
}
