//! Windows in processing time, in jobs with a clock that goes.
//!
//! If a test fails here, a record is lost to a window that the clock has closed, a window waits for records although
//! the clock has passed its end, or time goes back over a restart (HW-3, HW-6).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use highwater::operators::memory::MemorySink;
use highwater::prelude::*;

/// Longer than anything takes that comes to an end at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// Key, start of the window in milliseconds, how many records; a late record has no count.
type Counted = (u64, i64, u64);

fn counts(numbers: Stream<u64, Untimed>, size: Duration, sink: &MemorySink<Counted>) {
    let keyed = numbers.processing_time().key_by(|number| number % 7);
    let (windows, late) = keyed.window(tumbling(size)).with_late();
    let counts = windows.count("counts");
    let counts = counts.map(|counted| (counted.key, counted.window.start.as_millis(), counted.value));
    counts.merge(late.map(|number| (number, 0, 0))).sink("out", sink.clone());
}

fn job(topology: Topology, workers: usize) -> Job {
    Job::new(topology).workers(workers).epoch_interval(Duration::from_millis(10)).memory(64 << 20)
}

/// How many records the windows hold; fails if one was late, or if a window fired twice.
#[track_caller]
fn total(counted: &[Counted]) -> u64 {
    let late: Vec<_> = counted.iter().filter(|(_, _, count)| *count == 0).collect();
    assert!(late.is_empty(), "late: {late:?}");
    let mut windows: Vec<_> = counted.iter().map(|(key, start, _)| (key, start)).collect();
    windows.sort_unstable();
    windows.dedup();
    assert_eq!(windows.len(), counted.len(), "a window fired twice: {counted:?}");
    counted.iter().map(|(_, _, count)| count).sum()
}

#[track_caller]
fn wait_until(otherwise: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "{otherwise}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn every_record_is_in_a_window_and_none_is_late() {
    for workers in [1, 3] {
        let (topology, sink) = (Topology::new("load"), Memory::sink());
        let numbers = Generator::new(7, 2, |_, number| number).count(30_000);
        counts(topology.source("numbers", numbers), Duration::from_millis(100), &sink);
        let report = job(topology, workers).rate(60_000).run().expect("runs");
        let counted = sink.take();
        assert!(report.finished);
        assert_eq!(total(&counted), 30_000);
        let mut starts: Vec<_> = counted.iter().map(|(_, start, _)| *start).collect();
        starts.sort_unstable();
        starts.dedup();
        assert!(starts.len() > 1, "half a second is more than one window: {starts:?}");
    }
}

#[test]
fn windows_fire_while_the_source_is_silent() {
    for workers in [1, 2] {
        let (topology, sink) = (Topology::new("silence"), Memory::sink());
        let numbers = Memory::splits([(0..50).collect(), (50..80).collect::<Vec<u64>>()]).unending();
        counts(topology.source("numbers", numbers), Duration::from_millis(100), &sink);
        let running = job(topology, workers).start().expect("starts");
        let mut counted = Vec::new();
        wait_until("the windows wait for records", || {
            counted.extend(sink.take());
            total(&counted) == 80
        });
        running.stop();
        running.wait().expect("stops");
    }
}

#[test]
fn what_is_open_when_a_job_stops_fires_after_the_restart_on_any_number_of_workers() {
    let directory = tempfile::tempdir().expect("a directory");
    let sink = Memory::sink();
    let mut counted = Vec::new();
    for (run, workers) in [3, 1, 4, 2].into_iter().enumerate() {
        let (topology, read) = (Topology::new("restarts"), Arc::new(AtomicU64::new(0)));
        let seen = Arc::clone(&read);
        let numbers = Generator::new(7, 4, |_, number| number).count(40 * (run as u64 + 1));
        // The generator would end, and time with it: what does not end keeps time going.
        let endless = topology.source("endless", Memory::source([0]).unending()).filter(|_| false);
        let numbers =
            topology.source("numbers", numbers).inspect(move |_| _ = seen.fetch_add(1, Ordering::SeqCst));
        counts(numbers.merge(endless), Duration::from_millis(400), &sink);
        let running = job(topology, workers).state(directory.path()).start().expect("starts");
        wait_until("the numbers are not read", || read.load(Ordering::SeqCst) == 40);
        running.stop();
        running.wait().expect("stops");
        counted.extend(sink.take());
    }
    let topology = Topology::new("restarts");
    let numbers = topology.source("numbers", Generator::new(7, 4, |_, number| number).count(160));
    let endless = topology.source("endless", Memory::source([0]).unending()).filter(|_| false);
    counts(numbers.merge(endless), Duration::from_millis(400), &sink);
    let running = job(topology, 2).state(directory.path()).start().expect("starts");
    wait_until("what was open does not fire", || {
        counted.extend(sink.take());
        total(&counted) == 160
    });
    running.stop();
    running.wait().expect("stops");
}
