//! Savepoints of real jobs over RocksDB, and starts from them. If a test fails here, a job that begins with a
//! savepoint does not go on as if nothing had happened, or a savepoint is taken for what it is not.

#[path = "savepoints/ledger.rs"]
mod ledger;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use highwater::prelude::*;
use highwater::state::{Epoch, StateError};

use ledger::Ledger;

const PATIENCE: Duration = Duration::from_secs(60);
const SPLITS: i64 = 4;
const RECORDS: i64 = 60_000;

#[track_caller]
fn wait_until(otherwise: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "{otherwise}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Splits of (time, key); none of them is late.
fn records() -> Vec<Vec<(i64, u32)>> {
    let of_split = |split: i64| (0..RECORDS).map(move |n| (n * 7 + split, (n * n % 997) as u32)).collect();
    (0..SPLITS).map(of_split).collect()
}

/// Sums per key and ten seconds, told by timers. When a timer fires no record of its ten seconds is missing,
/// whatever the order in which splits are read.
struct Sums {
    sums: Map<i64, i64>,
}

impl KeyedOperator<u32, (i64, u32)> for Sums {
    type Out = String;

    fn on_record(&mut self, record: (i64, u32), context: &mut Context<'_, u32, String>) -> Result<(), Cause> {
        let end = (record.0 / 10_000 + 1) * 10_000;
        *self.sums.get_mut(context)?.entry(end).or_default() += record.0 % 11;
        Ok(context.set_timer(Timestamp::from_millis(end))?)
    }

    fn on_timer(&mut self, at: Timestamp, context: &mut Context<'_, u32, String>) -> Result<(), Cause> {
        let sum = self.sums.get_mut(context)?.remove(&at.as_millis());
        context.emit(format!("sums {} {at} {sum:?}", context.key()));
        Ok(())
    }
}

/// One of everything that keeps state: running values, windows of three kinds, an operator with timers.
fn topology(ledger: &Ledger) -> Topology {
    let topology = Topology::new("everything");
    let source = topology.source("records", Memory::splits(records()));
    let timed = source.event_time(|record| Timestamp::from_millis(record.0), Duration::ZERO);
    let keyed = timed.key_by(|record| record.1);
    let counts = keyed.clone().count("running").to_stream().filter(|(_, count)| count % 7 == 0);
    counts.map(|(key, count)| format!("running {key} {count}")).sink("running-out", ledger.sink(0));
    let windows = keyed.clone().window(tumbling(Duration::from_secs(10)));
    let totals = windows.aggregate("tumbling", |a| (a.count(), a.sum(|record| record.0)));
    totals
        .map(|w| format!("tumbling {} {} {:?}", w.key, w.window.start, w.value))
        .sink("tumbling-out", ledger.sink(1));
    let sliding_counts =
        keyed.clone().window(sliding(Duration::from_secs(20), Duration::from_secs(5))).count("sliding");
    sliding_counts
        .map(|w| format!("sliding {} {} {}", w.key, w.window.start, w.value))
        .sink("sliding-out", ledger.sink(2));
    let sessions = keyed.clone().window(session(Duration::from_millis(1500))).count("sessions");
    sessions
        .map(|w| format!("session {} {:?} {}", w.key, w.window, w.value))
        .sink("sessions-out", ledger.sink(3));
    let sums = keyed.process("sums", |states: &mut States<'_, u32>| Sums { sums: states.map("sums") });
    sums.values().sink("sums-out", ledger.sink(4));
    topology
}

fn job(topology: Topology) -> Job {
    Job::new(topology).epoch_interval(Duration::from_millis(10)).memory(64 << 20)
}

/// The same records, each as often.
#[track_caller]
fn same(found: Vec<String>, expected: &[String]) {
    let mut counts: std::collections::BTreeMap<&str, i64> = Default::default();
    expected.iter().for_each(|record| *counts.entry(record).or_default() -= 1);
    found.iter().for_each(|record| *counts.entry(record).or_default() += 1);
    counts.retain(|_, count| *count != 0);
    let some: Vec<_> = counts.iter().take(20).collect();
    assert!(counts.is_empty(), "{} of {} differ: {some:#?}", counts.len(), expected.len());
}

fn sorted(mut records: Vec<String>) -> Vec<String> {
    records.sort_unstable();
    records
}

/// A job that has made a savepoint in the middle of its input, and what an undisturbed run gives.
struct Scene {
    directory: tempfile::TempDir,
    savepoint: Savepoint,
    /// What the first job had published by then.
    before: Vec<String>,
    expected: Vec<String>,
}

impl Scene {
    fn of(workers: usize) -> Scene {
        let undisturbed = Ledger::default();
        assert!(job(topology(&undisturbed)).workers(2).run().expect("runs").finished);
        let expected = sorted(undisturbed.all());
        let kinds = ["running", "tumbling", "sliding", "session", "sums"];
        assert!(kinds.iter().all(|kind| expected.iter().any(|line| line.starts_with(kind))));

        let directory = tempfile::tempdir().expect("a directory");
        let ledger = Ledger::default();
        let first =
            job(topology(&ledger)).workers(workers).state(directory.path().join("state")).rate(20_000);
        let running = first.start().expect("starts");
        wait_until("nothing is published", || ledger.all().len() > expected.len() / 8);
        let savepoint = running.savepoint("middle").expect("it is made");
        let at_once = ledger.all().len();
        wait_until("the job does not go on", || ledger.all().len() > at_once + 100);
        assert!(!running.is_finished(), "the savepoint was made in the middle");
        drop(running);
        let before = ledger.until(savepoint.epoch());
        assert!(before.len() > expected.len() / 8 && before.len() < expected.len() * 7 / 8);
        Scene { directory, savepoint, before, expected }
    }
}

#[test]
fn a_savepoint_of_a_running_job_goes_on_with_any_number_of_workers_as_if_nothing_had_happened() {
    let scene = Scene::of(2);
    assert_eq!(scene.savepoint.topology(), "everything");
    assert_eq!(scene.savepoint.path(), scene.directory.path().join("state/savepoints/middle"));
    for workers in [1, 2, 4] {
        let (state, ledger) = (tempfile::tempdir().expect("a directory"), Ledger::default());
        let job = job(topology(&ledger)).workers(workers).state(state.path());
        let report = job.from_savepoint(scene.savepoint.path()).run().expect("runs");
        assert!(report.finished && report.orphans.is_empty());
        same([scene.before.clone(), ledger.all()].concat(), &scene.expected);
    }
    // The job that made it is not disturbed either.
    let ledger = Ledger::default();
    let report = job(topology(&ledger)).state(scene.directory.path().join("state")).run().expect("runs");
    assert!(report.finished);
    let last = scene.expected.iter().filter(|line| line.starts_with("sums")).count();
    assert!(ledger.all().iter().filter(|line| line.starts_with("sums")).count() <= last);
}

#[test]
fn a_job_that_begins_with_a_savepoint_can_be_stopped_and_started_again_and_make_savepoints_of_its_own() {
    let scene = Scene::of(1);
    let (state, ledger) = (tempfile::tempdir().expect("a directory"), Ledger::default());
    let start = || job(topology(&ledger)).workers(2).state(state.path()).rate(20_000);
    let running = start().from_savepoint(scene.savepoint.path()).start().expect("starts");
    wait_until("nothing is published", || !ledger.all().is_empty());
    let second = running.savepoint("again").expect("it is made");
    assert!(second.epoch() > scene.savepoint.epoch());
    running.stop();
    assert!(!running.wait().expect("stops").finished);
    let until = ledger.until(second.epoch());

    // With the savepoint it is refused now, saying what to do; without, it goes on.
    let refused =
        start().from_savepoint(scene.savepoint.path()).start().err().expect("it has state").to_string();
    assert!(
        refused.contains("without the savepoint") && refused.contains(&*state.path().to_string_lossy()),
        "{refused}"
    );
    assert!(start().rate(10_000_000).run().expect("runs").finished);
    same([scene.before.clone(), ledger.all()].concat(), &scene.expected);

    let (other, rest) = (tempfile::tempdir().expect("a directory"), Ledger::default());
    let job = job(topology(&rest)).workers(3).state(other.path()).from_savepoint(second.path());
    assert!(job.run().expect("runs").finished);
    same([scene.before, until, rest.all()].concat(), &scene.expected);
}

/// Numbers to a file, one a line.
fn to_file(until: i64, output: &Path) -> Topology {
    let topology = Topology::new("to-file");
    let numbers = topology.source("numbers", Memory::source(0..until).unending());
    numbers.sink("out", File::at(output).sink(Json::new()));
    topology
}

fn lines(output: &Path) -> usize {
    fs::read_to_string(output).unwrap_or_default().lines().count()
}

#[test]
fn a_file_sink_refuses_what_is_newer_than_the_savepoint_and_begins_another_file_behind_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let (output, state) = (path("out.jsonl"), path("state"));
    let running = job(to_file(1000, &output)).state(&state).start().expect("starts");
    wait_until("nothing is written", || lines(&output) == 1000);
    let savepoint = running.savepoint("thousand").expect("it is made");
    drop(running);
    let running = job(to_file(1500, &output)).state(&state).start().expect("starts");
    wait_until("nothing more is written", || lines(&output) == 1500);
    drop(running);

    let start = |output: &Path| {
        let job = job(to_file(1500, output)).state(path("state-2"));
        job.from_savepoint(savepoint.path()).start()
    };
    let Err(refused) = start(&output) else { panic!("it is newer") };
    let text = refused.to_string();
    assert!(
        text.contains("out.jsonl") && text.contains("savepoint") && text.contains("another file"),
        "{text}"
    );
    assert_eq!(lines(&output), 1500, "it is as it was");
    // The same again with another file, in the directory that the refused start has prepared.
    let other = path("other.jsonl");
    let running = start(&other).expect("nothing has happened in that directory");
    wait_until("it does not go on", || lines(&other) == 500);
    drop(running);
    let all = fs::read_to_string(&output).expect("it is there");
    let rest = fs::read_to_string(&other).expect("it is there");
    assert!(all.lines().skip(1000).eq(rest.lines()), "what comes after the savepoint, once");
}

#[test]
fn a_file_that_ends_where_the_savepoint_does_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let (output, state) = (directory.path().join("out.jsonl"), directory.path().join("state"));
    let stopping = job(to_file(1000, &output)).state(&state).savepoint_on_stop("stopped");
    let running = stopping.start().expect("starts");
    wait_until("nothing is written", || lines(&output) == 1000);
    running.stop();
    let savepoint = running.wait().expect("stops").savepoint.expect("it was made");
    let job =
        job(to_file(1500, &output)).workers(2).state(directory.path().join("new")).from_savepoint(savepoint);
    let running = job.start().expect("starts");
    wait_until("it does not go on", || lines(&output) == 1500);
    drop(running);
    let written = fs::read_to_string(&output).expect("it is there");
    assert!(written.lines().map(|line| line.parse::<i64>().expect("a number")).eq(0..1500));
}

#[test]
fn a_job_that_ends_in_a_savepoint_can_do_so_again_and_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut made = Vec::new();
    for epoch in 0..100 {
        fs::create_dir_all(directory.path().join(format!("state/savepoints/daily-{epoch}")))
            .expect("there is room");
    }
    for until in [10, 10, 20] {
        let output = directory.path().join("out.jsonl");
        let job =
            job(to_file(until, &output)).state(directory.path().join("state")).savepoint_on_stop("daily");
        let running = job.start().expect("starts");
        wait_until("nothing is written", || lines(&output) == until as usize);
        running.stop();
        made.push(running.wait().expect("stops").savepoint.expect("it was made"));
    }
    let made: Vec<Savepoint> = made.iter().map(|path| Savepoint::open(path).expect("it is whole")).collect();
    let name = |at: usize| made[at].path().file_name().expect("it has a name").to_string_lossy().into_owned();
    assert!(made.is_sorted_by_key(Savepoint::epoch));
    for (at, savepoint) in made.iter().enumerate() {
        // Those of the first epochs are there already.
        let Epoch(epoch) = savepoint.epoch();
        assert_eq!(name(at), if epoch < 100 { format!("daily-{epoch}-2") } else { format!("daily-{epoch}") });
    }
    assert!(made.iter().any(|savepoint| savepoint.epoch() < Epoch(100)));

    // And at the end of the input.
    let sink = Memory::sink();
    let topology = Topology::new("bounded");
    topology
        .source("numbers", Memory::source(0..10))
        .key_by(|n| n % 2)
        .count("counts")
        .to_stream()
        .sink("out", sink);
    let report =
        job(topology).state(directory.path().join("bounded")).savepoint_on_stop("end").run().expect("runs");
    let reader = StateReader::open(&report.savepoint.expect("it was made")).expect("it is whole");
    assert_eq!(reader.get::<i32, u64>("counts", &1).expect("it is there"), Some(5));
}

#[test]
fn what_cannot_be_a_savepoint_is_refused_and_the_job_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = directory.path().join("out.jsonl");
    let running = job(to_file(10, &output)).state(directory.path().join("state")).start().expect("starts");
    running.savepoint("first").expect("it is made");
    let again = running.savepoint("first").expect_err("it is there already");
    assert!(matches!(again, JobError::State(StateError::Exists(_))), "{again}");
    let named = running.savepoint("../first").expect_err("that is no name");
    assert!(matches!(named, JobError::State(StateError::Name { .. })), "{named}");
    running.savepoint_at(directory.path().join("else/where")).expect("the folder is made");
    assert!(running.savepoint_at(output.join("below-a-file")).is_err());
    running.savepoint("second").expect("the job goes on");
    running.stop();
    wait_until("it does not stop", || running.is_finished());
    assert!(matches!(running.savepoint("third"), Err(JobError::NotRunning)));
    running.wait().expect("nothing has failed");

    // Without a state directory, and with what is no savepoint.
    let in_memory = job(to_file(10, &output)).start().expect("starts");
    let refused = in_memory.savepoint("none").expect_err("it is in memory").to_string();
    assert!(refused.contains("state directory"), "{refused}");
    drop(in_memory);
    for job in
        [job(to_file(10, &output)).savepoint_on_stop("x"), job(to_file(10, &output)).from_savepoint("x")]
    {
        assert!(matches!(job.start(), Err(JobError::NoState { .. })));
    }
    let wrong = |from: &Path| {
        let state = directory.path().join("never");
        let job = job(to_file(10, &output)).state(&state).from_savepoint(from);
        let error = job.start().err().expect("that is no savepoint");
        assert!(matches!(&error, JobError::State(StateError::Savepoint { .. })), "{error}");
        assert!(!state.exists());
    };
    wrong(&directory.path().join("nowhere"));
    wrong(&directory.path().join("state"));
    fs::remove_file(directory.path().join("else/where/savepoint.json")).expect("it was there");
    wrong(&directory.path().join("else/where"));
}
