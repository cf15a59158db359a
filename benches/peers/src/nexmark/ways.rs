//! The ways to run a query: by Highwater, and written by hand in a loop, in Renoir and in Timely; over events owned and
//! lent.
//!
//! By hand a query is a step for each record, or [`State`] by key and event time. The same step and the same state
//! stand in the loops, in Timely's operators and in Renoir's custom operators, so that they differ in what the engine
//! adds. A loop takes event by event from the batch that was handed out, and puts what it needs into its state without
//! a batch in between. The two engines take what is needed out of each event in their source, which spares them moving
//! whole events through their dataflow.

use ::renoir::operator::{ExchangeData, Operator};
use ::renoir::prelude::{BatchMode, StreamContext};
use ::timely::dataflow::channels::pact::Pipeline;
use ::timely::dataflow::operators::Probe as _;
use ::timely::dataflow::operators::generic::operator::Operator as _;
use ::timely::dataflow::operators::vec::Map as _;
use ::timely::dataflow::{ProbeHandle, StreamVec};
use highwater_benches::feed::BATCH_RECORDS;
use highwater_benches::tally::Tally;
use highwater_examples::nexmark::{Event, Query};

use super::feed::{Needed, Needs, Pool, Share, Way};
use super::highwater;
use super::sums::{Sums, Told};
use crate::compare::{Case, Comparison};
use crate::engines::by_hand::{State, Timed};
use crate::engines::timely::Batches;
use crate::engines::{renoir, timely};
use crate::pool::Watermark;
use crate::total::{Part, Total};

/// A query in an engine: over all of these events, handed out in this way, by so many workers.
pub type Run = fn(Pool, Way, usize) -> Tally;

/// A query as it is written by hand for each engine.
#[derive(Clone, Copy)]
pub struct ByHand {
    /// In a loop, by one worker.
    pub hand: Run,
    /// In Renoir.
    pub renoir: Run,
    /// In Timely.
    pub timely: Run,
}

impl ByHand {
    /// The query in all ways, beside Highwater's.
    pub fn compared(self, query: Query, what: &'static str, pool: Pool) -> Comparison {
        let by_hand = |engine, how, run: Run, way| {
            Case::new(engine, how, move |events, workers| run(first(pool, events), way, workers))
        };
        let highwater = |how, run: fn(Query, Pool, usize, bool) -> Tally, on_rocksdb| {
            Case::new("Highwater", how, move |events, workers| {
                run(query, first(pool, events), workers, on_rocksdb)
            })
        };
        let cases = vec![
            by_hand("loop", "owned", self.hand, Way::Owned),
            by_hand("loop", "lent", self.hand, Way::Lent),
            highwater("owned", highwater::run::<Event>, false),
            highwater("lent", highwater::run::<&'static Event>, false),
            highwater("lent, RocksDB", highwater::run::<&'static Event>, true),
            by_hand("Renoir", "owned", self.renoir, Way::Owned),
            by_hand("Renoir", "lent", self.renoir, Way::Lent),
            by_hand("Timely", "owned", self.timely, Way::Owned),
            by_hand("Timely", "lent", self.timely, Way::Lent),
        ];
        Comparison { name: query.name().leak(), what, records: pool.len() as u64, cases }
    }
}

fn first(pool: Pool, events: u64) -> Pool {
    &pool[..pool.len().min(usize::try_from(events).unwrap_or(usize::MAX))]
}

/// A query that looks at one record at a time.
pub trait Step: 'static {
    /// What it needs of an event.
    type Record: Needed;
    /// What it tells.
    type Told: Told;

    /// What there is to tell of a record.
    fn step(record: Self::Record) -> Option<Self::Told>;
}

/// A query that keeps state by key in event time.
pub trait Keyed: State<Record: Needed + Timed + ExchangeData + ::timely::ExchangeData> {
    /// What is kept together.
    fn key(record: &Self::Record) -> u64;
}

/// State over what another state tells, by another key.
pub trait Then: State<Record: ExchangeData + ::timely::ExchangeData, Result: Told> {
    /// What is kept together.
    fn key(record: &Self::Record) -> u64;
}

/// A query of one step.
pub fn steps<S: Step>() -> ByHand {
    ByHand {
        hand: |pool, way, _| {
            summed(|sums| {
                let tell = |sums: &mut Sums, record| {
                    if let Some(told) = S::step(record) {
                        told.add_to(sums);
                    }
                };
                each_needed(pool, way, sums, tell, |_| ());
            })
        },
        renoir: |pool, way, workers| {
            in_renoir(workers, |context, part| {
                sum_up_in_renoir(needed::<S::Record>(context, pool, way).filter_map(S::step), part);
            })
        },
        timely: |pool, way, workers| {
            let build = |records: StreamVec<'_, u64, S::Record>, probe: &_, part| {
                sum_up_in_timely(records.flat_map(S::step), probe, part);
            };
            timely::run_over::<S::Record, Batches, _>(workers, shares(pool, way), build).tally()
        },
    }
}

/// A query of one state.
pub fn keyed<S: Keyed<Result: Told>>() -> ByHand {
    ByHand {
        hand: loop_with::<S>,
        renoir: |pool, way, workers| {
            in_renoir(workers, |context, part| {
                let records = needed::<S::Record>(context, pool, way);
                let records = records.add_timestamps(|record| record.at(), renoir::watermarks(1));
                sum_up_in_renoir(renoir::state::<S>(records, S::key), part);
            })
        },
        timely: |pool, way, workers| {
            let build = |records: StreamVec<'_, u64, S::Record>, probe: &_, part| {
                sum_up_in_timely(timely::state::<S>(records, S::key), probe, part);
            };
            timely::run_over::<S::Record, Watermark, _>(workers, shares(pool, way), build).tally()
        },
    }
}

/// A query of two states, each with its key.
pub fn keyed_twice<A: Keyed, B: Then<Record = A::Result>>() -> ByHand {
    ByHand {
        hand: loop_with::<Both<A, B>>,
        renoir: |pool, way, workers| {
            in_renoir(workers, |context, part| {
                let records = needed::<A::Record>(context, pool, way);
                let records = records.add_timestamps(|record| record.at(), renoir::watermarks(1));
                let told = renoir::state::<A>(records, A::key);
                sum_up_in_renoir(renoir::state::<B>(told, B::key), part);
            })
        },
        timely: |pool, way, workers| {
            let build = |records: StreamVec<'_, u64, A::Record>, probe: &_, part| {
                let told = timely::state::<A>(records, A::key);
                sum_up_in_timely(timely::state::<B>(told, B::key), probe, part);
            };
            timely::run_over::<A::Record, Watermark, _>(workers, shares(pool, way), build).tally()
        },
    }
}

/// A query of two states, of which each worker keeps the first for its own records: nothing is sent for it.
pub fn local_then_keyed<A: Keyed, B: Then<Record = A::Result>>() -> ByHand {
    ByHand {
        hand: loop_with::<Both<A, B>>,
        renoir: |pool, way, workers| {
            in_renoir(workers, |context, part| {
                let records = needed::<A::Record>(context, pool, way);
                let records = records.add_timestamps(|record| record.at(), renoir::watermarks(1));
                let told = renoir::state_of_worker::<A>(records);
                sum_up_in_renoir(renoir::state::<B>(told, B::key), part);
            })
        },
        timely: |pool, way, workers| {
            let build = |records: StreamVec<'_, u64, A::Record>, probe: &_, part| {
                let told = timely::state_by::<A, _>(records, Pipeline);
                sum_up_in_timely(timely::state::<B>(told, B::key), probe, part);
            };
            timely::run_over::<A::Record, Watermark, _>(workers, shares(pool, way), build).tally()
        },
    }
}

/// The first and the second state as one.
#[derive(Clone, Default)]
struct Both<A, B>(A, B);

impl<A: State, B: State<Record = A::Result>> State for Both<A, B> {
    type Record = A::Record;
    type Result = B::Result;

    #[inline]
    fn add(&mut self, record: A::Record, mut tell: impl FnMut(B::Result)) {
        let Both(first, second) = self;
        first.add(record, |told| second.add(told, &mut tell));
    }

    fn close(&mut self, watermark: i64, mut tell: impl FnMut(B::Result)) {
        let Both(first, second) = self;
        first.close(watermark, |told| second.add(told, &mut tell));
        second.close(watermark, tell);
    }
}

/// The loop: a watermark after each batch.
fn loop_with<S: State<Record: Needed + Timed, Result: Told>>(pool: Pool, way: Way, _: usize) -> Tally {
    summed(|sums| {
        let mut kept = (S::default(), Watermark::default(), sums);
        let add = |(state, watermark, sums): &mut (S, Watermark, &mut Sums), record: S::Record| {
            watermark.see(record.at());
            state.add(record, |told| told.add_to(sums));
        };
        let close = |(state, watermark, sums): &mut (S, Watermark, &mut Sums)| {
            state.close(watermark.now(), |told| told.add_to(sums));
        };
        each_needed(pool, way, &mut kept, add, close);
        let (mut state, _, sums) = kept;
        state.close(i64::MAX, |told| told.add_to(sums));
    })
}

/// Calls `each` with what is needed of every event, and `after` after every batch.
#[inline]
fn each_needed<R: Needed, K>(
    pool: Pool,
    way: Way,
    kept: &mut K,
    each: impl Fn(&mut K, R),
    after: impl Fn(&mut K),
) {
    let (mut share, mut batch) = (Share::new(pool, 0, 1), Vec::with_capacity(BATCH_RECORDS));
    loop {
        let events = share.take(BATCH_RECORDS);
        if events.is_empty() {
            return;
        }
        match way {
            Way::Lent => events.iter().filter_map(R::lent).for_each(|record| each(kept, record)),
            Way::Owned => {
                batch.extend_from_slice(events);
                batch.drain(..).filter_map(R::owned).for_each(|record| each(kept, record));
            }
        }
        after(kept);
    }
}

/// What one thread sums up.
pub fn summed(work: impl FnOnce(&mut Sums)) -> Tally {
    let total = Total::default();
    let mut sums = Sums::new(total.part());
    work(&mut sums);
    drop(sums);
    total.tally()
}

fn in_renoir(workers: usize, build: impl FnOnce(&StreamContext, Part)) -> Tally {
    renoir::run(workers, build).tally()
}

/// What is needed of all events, each worker with its share.
fn needed<R: Needed>(
    context: &StreamContext,
    pool: Pool,
    way: Way,
) -> ::renoir::Stream<impl Operator<Out = R> + use<R>> {
    let source =
        move |index: u64, peers: u64| Needs::<R>::new(Share::new(pool, index as usize, peers as usize), way);
    context.stream_par_iter(source).batch_mode(BatchMode::fixed(BATCH_RECORDS))
}

fn sum_up_in_renoir<R: Told>(told: ::renoir::Stream<impl Operator<Out = R> + 'static>, part: Part) {
    let mut sums = Sums::new(part);
    told.for_each(move |told| told.add_to(&mut sums));
}

/// The batches of each worker's share.
fn shares<R: Needed>(
    pool: Pool,
    way: Way,
) -> impl Fn(u64, u64) -> Box<dyn FnMut(&mut Vec<R>) -> bool> + Send + Sync {
    move |index, peers| {
        let mut needs = Needs::new(Share::new(pool, index as usize, peers as usize), way);
        Box::new(move |batch| needs.fill(batch))
    }
}

fn sum_up_in_timely<R: Told>(told: StreamVec<'_, u64, R>, probe: &ProbeHandle<u64>, part: Part) {
    let mut sums = Sums::new(part);
    told.probe_with(probe).sink(Pipeline, "sum up", move |(input, _)| {
        input.for_each(|_, batch| batch.iter().for_each(|told| told.add_to(&mut sums)));
    });
}
