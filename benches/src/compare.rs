//! The same work done in several ways.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use highwater::job::Job;

use crate::cpu::{Taken, measure};
use crate::feed::{Feed, Repeat};
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

/// A way to do the work over records of a pool.
pub type Way<T> = fn(Feed<T>) -> Tally;

impl Comparison {
    /// Work over the records of one pool, by the loop and by the engine.
    pub fn over<T: Repeat>(
        name: &str,
        pool: Vec<T>,
        hand: Way<T>,
        engine: &[(&'static str, Way<T>)],
    ) -> Comparison {
        let pool = Arc::new(pool);
        let case = |name, way: Way<T>| {
            let pool = Arc::clone(&pool);
            Case::new(name, move |records| way(Feed::new(&pool, records)))
        };
        Comparison {
            name: name.to_owned(),
            feed: case("feed", |feed| {
                let mut tally = Tally::default();
                feed.for_each_batch(|batch| tally.count += black_box(batch).len() as u64);
                tally
            }),
            hand: case("hand", hand),
            engine: engine.iter().map(|&(name, way)| case(name, way)).collect(),
        }
    }

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

/// As [`run`], with its state on RocksDB in a directory of its own, and an epoch every second.
///
/// # Panics
/// If it fails, or there is no room for a directory.
pub fn run_on_rocksdb(job: Job) -> u64 {
    let directory = tempfile::tempdir().expect("a directory for the state");
    run(job.state(directory.path()).epoch_interval(Duration::from_secs(1)))
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
