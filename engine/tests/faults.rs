//! Faults of the world, each really done: a full disk, damaged files, a second process, records that cannot be read, a
//! clock that jumps, a sink that is slow, records and keys that are huge, topics that grow or are deleted.
//!
//! A fault ends in an error that names it, or in nothing: never in wrong results, a panic or a hang. What needs a
//! broker says that it is skipped where there is none; so does what needs to mount a file system.

#[path = "kafka/broker.rs"]
mod broker;
#[path = "faults/child.rs"]
mod child;
#[path = "faults/clock.rs"]
mod clock;
#[path = "faults/corruption.rs"]
mod corruption;
#[path = "faults/disk_full.rs"]
mod disk_full;
#[path = "faults/large.rs"]
mod large;
#[path = "faults/partitions.rs"]
mod partitions;
#[path = "faults/poison.rs"]
mod poison;
#[path = "faults/refusals.rs"]
mod refusals;
#[path = "faults/slow_sink.rs"]
mod slow_sink;
#[path = "faults/two_processes.rs"]
mod two_processes;

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use broker::Broker;

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The broker that the tests share; no test does anything to it that another could see.
fn broker() -> Option<&'static Broker> {
    static BROKER: OnceLock<Option<Broker>> = OnceLock::new();
    let broker = BROKER.get_or_init(|| Broker::start("faults")).as_ref();
    if broker.is_none() {
        println!("skipped");
    }
    broker
}

/// A directory that is gone after the test, in memory where there is such a place: what is tested is no disk.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a directory")
}

/// Waits until it is so.
fn until(what: &str, so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "never came: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The lines of a file, sorted.
fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Numbers without order, the same for one seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}
