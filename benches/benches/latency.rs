//! How late a record comes to the sink at half of the greatest rate, without windows: by one worker and by two, without
//! state on disk and with an epoch every second on RocksDB.
//!
//! The source hands a record out when it is due, stamped with that time; a count per key passes the stamp on; the sink
//! takes the difference. The greatest rate is measured first, with the same program.
//!
//! Back of the envelope: a worker that has nothing to do sleeps for 1 ms, and the kernel wakes it within a tenth of
//! one: half of the records wait for less than 0.6 ms, and all of them for less than 2 where the machine does nothing
//! else.

use std::time::Duration;

use highwater::prelude::*;
use highwater_benches::paced::{Course, Found, Paced};

const KEYS: u64 = 100_000;

/// Runs a count per key; gives the records a second, and how late they were.
fn run(workers: usize, on_disk: bool, seconds: f64, rate: Option<f64>) -> (f64, Found) {
    let length = Duration::from_secs_f64(seconds);
    let warm_up = length.mul_f64(0.3);
    let paced = Paced::new(Course { length, warm_up, rate, keys: KEYS, splits: workers as u64 });
    let (topology, delays) = (Topology::new("latency"), paced.delays());
    let counts = topology.source("due", paced.clone()).key_by(|record| record.key);
    counts
        .aggregate("count", |a| (a.count(), a.max(|record| record.at)))
        .to_stream()
        .sink("out", delays.clone());
    let directory = tempfile::tempdir().expect("a directory for the state");
    let mut job = Job::new(topology).workers(workers).epoch_interval(Duration::from_secs(1));
    if on_disk {
        job = job.state(directory.path());
    }
    job.run().unwrap_or_else(|error| panic!("the job failed: {error}"));
    (paced.rate(), delays.found())
}

fn main() {
    let measures = std::env::args().any(|arg| arg == "--bench");
    let (try_for, run_for) = if measures { (5.0, 15.0) } else { (0.3, 0.5) };
    let millis = |nanos: u64| format!("{:.2}", nanos as f64 / 1e6);
    println!("delay from the source to the sink at half of the greatest rate, in ms\n");
    println!(
        "{:>8} {:>10} {:>12} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "workers", "state", "greatest M/s", "M/s", "50 %", "99 %", "99.9 %", "most"
    );
    for workers in [1, 2] {
        for (state, on_disk) in [("none", false), ("RocksDB", true)] {
            let (greatest, _) = run(workers, on_disk, try_for, None);
            let (rate, Found { records, .. }) = run(workers, on_disk, run_for, Some(greatest / 2.0));
            let [half, most_of, nearly_all] = [0.5, 0.99, 0.999].map(|part| millis(records.quantile(part)));
            println!(
                "{workers:>8} {state:>10} {:>12.2} {:>8.2} {half:>8} {most_of:>8} {nearly_all:>8} {:>8}",
                greatest / 1e6,
                rate / 1e6,
                millis(records.most()),
            );
        }
    }
}
