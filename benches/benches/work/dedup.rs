//! Records of which every third has been seen within the last second.

use std::collections::VecDeque;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use highwater::prelude::*;
use highwater_benches::compare::{Comparison, run, run_on_rocksdb};
use highwater_benches::feed::{Feed, Repeat};
use highwater_benches::tally::{Tally, TallySink};

/// Records in the pool; a hundred come in a millisecond.
const RECORDS: u64 = 1 << 20;
const PER_MILLI: u64 = 100;
const TTL_MILLIS: i64 = 1000;

#[derive(Clone, Copy)]
struct Event {
    id: u64,
    millis: i64,
}

impl Repeat for Event {
    fn repeated(self, round: u64) -> Self {
        // Other events, later.
        Event { id: self.id ^ (round << 40), millis: self.millis + (round * RECORDS / PER_MILLI) as i64 }
    }
}

/// Every third record is the one again that came 30 000 records, 300 ms, before.
fn events() -> Vec<Event> {
    let event = |number: u64| {
        let of = if number % 3 == 2 { number.saturating_sub(30_001) } else { number };
        Event { id: of.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24, millis: (number / PER_MILLI) as i64 }
    };
    (0..RECORDS).map(event).collect()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn hand(feed: Feed<Event>) -> Tally {
    let mut seen: HashMap<u64, i64, RandomState> = HashMap::default();
    let mut order: VecDeque<(i64, u64)> = VecDeque::new();
    let mut tally = Tally::default();
    feed.for_each_batch(|batch| {
        let mut latest = i64::MIN;
        for event in batch {
            latest = event.millis;
            let passed = match seen.get_mut(&event.id) {
                Some(last) if event.millis - *last <= TTL_MILLIS => false,
                Some(last) => {
                    *last = event.millis;
                    true
                }
                None => {
                    seen.insert(event.id, event.millis);
                    true
                }
            };
            if passed {
                order.push_back((event.millis, event.id));
                tally.add(&(event.id, event.millis as u64));
            }
        }
        while let Some(&(millis, id)) = order.front().filter(|(millis, _)| millis + TTL_MILLIS <= latest) {
            order.pop_front();
            if seen.get(&id) == Some(&millis) {
                seen.remove(&id);
            }
        }
    });
    tally
}

fn engine(feed: Feed<Event>, job: fn(Job) -> u64) -> Tally {
    let (topology, sink) = (Topology::new("dedup"), TallySink::default());
    topology
        .source("pool", feed)
        .event_time(|event| at(event.millis), Duration::ZERO)
        .key_by(|event| event.id)
        .dedup("seen", Duration::from_millis(TTL_MILLIS as u64))
        .values()
        .map(|event| (event.id, event.millis as u64))
        .sink("out", sink.clone());
    job(Job::new(topology));
    sink.tally()
}

/// The comparisons of this file.
pub fn comparisons() -> Vec<Comparison> {
    vec![Comparison::over(
        "dedup",
        events(),
        hand,
        &[("memory", |feed| engine(feed, run)), ("rocksdb", |feed| engine(feed, run_on_rocksdb))],
    )]
}
