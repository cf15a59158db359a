//! A clock that jumps, while the job runs and between runs: no record is lost or counted twice, no window falls back,
//! and epochs go on.
//!
//! The clock of a process is replaced by one that jumps, by a library that is put before the system's. Where no C
//! compiler is there to make it, the test says that it is skipped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use highwater::prelude::*;

use crate::child::{Orders, Running};
use crate::directory;

const RECORDS: u64 = 6_000;

/// Seconds are added to the time of day: those of the environment, and with every tenth of a second other ones.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && clock == CLOCK_REALTIME) {
        const char *offset = getenv("TEST_CLOCK_OFFSET"), *jumps = getenv("TEST_CLOCK_JUMPS");
        if (jumps) now->tv_sec += atol(jumps) * ((now->tv_nsec / 100000000) % 3 - 1);
        if (offset) now->tv_sec += atol(offset);
    }
    return result;
}
"#;

/// What the process under test does: counts by its clock, a line a window and key.
pub fn count(state: &Path, output: &Path) {
    let topology = Topology::new("clock");
    let numbers = topology
        .source("numbers", Memory::splits([0..RECORDS / 2, RECORDS / 2..RECORDS].map(Vec::from_iter)));
    let windows = numbers
        .processing_time()
        .key_by(|number| number % 5)
        .window(tumbling(Duration::from_millis(100)))
        .aggregate("windows", |agg| (agg.count(), agg.sum(|number| *number as i64)));
    windows
        .map(|found| {
            let (count, sum) = found.value;
            format!("{} {} {count} {sum}", found.key, found.window.start.as_millis())
        })
        .sink("out", File::at(output).sink(Text));
    let job = Job::new(topology).state(state).workers(2).rate(2_000);
    let report = job.epoch_interval(Duration::from_millis(30)).run().expect("the job runs");
    // By a clock that does not jump: 3 s of input.
    assert!(report.epoch.0 < 400, "{} epochs in some seconds", report.epoch.0);
}

/// The library, if there is a compiler.
fn library(directory: &Path) -> Option<PathBuf> {
    let (source, library) = (directory.join("clock.c"), directory.join("clock.so"));
    std::fs::write(&source, CLOCK).expect("there is room");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: no C compiler");
        return None;
    }
    Some(library)
}

fn assert_complete(output: &Path) {
    let text = std::fs::read_to_string(output).expect("it was written");
    let (mut count, mut sum, mut last) = (0, 0, [i64::MIN; 5]);
    for line in text.lines() {
        let numbers: Vec<i64> = line.split(' ').map(|word| word.parse().expect("a number")).collect();
        let [key, start, records, total] = numbers[..] else { panic!("no window: {line}") };
        assert!(start > last[key as usize], "window {start} of key {key} comes after {}", last[key as usize]);
        last[key as usize] = start;
        count += records;
        sum += total;
    }
    let records = RECORDS as i64;
    assert_eq!((count, sum), (records, records * (records - 1) / 2));
}

#[test]
fn a_clock_that_jumps_while_a_job_runs_and_between_its_runs_loses_and_doubles_nothing() {
    let directory = directory();
    // A library is loaded from a disk that allows it.
    let place = tempfile::tempdir().expect("a directory");
    let Some(library) = library(place.path()) else { return };
    const YEAR: i64 = 365 * 86_400;
    // Between runs: ahead, back, before 1970, far ahead. In each of them to and fro.
    let runs = [[0, 3_600], [10 * YEAR, 0], [0, YEAR], [-80 * YEAR, 0], [200 * YEAR, 7]];
    for first in 0..runs.len() {
        let orders = Orders::Clock {
            state: directory.path().join(format!("state-{first}")),
            output: directory.path().join(format!("out-{first}")),
        };
        let with_clock = |[offset, jumps]: [i64; 2]| {
            let mut command = orders.command();
            command.env("LD_PRELOAD", &library).env("TEST_CLOCK_OFFSET", offset.to_string());
            command.env("TEST_CLOCK_JUMPS", jumps.to_string());
            Running(command.spawn().expect("it starts"))
        };
        let mut killed = 0;
        for clock in runs.iter().cycle().skip(first).take(3) {
            let running = with_clock(*clock);
            std::thread::sleep(Duration::from_millis(450));
            running.kill();
            killed += 1;
        }
        let last = runs[(first + 3) % runs.len()];
        assert!(with_clock(last).ends(), "nobody kills the last run");
        let Orders::Clock { output, .. } = &orders else { unreachable!("they are") };
        assert_complete(output);
        println!("{killed} kills, clocks from {:?} on: {RECORDS} records counted once", runs[first]);
    }
}
