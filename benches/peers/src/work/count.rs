//! A count per key, for ever, of 100 000 keys: told with every record, or once at the end.
//!
//! Back of the envelope, for one record: the map has 100 000 entries of 16 bytes in 2 MiB, so that a lookup is a hash
//! of 1 ns and a line out of the second- or third-level cache, 4 to 10 ns when several are in flight. What comes out
//! with every record is another 16 bytes written and read, 1 ns. Renoir's `group_by` sends each record, with its key
//! once more, to a thread of its own: 24 bytes with the tag written and read on another core, 5 to 10 ns, a hash to
//! say which worker it is for, and then a map from key to closure for `rich_map`. Its `group_by_count` adds up before
//! it sends, and is spared all that but the map: at the end it sends 100 000 counts, once.
//!
//! Renoir's own counts come out only when the input ends, which a stream's does not; they are compared with the last
//! count that the others told of each key, for which Highwater and the loop say each count as it changes.

use ::timely::dataflow::StreamVec;
use ::timely::dataflow::channels::pact::Exchange;
use ::timely::dataflow::operators::generic::operator::Operator as _;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use highwater::prelude::*;
use highwater_benches::compare::run;
use highwater_benches::tally::{Digest, Tally};

use crate::compare::{Case, Comparison};
use crate::engines::timely::Batches;
use crate::engines::{renoir, timely};
use crate::pool::{Pool, Share, Visit};
use crate::total::{Total, TotalSink};

type Counts = HashMap<u64, u64, RandomState>;

/// Adds a count to the sum of all counts told.
fn add_each(count: &(u64, u64), tally: &mut Tally) {
    tally.add(count);
}

/// Adds a count to the sum of each key's last count: takes out the one before.
#[inline]
fn add_last(&(key, count): &(u64, u64), tally: &mut Tally) {
    let before = if count > 1 { (key, count - 1).digest() } else { 0 };
    tally.count += u64::from(count == 1);
    tally.sum = tally.sum.wrapping_add((key, count).digest()).wrapping_sub(before);
}

fn by_hand(records: Share<Visit>) -> Tally {
    let (mut counts, mut tally) = (Counts::default(), Tally::default());
    records.for_each_batch(|batch| {
        for visit in batch {
            let count = counts.entry(visit.page).or_default();
            *count += 1;
            tally.add(&(visit.page, *count));
        }
    });
    tally
}

fn by_hand_at_end(records: Share<Visit>) -> Tally {
    let (mut counts, mut tally) = (Counts::default(), Tally::default());
    records.for_each_batch(|batch| {
        batch.iter().for_each(|visit| *counts.entry(visit.page).or_default() += 1);
    });
    counts.drain().for_each(|count| tally.add(&count));
    tally
}

fn highwater<F>(pool: &Pool<Visit>, records: u64, workers: usize, add: F) -> Tally
where
    F: Fn(&(u64, u64), &mut Tally) + Copy + Send + Sync + 'static,
{
    let (topology, total) = (Topology::new("count"), Total::default());
    let visits = topology.source("pool", pool.source(records, workers));
    let counts = visits.key_by(|visit| visit.page).count("visits").to_stream();
    counts.sink("out", TotalSink::new(&total, add));
    run(Job::new(topology).workers(workers));
    total.tally()
}

fn in_renoir(pool: &Pool<Visit>, records: u64, workers: usize) -> Tally {
    let total = renoir::run(workers, |context, part| {
        let pages = renoir::records(context, pool, records).map(|visit| visit.page);
        let mut count = 0_u64;
        let counts = pages.group_by(|page| *page).rich_map(move |(page, _)| {
            count += 1;
            (*page, count)
        });
        renoir::sum_up(counts.drop_key(), part);
    });
    total.tally()
}

fn in_renoir_by_fold(pool: &Pool<Visit>, records: u64, workers: usize) -> Tally {
    let total = renoir::run(workers, |context, part| {
        let pages = renoir::records(context, pool, records).map(|visit| visit.page);
        let counts = pages.group_by(|page| *page).fold(0_u64, |count, _| *count += 1);
        renoir::sum_up(counts.unkey(), part);
    });
    total.tally()
}

fn in_renoir_before_sending(pool: &Pool<Visit>, records: u64, workers: usize) -> Tally {
    let total = renoir::run(workers, |context, part| {
        let counts = renoir::records(context, pool, records).group_by_count(|visit| visit.page);
        renoir::sum_up(counts.unkey().map(|(page, count)| (page, count as u64)), part);
    });
    total.tally()
}

fn in_timely(pool: &Pool<Visit>, records: u64, workers: usize) -> Tally {
    let total = timely::run::<Visit, Batches>(pool, records, workers, |visits, probe, part| {
        let counts: StreamVec<'_, u64, (u64, u64)> =
            visits.unary(Exchange::new(|visit: &Visit| visit.page), "count", |_, _| {
                let mut counts = Counts::default();
                move |input, output| {
                    input.for_each(|time, batch| {
                        let mut session = output.session(&time);
                        for visit in batch.drain(..) {
                            let count = counts.entry(visit.page).or_default();
                            *count += 1;
                            session.give((visit.page, *count));
                        }
                    });
                }
            });
        timely::sum_up(counts, probe, part);
    });
    total.tally()
}

fn in_timely_at_end(pool: &Pool<Visit>, records: u64, workers: usize) -> Tally {
    let total = timely::run::<Visit, Batches>(pool, records, workers, |visits, probe, part| {
        let counts: StreamVec<'_, u64, (u64, u64)> =
            visits.unary_frontier(Exchange::new(|visit: &Visit| visit.page), "count", |capability, _| {
                let (mut counts, mut capability) = (Counts::default(), Some(capability));
                move |(input, frontier), output| {
                    input.for_each(|_, batch| {
                        batch.drain(..).for_each(|visit| *counts.entry(visit.page).or_default() += 1);
                    });
                    let Some(held) = &mut capability else { return };
                    if let Some(time) = frontier.frontier().first() {
                        held.downgrade(time);
                    } else {
                        output.session(held).give_iterator(counts.drain());
                        capability = None;
                    }
                }
            });
        timely::sum_up(counts, probe, part);
    });
    total.tally()
}

/// Counts told with every record.
pub fn comparison() -> Comparison {
    let pool = super::visits();
    let case = |engine, how, run: fn(&Pool<Visit>, u64, usize) -> Tally| {
        let pool = pool.clone();
        Case::new(engine, how, move |records, workers| run(&pool, records, workers))
    };
    Comparison {
        name: "count",
        what: "count of 100 000 keys, each change told",
        records: 8 << 20,
        cases: vec![
            case("loop", "", |pool, records, _| by_hand(pool.all(records))),
            case("Highwater", "", |pool, records, workers| highwater(pool, records, workers, add_each)),
            case("Renoir", "`rich_map`", in_renoir),
            case("Timely", "", in_timely),
        ],
    }
}

/// Counts told once, at the end of the input.
pub fn comparison_at_end() -> Comparison {
    let pool = super::visits();
    let case = |engine, how, run: fn(&Pool<Visit>, u64, usize) -> Tally| {
        let pool = pool.clone();
        Case::new(engine, how, move |records, workers| run(&pool, records, workers))
    };
    Comparison {
        name: "count-at-end",
        what: "count of 100 000 keys, told at the end",
        records: 8 << 20,
        cases: vec![
            case("loop", "", |pool, records, _| by_hand_at_end(pool.all(records))),
            case("Highwater", "each change told", |pool, records, workers| {
                highwater(pool, records, workers, add_last)
            }),
            case("Renoir", "`fold`", in_renoir_by_fold),
            case("Renoir", "`group_by_count`", in_renoir_before_sending),
            case("Timely", "", in_timely_at_end),
        ],
    }
}
