//! The meaning of joins down to the millisecond, from cases that are kept as data beside the project.
//!
//! Every case runs record by record with a restart after each, through the interpreter, and through jobs with one,
//! two and four workers. If a test fails here, a join pairs, gives up or refuses the wrong record (HW-1, HW-6,
//! HW-8). Where the cases are absent the tests say so and are skipped.

use std::path::Path;

use highwater::operators::interpret::interpret;
use highwater::operators::memory::MemorySink;
use highwater::operators::testkit::{Harness, at};
use highwater::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize)]
struct Case {
    id: String,
    join: Shape,
    lag_ms: u64,
    #[serde(default)]
    end: String,
    records: Vec<Rec>,
    expected: Expected,
}

#[derive(Clone, Debug, Deserialize)]
struct Shape {
    #[serde(rename = "type")]
    kind: String,
    mode: String,
    #[serde(default)]
    lower_ms: i64,
    #[serde(default)]
    upper_ms: i64,
    #[serde(default)]
    size_ms: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Rec {
    id: i64,
    key: String,
    ts: i64,
    side: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Expected {
    results: Vec<(Option<i64>, Option<i64>)>,
    late: Vec<i64>,
}

/// A result, or the id of a late record.
#[derive(Clone, Debug)]
enum Out {
    Joined(Option<i64>, Option<i64>),
    Late(i64),
}

fn cases() -> Vec<Case> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance/joins.json");
    let Ok(text) = std::fs::read_to_string(&file) else {
        println!("skipped: {} is not there", file.display());
        return Vec::new();
    };
    let cases: Vec<Case> = serde_json::from_str(&text).expect("the cases can be read");
    assert!(!cases.is_empty(), "there are cases");
    cases
}

fn joined(case: &Case, stream: Stream<Rec>) -> Stream<Out> {
    let (left, right) = stream.branch(|rec| rec.side == "left");
    let (left, right) = (left.key_by(|rec| rec.key.clone()), right.key_by(|rec| rec.key.clone()));
    let shape = &case.join;
    let (joined, late_left, late_right) = match shape.kind.as_str() {
        "interval" => left.join(right, between_millis(shape.lower_ms, shape.upper_ms)).with_late(),
        "tumbling" => left.join(right, tumbling(Duration::from_millis(shape.size_ms))).with_late(),
        "asof" => return joined_as_of(case, left.join_as_of(right)),
        other => panic!("{}: there is no join {other}", case.id),
    };
    let joined = match shape.mode.as_str() {
        "inner" => joined.inner("joined").values().map(|(l, r)| out(Some(l), Some(r))),
        "left" => joined.left("joined").values().map(|(l, r)| out(Some(l), r)),
        "right" => joined.right("joined").values().map(|(l, r)| out(l, Some(r))),
        "outer" => joined.outer("joined").values().map(|(l, r)| out(l, r)),
        other => panic!("{}: there is no mode {other}", case.id),
    };
    joined.merge(late_left.merge(late_right).map(|rec| Out::Late(rec.id)))
}

fn joined_as_of(case: &Case, joined: AsOfStream<String, Rec, Rec>) -> Stream<Out> {
    let (joined, late_left, late_right) = joined.with_late();
    let joined = match case.join.mode.as_str() {
        "inner" => joined.inner("joined").values().map(|(l, r)| out(Some(l), Some(r))),
        "left" => joined.left("joined").values().map(|(l, r)| out(Some(l), r)),
        other => panic!("{}: there is no mode {other}", case.id),
    };
    joined.merge(late_left.merge(late_right).map(|rec| Out::Late(rec.id)))
}

fn out(left: Option<Rec>, right: Option<Rec>) -> Out {
    Out::Joined(left.map(|rec| rec.id), right.map(|rec| rec.id))
}

/// Results as a multiset, late records as a set.
fn compare(case: &Case, out: Vec<Out>, how: &str) {
    let mut found = Expected { results: Vec::new(), late: Vec::new() };
    for out in out {
        match out {
            Out::Joined(left, right) => found.results.push((left, right)),
            Out::Late(id) => found.late.push(id),
        }
    }
    let mut expected = case.expected.clone();
    for of in [&mut found, &mut expected] {
        of.results.sort_unstable();
        of.late.sort_unstable();
    }
    assert_eq!(found, expected, "{} {how}", case.id);
}

fn topology(case: &Case, sink: &MemorySink<Out>) -> Topology {
    let topology = Topology::new("case");
    let records = topology.source("records", Memory::source(case.records.clone()));
    let timed = records.event_time(|rec| at(rec.ts), Duration::from_millis(case.lag_ms));
    joined(case, timed).sink("out", sink.clone());
    topology
}

#[test]
fn joins_conform_record_by_record_with_a_restart_after_each() {
    for case in cases() {
        let mut harness = Harness::new(|stream| joined(&case, stream));
        let (mut largest, mut watermark) = (None, Timestamp::MIN);
        for rec in &case.records {
            harness.record(rec.clone(), at(rec.ts));
            largest = largest.max(Some(rec.ts));
            let reached = at(largest.expect("there was a record")) - Duration::from_millis(case.lag_ms);
            if reached > watermark {
                watermark = reached;
                harness.watermark(watermark);
            }
        }
        if case.end != "stop" {
            harness.watermark(Timestamp::MAX);
        }
        compare(&case, harness.take().into_iter().map(|(out, _)| out).collect(), "record by record");
    }
}

#[test]
fn joins_conform_in_the_interpreter_and_with_one_two_and_four_workers() {
    // A source that ends takes time to its end, so the cases that stop before it are for the other test.
    for case in cases().into_iter().filter(|case| case.end != "stop") {
        let sink = Memory::sink();
        interpret(topology(&case, &sink)).expect("the interpreter runs");
        compare(&case, sink.take(), "interpreted");
        for workers in [1, 2, 4] {
            let job = Job::new(topology(&case, &sink)).workers(workers);
            job.epoch_interval(Duration::from_millis(10)).run().expect("the job runs");
            compare(&case, sink.take(), &format!("with {workers} workers"));
        }
    }
}

/// Records whose times rise with a scatter of a few hundred, half of them of one key.
fn many() -> Vec<Rec> {
    let mut random = 7u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 33) % below
    };
    let record = |id| Rec {
        id,
        key: if next(2) == 0 { "hot".to_owned() } else { next(50).to_string() },
        ts: id * 10 - next(500) as i64,
        side: if next(2) == 0 { "left" } else { "right" }.to_owned(),
    };
    (0..4_000).map(record).collect()
}

#[test]
fn joins_of_many_records_give_with_any_number_of_workers_what_the_interpreter_gives() {
    for kind in ["interval", "tumbling", "asof"] {
        let mode = if kind == "asof" { "left" } else { "outer" }.to_owned();
        let case = Case {
            id: format!("many, {kind}"),
            join: Shape { kind: kind.to_owned(), mode, lower_ms: -20, upper_ms: 200, size_ms: 150 },
            lag_ms: 300,
            end: String::new(),
            records: many(),
            expected: Expected { results: Vec::new(), late: Vec::new() },
        };
        let sink = Memory::sink();
        interpret(topology(&case, &sink)).expect("the interpreter runs");
        let mut expected = Expected { results: Vec::new(), late: Vec::new() };
        for out in sink.take() {
            match out {
                Out::Joined(left, right) => expected.results.push((left, right)),
                Out::Late(id) => expected.late.push(id),
            }
        }
        assert!(expected.results.len() > 1_000 && expected.late.len() > 100, "{}", case.id);
        let case = Case { expected, ..case };
        for workers in [1, 2, 4] {
            let job = Job::new(topology(&case, &sink)).workers(workers);
            job.epoch_interval(Duration::from_millis(10)).run().expect("the job runs");
            compare(&case, sink.take(), &format!("with {workers} workers"));
        }
    }
}
