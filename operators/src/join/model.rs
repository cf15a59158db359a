//! What joins mean, over all records at once: the model that the operators are judged by, and the ways to run them.
//!
//! It follows the wording of the conformance cases and shares no code with the operators. Times are 128 bits wide, so
//! that it knows nothing of the ends of time but that a watermark at the last of all times is the end of input.

use std::sync::Arc;
use std::time::Duration;

use highwater_state::backend::memory::MemoryBackend;
use highwater_state::{Backend, Epoch, Timestamp};
use serde::{Deserialize, Serialize};

use crate::interpret::{end_epoch, open, publish, recover_sinks};
use crate::join::{JoinedStream, between_millis};
use crate::keyed::KeyedStream;
use crate::limits::Limits;
use crate::memory::Memory;
use crate::stream::Stream;
use crate::task::FullSpeed;
use crate::testkit::{Harness, at};
use crate::topology::Topology;
use crate::window::tumbling;

/// Which records belong together.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Interval { lower: i64, upper: i64 },
    Tumbling { size: u64, offset: u64 },
    AsOf,
}

/// Which sides are kept without a partner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keeps {
    pub(super) left: bool,
    pub(super) right: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Rec {
    pub(super) id: u32,
    pub(super) left: bool,
    pub(super) key: u8,
    pub(super) ts: i64,
}

/// A result with its event time, or what must be accounted for otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Out {
    Result(Option<u32>, Option<u32>),
    Late(u32),
    /// A result that was behind the watermark of the join's output: there must be none.
    Behind(Option<u32>, Option<u32>),
}

/// The join with its late records.
pub(super) fn joined(kind: Kind, keeps: Keeps, stream: Stream<Rec>) -> Stream<Out> {
    let (left, right) = stream.branch(|rec| rec.left);
    let (left, right) = (left.key_by(|rec| rec.key), right.key_by(|rec| rec.key));
    let (results, late_left, late_right) = match kind {
        Kind::AsOf => {
            let (joined, late_left, late_right) = left.join_as_of(right).with_late();
            let results = match keeps.left {
                false => results(joined.inner("joined"), |(l, r)| (Some(l), Some(r))),
                true => results(joined.left("joined"), |(l, r)| (Some(l), r)),
            };
            (results, late_left, late_right)
        }
        Kind::Interval { lower, upper } => ended(left.join(right, between_millis(lower, upper)), keeps),
        Kind::Tumbling { size, offset } => {
            let windows = tumbling(Duration::from_millis(size)).offset(Duration::from_millis(offset));
            ended(left.join(right, windows), keeps)
        }
    };
    let (_, behind) = results.clone().key_by(|_| ()).sorted("behind");
    let results = results.map(|(left, right)| Out::Result(left, right));
    let behind = behind.map(|(left, right)| Out::Behind(left, right));
    results.merge(behind).merge(late_left.merge(late_right).map(|rec| Out::Late(rec.id)))
}

type Ids = (Option<u32>, Option<u32>);

fn ended(joined: JoinedStream<u8, Rec, Rec>, keeps: Keeps) -> (Stream<Ids>, Stream<Rec>, Stream<Rec>) {
    let (joined, late_left, late_right) = joined.with_late();
    let results = match (keeps.left, keeps.right) {
        (false, false) => results(joined.inner("joined"), |(l, r)| (Some(l), Some(r))),
        (true, false) => results(joined.left("joined"), |(l, r)| (Some(l), r)),
        (false, true) => results(joined.right("joined"), |(l, r)| (l, Some(r))),
        (true, true) => results(joined.outer("joined"), |pair| pair),
    };
    (results, late_left, late_right)
}

fn results<T: crate::data::Data>(
    joined: KeyedStream<u8, T>,
    sides: fn(T) -> (Option<Rec>, Option<Rec>),
) -> Stream<Ids> {
    joined.entries().map(move |(key, result)| {
        let (left, right) = sides(result);
        assert!(left.iter().chain(&right).all(|rec| rec.key == key), "a result has its records' key");
        (left.map(|rec| rec.id), right.map(|rec| rec.id))
    })
}

/// The watermark that each record meets and, last, the one after all of them.
fn watermarks(records: &[Rec], lag: u32) -> Vec<i64> {
    let mut watermarks = vec![i64::MIN];
    for rec in records {
        let before = *watermarks.last().expect("there is a first");
        watermarks.push(before.max(rec.ts.saturating_sub(i64::from(lag))));
    }
    watermarks
}

/// What the join must give, sorted; `stops` says that time does not come to an end after the last record.
pub(super) fn expected(kind: Kind, keeps: Keeps, records: &[Rec], lag: u32, stops: bool) -> Vec<(Out, i64)> {
    let met = watermarks(records, lag);
    let reached = *met.last().expect("there is a first");
    let ended = !stops || reached == i64::MAX;
    let passed = |time: i128| ended || i128::from(reached) > time;
    let is_late = |number: usize| records[number].ts < met[number];
    let late = (0..records.len()).filter(|&number| is_late(number));
    let mut found: Vec<_> = late.map(|number| (Out::Late(records[number].id), records[number].ts)).collect();
    let on_time: Vec<&Rec> = (0..records.len()).filter(|&n| !is_late(n)).map(|n| &records[n]).collect();
    let (left, right): (Vec<&Rec>, Vec<&Rec>) = on_time.into_iter().partition(|rec| rec.left);
    if let Kind::AsOf = kind {
        for l in left.into_iter().filter(|l| passed(l.ts.into())) {
            let versions = right.iter().filter(|r| r.key == l.key && r.ts <= l.ts);
            let version = versions.max_by_key(|r| r.ts).map(|r| r.id);
            if keeps.left || version.is_some() {
                found.push((Out::Result(Some(l.id), version), l.ts));
            }
        }
        found.sort();
        return found;
    }
    let window = |ts: i64, size: u64, offset: u64| {
        let (size, offset) = (i128::from(size), i128::from(offset));
        (i128::from(ts) - offset).div_euclid(size) * size + offset
    };
    let belong = |l: &Rec, r: &Rec| match kind {
        Kind::Interval { lower, upper } => {
            let later = i128::from(r.ts) - i128::from(l.ts);
            i128::from(lower) <= later && later <= i128::from(upper)
        }
        Kind::Tumbling { size, offset } => window(l.ts, size, offset) == window(r.ts, size, offset),
        Kind::AsOf => false,
    };
    for l in &left {
        for r in right.iter().filter(|r| r.key == l.key && belong(l, r)) {
            found.push((Out::Result(Some(l.id), Some(r.id)), l.ts.max(r.ts)));
        }
    }
    // After which time no partner can come, and the time of the record without one.
    let alone = |rec: &Rec| match kind {
        Kind::Interval { lower, upper } => {
            let reach = if rec.left { i128::from(upper) } else { -i128::from(lower) };
            (i128::from(rec.ts) + reach, rec.ts)
        }
        Kind::Tumbling { size, offset } => {
            let last = window(rec.ts, size, offset) + i128::from(size) - 1;
            (last, last.min(i64::MAX.into()) as i64)
        }
        Kind::AsOf => (0, 0),
    };
    for l in left.iter().filter(|_| keeps.left) {
        if !right.iter().any(|r| r.key == l.key && belong(l, r)) && passed(alone(l).0) {
            found.push((Out::Result(Some(l.id), None), alone(l).1));
        }
    }
    for r in right.iter().filter(|_| keeps.right) {
        if !left.iter().any(|l| l.key == r.key && belong(l, r)) && passed(alone(r).0) {
            found.push((Out::Result(None, Some(r.id)), alone(r).1));
        }
    }
    found.sort();
    found
}

/// Record by record, with a restart after each and room for one record at every output.
pub(super) fn restarted(kind: Kind, keeps: Keeps, records: &[Rec], lag: u32, stops: bool) -> Vec<(Out, i64)> {
    let mut harness = Harness::new(|stream| joined(kind, keeps, stream));
    let met = watermarks(records, lag);
    for (number, rec) in records.iter().enumerate() {
        harness.record(rec.clone(), at(rec.ts));
        if met[number + 1] > met[number] {
            harness.watermark(at(met[number + 1]));
        }
    }
    if !stops && met[records.len()] < i64::MAX {
        harness.watermark(Timestamp::MAX);
    }
    let mut found: Vec<_> = harness.take().into_iter().map(|(out, at)| (out, at.as_millis())).collect();
    found.sort();
    found
}

/// In batches, over an epoch that ends now and then, to the end of time; without event times.
pub(super) fn in_batches(kind: Kind, keeps: Keeps, records: &[Rec], lag: u32, limits: Limits) -> Vec<Out> {
    let topology = Topology::new("batches");
    let sink = Memory::sink();
    let source = topology.source("records", Memory::source(records.to_vec()));
    let timed = source.event_time(|rec| at(rec.ts), Duration::from_millis(lag.into()));
    joined(kind, keeps, timed).sink("sink", sink.clone());
    let graph = topology.finish().expect("a topology");
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::default());
    recover_sinks(&graph, Epoch(0)).expect("a sink in memory does not fail");
    let mut flow = open(&graph, &backend, Epoch(0), limits.clone()).expect("opens");
    let mut epoch = Epoch(0);
    loop {
        epoch = epoch.next();
        let moved: Vec<bool> = (0..3).map(|_| flow.step(Timestamp::MIN, &FullSpeed).expect("runs")).collect();
        let last = flow.is_exhausted() && !moved.contains(&true);
        let contribution = end_epoch(&mut flow, epoch, last).expect("ends");
        backend.commit(&contribution.delta).expect("commits");
        publish(&graph, epoch, &contribution).expect("publishes");
        if last {
            break;
        }
        if epoch.0.is_multiple_of(3) {
            recover_sinks(&graph, epoch).expect("a sink in memory does not fail");
            flow = open(&graph, &backend, epoch, limits.clone()).expect("opens again");
        } else {
            flow.applied(epoch);
        }
    }
    let mut found = sink.take();
    found.sort();
    found
}
