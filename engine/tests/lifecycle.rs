//! How a job begins and ends: to its end, when it is asked to, by an error, by a panic; and what is refused at the
//! start. If a test fails here, a job hangs, ends without saying why, loses what it had read, or runs on what it
//! should have refused (HW-5, HW-6, HW-9).

#[path = "lifecycle/outside.rs"]
mod outside;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use highwater::operators::error::RunError;
use highwater::prelude::*;

use outside::{Fails, FailsAt, Feed, Gate};

/// Longer than anything takes that comes to an end at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// Records of each split of `counting`: more than fits on the way behind a sink that takes nothing.
const RECORDS: i64 = 200_000;

fn job(topology: Topology) -> Job {
    Job::new(topology).epoch_interval(Duration::from_millis(10)).memory(64 << 20)
}

/// Waits for a job that must end by itself.
#[track_caller]
fn ends(running: RunningJob) -> Result<Report, JobError> {
    wait_until("the job does not end", || running.is_finished());
    running.wait()
}

#[track_caller]
fn wait_until(otherwise: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "{otherwise}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until nothing has been read for a while.
#[track_caller]
fn wait_until_reading_stops(read: &AtomicU64) {
    let mut before = 0;
    wait_until("reading does not stop behind a sink that takes nothing", || {
        std::thread::sleep(Duration::from_millis(200));
        let now = read.load(Ordering::SeqCst);
        let stands = now == before && now > 0;
        before = now;
        stands
    });
}

/// Numbers on several splits, counted by key, into a sink.
fn counting(splits: usize, look: impl Fn(i64) + Send + Sync + 'static, gate: &Gate) -> Topology {
    let topology = Topology::new("counting");
    let numbers = (0..splits).map(|split| (0..RECORDS).map(|n| n * 8 + split as i64).collect());
    topology
        .source("numbers", Memory::splits(numbers.collect::<Vec<Vec<i64>>>()))
        .inspect(move |number| look(*number))
        .key_by(|number| number % 1000)
        .count("counts")
        .to_stream()
        .sink("out", gate.clone());
    topology
}

#[test]
fn a_bounded_input_ends_with_everything_flushed_and_a_second_run_changes_nothing() {
    for workers in [1, 2, 5] {
        let directory = tempfile::tempdir().expect("a directory");
        let sink = Memory::sink();
        let run = || {
            let topology = Topology::new("bounded");
            topology
                .source("times", Memory::splits([vec![1i64, 15], vec![2, 99]]))
                .event_time(|time| Timestamp::from_millis(*time), Duration::ZERO)
                .key_by(|_| ())
                .window(tumbling(Duration::from_millis(10)))
                .count("counts")
                .map(|counted| (counted.window.start.as_millis(), counted.value))
                .sink("out", sink.clone());
            ends(job(topology).workers(workers).state(directory.path()).start().expect("starts"))
                .expect("runs")
        };
        let first = run();
        let mut found = sink.take();
        found.sort();
        assert!(first.finished);
        assert_eq!(found, [(0, 2), (10, 1), (90, 1)]);
        let second = run();
        assert!(second.finished);
        assert_eq!((second.epoch, sink.take()), (first.epoch, vec![]));
    }
}

#[test]
fn a_source_without_splits_ends_at_once_and_workers_without_splits_do_no_harm() {
    for (splits, workers) in [(0, 1), (0, 3), (1, 7), (3, 128)] {
        let gate = Gate::that_fails_at(Fails::Never);
        let topology = counting(splits, |_| (), &gate);
        let report = ends(job(topology).workers(workers).start().expect("starts")).expect("runs");
        assert!(report.finished);
        assert_eq!(gate.written.load(Ordering::SeqCst), splits as u64 * RECORDS as u64);
    }
}

#[test]
fn a_panic_in_a_closure_ends_the_job_naming_what_was_said() {
    for workers in [1, 4] {
        let gate = Gate::that_fails_at(Fails::Never);
        let topology = counting(4, |number| assert!(number != 123_456, "seven is enough"), &gate);
        let error = ends(job(topology).workers(workers).start().expect("starts")).expect_err("it panicked");
        assert!(matches!(error, JobError::Panicked { .. }), "{error}");
        assert!(error.to_string().contains("seven is enough"), "{error}");
    }
}

#[test]
fn a_worker_that_fails_while_the_others_are_blocked_ends_the_job() {
    // The sink takes nothing, so all channels fill up; then a source that is still free makes its worker panic.
    let gate = Gate::closed();
    let read = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&read);
    let topology = counting(4, move |_| _ = counted.fetch_add(1, Ordering::SeqCst), &gate);
    let trigger = Feed::of(4);
    let free = topology.source("free", trigger.clone());
    let free = free.inspect(|number| assert!(*number >= 0, "on purpose"));
    free.sink("free-out", Gate::that_fails_at(Fails::Never));
    let running = job(topology).workers(4).start().expect("starts");
    wait_until_reading_stops(&read);
    trigger.put(2, [-1]);
    let error = ends(running).expect_err("it panicked");
    assert!(error.to_string().contains("on purpose"), "{error}");
}

#[test]
fn an_error_of_a_source_names_it_and_a_restart_reads_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let sink = Memory::sink();
    let run = |fails_at: u64| {
        let topology = Topology::new("failing");
        topology.source("numbers", FailsAt(fails_at)).sink("out", sink.clone());
        let running = job(topology).workers(2).state(directory.path()).rate(20_000).start().expect("starts");
        ends(running).expect_err("it fails").to_string()
    };
    for fails_at in [500, 1000, 2000] {
        let error = run(fails_at);
        assert!(error.contains("source `numbers`") && error.contains("the disk is on fire"), "{error}");
    }
    let found: Vec<i64> = sink.take();
    assert!(found.iter().copied().eq(0..found.len() as i64), "each number once and in order");
}

#[test]
fn an_error_of_a_sink_at_any_time_ends_the_job_naming_the_sink() {
    for fails in [Fails::Recover, Fails::Open, Fails::Write, Fails::Stage, Fails::Publish] {
        for workers in [1, 3] {
            let topology = counting(3, |_| (), &Gate::that_fails_at(fails));
            let error = match job(topology).workers(workers).start() {
                Err(error) => error,
                Ok(running) => ends(running).expect_err("the sink fails"),
            };
            assert!(matches!(error, JobError::Run(RunError::Sink { .. })), "{fails:?}: {error}");
            let text = error.to_string();
            assert!(text.contains("sink `out`") && text.contains("the sink is on fire"), "{text}");
        }
    }
}

#[test]
fn a_sink_that_takes_nothing_stops_the_reading_and_nothing_is_lost_when_it_takes_again() {
    let gate = Gate::closed();
    let read = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&read);
    let topology = Topology::new("slow");
    let all: u64 = 4 * 500_000;
    topology
        .source("numbers", Memory::splits(vec![(0..500_000i64).collect::<Vec<_>>(); 4]))
        .inspect(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        })
        .key_by(|number| number % 5000)
        .count("counts")
        .to_stream()
        .key_by(|(_, count)| *count)
        .count("second")
        .to_stream()
        .sink("out", gate.clone());
    let running = job(topology).workers(4).start().expect("starts");
    wait_until_reading_stops(&read);
    // Per worker some eight edges of 4 batches and, at each of two exchanges, 3 channels of 16 parts of batches.
    let waiting = read.load(Ordering::SeqCst) - gate.written.load(Ordering::SeqCst);
    assert!(waiting < 500_000, "{waiting} records wait");
    gate.open.store(true, Ordering::SeqCst);
    assert!(ends(running).expect("runs").finished);
    assert_eq!(gate.written.load(Ordering::SeqCst), all);
}

#[test]
fn an_idle_split_does_not_hold_windows_open_and_its_later_records_are_judged() {
    for workers in [1, 2] {
        let (feed, counts, late) = (Feed::of(2), Memory::sink(), Memory::sink());
        let topology = Topology::new("idle");
        let windows = topology
            .source("times", feed.clone())
            .event_time(|time| Timestamp::from_millis(*time), Duration::ZERO)
            .key_by(|_| ())
            .window(tumbling(Duration::from_millis(10)));
        let (windows, too_late) = windows.with_late();
        windows
            .count("counts")
            .map(|c| (c.window.start.as_millis(), c.value))
            .sink("counts-out", counts.clone());
        too_late.sink("late-out", late.clone());
        feed.put(1, [3]);
        let job = job(topology).workers(workers).idle_after(Duration::from_millis(100));
        let running = job.start().expect("starts");
        let mut now = 0;
        let mut found = Vec::new();
        wait_until("the idle split holds the window", || {
            now += 1;
            feed.put(0, [now]);
            found.extend(counts.take());
            !found.is_empty()
        });
        assert_eq!(found[0].0, 0);
        feed.put(1, [4, now + 1000]);
        feed.close();
        assert!(ends(running).expect("runs").finished);
        found.extend(counts.take());
        assert_eq!(late.take(), [4], "its window has closed");
        let counted: u64 = found.iter().map(|(_, count)| count).sum();
        assert_eq!(counted, now as u64 + 2, "the first record of the split and its last are on time");
    }
}

#[test]
fn names_used_twice_are_refused_with_both_lines_and_so_are_windows_without_size() {
    let topology = Topology::new("wrong");
    let numbers = topology.source("numbers", Memory::source([(1i64, 2i64)]));
    let first = line!() + 1;
    numbers.clone().key_by(|n| n.0).count("counts").keep();
    numbers.clone().key_by(|n| n.1).count("counts").keep();
    let timed = numbers.event_time(|n| Timestamp::from_millis(n.0), Duration::ZERO);
    timed.key_by(|n| n.0).window(tumbling(Duration::ZERO)).count("windows").sink("out", Memory::sink());
    let error = job(topology).run().expect_err("it is refused").to_string();
    for line in [first, first + 1, first + 3] {
        assert!(error.contains(&format!("lifecycle.rs:{line}")), "{line}: {error}");
    }
    assert!(error.contains("`counts`") && error.contains("millisecond"), "{error}");
}

#[test]
fn a_state_directory_belongs_to_one_job_at_a_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let feed = Feed::of(1);
    let start = || {
        let topology = Topology::new("owner");
        topology.source("feed", feed.clone()).sink("out", Gate::that_fails_at(Fails::Never));
        job(topology).state(directory.path()).start()
    };
    let first = start().expect("starts");
    let Err(error) = start() else { panic!("two jobs share a directory") };
    assert!(error.to_string().contains(&*directory.path().to_string_lossy()), "{error}");
    first.stop();
    assert!(!ends(first).expect("stops").finished);
    feed.close();
    assert!(ends(start().expect("the directory is free again")).expect("runs").finished);
}

#[test]
fn state_of_another_type_is_refused_at_the_start_naming_the_operator() {
    let directory = tempfile::tempdir().expect("a directory");
    let feed = Feed::of(1);
    feed.put(0, [1, 2]);
    let start = |sum: bool| {
        let topology = Topology::new("changed");
        let keyed = topology.source("feed", feed.clone()).key_by(|n| *n);
        match sum {
            false => keyed.count("totals").keep(),
            true => keyed.fold("totals", String::new, |text, n| text.push_str(&n.to_string())).keep(),
        }
        job(topology).state(directory.path()).workers(2).start()
    };
    let running = start(false).expect("starts");
    wait_until("nothing is counted", || {
        running.counters().iter().any(|node| node.verb == "count" && node.records_in == 2)
    });
    running.stop();
    ends(running).expect("stops");
    let error = match start(true) {
        Err(error) => error,
        Ok(running) => ends(running).expect_err("text is no number"),
    };
    let text = error.to_string();
    assert!(text.contains("totals") && text.contains("lifecycle.rs:"), "{text}");
}

#[test]
fn a_job_that_is_dropped_has_ended() {
    let directory = tempfile::tempdir().expect("a directory");
    for _ in 0..3 {
        let topology = Topology::new("dropped");
        topology.source("feed", Feed::of(2)).sink("out", Gate::that_fails_at(Fails::Never));
        drop(job(topology).workers(2).state(directory.path()).start().expect("the directory is free"));
    }
}

/// Not a test by itself: the process that the next one sends signals to.
#[test]
fn child() {
    let Ok(directory) = std::env::var("HIGHWATER_LIFECYCLE_CHILD") else { return };
    let topology = Topology::new("child");
    topology
        .source("numbers", Memory::source(0..4_000_000i32))
        .inspect(|number| {
            if *number == 10_000 {
                println!("running")
            }
        })
        .key_by(|number| number % 10)
        .count("counts")
        .to_stream()
        .filter(|(_, count)| count % 1000 == 0)
        .sink("out", Stdout::lines(Json::new()));
    let report = job(topology).state(directory).rate(200_000).run().expect("runs");
    println!("ended finished={} epoch={}", report.finished, report.epoch.0);
}

#[test]
fn sigterm_and_sigint_end_a_process_in_a_committed_epoch() {
    for signal in ["-TERM", "-INT"] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(std::env::current_exe().expect("a test has a path"));
        command.args(["--exact", "child", "--nocapture"]).env("HIGHWATER_LIFECYCLE_CHILD", directory.path());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it can be started");
        let mut lines = BufReader::new(child.stdout.take().expect("it is a pipe")).lines();
        assert!(lines.any(|line| line.is_ok_and(|line| line == "running")), "it does not run");
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(sent.expect("there is a `kill`").success());
        let told: Vec<String> = lines.map_while(Result::ok).collect();
        assert!(child.wait().expect("it was started").success(), "{told:?}");
        let ended = told.iter().any(|line| line.starts_with("ended finished=false"));
        assert!(ended, "{told:?}");
    }
}
