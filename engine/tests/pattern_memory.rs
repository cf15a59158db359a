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
const KEYS: u64 = 100_000;
/// Of which the tables have half: a quarter of the rows of a million keys.
const BUDGET: usize = 64 << 20;
/// What does not grow with state: RocksDB's threads and buffers, stacks, what the allocator keeps.
const BESIDES: u64 = 128 << 20;
/// What a run has on disk at the least, compressed: most of its text is the same in all.
const BYTES_ON_DISK_MIN: u64 = 20;
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
        .within(Duration::from_secs(600));
    let matches = timed.key_by(|action| action.user).pattern(left);
    let (matches, left) = matches.with_timed_out(|user, (filled, _)| (*user, filled.map(|filled| filled.at)));
    let paid = matches.select("carts", |user, (filled, paid)| (*user, paid.at - filled.at));
    paid.values().sink("paid", Blackhole::new());
    left.values().sink("left", Blackhole::new());
    topology
}

/// What the system says of the process's memory, in bytes; `None` where it says nothing.
fn memory_as(field: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

/// The memory that the process has now.
fn memory() -> Option<u64> {
    memory_as("VmRSS:")
}

/// The most that it has ever had.
fn peak_memory() -> u64 {
    memory_as("VmHWM:").unwrap_or(0)
}

/// The bytes of the files in a folder whose names end like this.
fn bytes_on_disk(folder: &Path, ending: &str) -> u64 {
    // A file may go between the listing and the look at it.
    let files = fs::read_dir(folder).expect("can be listed").flatten();
    let of_kind = files.filter(|file| file.file_name().to_string_lossy().ends_with(ending));
    of_kind.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

/// What a savepoint holds.
struct Kept {
    runs: u64,
    timers: u64,
    waiting: u64,
}

/// Makes savepoints until one has been begun after the job did what it was waited for.
fn kept(job: &RunningJob, name: &str, is_it: impl Fn(&Kept) -> bool) -> Kept {
    let since = Instant::now();
    for number in 0.. {
        let savepoint = job.savepoint(&format!("{name}-{number}")).expect("is made");
        let states = StateReader::open(savepoint.path()).expect("opens").states().expect("reads");
        let rows = |name: &str| {
            let state = states.iter().find(|state: &&StateSummary| state.name == name);
            state.map_or(0, |state| state.rows)
        };
        let kept = Kept { runs: rows("carts"), timers: rows("carts/timers"), waiting: rows("carts.sorted") };
        // It shares its files with the state, which could not go.
        fs::remove_dir_all(savepoint.path()).expect("is removed");
        if is_it(&kept) || since.elapsed() > PATIENCE {
            return kept;
        }
    }
    unreachable!("there is always another number")
}

fn wait_until(job: &RunningJob, otherwise: &str, holds: impl Fn() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(!job.is_finished() && since.elapsed() < PATIENCE, "{otherwise}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How many records the pattern has taken in, and how many runs it has given up.
fn of_pattern(job: &RunningJob) -> (u64, u64) {
    let nodes = job.counters();
    let pattern = nodes.iter().find(|node| node.verb == "pattern").expect("is counted");
    (pattern.records_in, pattern.records_aside)
}

#[test]
fn what_runs_that_never_match_keep_is_given_back_when_their_time_is_over() {
    let Some(memory_before) = memory() else {
        println!("skipped: this system does not say how much memory a process has");
        return;
    };
    let keys = std::env::var("HIGHWATER_KEYS").ok().and_then(|keys| keys.parse().ok()).unwrap_or(KEYS);
    let directory = tempfile::tempdir().expect("a directory");
    let (db, actions) = (directory.path().join("db"), Actions { users: keys, open: Arc::default() });
    let (open, tables) = (Arc::clone(&actions.open), || bytes_on_disk(&db, ".sst"));
    let job = Job::new(topology(actions)).workers(2).state(directory.path()).memory(BUDGET);
    let job = job.epoch_interval(Duration::from_millis(200)).start().expect("starts");
    let started = Instant::now();
    let mib = |bytes: u64| bytes >> 20;

    open.store(keys + 1, Ordering::SeqCst);
    wait_until(&job, "the runs do not begin", || of_pattern(&job).0 == keys);
    let grown = kept(&job, "grown", |kept| kept.runs == keys);
    assert_eq!((grown.runs, grown.timers, grown.waiting), (keys, keys, 1));
    let (grown_tables, grown_memory) = (tables(), memory().unwrap_or(0));
    println!(
        "{keys} runs after {:?}: memory {} MiB, {} MiB before; tables on disk {} KiB",
        started.elapsed(),
        mib(grown_memory),
        mib(memory_before),
        grown_tables >> 10
    );
    assert!(grown_memory < memory_before + (BUDGET as u64) + BESIDES, "{} MiB", mib(grown_memory));
    assert!(grown_tables > keys * BYTES_ON_DISK_MIN, "the runs are on disk: {grown_tables} bytes");

    open.store(keys + 2, Ordering::SeqCst);
    wait_until(&job, "the runs do not end", || of_pattern(&job).1 == keys);
    let over = kept(&job, "over", |kept| kept.runs == 0 && kept.timers == 0);
    assert_eq!((over.runs, over.timers, over.waiting), (0, 0, 1));
    let peak = peak_memory();
    println!(
        "over after {:?}: memory {} MiB, at most {} MiB",
        started.elapsed(),
        mib(memory().unwrap_or(0)),
        mib(peak)
    );
    wait_until(&job, "the tables on disk do not shrink", || tables() < grown_tables / 4);
    // How much of what is free the allocator gives back to the system is its own affair.
    wait_until(&job, "the memory is not given back", || memory().is_some_and(|memory| memory < peak));
    println!(
        "shrunk after {:?}: memory {} MiB; tables on disk {} KiB",
        started.elapsed(),
        mib(memory().unwrap_or(0)),
        tables() >> 10
    );
    job.stop();
    assert!(!job.wait().expect("stops").finished);
}
