//! A count per key and tumbling second: 100 000 keys, some 10 records a key in a second of event time, up to 100 ms
//! out of order, a watermark after every 1024 records.
//!
//! Back of the envelope, for one record: the loop finds its window (the same as that of the record before in 19 of 20
//! cases) and its count as the keyed count does, 5 to 10 ns, and pays for one result in ten records, 1 to 2 ns. A
//! watermark is one comparison for a loop, and for an engine that keeps windows by their end. Renoir keeps windows by
//! key and asks every key at every watermark: 100 000 keys, a line of memory and some branches each, 5 to 10 ns, is
//! 0.5 to 1 ms for 1024 records, 500 to 1000 ns for one. With a watermark a second (of a million records) that is 1 ns,
//! and what is left is what it does for a record: send it, find its key's windows in a queue on the heap, a line or
//! two more from memory than the loop.
//!
//! Renoir's windows of a key begin at its first record; with whole seconds as their time they begin where everyone
//! else's do. A record older than the first that is open is dropped without a word, so those of one key are put in
//! order before (`reorder`). With seconds as time, both the watermarks after 1024 records and those after a second are
//! in its rows; the others get the former.

use std::collections::BTreeMap;

use ::renoir::operator::window::EventTimeWindow;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use highwater::prelude::*;
use highwater_benches::compare::run;
use highwater_benches::input::JITTER_MILLIS;
use highwater_benches::tally::Tally;

use crate::compare::{Case, Comparison};
use crate::engines::by_hand::{self, State};
use crate::engines::{renoir, timely};
use crate::pool::{Pool, Visit, Watermark};
use crate::total::{Told, Total, TotalSink};

const SECOND: i64 = 1000;

type Counts = HashMap<u64, u64, RandomState>;

/// One map per open window.
#[derive(Clone, Default)]
struct Tumbling {
    open: BTreeMap<i64, Counts>,
    /// The window of the last record, out of `open` while records fall into it, by its end.
    current: (i64, Counts),
    /// The last map that was emptied.
    spare: Counts,
}

impl Tumbling {
    fn turn_to(&mut self, end: i64) {
        let spare = &mut self.spare;
        let counts = self.open.remove(&end).unwrap_or_else(|| std::mem::take(spare));
        let (before, counts) = std::mem::replace(&mut self.current, (end, counts));
        if counts.is_empty() {
            self.spare = counts;
        } else {
            self.open.insert(before, counts);
        }
    }
}

impl State for Tumbling {
    type Record = Visit;
    type Result = Told;

    #[inline]
    fn add(&mut self, visit: &Visit, _: impl FnMut(Told)) {
        let end = visit.at - visit.at.rem_euclid(SECOND) + SECOND;
        if end != self.current.0 {
            self.turn_to(end);
        }
        *self.current.1.entry(visit.page).or_default() += 1;
    }

    fn close(&mut self, watermark: i64, mut tell: impl FnMut(Told)) {
        if self.current.0 <= watermark {
            self.turn_to(i64::MAX);
        }
        while let Some(first) = self.open.first_entry().filter(|first| *first.key() <= watermark) {
            let (end, mut counts) = first.remove_entry();
            counts.drain().for_each(|(key, value)| tell(Told { key, end, value }));
            self.spare = counts;
        }
    }
}

fn highwater(pool: &Pool<Visit>, records: u64, workers: usize) -> Tally {
    let (topology, total) = (Topology::new("window"), Total::default());
    let visits = topology.source("pool", pool.source(records, workers));
    let counts = visits
        .event_time(|visit| Timestamp::from_millis(visit.at), Duration::from_millis(JITTER_MILLIS))
        .key_by(|visit| visit.page)
        .window(tumbling(Duration::from_secs(1)))
        .count("visits");
    let add = |count: &Windowed<u64, u64>, tally: &mut Tally| tally.add(count);
    counts.sink("out", TotalSink::new(&total, add));
    run(Job::new(topology).workers(workers));
    total.tally()
}

/// Renoir's own windows, with whole seconds as time.
fn in_renoir(
    pool: &Pool<Visit>,
    records: u64,
    workers: usize,
    watermarks: impl FnMut(&Visit, &i64) -> Option<i64> + Clone + Send + 'static,
) -> Tally {
    let total = renoir::run(workers, |context, part| {
        let counts = renoir::records(context, pool, records)
            .add_timestamps(|visit| visit.at.div_euclid(SECOND), watermarks)
            .group_by(|visit| visit.page)
            .reorder()
            .window(EventTimeWindow::tumbling(1))
            .fold((0, 0), |(second, count): &mut (i64, u64), visit: &Visit| {
                *second = visit.at.div_euclid(SECOND);
                *count += 1;
            });
        let told = |(key, (second, value))| Told { key, end: (second + 1) * SECOND, value };
        renoir::sum_up(counts.unkey().map(told), part);
    });
    total.tally()
}

/// A watermark where a second of event time has passed, and none between.
fn once_a_second() -> impl FnMut(&Visit, &i64) -> Option<i64> + Clone + Send + 'static {
    let (mut watermark, mut given) = (Watermark::default(), 0);
    move |visit, _| {
        watermark.see(visit.at);
        let second = watermark.now().div_euclid(SECOND);
        (second > std::mem::replace(&mut given, second)).then_some(second)
    }
}

fn in_renoir_by_hand(pool: &Pool<Visit>, records: u64, workers: usize) -> Tally {
    let total = renoir::run(workers, |context, part| {
        let visits = renoir::records(context, pool, records);
        let visits = visits.add_timestamps(|visit| visit.at, renoir::watermarks(1));
        renoir::sum_up(renoir::state::<Tumbling>(visits, |visit| visit.page), part);
    });
    total.tally()
}

fn in_timely(pool: &Pool<Visit>, records: u64, workers: usize) -> Tally {
    let total = timely::run::<Visit, Watermark>(pool, records, workers, |visits, probe, part| {
        timely::sum_up(timely::state::<Tumbling>(visits, |visit| visit.page), probe, part);
    });
    total.tally()
}

/// The comparison of this file.
pub fn comparison() -> Comparison {
    let pool = super::visits();
    let case = |engine, how, run: fn(&Pool<Visit>, u64, usize) -> Tally| {
        let pool = pool.clone();
        Case::new(engine, how, move |records, workers| run(&pool, records, workers))
    };
    Comparison {
        name: "window",
        what: "count per tumbling second, 100 000 keys",
        records: 4 << 20,
        cases: vec![
            case("loop", "", |pool, records, _| by_hand::run::<Tumbling>(pool.all(records))),
            case("Highwater", "", highwater),
            case("Renoir", "windows", |pool, records, workers| {
                in_renoir(pool, records, workers, renoir::watermarks(SECOND))
            }),
            case("Renoir", "windows, a watermark a second", |pool, records, workers| {
                in_renoir(pool, records, workers, once_a_second())
            }),
            case("Renoir", "custom operator", in_renoir_by_hand),
            case("Timely", "", in_timely),
        ],
    }
}
