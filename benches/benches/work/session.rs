//! A count per visit: ten clicks of a visitor 100 ms apart, then nothing for ten seconds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use highwater::prelude::*;
use highwater_benches::compare::{Comparison, run, run_on_rocksdb};
use highwater_benches::feed::{Feed, Repeat};
use highwater_benches::tally::{Tally, TallySink};

/// Visits in the pool; ten begin in a millisecond, so 10 000 are open at a time.
const VISITS: u64 = 100_000;
const CLICKS_PER_VISIT: u64 = 10;
const GAP_MILLIS: i64 = 500;
const JITTER_MILLIS: u64 = 50;

#[derive(Clone, Copy)]
struct Click {
    visitor: u64,
    millis: i64,
}

impl Repeat for Click {
    fn repeated(self, round: u64) -> Self {
        Click { millis: self.millis + (round * VISITS / 10) as i64, ..self }
    }
}

fn clicks() -> Vec<Click> {
    let click = |number: u64| {
        let (visit, click) = (number / CLICKS_PER_VISIT, number % CLICKS_PER_VISIT);
        let visitor = visit.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let at = visit / 10 + click * 100;
        let jitter = (visitor >> (32 + click)) % JITTER_MILLIS;
        // They come in the order of `at`, and have happened a little before.
        (at, Click { visitor, millis: at as i64 - jitter as i64 })
    };
    let mut clicks: Vec<_> = (0..VISITS * CLICKS_PER_VISIT).map(click).collect();
    clicks.sort_by_key(|(at, _)| *at);
    clicks.into_iter().map(|(_, click)| click).collect()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

struct Visit {
    first: i64,
    last: i64,
    clicks: u64,
}

/// A map of open visits, and when to look whether one is over; a visit that has gone on is looked at again.
#[derive(Default)]
struct ByHand {
    open: HashMap<u64, Visit, RandomState>,
    ends: BinaryHeap<Reverse<(i64, u64)>>,
    tally: Tally,
}

impl ByHand {
    fn add(&mut self, click: &Click) {
        let (ends, millis) = (&mut self.ends, click.millis);
        let visit = self.open.entry(click.visitor).or_insert_with(|| {
            ends.push(Reverse((millis + GAP_MILLIS, click.visitor)));
            Visit { first: millis, last: millis, clicks: 0 }
        });
        visit.first = visit.first.min(millis);
        visit.last = visit.last.max(millis);
        visit.clicks += 1;
    }

    fn watermark(&mut self, watermark: i64) {
        while let Some(&Reverse((end, key))) = self.ends.peek().filter(|end| end.0.0 <= watermark) {
            self.ends.pop();
            let Some(visit) = self.open.get(&key) else { continue };
            let found = visit.last + GAP_MILLIS;
            if found > end && found > watermark {
                self.ends.push(Reverse((found, key)));
                continue;
            }
            let window = TimeRange { start: at(visit.first), end: at(found) };
            self.tally.add(&Windowed { key, window, value: visit.clicks, timing: Timing::OnTime });
            self.open.remove(&key);
        }
    }
}

fn hand(feed: Feed<Click>) -> Tally {
    let (mut state, mut latest) = (ByHand::default(), i64::MIN);
    feed.for_each_batch(|batch| {
        for click in batch {
            state.add(click);
            latest = latest.max(click.millis);
        }
        state.watermark(latest - JITTER_MILLIS as i64);
    });
    state.watermark(i64::MAX);
    state.tally
}

fn engine(feed: Feed<Click>, job: fn(Job) -> u64) -> Tally {
    let (topology, sink) = (Topology::new("sessions"), TallySink::default());
    topology
        .source("pool", feed)
        .event_time(|click| at(click.millis), Duration::from_millis(JITTER_MILLIS))
        .key_by(|click| click.visitor)
        .window(session(Duration::from_millis(GAP_MILLIS as u64)))
        .count("visits")
        .sink("out", sink.clone());
    job(Job::new(topology));
    sink.tally()
}

/// The comparisons of this file.
pub fn comparisons() -> Vec<Comparison> {
    vec![Comparison::over(
        "session",
        clicks(),
        hand,
        &[("memory", |feed| engine(feed, run)), ("rocksdb", |feed| engine(feed, run_on_rocksdb))],
    )]
}
