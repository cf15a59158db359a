//! A stateless chain: filter and map over records of 64 bytes, of which three of four pass.
//!
//! Back of the envelope, for one record on a core at 3 GHz: the copy out of the pool (1 MiB, in the second-level
//! cache) is 1 to 2 ns for everyone. What comes then of a lazy chain like Renoir's, which hands on one record at a
//! time by value, is what the compiler makes of it: at worst 72 bytes with a tag, copied 3 or 4 times, 1 ns each; at
//! best, as all of it is in one thread and one loop after inlining, the loop written by hand and a branch or two.
//! Timely moves what a filter keeps to the front, as Highwater does, and then maps either in place or record by record
//! into new batches of 8 KiB: 64 bytes read and written, 2 ns, and a push whose capacity is checked.

use ::timely::dataflow::operators::vec::{Filter as _, Map as _};
use highwater::prelude::*;
use highwater_benches::compare::run;
use highwater_benches::input::{self, Wide};
use highwater_benches::tally::Tally;

use crate::compare::{Case, Comparison};
use crate::engines::timely::Batches;
use crate::engines::{renoir, timely};
use crate::pool::{Pool, Share};
use crate::total::{Total, TotalSink};

#[inline]
fn keep(record: &Wide) -> bool {
    record.kind != 0
}

#[inline]
fn convert(mut record: Wide) -> Wide {
    record.amount = record.amount.wrapping_mul(3) / 2;
    record
}

fn by_hand(records: Share<Wide>) -> Tally {
    let mut tally = Tally::default();
    records.for_each_batch(|batch| {
        for record in batch.iter().filter(|record| keep(record)) {
            tally.add(&convert(*record));
        }
    });
    tally
}

fn highwater(pool: &Pool<Wide>, records: u64, workers: usize, fused: bool) -> Tally {
    let (topology, total) = (Topology::new("chain"), Total::default());
    let records = topology.source("pool", pool.source(records, workers));
    let records = records.event_time(|record| record.at, Duration::ZERO);
    let sink = TotalSink::new(&total, |record: &Wide, tally: &mut Tally| tally.add(record));
    if fused {
        records.fused(|records| records.filter(keep).map(convert)).sink("out", sink);
    } else {
        records.filter(keep).map(convert).sink("out", sink);
    }
    run(Job::new(topology).workers(workers));
    total.tally()
}

fn in_renoir(pool: &Pool<Wide>, records: u64, workers: usize) -> Tally {
    let total = renoir::run(workers, |context, part| {
        let records = renoir::records(context, pool, records);
        renoir::sum_up(records.filter(keep).map(convert), part);
    });
    total.tally()
}

fn in_timely(pool: &Pool<Wide>, records: u64, workers: usize, build: timely::Build<Wide>) -> Tally {
    timely::run::<Wide, Batches>(pool, records, workers, build).tally()
}

/// The comparison of this file.
pub fn comparison() -> Comparison {
    let pool = Pool::new(input::wide());
    let case = |engine, how, run: fn(&Pool<Wide>, u64, usize) -> Tally| {
        let pool = pool.clone();
        Case::new(engine, how, move |records, workers| run(&pool, records, workers))
    };
    Comparison {
        name: "chain",
        what: "filter and map, 64-byte records",
        records: 16 << 20,
        cases: vec![
            case("loop", "", |pool, records, _| by_hand(pool.all(records))),
            case("Highwater", "", |pool, records, workers| highwater(pool, records, workers, false)),
            case("Highwater", "`fused`", |pool, records, workers| highwater(pool, records, workers, true)),
            case("Renoir", "", in_renoir),
            case("Timely", "`map`", |pool, records, workers| {
                in_timely(pool, records, workers, |records, probe, part| {
                    timely::sum_up(records.filter(keep).map(convert), probe, part);
                })
            }),
            case("Timely", "`map_in_place`", |pool, records, workers| {
                in_timely(pool, records, workers, |records, probe, part| {
                    let mapped = records.filter(keep).map_in_place(|record| *record = convert(*record));
                    timely::sum_up(mapped, probe, part);
                })
            }),
        ],
    }
}
