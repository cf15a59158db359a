//! The same work done in several ways.

use std::hint::black_box;

use highwater::job::Job;

use crate::cpu::{Taken, measure};
use crate::tally::Tally;

type Run = Box<dyn Fn(u64) -> Tally>;

/// One way to do the work.
pub struct Case {
    /// What it is called in its comparison: `hand`, `memory`, `rocksdb`.
    pub name: &'static str,
    run: Run,
}

impl Case {
    /// A way to do the work: gets the number of records, gives what came out.
    pub fn new(name: &'static str, run: impl Fn(u64) -> Tally + 'static) -> Case {
        Case { name, run: Box::new(run) }
    }

    /// Runs it once and says what it took.
    pub fn run(&self, records: u64) -> (Tally, Taken) {
        measure(|| black_box((self.run)(black_box(records))))
    }
}

/// One piece of work: the loop written by hand first, then the engine in its ways of doing the same.
pub struct Comparison {
    /// What the work is.
    pub name: String,
    /// Handing out the records and nothing else.
    pub feed: Case,
    /// The loop.
    pub hand: Case,
    /// The engine.
    pub engine: Vec<Case>,
}

impl Comparison {
    /// All cases, the feed first and the loop second.
    pub fn cases(&self) -> impl Iterator<Item = &Case> {
        [&self.feed, &self.hand].into_iter().chain(&self.engine)
    }

    /// Runs the loop and the engine once each.
    ///
    /// # Panics
    /// If they do not give the same.
    pub fn check(&self, records: u64) {
        let (expected, _) = self.hand.run(records);
        assert_ne!(expected, Tally::default(), "{}: nothing came out", self.name);
        for case in &self.engine {
            let (found, _) = case.run(records);
            assert_eq!(found, expected, "{}/{} differs from the loop", self.name, case.name);
        }
    }
}

/// Runs a job to its end; gives the number of records that its sources delivered.
///
/// # Panics
/// If it fails: a benchmark has nothing better to do.
pub fn run(job: Job) -> u64 {
    let report = job.run().unwrap_or_else(|error| panic!("the job failed: {error}"));
    assert!(report.finished, "the job was stopped");
    report.nodes.iter().filter(|node| node.verb == "source").map(|node| node.records_out).sum()
}
