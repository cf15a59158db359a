//! Patterns in a job: what a restart accepts, and what is counted. If a test fails here, a job reads the runs of
//! another pattern as its own (HW-9), or loses runs without a word.

use std::time::{Duration, Instant};

use highwater::operators::pattern::{Capture, Close, Pattern};
use highwater::prelude::*;

const PATIENCE: Duration = Duration::from_secs(60);
const RECORDS: u64 = 20;

/// Looks for a pattern among numbers that are of one key and a second apart; never ends.
fn looking<P, S>(pattern: Pattern<i64, P, S>) -> Topology
where
    P: 'static,
    S: Close<P>,
    S::Closed: Capture<i64>,
{
    let topology = Topology::new("patterns");
    let source = topology.source("numbers", Memory::source(0..RECORDS as i64).unending());
    let timed = source.event_time(|number| Timestamp::from_millis(*number * 1000), Duration::ZERO);
    timed.key_by(|_| 0u8).pattern(pattern).select("found", |_, _| ()).values().sink("out", Blackhole::new());
    topology
}

/// Runs a job until its pattern has dealt with so many records, and stops it.
fn run(topology: Topology, directory: &std::path::Path, records: u64) -> Result<Report, JobError> {
    let job = Job::new(topology).epoch_interval(Duration::from_millis(10)).memory(64 << 20).workers(2);
    let running = job.state(directory).start()?;
    let since = Instant::now();
    let has_read = |node: &NodeReport| node.verb == "pattern" && node.records_in >= records;
    while !running.is_finished() && !running.counters().iter().any(has_read) {
        assert!(since.elapsed() < PATIENCE, "the job does not read");
        std::thread::sleep(Duration::from_millis(1));
    }
    running.stop();
    running.wait()
}

fn zero(number: &i64) -> bool {
    *number == 0
}

fn never(_: &i64) -> bool {
    false
}

/// The last record waits for the watermark.
const SORTED: u64 = RECORDS - 1;

#[test]
fn a_pattern_with_other_stages_does_not_go_on_with_the_runs_of_the_one_before() {
    let two = || Pattern::begin("zero", zero).followed_by("never", never);
    let changed: [(&str, Box<dyn Fn() -> Topology>); 4] = [
        ("another stage", Box::new(move || looking(two().followed_by("more", never)))),
        ("another name", Box::new(|| looking(Pattern::begin("zero", zero).followed_by("later", never)))),
        ("another gap", Box::new(|| looking(Pattern::begin("zero", zero).followed_by_any("never", never)))),
        ("more repetitions", Box::new(move || looking(two().times(2)))),
    ];
    let directory = tempfile::tempdir().expect("a directory");
    run(looking(two()), directory.path(), SORTED).expect("runs");
    for (what, changed) in changed {
        let text = run(changed(), directory.path(), 0).expect_err(what).to_string();
        for part in ["`found`", "pattern_change.rs:", "zero followed_by never"] {
            assert!(text.contains(part), "{what}: {part}: {text}");
        }
    }
    run(looking(two().runs_per_key(7)), directory.path(), 0).expect("the same pattern goes on");
}

#[test]
fn what_a_fold_keeps_is_a_part_of_the_pattern() {
    let sum = Pattern::begin("all", |_: &i64| true).times(50).fold(|| 0i64, |sum, number| *sum += number);
    let directory = tempfile::tempdir().expect("a directory");
    run(looking(sum), directory.path(), SORTED).expect("runs");
    let list = Pattern::begin("all", |_: &i64| true).times(50).fold(Vec::new, |list, n: &i64| list.push(*n));
    let text = run(looking(list), directory.path(), 0).expect_err("another accumulator").to_string();
    assert!(text.contains("`found`") && text.contains("list<i64>"), "{text}");
}

#[test]
fn runs_that_a_key_has_no_room_for_are_counted() {
    let pattern = Pattern::begin("all", |_: &i64| true).followed_by("never", never).runs_per_key(4);
    let directory = tempfile::tempdir().expect("a directory");
    let report = run(looking(pattern), directory.path(), SORTED).expect("runs");
    let node = report.nodes.iter().find(|node| node.verb == "pattern").expect("it is there");
    assert_eq!((node.name.as_deref(), node.runs_dropped), (Some("found"), SORTED - 4));
}
