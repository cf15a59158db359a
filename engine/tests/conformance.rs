//! The meaning of tumbling, sliding and session windows to the millisecond, from cases kept as data beside the project.
//!
//! Every case runs record by record with a restart after each, through the interpreter, and through jobs with one,
//! two and four workers. If a test fails here, a window holds, fires, emits again or refuses the wrong record
//! (HW-3, HW-6, HW-8). Where the cases are absent the tests say so and are skipped.

use std::path::Path;

use highwater::operators::interpret::interpret;
use highwater::operators::memory::MemorySink;
use highwater::operators::testkit::{Harness, at};
use highwater::operators::window::Windows;
use highwater::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize)]
struct Case {
    id: String,
    window: Shape,
    aggregate: String,
    lag_ms: u64,
    #[serde(default)]
    allowed_lateness_ms: u64,
    #[serde(default)]
    end: String,
    records: Vec<Rec>,
    expected: Expected,
}

#[derive(Clone, Debug, Deserialize)]
struct Shape {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    size_ms: i64,
    #[serde(default)]
    slide_ms: i64,
    #[serde(default)]
    offset_ms: i64,
    #[serde(default)]
    gap_ms: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Rec {
    id: i64,
    key: String,
    ts: i64,
    value: f64,
}

#[derive(Clone, Debug, Deserialize)]
struct Expected {
    results: Vec<Fired>,
    late: Vec<i64>,
}

#[derive(Clone, Debug, Deserialize)]
struct Fired {
    key: String,
    start: i64,
    end: i64,
    value: f64,
}

/// A result, or the id of a late record.
#[derive(Clone, Debug)]
enum Out {
    Fired(Fired),
    Late(i64),
}

/// The cases; none where there is no such file.
fn cases() -> Vec<Case> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance/windows.json");
    let Ok(text) = std::fs::read_to_string(&file) else {
        println!("skipped: {} is not there", file.display());
        return Vec::new();
    };
    let all: Vec<Case> = serde_json::from_str(&text).expect("the cases can be read");
    let kinds = ["tumbling", "sliding", "session"];
    for kind in kinds {
        assert!(all.iter().any(|case| case.window.kind == kind), "there are cases of {kind} windows");
    }
    all.into_iter().filter(|case| kinds.contains(&case.window.kind.as_str())).collect()
}

fn windowed(case: &Case, stream: Stream<Rec>) -> Stream<Out> {
    let millis = |millis: i64| Duration::from_millis(millis.unsigned_abs());
    let shape = &case.window;
    let keyed = stream.key_by(|rec| rec.key.clone());
    match shape.kind.as_str() {
        "tumbling" => {
            let offset = millis(shape.offset_ms.rem_euclid(shape.size_ms));
            let windows = keyed.window(tumbling(millis(shape.size_ms)).offset(offset));
            aggregated(case, windows.allow_late(Duration::from_millis(case.allowed_lateness_ms)))
        }
        "sliding" => {
            let offset = millis(shape.offset_ms.rem_euclid(shape.slide_ms));
            let windows = keyed.window(sliding(millis(shape.size_ms), millis(shape.slide_ms)).offset(offset));
            aggregated(case, windows.allow_late(Duration::from_millis(case.allowed_lateness_ms)))
        }
        "session" => aggregated(case, keyed.window(session(millis(shape.gap_ms)))),
        other => panic!("{}: there are no {other} windows", case.id),
    }
}

fn aggregated<W: Windows>(case: &Case, windows: WindowedStream<String, Rec, W>) -> Stream<Out> {
    let (windows, late) = windows.with_late();
    let fired = match case.aggregate.as_str() {
        "count" => windows.count("windows").map(|w| fired(w.key, w.window, w.value as f64)),
        "sum" => windows.aggregate("windows", |a| a.sum(|r: &Rec| r.value)).map(of_number),
        "min" => windows.aggregate("windows", |a| a.min(|r: &Rec| r.value)).map(of_number),
        "max" => windows.aggregate("windows", |a| a.max(|r: &Rec| r.value)).map(of_number),
        "mean" => windows.aggregate("windows", |a| a.mean(|r: &Rec| r.value)).map(of_number),
        other => panic!("{}: there is no aggregate {other}", case.id),
    };
    fired.merge(late.map(|rec: Rec| Out::Late(rec.id)))
}

fn of_number(w: Windowed<String, f64>) -> Out {
    fired(w.key, w.window, w.value)
}

fn fired(key: String, window: TimeRange, value: f64) -> Out {
    Out::Fired(Fired { key, start: window.start.as_millis(), end: window.end.as_millis(), value })
}

/// Results as a multiset, late records as a set; numbers to nine digits.
fn compare(case: &Case, out: Vec<Out>, how: &str) {
    let (mut results, mut late) = (Vec::new(), Vec::new());
    for out in out {
        match out {
            Out::Fired(fired) => results.push(fired),
            Out::Late(id) => late.push(id),
        }
    }
    let mut expected = case.expected.clone();
    for list in [&mut results, &mut expected.results] {
        list.sort_by(|a, b| {
            (&a.key, a.start, a.end).cmp(&(&b.key, b.start, b.end)).then(a.value.total_cmp(&b.value))
        });
    }
    late.sort_unstable();
    expected.late.sort_unstable();
    let equal = |a: &Fired, b: &Fired| {
        let close = (a.value - b.value).abs() <= 1e-9 * a.value.abs().max(b.value.abs());
        (&a.key, a.start, a.end) == (&b.key, b.start, b.end) && close
    };
    let same = results.len() == expected.results.len()
        && results.iter().zip(&expected.results).all(|(a, b)| equal(a, b));
    assert!(same && late == expected.late, "{} {how}: {results:#?} {late:?} {expected:#?}", case.id);
}

fn topology(case: &Case, sink: &MemorySink<Out>) -> Topology {
    let topology = Topology::new("case");
    let records = topology.source("records", Memory::source(case.records.clone()));
    let timed = records.event_time(|rec| at(rec.ts), Duration::from_millis(case.lag_ms));
    windowed(case, timed).sink("out", sink.clone());
    topology
}

#[test]
fn windows_conform_record_by_record_with_a_restart_after_each() {
    for case in cases() {
        let mut harness = Harness::new(|stream| windowed(&case, stream));
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
fn windows_conform_in_the_interpreter_and_with_one_two_and_four_workers() {
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
