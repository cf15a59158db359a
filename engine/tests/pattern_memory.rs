//! HW-5 for patterns: runs that never become a match are dropped by the watermark, and what they took goes with them.
//! If this fails, a job that waits for what never comes grows until its machine is full.
//!
//! A binary of its own, because what is measured is the whole process. `HIGHWATER_KEYS=1000000` takes so many keys.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use highwater::operators::source::{Poll, Polled, Reader, Source};
use highwater::prelude::*;
use highwater::state::reader::StateSummary;
use serde::{Deserialize, Serialize};

/// How many keys begin a run: enough for rows of several times what the tables may hold.
const KEYS: u64 = 200_000;
/// The least that a job can have.
const BUDGET: usize = 128 << 20;
/// Over how much event time the keys come.
const COMING: Duration = Duration::from_secs(5 * 60);
const PATIENCE: Duration = Duration::from_secs(600);

/// Something that a user does; the text stands for whatever else a record says.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Action {
    user: u64,
    at: i64,
    text: String,
}

/// One record for each user, as far as the test has opened the gate; then one of nobody, which raises the watermark.
#[derive(Clone)]
struct Actions {
    users: u64,
    open: Arc<AtomicU64>,
}

impl Actions {
    fn action(&self, number: u64) -> Action {
        let coming = COMING.as_millis() as u64;
        let text = |user| format!("{user:0>100}");
        match number.checked_sub(self.users) {
            None => Action { user: number, at: (number * coming / self.users) as i64, text: text(number) },
            // Just behind the last user, and an hour later.
            Some(pulse) => Action { user: u64::MAX, at: (coming + pulse * 3_600_000) as i64, text: text(0) },
        }
    }
}

impl Source for Actions {
    type Item = Action;
    type Position = u64;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        Ok(vec!["all".to_owned()])
    }

    fn open(
        &self,
        _: &str,
        from: Option<u64>,
    ) -> Result<Box<dyn Reader<Item = Action, Position = u64>>, Cause> {
        Ok(Box::new(ActionsReader { actions: self.clone(), next: from.unwrap_or(0) }))
    }
}

struct ActionsReader {
    actions: Actions,
    next: u64,
}

impl Reader for ActionsReader {
    type Item = Action;
    type Position = u64;

    fn poll(&mut self, limit: usize, into: &mut Polled<Action>) -> Result<Poll, Cause> {
        let until = self.actions.open.load(Ordering::SeqCst).min(self.next + limit as u64);
        into.values.extend((self.next..until).map(|number| self.actions.action(number)));
        let poll = if self.next == until { Poll::Pending } else { Poll::Ready };
        self.next = until;
        Ok(poll)
    }

    fn position(&self) -> u64 {
        self.next
    }
}

/// Carts that nobody pays for.
fn topology(actions: Actions) -> Topology {
    let topology = Topology::new("carts");
    let actions = topology.source("actions", actions);
    let timed = actions.event_time(|action| Timestamp::from_millis(action.at), Duration::ZERO);
    let left = Pattern::begin("filled", |action: &Action| action.user != u64::MAX)
        .followed_by("paid", |action| action.text.starts_with("paid"))
        .within(Duration::from_mins(10));
    let matches = timed.key_by(|action| action.user).pattern(left);
    let (matches, left) = matches.with_timed_out(|user, (filled, _)| (*user, filled.map(|filled| filled.at)));
    let paid = matches.select("carts", |user, (filled, paid)| (*user, paid.at - filled.at));
    paid.values().sink("paid", Blackhole::new());
    left.values().sink("left", Blackhole::new());
    topology
}

/// The memory that the process has now, in bytes; `None` where the system does not say.
fn memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

/// The bytes of the files in a folder whose names end like this.
fn bytes_on_disk(folder: &Path, ending: &str) -> u64 {
    // A file may go between the listing and the look at it.
    let files = fs::read_dir(folder).expect("can be listed").flatten();
    let of_kind = files.filter(|file| file.file_name().to_string_lossy().ends_with(ending));
    of_kind.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

/// What there is at one moment.
#[derive(Debug)]
struct Seen {
    memory: u64,
    tables: u64,
    log: u64,
    runs: u64,
    timers: u64,
    waiting: u64,
    bytes: u64,
}

fn see(job: &RunningJob, name: &str, state: &Path) -> Seen {
    let savepoint = job.savepoint(name).expect("is made");
    let (memory, db) = (memory().unwrap_or(0), state.join("db"));
    let states = StateReader::open(savepoint.path()).expect("opens").states().expect("reads");
    let of = |name: &str| -> u64 {
        let rows = |state: &StateSummary| state.rows;
        states.iter().find(|state| state.name == name).map_or(0, rows)
    };
    Seen {
        memory,
        tables: bytes_on_disk(&db, ".sst"),
        log: bytes_on_disk(&db, ".log"),
        runs: of("carts"),
        timers: of("carts/timers"),
        waiting: of("carts.sorted"),
        bytes: states.iter().map(|state| state.bytes).sum(),
    }
}

fn wait_until(job: &RunningJob, otherwise: &str, holds: impl Fn(&NodeReport) -> bool) {
    let since = Instant::now();
    let is_there = |nodes: Vec<NodeReport>| nodes.iter().any(|node| node.verb == "pattern" && holds(node));
    while !is_there(job.counters()) {
        assert!(!job.is_finished() && since.elapsed() < PATIENCE, "{otherwise}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_runs_that_never_match_keep_is_given_back_when_their_time_is_over() {
    if memory().is_none() {
        println!("skipped: this system does not say how much memory a process has");
        return;
    }
    let keys = std::env::var("HIGHWATER_KEYS").ok().and_then(|keys| keys.parse().ok()).unwrap_or(KEYS);
    let directory = tempfile::tempdir().expect("a directory");
    let actions = Actions { users: keys, open: Arc::default() };
    let open = Arc::clone(&actions.open);
    let job = Job::new(topology(actions)).workers(2).state(directory.path()).memory(BUDGET);
    let job = job.epoch_interval(Duration::from_millis(200)).start().expect("starts");
    let started = Instant::now();
    let before = see(&job, "before", directory.path());
    println!("{before:?}");
    open.store(keys + 1, Ordering::SeqCst);
    wait_until(&job, "the runs do not begin", |pattern| pattern.records_in == keys);
    println!("grown after {:?}", started.elapsed());
    let grown = see(&job, "grown", directory.path());
    println!("{grown:?}");
    open.store(keys + 2, Ordering::SeqCst);
    wait_until(&job, "the runs do not end", |pattern| pattern.records_aside == keys);
    println!("over after {:?}", started.elapsed());
    let over = see(&job, "over", directory.path());
    println!("{over:?}");
    for n in 0..10 {
    std::thread::sleep(Duration::from_millis(1000));
    println!("{n} {:?}", (memory(), bytes_on_disk(&directory.path().join("db"), ".sst"), bytes_on_disk(&directory.path().join("db"), ".log")));
    }
    job.stop();
    job.wait().expect("stops");
}
