//! Orders and payments joined by their number in tumbling seconds; seven of ten orders are paid in the same second.

use std::collections::BTreeMap;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use highwater::prelude::*;
use highwater_benches::compare::{Comparison, run, run_on_rocksdb};
use highwater_benches::feed::{Feed, Repeat};
use highwater_benches::tally::{Tally, TallySink};

/// Orders in the pool, one for each payment; 200 of both come in a millisecond.
const ORDERS: u64 = 1 << 19;
const PER_MILLI: u64 = 100;
const JITTER_MILLIS: u64 = 20;
const SECOND: i64 = 1000;

#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
struct Event {
    order: u64,
    millis: i64,
    is_payment: bool,
    amount: u32,
}

impl Repeat for Event {
    fn repeated(self, round: u64) -> Self {
        Event {
            order: self.order ^ (round << 40),
            millis: self.millis + (round * ORDERS / PER_MILLI) as i64,
            ..self
        }
    }
}

fn events() -> Vec<Event> {
    let pair = |number: u64| {
        let order = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
        let ordered = number / PER_MILLI;
        let paid = ordered + order % 600;
        let event = |at: u64, is_payment| {
            let millis = at as i64 - (order >> 10) as i64 % JITTER_MILLIS as i64;
            (at, Event { order, millis, is_payment, amount: number as u32 })
        };
        [event(ordered, false), event(paid, true)]
    };
    let mut events: Vec<_> = (0..ORDERS).flat_map(pair).collect();
    events.sort_by_key(|(at, _)| *at);
    events.into_iter().map(|(_, event)| event).collect()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

#[derive(Default)]
struct Joined {
    orders: Vec<Event>,
    payments: Vec<Event>,
}

type Window = HashMap<u64, Joined, RandomState>;

fn hand(feed: Feed<Event>) -> Tally {
    let mut open: BTreeMap<i64, Window> = BTreeMap::new();
    let (mut tally, mut latest) = (Tally::default(), i64::MIN);
    let mut close = |open: &mut BTreeMap<i64, Window>, watermark: i64| {
        while let Some(first) = open.first_entry().filter(|first| *first.key() <= watermark) {
            for (key, joined) in first.remove() {
                for order in &joined.orders {
                    for payment in &joined.payments {
                        tally.add(&(key, pair_of(order, payment)));
                    }
                }
            }
        }
    };
    feed.for_each_batch(|batch| {
        for event in batch {
            let end = event.millis - event.millis.rem_euclid(SECOND) + SECOND;
            let joined = open.entry(end).or_default().entry(event.order).or_default();
            match event.is_payment {
                true => joined.payments.push(*event),
                false => joined.orders.push(*event),
            }
            latest = latest.max(event.millis);
        }
        close(&mut open, latest - JITTER_MILLIS as i64);
    });
    close(&mut open, i64::MAX);
    tally
}

fn pair_of(order: &Event, payment: &Event) -> u64 {
    u64::from(order.amount) << 32 | (payment.millis as u64 & 0xffff_ffff)
}

fn engine(feed: Feed<Event>, job: fn(Job) -> u64) -> Tally {
    let (topology, sink) = (Topology::new("join"), TallySink::default());
    let events = topology
        .source("pool", feed)
        .event_time(|event| at(event.millis), Duration::from_millis(JITTER_MILLIS));
    let (payments, orders) = events.branch(|event| event.is_payment);
    let payments = payments.key_by(|event| event.order);
    orders
        .key_by(|event| event.order)
        .join(payments, tumbling(Duration::from_secs(1)))
        .inner("paid")
        .entries()
        .map(|(key, (order, payment))| (key, pair_of(&order, &payment)))
        .sink("out", sink.clone());
    job(Job::new(topology));
    sink.tally()
}

/// The comparisons of this file.
pub fn comparisons() -> Vec<Comparison> {
    vec![Comparison::over(
        "join",
        events(),
        hand,
        &[("memory", |feed| engine(feed, run)), ("rocksdb", |feed| engine(feed, run_on_rocksdb))],
    )]
}
