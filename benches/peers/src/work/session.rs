//! Sessions: records of a key that follow each other within 200 ms of event time, counted; 100 000 keys with 10
//! records a second each, so that a session has some 7 records and a key has one or two of them open.
//!
//! Back of the envelope, for one record: a lookup as the keyed count's, in a map whose entries are 64 bytes and which
//! is 8 MiB large, so that most lookups go to the third-level cache: 10 to 15 ns. A session costs a timer (8 bytes put
//! into the bucket of a millisecond, read again once or twice, each time with a lookup) and a result: some 60 ns, 8 ns
//! a record. An engine adds what it adds to the tumbling window.
//!
//! Renoir has session windows over the time on the wall only. Over event time its user writes an operator, which is
//! the state of the loop here, as in Timely's.

use std::collections::VecDeque;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use highwater::prelude::*;
use highwater_benches::compare::run;
use highwater_benches::input::JITTER_MILLIS;
use highwater_benches::tally::Tally;

use crate::compare::{Case, Comparison};
use crate::engines::by_hand::{self, State};
use crate::engines::{renoir, timely};
use crate::pool::{Pool, Visit, Watermark};
use crate::total::{Told, Total, TotalSink};

const GAP: i64 = 200;

/// A session: the times of its first and its last record, and how many it has.
#[derive(Clone, Copy)]
pub(crate) struct Open<const GAP: i64> {
    pub first: i64,
    pub last: i64,
    pub count: u64,
}

impl<const GAP: i64> Open<GAP> {
    /// Whether a record of this time belongs to it.
    fn joins(&self, at: i64) -> bool {
        self.first - GAP <= at && at <= self.last + GAP
    }

    fn join(&mut self, other: Open<GAP>) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.count += other.count;
    }
}

/// The open sessions of a key: one, and seldom more; in no order.
#[derive(Clone)]
struct OfKey<const GAP: i64> {
    one: Open<GAP>,
    more: Vec<Open<GAP>>,
}

impl<const GAP: i64> OfKey<GAP> {
    fn add(&mut self, at: i64) {
        let visit = Open { first: at, last: at, count: 1 };
        if self.more.is_empty() && self.one.joins(at) {
            return self.one.join(visit);
        }
        let mut joined = visit;
        self.more.push(self.one);
        self.more.retain(|open| {
            let joins = open.joins(at);
            if joins {
                joined.join(*open);
            }
            !joins
        });
        self.one = joined;
    }

    /// Takes out the sessions that have ended; gives the end of the first of those that are left, if any are.
    fn close(&mut self, watermark: i64, mut tell: impl FnMut(Open<GAP>)) -> Option<i64> {
        let mut ended = |open: &Open<GAP>| {
            let ended = open.last.saturating_add(GAP) <= watermark;
            if ended {
                tell(*open);
            }
            ended
        };
        self.more.retain(|open| !ended(open));
        if ended(&self.one) {
            self.one = self.more.pop()?;
        }
        let first = self.more.iter().fold(self.one.last, |first, open| first.min(open.last));
        Some(first + GAP)
    }
}

/// The open sessions of all keys, and one timer for each key, by ms.
#[derive(Clone, Default)]
pub(crate) struct Sessions<const GAP: i64> {
    open: HashMap<u64, OfKey<GAP>, RandomState>,
    /// The keys whose timers are due, in one bucket for each ms from `from` on.
    due: VecDeque<Vec<u64>>,
    from: i64,
}

impl<const GAP: i64> Sessions<GAP> {
    /// Buckets that have been emptied come back at the far end, so that there are as many as the horizon has ms.
    fn set_timer(due: &mut VecDeque<Vec<u64>>, from: &mut i64, at: i64, key: u64) {
        if due.is_empty() {
            // Nothing is due: the buckets begin anew. What is due before the first of them is put into that.
            *from = at - GAP;
        }
        let bucket = usize::try_from(at - *from).unwrap_or(0);
        if due.len() <= bucket {
            due.resize_with(bucket + 1, Vec::new);
        }
        due[bucket].push(key);
    }

    /// Adds a record of a key.
    #[inline]
    pub fn add(&mut self, key: u64, at: i64) {
        match self.open.entry(key) {
            Entry::Occupied(mut sessions) => sessions.get_mut().add(at),
            Entry::Vacant(place) => {
                place.insert(OfKey { one: Open { first: at, last: at, count: 1 }, more: Vec::new() });
                Self::set_timer(&mut self.due, &mut self.from, at + GAP, key);
            }
        }
    }

    /// Tells and forgets the sessions that have ended at the watermark.
    pub fn close(&mut self, watermark: i64, mut tell: impl FnMut(u64, Open<GAP>)) {
        while self.from <= watermark
            && let Some(mut keys) = self.due.pop_front()
        {
            self.from += 1;
            for key in keys.drain(..) {
                let Entry::Occupied(mut sessions) = self.open.entry(key) else { continue };
                match sessions.get_mut().close(watermark, |open| tell(key, open)) {
                    Some(at) => Self::set_timer(&mut self.due, &mut self.from, at, key),
                    None => drop(sessions.remove()),
                }
            }
            if watermark < i64::MAX {
                self.due.push_back(keys);
            }
        }
        if watermark < i64::MAX && !self.due.is_empty() {
            self.from = self.from.max(watermark + 1);
        }
    }
}

/// The sessions of the pages.
#[derive(Clone, Default)]
struct OfPages(Sessions<GAP>);

impl State for OfPages {
    type Record = Visit;
    type Result = Told;

    #[inline]
    fn add(&mut self, visit: Visit, _: impl FnMut(Told)) {
        self.0.add(visit.page, visit.at);
    }

    fn close(&mut self, watermark: i64, mut tell: impl FnMut(Told)) {
        self.0.close(watermark, |page, open| {
            tell(Told { key: page, end: open.last + GAP, value: open.count });
        });
    }
}

fn highwater(pool: &Pool<Visit>, records: u64, workers: usize) -> Tally {
    let (topology, total) = (Topology::new("session"), Total::default());
    let visits = topology.source("pool", pool.source(records, workers));
    let counts = visits
        .event_time(|visit| Timestamp::from_millis(visit.at), Duration::from_millis(JITTER_MILLIS))
        .key_by(|visit| visit.page)
        .window(session(Duration::from_millis(GAP.unsigned_abs())))
        .count("visits");
    let add = |count: &Windowed<u64, u64>, tally: &mut Tally| tally.add(count);
    counts.sink("out", TotalSink::new(&total, add));
    run(Job::new(topology).workers(workers));
    total.tally()
}

fn in_renoir(pool: &Pool<Visit>, records: u64, workers: usize) -> Tally {
    let total = renoir::run(workers, |context, part| {
        let visits = renoir::records(context, pool, records);
        let visits = visits.add_timestamps(|visit| visit.at, renoir::watermarks(1));
        renoir::sum_up(renoir::state::<OfPages>(visits, |visit| visit.page), part);
    });
    total.tally()
}

fn in_timely(pool: &Pool<Visit>, records: u64, workers: usize) -> Tally {
    let total = timely::run::<Visit, Watermark>(pool, records, workers, |visits, probe, part| {
        timely::sum_up(timely::state::<OfPages>(visits, |visit| visit.page), probe, part);
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
        name: "session",
        what: "count per session, 100 000 keys",
        records: 4 << 20,
        cases: vec![
            case("loop", "", |pool, records, _| by_hand::run::<OfPages>(pool.all(records))),
            case("Highwater", "", highwater),
            case("Renoir", "custom operator", in_renoir),
            case("Timely", "", in_timely),
        ],
    }
}
