//! Whole jobs that write to a real server, in processes that are killed again and again, paused and replaced, and with
//! a server that is killed under them: HW-1 for tables.
//!
//! If one of these fails, rows are missing or doubled after a crash, or differ from what the topology means. The
//! process that dies is this test program, started again with its orders in the environment.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "postgres/server.rs"]
mod server;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use highwater::operators::interpret::interpret;
use highwater::prelude::*;
use highwater::step::{Moment, Step};
use highwater_postgres::Postgres;
use serde::{Deserialize, Serialize};
use server::{PATIENCE, Server};

const ORDERS: &str = "HIGHWATER_TEST_POSTGRES";
const RECORDS: i64 = 6_000;
const KEYS: i64 = 50;
/// Steps that come where there is no decider.
const STEPS: [Step; 6] = [Step::Recover, Step::Order, Step::Gather, Step::Write, Step::Publish, Step::Tell];
const TABLES: &str = "create table seen (number bigint, half text);
    create table counts (key bigint primary key, count bigint not null)";

/// What a process is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Orders {
    address: String,
    state: PathBuf,
    workers: usize,
    /// Records a second.
    rate: u64,
    /// At which step the process ends itself, whether after it, and the how manieth time.
    dies_at: Option<(usize, bool, usize)>,
}

type Seen = (i64, Option<String>);

fn half(number: i64) -> Seen {
    (number, (number % 2 == 0).then(|| (number / 2).to_string()))
}

/// Numbers as they come, and how many there were of each kind.
fn topology(
    seen: impl FnOnce(Stream<Seen, Untimed>),
    counts: impl FnOnce(Stream<(i64, u64), Untimed>),
) -> Topology {
    let topology = Topology::new("numbers");
    let numbers = topology.source("numbers", Memory::source(0..RECORDS));
    seen(numbers.clone().map(half));
    counts(numbers.key_by(|number| number % KEYS).count("counts").to_stream());
    topology
}

fn writing(address: &str) -> Topology {
    let postgres = Postgres::at(address).unwrap();
    let seen = postgres.table::<Seen>("seen").column("number", |seen| seen.0);
    let seen = seen.column("half", |seen| seen.1.clone()).append("seen-out");
    let counts = postgres.table::<(i64, u64)>("counts").column("key", |count| count.0);
    let counts = counts.column("count", |count| count.1 as i64).upsert("counts-out", ["key"]);
    topology(|stream| stream.sink("seen-out", seen), |stream| stream.sink("counts-out", counts))
}

/// What the interpreter says: all that is seen, and the last count of each key.
fn meaning() -> (Vec<Seen>, Vec<(i64, i64)>) {
    let (seen, counts) = (Memory::sink(), Memory::sink());
    let (to_seen, to_counts) = (seen.clone(), counts.clone());
    let meant = topology(
        move |stream| stream.sink("seen-meant", to_seen),
        move |stream| stream.sink("counts-meant", to_counts),
    );
    interpret(meant).unwrap();
    let mut seen = seen.take();
    seen.sort();
    let last: std::collections::BTreeMap<i64, u64> = counts.take().into_iter().collect();
    (seen, last.into_iter().map(|(key, count)| (key, count as i64)).collect())
}

#[track_caller]
fn is_right(server: &Server) {
    let (seen, counts) = meaning();
    let rows = server.rows("select number, half from seen order by number, half");
    let found: Vec<Seen> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(found.len(), seen.len(), "rows are missing or doubled");
    assert!(found == seen, "rows differ");
    let rows = server.rows("select key, count from counts order by key");
    assert_eq!(rows.iter().map(|row| (row.get(0), row.get(1))).collect::<Vec<(i64, i64)>>(), counts);
}

fn job(orders: &Orders) -> Job {
    let job = Job::new(writing(&orders.address)).state(&orders.state).workers(orders.workers);
    job.memory(64 << 20).epoch_interval(Duration::from_millis(20)).rate(orders.rate)
}

impl Orders {
    fn of(server: &Server, directory: &Path) -> Orders {
        let state = directory.join("state");
        Orders { address: server.address(), state, workers: 2, rate: 4_000, dies_at: None }
    }

    fn start(&self) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["child", "--exact", "--nocapture"]);
        command.env(ORDERS, serde_json::to_string(self).unwrap());
        Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn follow(&self) {
        let mut job = job(self);
        if let Some((number, after, hit)) = self.dies_at {
            let (moment, met) = (if after { Moment::After } else { Moment::Before }, AtomicUsize::new(0));
            job = job.watch_steps(move |step, at| {
                let here = step.number() == number && at == moment;
                if here && met.fetch_add(1, Ordering::SeqCst) + 1 == hit {
                    std::process::abort();
                }
            });
        }
        if let Err(error) = job.run() {
            eprintln!("{error}");
            std::process::exit(7);
        }
    }
}

/// A process that is killed when a test fails.
struct Process(Child);

impl Process {
    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Its exit code; `None` if it was killed.
    fn ends(mut self) -> Option<i32> {
        let since = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                assert!(status.code().is_some() || status.signal().is_some());
                return status.code();
            }
            assert!(since.elapsed() < PATIENCE, "the process does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until so many rows can be seen, or the job has ended.
fn shows(server: &Server, rows: i64, mut over: impl FnMut() -> bool) {
    let since = Instant::now();
    while server.number("select count(*) from seen") < rows && !over() {
        assert!(since.elapsed() < PATIENCE, "no rows come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a started process does; nothing where nothing is asked of it.
#[test]
fn child() {
    if let Ok(orders) = std::env::var(ORDERS) {
        serde_json::from_str::<Orders>(&orders).unwrap().follow();
    }
}

#[test]
fn a_death_before_and_after_every_step_leaves_every_row_once() {
    let Some(server) = Server::start() else { return };
    server.run(TABLES);
    let directory = tempfile::tempdir().unwrap();
    let (mut orders, mut deaths) = (Orders::of(&server, directory.path()), 0);
    orders.rate = 1_500;
    for (number, step) in STEPS.iter().enumerate() {
        for after in [false, true] {
            orders.workers = 1 + number % 3;
            // A start recovers once.
            orders.dies_at = Some((step.number(), after, if *step == Step::Recover { 1 } else { 3 }));
            match orders.start().ends() {
                None => deaths += 1,
                code => assert_eq!(code, Some(0), "{step} {after}"),
            }
        }
    }
    orders.dies_at = None;
    orders.rate = 20_000;
    assert_eq!(orders.start().ends(), Some(0));
    is_right(&server);
    assert!(deaths >= 10, "{deaths} deaths");
}

#[test]
fn kills_at_any_moment_leave_every_row_once() {
    let Some(server) = Server::start() else { return };
    server.run(TABLES);
    let directory = tempfile::tempdir().unwrap();
    let mut orders = Orders::of(&server, directory.path());
    for kill in 0..8 {
        orders.workers = 1 + kill as usize % 2;
        let mut process = orders.start();
        shows(&server, 300 + kill * 550 + kill * kill * 7, || process.0.try_wait().unwrap().is_some());
        let _ = process.0.kill();
        process.ends();
    }
    orders.rate = 20_000;
    assert_eq!(orders.start().ends(), Some(0));
    is_right(&server);
}

#[test]
fn a_server_that_is_killed_and_comes_back_costs_nothing_but_time() {
    let Some(mut server) = Server::start() else { return };
    server.run(TABLES);
    let directory = tempfile::tempdir().unwrap();
    let orders = Orders { rate: 2_000, ..Orders::of(&server, directory.path()) };
    let running = job(&orders).start().unwrap();
    for rows in [500, 2_500] {
        shows(&server, rows, || running.is_finished());
        assert!(!running.is_finished(), "the job has ended before the server did");
        server.kill();
        server.resume();
    }
    running.wait().unwrap();
    is_right(&server);
}

#[test]
fn a_paused_process_whose_successor_has_finished_ends_and_has_written_nothing() {
    let Some(server) = Server::start() else { return };
    server.run(TABLES);
    let directory = tempfile::tempdir().unwrap();
    let orders = Orders { rate: 1_000, ..Orders::of(&server, directory.path()) };
    let mut old = orders.start();
    shows(&server, 800, || old.0.try_wait().unwrap().is_some());
    old.signal("-STOP");
    let copy = directory.path().join("copy");
    assert!(Command::new("cp").arg("-a").arg(&orders.state).arg(&copy).status().unwrap().success());
    let new = Orders { state: copy, rate: 20_000, ..orders.clone() };
    assert_eq!(new.start().ends(), Some(0));
    is_right(&server);
    old.signal("-CONT");
    assert_eq!(old.ends(), Some(7), "the old instance ends with an error");
    is_right(&server);
}
