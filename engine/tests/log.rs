//! Two jobs that talk through a log on disk, in one process that is killed again and again: HW-1 for a log as a source
//! and as a sink.
//!
//! If these fail, a record between two topologies of a program is lost or counts twice. The jobs are the functions
//! `doubling` and `counting`; the process that dies is this test program, started again with its orders in the
//! environment.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use highwater::prelude::*;
use highwater::step::{Moment, Step};
use serde::{Deserialize, Serialize};

const ORDERS: &str = "HIGHWATER_TEST_LOG";
const RECORDS: u64 = 6_000;
const KEYS: u64 = 10;
/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(120);
/// Steps that come where there is no decider.
const STEPS: [Step; 6] = [Step::Recover, Step::Order, Step::Gather, Step::Write, Step::Publish, Step::Tell];

/// What a process is to do.
#[derive(Debug, Serialize, Deserialize)]
struct Orders {
    directory: PathBuf,
    workers: usize,
    /// Which job ends the process, at which step, whether after it, and the how manieth time.
    dies_at: Option<(String, usize, bool, usize)>,
}

fn open(directory: &Path) -> Log {
    let log = Log::open(directory.join("log")).expect("the log opens");
    for topic in ["numbers", "doubled", "counts"] {
        log.topic(topic, 3).expect("the topic is there, or made");
    }
    log
}

fn key(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// Puts the numbers into the log, once.
fn fill(directory: &Path) {
    let numbers = (0..RECORDS).map(|number| (Some(key(number % KEYS)), key(number)));
    open(directory).append_all("numbers", numbers).expect("the numbers are appended");
}

fn doubling(log: &Log) -> Topology {
    let topology = Topology::new("doubling");
    let doubled =
        topology.source("numbers", log.source("numbers", Json::<u64>::new())).map(|number| number * 2);
    let sink = log.producer("doubling").sink("doubled", Json::new());
    doubled.sink("doubled", sink.key(|doubled: &u64| key(doubled / 2 % KEYS)));
    topology
}

fn counting(log: &Log) -> Topology {
    let topology = Topology::new("counting");
    let doubled = topology.source("doubled", log.source("doubled", Json::<u64>::new()));
    let counts = doubled.key_by(|doubled| doubled / 2 % KEYS).count("counts").to_stream();
    let sink = log.producer("counting").sink("counts", Json::new());
    counts.sink("out", sink.key(|count: &(u64, u64)| key(count.0)));
    topology
}

fn job(topology: Topology, directory: &Path, name: &str, workers: usize) -> Job {
    let job = Job::new(topology).state(directory.join(name)).workers(workers).memory(64 << 20);
    job.epoch_interval(Duration::from_millis(20)).rate(4_000)
}

fn length(log: &Log, topic: &str) -> u64 {
    (0..3).map(|partition| log.end(topic, partition).expect("the topic is there")).sum()
}

fn records<T: serde::de::DeserializeOwned>(log: &Log, topic: &str) -> Vec<T> {
    let all = (0..3)
        .flat_map(|partition| log.read(topic, partition, 0, usize::MAX).expect("the topic can be read"));
    all.map(|record| serde_json::from_slice(&record.value).expect("it is JSON")).collect()
}

/// Every number went through both jobs once.
#[track_caller]
fn counted_once(log: &Log) {
    let mut doubled: Vec<u64> = records(log, "doubled");
    doubled.sort();
    assert_eq!(doubled, (0..RECORDS).map(|number| number * 2).collect::<Vec<_>>());
    let mut of_key: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (key, count) in records::<(u64, u64)>(log, "counts") {
        of_key.entry(key).or_default().push(count);
    }
    let expected: Vec<u64> = (1..=RECORDS / KEYS).collect();
    assert_eq!(of_key, (0..KEYS).map(|key| (key, expected.clone())).collect());
}

impl Orders {
    fn start(&self) -> Child {
        let own = std::env::current_exe().expect("a test has a path");
        let mut command = Command::new(own);
        command.args(["child", "--exact", "--nocapture"]);
        command.env(ORDERS, serde_json::to_string(self).expect("orders are plain data"));
        command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().expect("the program starts")
    }

    fn follow(&self) {
        let log = open(&self.directory);
        let both = [("doubling", doubling(&log)), ("counting", counting(&log))];
        let running = both.map(|(name, topology)| {
            let job = self.watched(name, job(topology, &self.directory, name, self.workers));
            job.start().expect("the job starts")
        });
        let since = Instant::now();
        while length(&log, "counts") < RECORDS {
            assert!(running.iter().all(|job| !job.is_finished()), "a job has ended");
            assert!(since.elapsed() < PATIENCE, "the jobs make no progress");
            std::thread::sleep(Duration::from_millis(5));
        }
        for job in running {
            job.stop();
            job.wait().expect("the job runs");
        }
    }

    fn watched(&self, name: &str, job: Job) -> Job {
        let Some((_, number, after, hit)) = self.dies_at.clone().filter(|(dies, ..)| dies == name) else {
            return job;
        };
        let (moment, met) = (if after { Moment::After } else { Moment::Before }, AtomicUsize::new(0));
        job.watch_steps(move |step, at| {
            let here = step.number() == number && at == moment;
            if here && met.fetch_add(1, Ordering::SeqCst) + 1 == hit {
                std::process::abort();
            }
        })
    }
}

/// What a started process does; nothing where nothing is asked of it.
#[test]
fn child() {
    if let Ok(orders) = std::env::var(ORDERS) {
        let orders: Orders = serde_json::from_str(&orders).expect("orders are plain data");
        orders.follow();
    }
}

#[test]
fn a_death_at_every_step_of_either_job_loses_nothing_and_repeats_nothing() {
    for workers in [1, 2] {
        let directory = tempfile::tempdir().expect("a directory");
        fill(directory.path());
        let orders = |dies_at| Orders { directory: directory.path().to_owned(), workers, dies_at };
        let mut deaths = 0;
        for (number, step) in STEPS.into_iter().enumerate() {
            for after in [false, true] {
                let name = ["doubling", "counting"][(number + usize::from(after)) % 2].to_owned();
                let hit = if step == Step::Recover { 1 } else { 2 };
                let mut child = orders(Some((name, step.number(), after, hit))).start();
                let status = child.wait().expect("it was started");
                assert!(status.success() || status.signal().is_some(), "{step:?}: {status}");
                deaths += usize::from(status.signal().is_some());
            }
        }
        assert!(deaths >= 8, "only {deaths} deaths hit the jobs");
        assert!(orders(None).start().wait().expect("it was started").success());
        counted_once(&open(directory.path()));
        println!("{workers} workers: {deaths} deaths, {RECORDS} records once each");
    }
}

#[test]
fn a_process_that_is_killed_at_any_moment_loses_nothing_and_repeats_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    fill(directory.path());
    let (mut kills, mut finished) = (0, false);
    for delay in [90, 250, 130, 400, 180, 310, 70, 220, 350, 160].into_iter().cycle().take(60) {
        let workers = 1 + kills % 2;
        let mut child = Orders { directory: directory.path().to_owned(), workers, dies_at: None }.start();
        std::thread::sleep(Duration::from_millis(delay));
        // A process that has ended cannot be killed any more.
        child.kill().expect("it was started");
        let status = child.wait().expect("it was started");
        if status.success() {
            finished = true;
            break;
        }
        assert!(status.signal().is_some(), "{status}");
        kills += 1;
    }
    if !finished {
        let last = Orders { directory: directory.path().to_owned(), workers: 2, dies_at: None };
        assert!(last.start().wait().expect("it was started").success());
    }
    assert!(kills >= 5, "only {kills} kills hit the process");
    counted_once(&open(directory.path()));
    println!("{kills} kills, {RECORDS} records once each");
}

#[test]
fn a_job_is_dropped_and_started_again_while_the_other_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    fill(directory.path());
    let log = open(directory.path());
    let first = job(doubling(&log), directory.path(), "doubling", 1).start().expect("the job starts");
    let (mut starts, since) = (0, Instant::now());
    while length(&log, "counts") < RECORDS {
        let second = job(counting(&log), directory.path(), "counting", 1 + starts % 3);
        let second = second.start().expect("the job starts");
        starts += 1;
        std::thread::sleep(Duration::from_millis(150));
        drop(second);
        assert!(since.elapsed() < PATIENCE, "the jobs make no progress");
    }
    assert!(starts > 3, "only {starts} starts");
    drop(first);
    counted_once(&log);
}

#[test]
fn a_job_on_older_state_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = Log::in_memory();
    for topic in ["numbers", "doubled"] {
        log.topic(topic, 3).expect("the topic is made");
    }
    log.append("numbers", None, b"7").expect("it is appended");
    let start = |state: &str| job(doubling(&log), directory.path(), state, 1).start();
    let until = |length_is: u64| {
        let running = start("state").expect("the job starts");
        let since = Instant::now();
        while length(&log, "doubled") < length_is {
            assert!(since.elapsed() < PATIENCE, "the job makes no progress");
            std::thread::sleep(Duration::from_millis(5));
        }
        running.stop();
        running.wait().expect("the job runs");
    };
    until(1);
    let (state, old) = (directory.path().join("state"), directory.path().join("old"));
    let copied = Command::new("cp").arg("-a").arg(&state).arg(&old).status();
    assert!(copied.expect("there is cp").success());
    log.append("numbers", None, b"8").expect("it is appended");
    until(2);
    let error = start("old").err().expect("it is refused").to_string();
    assert!(error.contains("`doubling/doubled` has published up to epoch"), "{error}");
    assert_eq!(length(&log, "doubled"), 2);
}
