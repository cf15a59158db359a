//! A count per key and tumbling second: 100 000 keys, some 10 records a key in a second of event time, up to 100 ms
//! out of order, a watermark after every 1024 records.
//!
//! Back of the envelope, for one record: the loop finds its window (the same as that of the record before in 19 of 20
//! cases) and its count as the keyed count does, 5 to 10 ns, and pays for one result in ten records, 1 to 2 ns. A
//! watermark is one comparison for a loop, and for an engine that keeps windows by their end. Renoir keeps windows by
//! key and asks every key at every watermark: 100 000 keys, each with a queue somewhere on the heap that is in no cache
//! any more, 50 to 100 ns, is 5 to 10 ms for 1024 records, 5 to 10 us for one. With a watermark a second (of a million
//! records) that is 10 ns, and what is left is what it does for a record: send it, find its key's windows in that
//! queue, one or two lines more from memory than the loop.
//!
//! Renoir's windows of a key begin at its first record, unless all records of a second are given the same time; then
//! they begin where everyone else's do. A record that is older than the first window that is open is dropped without
//! a word, so a key's records must be put in order before (`reorder`, which sorts what it holds at each watermark).
//! There are two comparisons, therefore. In the first, records are out of order, and Renoir's time goes in whole
//! seconds, so that it sorts rarely and asks its keys once a second. In the second, records are in order, so that
//! Renoir needs no sorting (with several workers it does, as their shares run apart), and has a watermark after every
//! 1024 records as the others have.

use ::renoir::KeyedStream as KeyedVisits;
use ::renoir::operator::Operator;
use ::renoir::operator::window::EventTimeWindow;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use highwater::prelude::*;
use highwater_benches::compare::run;
use highwater_benches::input::{JITTER_MILLIS, POOL_RECORDS};
use highwater_benches::tally::Tally;

use crate::compare::{Case, Comparison};
use crate::engines::by_hand::{self, ByEnd, State};
use crate::engines::{renoir, timely};
use crate::pool::{Pool, Visit, Watermark};
use crate::total::{Part, Told, Total, TotalSink};

const SECOND: i64 = 1000;

type Counts = HashMap<u64, u64, RandomState>;

/// One map per open window.
#[derive(Clone, Default)]
struct Tumbling(ByEnd<Counts>);

impl State for Tumbling {
    type Record = Visit;
    type Result = Told;

    #[inline]
    fn add(&mut self, visit: Visit, _: impl FnMut(Told)) {
        let end = visit.at - visit.at.rem_euclid(SECOND) + SECOND;
        *self.0.at(end).entry(visit.page).or_default() += 1;
    }

    fn close(&mut self, watermark: i64, mut tell: impl FnMut(Told)) {
        self.0.close(watermark, |end, counts| {
            counts.drain().for_each(|(key, value)| tell(Told { key, end, value }));
        });
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

/// Renoir's own windows: how many ms of event time are one of its time, and what it takes as a record's time.
struct Ticks {
    millis: i64,
    of: fn(&Visit) -> i64,
    /// The length of a window.
    window: i64,
}

/// Time in whole seconds.
const SECONDS: Ticks = Ticks { millis: SECOND, of: |visit| visit.at.div_euclid(SECOND), window: 1 };
/// Time in ms, and every record at the last of its second.
const LAST_MILLIS: Ticks =
    Ticks { millis: 1, of: |visit| visit.at.div_euclid(SECOND) * SECOND + SECOND - 1, window: SECOND };

fn in_renoir(pool: &Pool<Visit>, records: u64, workers: usize, ticks: Ticks, in_order: bool) -> Tally {
    let total = renoir::run(workers, |context, part| {
        let visits = renoir::records(context, pool, records);
        let visits = visits.add_timestamps(ticks.of, renoir::watermarks(ticks.millis));
        let visits = visits.group_by(|visit| visit.page);
        if in_order && workers == 1 {
            count_in_renoir(visits, ticks.window, part);
        } else {
            count_in_renoir(visits.reorder(), ticks.window, part);
        }
    });
    total.tally()
}

fn count_in_renoir(
    visits: KeyedVisits<impl Operator<Out = (u64, Visit)> + 'static>,
    window: i64,
    part: Part,
) {
    let windows = visits.window(EventTimeWindow::tumbling(window));
    let counts = windows.fold((0, 0), |(second, count): &mut (i64, u64), visit: &Visit| {
        *second = visit.at.div_euclid(SECOND);
        *count += 1;
    });
    let told = |(key, (second, value))| Told { key, end: (second + 1) * SECOND, value };
    renoir::sum_up(counts.unkey().map(told), part);
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

/// Of records that are out of order.
pub fn comparison() -> Comparison {
    compare("window", "count per tumbling second", 4 << 20, super::visits(), |pool, records, workers| {
        in_renoir(pool, records, workers, SECONDS, false)
    })
}

/// Of records that are in order.
pub fn comparison_in_order() -> Comparison {
    let mut visits: Vec<Visit> = super::visits().all(POOL_RECORDS as u64).collect();
    visits.sort_by_key(|visit| visit.at);
    let what = "count per tumbling second, records in order";
    compare("window-in-order", what, 1 << 20, Pool::new(visits), |pool, records, workers| {
        in_renoir(pool, records, workers, LAST_MILLIS, true)
    })
}

fn compare(
    name: &'static str,
    what: &'static str,
    records: u64,
    pool: Pool<Visit>,
    renoir: fn(&Pool<Visit>, u64, usize) -> Tally,
) -> Comparison {
    let case = |engine, how, run: fn(&Pool<Visit>, u64, usize) -> Tally| {
        let pool = pool.clone();
        Case::new(engine, how, move |records, workers| run(&pool, records, workers))
    };
    let cases = vec![
        case("loop", "", |pool, records, _| by_hand::run::<Tumbling>(pool.all(records))),
        case("Highwater", "", highwater),
        case("Renoir", "its windows", renoir),
        case("Renoir", "custom operator", in_renoir_by_hand),
        case("Timely", "", in_timely),
    ];
    Comparison { name, what, records, cases }
}
