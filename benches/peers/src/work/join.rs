//! Two streams joined in tumbling windows of 200 ms: 100 000 keys, on each side a million records in a second of event
//! time, so that a key has two records a side in a window, and each record finds two on the other side: a pair for
//! each record that goes in.
//!
//! Back of the envelope, for one record of the loop: a lookup in a map of the window's keys, 2 to 4 MiB, 5 to 10 ns;
//! the record put at the end of the window's others, 24 bytes, 1 ns; and a walk over two records of the other side,
//! which are somewhere in 10 MiB: 10 ns each if they come one after the other. An engine has to move the records (16
//! bytes each) and the pairs (40) besides, 2 ns; Renoir sends each record to another thread twice, once for its key
//! and once to merge the sides, 10 to 20 ns each, and its windows keep two vectors a key and window, which are
//! allocated and freed: 50 ns a record with two records in each.
//!
//! Renoir's `window_join` drops records that are older than the first window that its key has open, which happens
//! here where one side runs ahead. So its sides are merged, put in order, and joined by what that verb does inside: two
//! vectors a window, and their product. Its time is counted in windows, as a second is in the tumbling count.

use ::renoir::operator::window::EventTimeWindow;
use ::timely::dataflow::StreamVec;
use ::timely::dataflow::channels::pact::Exchange;
use ::timely::dataflow::operators::generic::operator::Operator as _;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use highwater::prelude::*;
use highwater_benches::compare::run;
use highwater_benches::feed::BATCH_RECORDS;
use highwater_benches::input::JITTER_MILLIS;
use highwater_benches::tally::{Digest, Tally};
use serde::{Deserialize, Serialize};

use crate::compare::{Case, Comparison};
use crate::engines::by_hand::{ByEnd, State, Timed};
use crate::engines::{renoir, timely};
use crate::pool::{Pool, Visit, Watermark};
use crate::total::{Total, TotalSink};

const WINDOW: i64 = 200;
const NONE: u32 = u32::MAX;

/// The visits of both sides.
type Sides = [Pool<Visit>; 2];

/// A visit of one of two sides.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Sided {
    side: usize,
    visit: Visit,
}

impl Timed for Sided {
    #[inline]
    fn at(&self) -> i64 {
        self.visit.at
    }
}

/// A left and a right visit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Pair(Visit, Visit);

impl Digest for Pair {
    #[inline]
    fn digest(&self) -> u64 {
        (self.0.page.wrapping_add(self.0.at as u64 * 3), self.1.at as u64).digest()
    }
}

/// The visits of a window, one behind the other; each knows the one before of the same page and side.
#[derive(Clone, Default)]
struct OfWindow {
    last: HashMap<u64, [u32; 2], RandomState>,
    visits: Vec<(Visit, u32)>,
}

/// The visits of the open windows.
#[derive(Clone, Default)]
struct Joining(ByEnd<OfWindow>);

impl Joining {
    #[inline]
    fn join(&mut self, side: usize, visit: Visit, mut tell: impl FnMut(Pair)) {
        let window = self.0.at(visit.at - visit.at.rem_euclid(WINDOW) + WINDOW);
        let last = window.last.entry(visit.page).or_insert([NONE; 2]);
        let mut next = last[1 - side];
        while let Some((other, before)) = window.visits.get(next as usize) {
            tell(if side == 0 { Pair(visit, *other) } else { Pair(*other, visit) });
            next = *before;
        }
        let number = u32::try_from(window.visits.len()).expect("a window has fewer than 2^32 records");
        window.visits.push((visit, last[side]));
        last[side] = number;
    }
}

impl State for Joining {
    type Record = Sided;
    type Result = Pair;

    #[inline]
    fn add(&mut self, sided: Sided, tell: impl FnMut(Pair)) {
        self.join(sided.side, sided.visit, tell);
    }

    fn close(&mut self, watermark: i64, _: impl FnMut(Pair)) {
        self.0.close(watermark, |_, window| {
            window.last.clear();
            window.visits.clear();
        });
    }
}

fn by_hand(sides: &Sides, records: u64) -> Tally {
    let (mut state, mut tally) = (Joining::default(), Tally::default());
    let mut watermarks = [Watermark::default(); 2];
    let mut shares = sides.each_ref().map(|pool| pool.all(records / 2));
    let mut batch = Vec::with_capacity(BATCH_RECORDS);
    loop {
        for side in 0..2 {
            shares[side].fill(BATCH_RECORDS, &mut batch);
            for visit in &batch {
                watermarks[side].see(visit.at);
                state.join(side, *visit, |pair| tally.add(&pair));
            }
            batch.clear();
        }
        if shares[1].is_out() {
            return tally;
        }
        state.close(watermarks[0].now().min(watermarks[1].now()), |_| ());
    }
}

fn highwater(sides: &Sides, records: u64, workers: usize) -> Tally {
    let (topology, total) = (Topology::new("join"), Total::default());
    let [left, right] = ["left", "right"].map(|name| {
        let pool = &sides[usize::from(name == "right")];
        let visits = topology.source(name, pool.source(records / 2, workers));
        let lateness = Duration::from_millis(JITTER_MILLIS);
        let visits = visits.event_time(|visit| Timestamp::from_millis(visit.at), lateness);
        visits.key_by(|visit| visit.page)
    });
    let windows = tumbling(Duration::from_millis(WINDOW.unsigned_abs()));
    let pairs = left.join(right, windows).inner("pairs").values();
    let add = |pair: &(Visit, Visit), tally: &mut Tally| tally.add(&Pair(pair.0, pair.1));
    pairs.sink("out", TotalSink::new(&total, add));
    run(Job::new(topology).workers(workers));
    total.tally()
}

fn in_renoir_by_hand(sides: &Sides, records: u64, workers: usize) -> Tally {
    let total = renoir::run(workers, |context, part| {
        let [left, right] = [0, 1].map(|side| {
            let visits = renoir::records(context, &sides[side], records / 2);
            let visits = visits.add_timestamps(|visit| visit.at, renoir::watermarks(1));
            visits.map(move |visit| Sided { side, visit })
        });
        renoir::sum_up(renoir::state::<Joining>(left.merge(right), |sided| sided.visit.page), part);
    });
    total.tally()
}

fn in_renoir(sides: &Sides, records: u64, workers: usize) -> Tally {
    let total = renoir::run(workers, |context, part| {
        let [left, right] = [0, 1].map(|side| {
            let visits = renoir::records(context, &sides[side], records / 2);
            let windows = |visit: &Visit| visit.at.div_euclid(WINDOW);
            let visits = visits.add_timestamps(windows, renoir::watermarks(WINDOW));
            visits.map(move |visit| Sided { side, visit }).group_by(|sided| sided.visit.page)
        });
        let windows = left.merge(right).reorder().window(EventTimeWindow::tumbling(1));
        let kept = windows.fold([Vec::new(), Vec::new()], |kept: &mut [Vec<Visit>; 2], sided: &Sided| {
            kept[sided.side].push(sided.visit);
        });
        let pairs = kept.drop_key().flat_map(|[left, right]| {
            left.into_iter()
                .flat_map(move |left| right.clone().into_iter().map(move |right| Pair(left, right)))
        });
        renoir::sum_up(pairs, part);
    });
    total.tally()
}

fn in_timely(sides: &Sides, records: u64, workers: usize) -> Tally {
    let total = timely::run_two::<Visit, Watermark>(sides, records, workers, |[left, right], probe, part| {
        let by_page = || Exchange::new(|visit: &Visit| visit.page);
        let pairs: StreamVec<'_, u64, Pair> =
            left.binary_frontier(right, by_page(), by_page(), "join", |_, _| {
                let mut state = Joining::default();
                move |(left, left_frontier), (right, right_frontier), output| {
                    left.for_each(|time, batch| {
                        let mut session = output.session(&time);
                        batch.drain(..).for_each(|visit| state.join(0, visit, |pair| session.give(pair)));
                    });
                    right.for_each(|time, batch| {
                        let mut session = output.session(&time);
                        batch.drain(..).for_each(|visit| state.join(1, visit, |pair| session.give(pair)));
                    });
                    let watermark = [left_frontier, right_frontier]
                        .map(|frontier| frontier.frontier().first().map_or(i64::MAX, |time| *time as i64));
                    state.close(watermark[0].min(watermark[1]), |_| ());
                }
            });
        timely::sum_up(pairs, probe, part);
    });
    total.tally()
}

/// The same times, and pages that are as far from them as can be.
fn other_side(left: &Pool<Visit>, records: usize) -> Pool<Visit> {
    let left: Vec<Visit> = left.all(records as u64).collect();
    let right = |number: usize| Visit { page: left[(number + records / 2) % records].page, ..left[number] };
    Pool::new((0..records).map(right).collect())
}

/// The comparison of this file.
pub fn comparison() -> Comparison {
    let left = super::visits();
    let right = other_side(&left, highwater_benches::input::POOL_RECORDS);
    let case = |engine, how, run: fn(&Sides, u64, usize) -> Tally| {
        let sides = [left.clone(), right.clone()];
        Case::new(engine, how, move |records, workers| run(&sides, records, workers))
    };
    Comparison {
        name: "join",
        what: "join in windows of 200 ms",
        records: 2 << 20,
        cases: vec![
            case("loop", "", |sides, records, _| by_hand(sides, records)),
            case("Highwater", "", highwater),
            case("Renoir", "its windows", in_renoir),
            case("Renoir", "custom operator", in_renoir_by_hand),
            case("Timely", "", in_timely),
        ],
    }
}
