//! A disk that is full in the middle of an epoch: the job stops with an error that says so, and goes on when there is
//! room.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use highwater::operators::sink::Sink;
use highwater::prelude::*;
use tempfile::TempDir;

use crate::{broker, lines};

const RECORDS: u64 = 9_000;
/// Bytes of state that a record leaves.
const BYTES: usize = 4_000;
/// How many records' state has no room at first.
const SMALL: &str = "12m";
const LARGE: &str = "400m";

/// A file system of its own.
struct Mounted(TempDir);

impl Mounted {
    /// `None` where mounting is not allowed; says so.
    fn new(size: &str) -> Option<Mounted> {
        let mounted = Mounted(tempfile::tempdir().expect("a directory"));
        if !mounted.mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]) {
            println!("skipped: file systems cannot be mounted here");
            return None;
        }
        Some(mounted)
    }

    fn mount(&self, arguments: &[&str]) -> bool {
        let output = Command::new("mount").args(arguments).arg(self.0.path()).output();
        output.is_ok_and(|output| output.status.success())
    }

    fn resize(&self, size: &str) {
        assert!(self.mount(&["-o", &format!("remount,size={size}")]), "it can be made larger");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

/// Counts keys, and keeps much of each; a line a record.
fn job(state: &Path, out: impl Sink<String>) -> Job {
    let topology = Topology::new("growing");
    let numbers = topology.source("numbers", Memory::source(0..RECORDS));
    let kept = numbers.key_by(|number| number % 3_000).fold(
        "kept",
        || (0u64, String::new()),
        |(count, text), number| {
            *count += 1;
            *text = format!("{:>width$}", number, width = BYTES);
        },
    );
    kept.to_stream()
        .map(|(key, (count, text))| format!("{key} {count} {}", text.trim_start()))
        .sink("out", out);
    Job::new(topology).state(state).epoch_interval(Duration::from_millis(50)).memory(64 << 20)
}

fn meant() -> Vec<String> {
    let mut meant: Vec<String> =
        (0..RECORDS).map(|number| format!("{} {} {number}", number % 3_000, number / 3_000 + 1)).collect();
    meant.sort();
    meant
}

/// The job fails for want of room, twice, and ends well when there is room.
fn fails_until_there_is_room(disk: &Mounted, job: impl Fn() -> Job) {
    for _ in 0..2 {
        let error = job().rate(8_000).run().expect_err("there is no room for it").to_string();
        assert!(error.contains("No space left"), "{error}");
    }
    disk.resize(LARGE);
    assert!(job().run().expect("there is room").finished);
}

#[test]
fn a_full_state_disk_stops_the_job_which_goes_on_when_there_is_room() {
    let Some(disk) = Mounted::new(SMALL) else { return };
    let elsewhere = crate::directory();
    let output = elsewhere.path().join("out");
    fails_until_there_is_room(&disk, || job(&disk.0.path().join("state"), File::at(&output).sink(Text)));
    assert_eq!(lines(&output), meant());
}

#[test]
fn a_full_disk_under_the_output_stops_the_job_which_goes_on_when_there_is_room() {
    let Some(disk) = Mounted::new("64k") else { return };
    let elsewhere = crate::directory();
    let output = disk.0.path().join("out");
    fails_until_there_is_room(&disk, || job(&elsewhere.path().join("state"), File::at(&output).sink(Text)));
    assert_eq!(lines(&output), meant());
}

#[test]
fn a_full_state_disk_between_transactions_loses_and_repeats_nothing() {
    let Some(broker) = broker() else { return };
    let Some(disk) = Mounted::new(SMALL) else { return };
    broker.create("disk-full");
    fails_until_there_is_room(&disk, || {
        let kafka = Kafka::at(&broker.address).exactly_once("disk-full");
        job(&disk.0.path().join("state"), kafka.sink("disk-full", Text))
    });
    let mut seen = broker.committed("disk-full");
    seen.sort();
    assert_eq!(seen, meant());
}
