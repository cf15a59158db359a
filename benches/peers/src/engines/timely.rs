//! Timely: one dataflow whose input is a share of the records, a batch at a time.
//!
//! A batch goes in whole at the time that the input stands at, then the input's time goes on to the watermark (or by
//! one, where there is no event time) and the worker takes a step, so that what is in flight stays in the caches. With
//! several workers a probe before the sink keeps a worker from running far ahead of the others.

use std::time::Duration;

use highwater_benches::feed::{BATCH_RECORDS, Repeat};
use highwater_benches::tally::Digest;
use timely::Config;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, ParallelizationContract, Pipeline};
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::{Input, Probe};
use timely::dataflow::{InputHandle, ProbeHandle, StreamVec};
use timely::worker::Worker;

use super::by_hand::{State, Timed};
use crate::pool::{Pool, Watermark};
use crate::total::{Part, Total};

/// How far a worker's input may be ahead of the slowest worker, in units of its time: batches, or ms of event time.
const AHEAD_MAX: u64 = 256;
/// How long a worker that is ahead sleeps at most, where nothing wakes it: spinning would be counted as its work.
const WAIT_MAX: Duration = Duration::from_millis(1);

/// What makes Timely's time of a batch: the time that the input moves on to after it.
pub trait Clock<R>: Default {
    /// The time after this batch.
    fn after(&mut self, batch: &[R]) -> u64;
}

/// Counts batches.
#[derive(Debug, Default)]
pub struct Batches(u64);

impl<R> Clock<R> for Batches {
    fn after(&mut self, _: &[R]) -> u64 {
        self.0 += 1;
        self.0
    }
}

impl<R: Timed> Clock<R> for Watermark {
    fn after(&mut self, batch: &[R]) -> u64 {
        batch.iter().for_each(|record| self.see(record.at()));
        self.now().unsigned_abs()
    }
}

/// What a dataflow is built from: the records, and where to sum up.
pub type Build<R> = for<'scope> fn(StreamVec<'scope, u64, R>, &ProbeHandle<u64>, Part);

/// Runs one or several workers.
///
/// # Panics
/// If Timely does not start, or a worker panics.
pub fn run<R: Repeat, C: Clock<R>>(pool: &Pool<R>, records: u64, workers: usize, build: Build<R>) -> Total {
    let pool = pool.clone();
    let shares = move |index, peers| {
        let mut share = pool.share(records, index, peers);
        move |batch: &mut Vec<R>| share.fill(BATCH_RECORDS, batch)
    };
    run_over::<R, C, _>(workers, shares, build)
}

/// The same with batches from anywhere: `shares` gives, for a worker's number and how many there are, what appends its
/// next batch, and says whether there was any.
///
/// # Panics
/// As [`run`].
pub fn run_over<R: Clone + 'static, C: Clock<R>, I: FnMut(&mut Vec<R>) -> bool>(
    workers: usize,
    shares: impl Fn(u64, u64) -> I + Send + Sync + 'static,
    build: impl for<'scope> Fn(StreamVec<'scope, u64, R>, &ProbeHandle<u64>, Part) + Send + Sync + 'static,
) -> Total {
    let total = Total::default();
    let part = std::sync::Mutex::new(total.part());
    execute(workers, move |worker| {
        let part = part.lock().expect("no worker panics with the lock").clone();
        let (mut input, probe) = (InputHandle::new(), ProbeHandle::new());
        worker.dataflow::<u64, _, _>(|scope| build(scope.input_from(&mut input), &probe, part));
        let mut fill = shares(worker.index() as u64, worker.peers() as u64);
        let (mut clock, mut batch) = (C::default(), Vec::with_capacity(BATCH_RECORDS));
        while fill(&mut batch) {
            let time = clock.after(&batch);
            send(&mut input, &mut batch, time);
            step(worker, &probe, time);
        }
    });
    total
}

/// What a dataflow of two inputs is built from.
pub type BuildTwo<R> = for<'scope> fn([StreamVec<'scope, u64, R>; 2], &ProbeHandle<u64>, Part);

/// The same with two inputs, which are given their batches in turns, each with its own time; together `records`.
///
/// # Panics
/// As [`run`].
pub fn run_two<R: Repeat, C: Clock<R>>(
    pools: &[Pool<R>; 2],
    records: u64,
    workers: usize,
    build: BuildTwo<R>,
) -> Total {
    let (pools, total) = (pools.clone(), Total::default());
    let part = std::sync::Mutex::new(total.part());
    execute(workers, move |worker| {
        let part = part.lock().expect("no worker panics with the lock").clone();
        let (mut inputs, probe) = ([InputHandle::new(), InputHandle::new()], ProbeHandle::new());
        worker.dataflow::<u64, _, _>(|scope| {
            build(inputs.each_mut().map(|input| scope.input_from(input)), &probe, part);
        });
        let (index, peers) = (worker.index() as u64, worker.peers() as u64);
        let mut shares = pools.each_ref().map(|pool| pool.share(records / 2, index, peers));
        let mut clocks = [C::default(), C::default()];
        let mut batch = Vec::with_capacity(BATCH_RECORDS);
        while !shares[1].is_out() {
            for ((share, input), clock) in shares.iter_mut().zip(&mut inputs).zip(&mut clocks) {
                share.fill(BATCH_RECORDS, &mut batch);
                let time = clock.after(&batch);
                send(input, &mut batch, time);
            }
            step(worker, &probe, *inputs[0].time().min(inputs[1].time()));
        }
    });
    total
}

fn execute(workers: usize, work: impl Fn(&mut Worker) + Send + Sync + 'static) {
    let config = if workers == 1 { Config::thread() } else { Config::process(workers) };
    let guards = timely::execute(config, work);
    for outcome in guards.expect("Timely starts").join() {
        outcome.expect("a worker of Timely does its work");
    }
}

/// Sends a batch, then goes on to `time`.
fn send<R: Clone + 'static>(
    input: &mut InputHandle<u64, CapacityContainerBuilder<Vec<R>>>,
    batch: &mut Vec<R>,
    time: u64,
) {
    input.send_batch(batch);
    batch.clear();
    input.advance_to(time);
}

/// Takes a step, or as many as it takes for the other workers to come near `time`.
fn step(worker: &mut Worker, probe: &ProbeHandle<u64>, time: u64) {
    worker.step();
    while worker.peers() > 1 && probe.less_than(&time.saturating_sub(AHEAD_MAX)) {
        worker.step_or_park(Some(WAIT_MAX));
    }
}

/// Sums up what arrives.
pub fn sum_up<R: Digest + Clone + 'static>(
    results: StreamVec<'_, u64, R>,
    probe: &ProbeHandle<u64>,
    mut part: Part,
) {
    results.probe_with(probe).sink(Pipeline, "sum up", move |(input, _)| {
        input.for_each(|_, batch| batch.iter().for_each(|result| part.add(result)));
    });
}

/// State by key and event time: an operator that holds one capability, and tells what the frontier has passed.
pub fn state<'scope, S>(
    records: StreamVec<'scope, u64, S::Record>,
    key: impl Fn(&S::Record) -> u64 + 'static,
) -> StreamVec<'scope, u64, S::Result>
where
    S: State<Record: timely::ExchangeData>,
{
    state_by::<S, _>(records, Exchange::new(key))
}

/// The same with what decides which worker a record goes to.
pub fn state_by<'scope, S, P>(
    records: StreamVec<'scope, u64, S::Record>,
    pact: P,
) -> StreamVec<'scope, u64, S::Result>
where
    S: State,
    P: ParallelizationContract<u64, Vec<S::Record>>,
{
    records.unary_frontier(pact, "state", |capability, _| {
        let (mut state, mut capability) = (S::default(), Some(capability));
        move |(input, frontier), output| {
            let Some(held) = &mut capability else { return };
            let mut session = output.session(held);
            input.for_each(|_, batch| {
                batch.drain(..).for_each(|record| state.add(record, |result| session.give(result)));
            });
            match frontier.frontier().first().copied() {
                Some(time) if time > *held.time() => {
                    state.close(time as i64, |result| session.give(result));
                    drop(session);
                    held.downgrade(&time);
                }
                Some(_) => {}
                None => {
                    state.close(i64::MAX, |result| session.give(result));
                    drop(session);
                    capability = None;
                }
            }
        }
    })
}
