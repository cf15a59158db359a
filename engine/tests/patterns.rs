//! Patterns in real jobs over RocksDB that are stopped, that die and that begin with a savepoint while runs are under
//! way, with another number of workers each time. If a test fails here, a run forgets over a restart what it has taken,
//! or goes on where its key no longer is (HW-1, HW-3, HW-8).

#[path = "savepoints/ledger.rs"]
mod ledger;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use highwater::operators::interpret::interpret;
use highwater::prelude::*;
use serde::{Deserialize, Serialize};

use ledger::Ledger;

const PATIENCE: Duration = Duration::from_secs(60);
const SPLITS: i64 = 4;
const RECORDS: i64 = 10_000;

/// Records a second with which the input lasts for a minute: whatever else the machine does, a job that is stopped in
/// the first quarter of it has not finished.
const SLOW: u64 = 660;

/// The times of a key's records are all different, some 90 ms apart.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Rec {
    at: i64,
    key: u32,
    value: i64,
}

fn records() -> Vec<Vec<Rec>> {
    let of_split = |split: i64| {
        let record = move |n: i64| {
            let mixed = (n * SPLITS + split).wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
            Rec { at: n * 7 + split, key: (n * n % 97) as u32, value: mixed.rem_euclid(10) }
        };
        (0..RECORDS).map(record).collect()
    };
    (0..SPLITS).map(of_split).collect()
}

/// What has been taken, as text.
fn told<'a>(records: impl IntoIterator<Item = &'a Rec>) -> String {
    let each = |record: &Rec| format!("{}@{}", record.value, record.at);
    records.into_iter().map(each).collect::<Vec<_>>().join(" ")
}

/// Patterns that keep one of everything: records that runs share, accumulators, rounds, matches that wait, and
/// deadlines.
const NAMES: [&str; 5] = ["rising", "summed", "silent", "rounds", "any-order"];

/// `dies` panics at the record with which it reaches 0.
fn topology(ledger: &Ledger, dies: &Arc<AtomicI64>) -> Topology {
    let topology = Topology::new("patterns");
    let dies = Arc::clone(dies);
    let source = topology.source("records", Memory::splits(records()));
    let source = source.inspect(move |_| assert!(dies.fetch_sub(1, Ordering::SeqCst) != 0, "on purpose"));
    let timed = source.event_time(|record| Timestamp::from_millis(record.at), Duration::ZERO);
    let keyed = timed.key_by(|record| record.key);
    rising(keyed.clone()).sink("rising-out", ledger.sink(0));
    summed(keyed.clone()).sink("summed-out", ledger.sink(1));
    silent(keyed.clone()).sink("silent-out", ledger.sink(2));
    rounds_of_two(keyed.clone()).sink("rounds-out", ledger.sink(3));
    any_order(keyed).sink("any-order-out", ledger.sink(4));
    topology
}

type Keyed = KeyedStream<u32, Rec>;

fn rising(stream: Keyed) -> Stream<String> {
    let pattern = Pattern::begin("low", |rec: &Rec| rec.value < 3)
        .times(2..=3)
        .followed_by("high", |rec| rec.value > 4)
        .when(|rec, (low,)| low.last().is_some_and(|low| low.value + 3 < rec.value))
        .after_match(AfterMatch::SkipPastLast)
        .within(Duration::from_millis(700));
    let rising = stream.pattern(pattern).select("rising", |key, (low, high)| {
        format!("rising {key}: {} and {}", told(low.iter().copied()), told([high]))
    });
    rising.values()
}

fn summed(stream: Keyed) -> Stream<String> {
    let pattern = Pattern::begin("first", |rec: &Rec| rec.value == 0)
        .followed_by("more", |rec| rec.value < 6)
        .one_or_more()
        .fold(|| 0, |sum: &mut i64, rec: &Rec| *sum += rec.value)
        .followed_by("last", |rec| rec.value > 7)
        .when(|rec, (first, sum)| sum + first.value < rec.value)
        .within(Duration::from_millis(900));
    let (matches, timed_out) = stream
        .pattern(pattern)
        .with_timed_out(|key, (first, sum, _)| format!("summed {key}: {} {sum:?} and no end", told(first)));
    let summed = matches.select("summed", |key, (first, sum, last)| {
        format!("summed {key}: {} {sum:?} {}", told([first]), told([last]))
    });
    summed.values().merge(timed_out.values())
}

fn silent(stream: Keyed) -> Stream<String> {
    let pattern = Pattern::begin("down", |rec: &Rec| rec.value == 7)
        .not_followed_by("up", |rec| rec.value < 4)
        .within(Duration::from_millis(400));
    stream
        .pattern(pattern)
        .select("silent", |key, (down,)| format!("silent {key}: {}", told([down])))
        .values()
}

fn rounds_of_two(stream: Keyed) -> Stream<String> {
    let round = Pattern::begin("even", |rec: &Rec| rec.value % 2 == 0).next("any", any);
    let pattern = Pattern::begin("start", |rec: &Rec| rec.value == 1)
        .followed_by_group(round)
        .times(2)
        .within(Duration::from_millis(800));
    let rounds = stream.pattern(pattern).select("rounds", |key, (start, rounds)| {
        let rounds: Vec<String> = rounds.iter().map(|(even, any)| told([*even, *any])).collect();
        format!("rounds {key}: {} {}", told([start]), rounds.join(", "))
    });
    rounds.values()
}

fn any_order(stream: Keyed) -> Stream<String> {
    let stages = (
        Pattern::begin("two", |rec: &Rec| rec.value == 2),
        Pattern::begin("five", |rec: &Rec| rec.value == 5),
        Pattern::begin("nine", |rec: &Rec| rec.value == 9),
    );
    let pattern = Pattern::all_of(stages)
        .after_match(AfterMatch::SkipToLast("five".to_owned()))
        .within(Duration::from_millis(1500));
    let any_order = stream.pattern(pattern).select("any-order", |key, (three,)| {
        let (two, five, nine) = three;
        format!("any-order {key}: {}", told([two, five, nine]))
    });
    any_order.values()
}

fn never() -> Arc<AtomicI64> {
    Arc::new(AtomicI64::new(-1))
}

fn job(ledger: &Ledger, dies: &Arc<AtomicI64>, workers: usize, state: &Path) -> Job {
    let job = Job::new(topology(ledger, dies)).workers(workers).state(state).memory(64 << 20);
    job.epoch_interval(Duration::from_millis(10))
}

/// What the patterns mean.
fn meaning() -> Vec<String> {
    let ledger = Ledger::default();
    interpret(topology(&ledger, &never())).expect("the interpreter runs");
    let all = ledger.all();
    for name in NAMES {
        let count = all.iter().filter(|line| line.starts_with(name)).count();
        assert!(count > 200, "only {count} of {name}");
    }
    assert!(all.iter().any(|line| line.ends_with("and no end")));
    all
}

/// The same lines, each as often.
#[track_caller]
fn same(found: Vec<String>, expected: &[String]) {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    expected.iter().for_each(|line| *counts.entry(line).or_default() -= 1);
    found.iter().for_each(|line| *counts.entry(line).or_default() += 1);
    counts.retain(|_, count| *count != 0);
    let some: Vec<_> = counts.iter().take(20).collect();
    assert!(counts.is_empty(), "{} of {} differ: {some:#?}", counts.len(), expected.len());
}

#[track_caller]
fn wait_until(otherwise: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "{otherwise}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Every pattern has runs under way in this state.
fn assert_runs_are_under_way(state: &Path) {
    let states = StateReader::open(state).expect("opens").states().expect("reads");
    for name in NAMES {
        let rows = states.iter().find(|state| state.name == name).map_or(0, |state| state.rows);
        assert!(rows > 0, "{name} has no runs: {states:#?}");
    }
}

#[test]
fn a_job_that_is_stopped_amid_runs_goes_on_with_any_number_of_workers() {
    let (expected, ledger) = (meaning(), Ledger::default());
    let state = tempfile::tempdir().expect("a directory");
    for (part, workers) in [1, 2, 4, 1].into_iter().enumerate() {
        let running = job(&ledger, &never(), workers, state.path()).rate(SLOW).start().expect("starts");
        wait_until("nothing is published", || ledger.all().len() > expected.len() * (part + 1) / 24);
        running.stop();
        assert!(!running.wait().expect("stops").finished);
        assert_runs_are_under_way(state.path());
    }
    assert!(job(&ledger, &never(), 2, state.path()).run().expect("runs").finished);
    same(ledger.all(), &expected);
    let states = StateReader::open(state.path()).expect("opens").states().expect("reads");
    let left: Vec<_> = states.iter().filter(|state| state.rows > 0).map(|state| &state.name).collect();
    assert!(left.iter().all(|name| !NAMES.iter().any(|kept| name.starts_with(kept))), "{left:?}");
}

#[test]
fn a_job_that_dies_amid_runs_goes_on_with_any_number_of_workers() {
    let (expected, ledger) = (meaning(), Ledger::default());
    let state = tempfile::tempdir().expect("a directory");
    for (part, workers) in [1i64, 2, 1].into_iter().enumerate() {
        // Counted from where the run before it was committed, so each gets further than the one before.
        let dies = Arc::new(AtomicI64::new(6_000 + 1_500 * part as i64));
        let died = job(&ledger, &dies, workers as usize, state.path()).rate(60_000).run();
        assert!(matches!(died, Err(JobError::Panicked { .. })), "{died:?}");
        assert_runs_are_under_way(state.path());
    }
    assert!(job(&ledger, &never(), 2, state.path()).run().expect("runs").finished);
    same(ledger.all(), &expected);
}

#[test]
fn a_savepoint_amid_runs_goes_on_with_any_number_of_workers() {
    let (expected, ledger) = (meaning(), Ledger::default());
    let state = tempfile::tempdir().expect("a directory");
    let running = job(&ledger, &never(), 2, state.path()).rate(SLOW).start().expect("starts");
    wait_until("nothing is published", || ledger.all().len() > expected.len() / 24);
    let savepoint = running.savepoint("amid-runs").expect("is made");
    assert!(!running.is_finished());
    drop(running);
    assert_runs_are_under_way(savepoint.path());
    let before = ledger.until(savepoint.epoch());
    assert!(before.len() < expected.len() * 7 / 8, "the savepoint was made in the middle");
    for workers in [1, 2, 4] {
        let (state, rest) = (tempfile::tempdir().expect("a directory"), Ledger::default());
        let job = job(&rest, &never(), workers, state.path()).from_savepoint(savepoint.path());
        assert!(job.run().expect("runs").finished);
        same([before.clone(), rest.all()].concat(), &expected);
    }
}
