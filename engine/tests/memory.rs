//! HW-5: memory is bounded by configuration. If this fails, a job with more keys than memory is killed by the
//! system instead of going to disk.
//!
//! A binary of its own, because what is measured is the whole process.

use highwater::operators::error::Cause;
use highwater::operators::source::{Poll, Polled, Reader, Source};
use highwater::prelude::*;

/// Some 270 MiB of rows, were they all in memory.
const KEYS: u64 = 1_000_000;
const BUDGET: usize = 64 << 20;
/// The whole process, with its code, RocksDB's threads and what the allocator keeps, in per cent of the budget.
const RESIDENT_MAX: usize = 120;

/// Counts up to `KEYS`.
struct Numbers;

struct NumbersReader(u64);

impl Source for Numbers {
    type Item = u64;
    type Position = u64;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        Ok(vec!["all".to_owned()])
    }

    fn open(&self, _: &str, from: Option<u64>) -> Result<Box<dyn Reader<Item = u64, Position = u64>>, Cause> {
        Ok(Box::new(NumbersReader(from.unwrap_or(0))))
    }
}

impl Reader for NumbersReader {
    type Item = u64;
    type Position = u64;

    fn poll(&mut self, limit: usize, into: &mut Polled<u64>) -> Result<Poll, Cause> {
        let until = KEYS.min(self.0 + limit as u64);
        into.values.extend(self.0..until);
        self.0 = until;
        Ok(if until == KEYS { Poll::Finished } else { Poll::Ready })
    }

    fn position(&self) -> u64 {
        self.0
    }
}

/// The most memory that the process has ever had, in bytes; `None` where the system does not say.
fn peak_memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<usize>().ok()? << 10)
}

#[test]
fn state_larger_than_the_budget_goes_to_disk() {
    if peak_memory().is_none() {
        println!("skipped: this system does not say how much memory a process had");
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let topology = Topology::new("many-keys");
    topology
        .source("numbers", Numbers)
        .key_by(|number| *number)
        .fold("texts", String::new, |text, number| *text = format!("{number:0>160}"))
        .keep();
    let job = Job::new(topology).state(directory.path()).memory(BUDGET);
    let report = job.epoch_interval(Duration::from_millis(200)).run().expect("the job runs");
    assert!(report.finished);
    let peak = peak_memory().expect("it said so before");
    println!("{} MiB at most, budget {} MiB", peak >> 20, BUDGET >> 20);
    assert!(peak < BUDGET / 100 * RESIDENT_MAX, "{} MiB with a budget of {} MiB", peak >> 20, BUDGET >> 20);
}
