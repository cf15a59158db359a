//! What becomes of state when a program changes. If a test fails here, an operator loses its state although it has not
//! changed, reads what is not its type (HW-9), or state goes that nobody said might go.

use std::process::Command;
use std::time::{Duration, Instant};

use highwater::prelude::*;
use highwater::state::StateError;
use serde::{Deserialize, Serialize};

const PATIENCE: Duration = Duration::from_secs(60);
const KEYS: u32 = 2000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Visits {
    count: u64,
}

/// What `Visits` becomes; it would be called so, too, but for the two being in one program here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct VisitsAndLast {
    count: u64,
    last: Option<i64>,
}

/// Numbers, one of each key in turn; never ends.
fn numbers(topology: &Topology) -> KeyedStream<u32, i64> {
    let source = topology.source("numbers", Memory::source(0..i64::from(KEYS) * 3).unending());
    let timed = source.event_time(|number| Timestamp::from_millis(*number), Duration::ZERO);
    timed.key_by(|number| (*number % i64::from(KEYS)) as u32)
}

struct Remembers {
    last: Value<i64>,
}

impl KeyedOperator<u32, i64> for Remembers {
    type Out = i64;
    fn on_record(&mut self, number: i64, context: &mut Context<'_, u32, i64>) -> Result<(), Cause> {
        self.last.set(context, number)?;
        Ok(())
    }
}

/// The program as it was.
fn first_version() -> Topology {
    let topology = Topology::new("shop");
    let keyed = numbers(&topology);
    keyed.clone().count("counts").keep();
    keyed.clone().fold("visits", || Visits { count: 0 }, |visits, _| visits.count += 1).keep();
    let sessions = keyed.clone().window(session(Duration::from_secs(3600)));
    let visits = |number: i64| Visits { count: number as u64 };
    keyed.clone().map_values(visits).latest("latest").keep();
    sessions
        .aggregate("sessions", |a| a.last(|number| Visits { count: *number as u64 }))
        .sink("out", Blackhole::new());
    keyed.clone().count("old-counts").keep();
    keyed
        .process("last", |states: &mut States<'_, u32>| Remembers { last: states.value("number") })
        .values()
        .sink("last-out", Blackhole::new());
    topology
}

fn convert(old: Visits) -> VisitsAndLast {
    VisitsAndLast { count: old.count, last: None }
}

/// The program as it is now: other types, an operator less, one more.
fn second_version() -> Topology {
    let topology = Topology::new("shop");
    let keyed = numbers(&topology);
    keyed.clone().count("counts").keep();
    let begin = || VisitsAndLast { count: 0, last: None };
    let visit =
        |visits: &mut VisitsAndLast, number| (visits.count, visits.last) = (visits.count + 1, Some(number));
    keyed.clone().fold("visits", begin, visit).keep();
    let sessions = keyed.clone().window(session(Duration::from_secs(3600)));
    let visits = |number: i64| VisitsAndLast { count: number as u64, last: Some(number) };
    keyed.clone().map_values(visits).latest("latest").keep();
    sessions
        .aggregate("sessions", |a| a.last(|number| VisitsAndLast { count: *number as u64, last: None }))
        .sink("out", Blackhole::new());
    keyed.count("new-counts").keep();
    topology
}

fn job(topology: Topology) -> Job {
    Job::new(topology).epoch_interval(Duration::from_millis(10)).memory(64 << 20).workers(2)
}

/// How many records there are to read in a new state directory; afterwards there are none.
const ALL: u64 = KEYS as u64 * 3;

/// Runs a job until it has read so many records, and stops it: what has been read is dealt with.
#[track_caller]
fn run(job: Job, reads: u64) -> Result<Report, JobError> {
    let running = job.start()?;
    let since = Instant::now();
    let has_read = |node: &NodeReport| node.verb == "source" && node.records_out >= reads;
    while !running.is_finished() && !running.counters().iter().any(has_read) {
        assert!(since.elapsed() < PATIENCE, "the job does not read");
        std::thread::sleep(Duration::from_millis(1));
    }
    running.stop();
    running.wait()
}

fn migrating(topology: Topology) -> Job {
    let job =
        job(topology).migrate("visits", convert).migrate("sessions", convert).migrate("latest", convert);
    job.migrate("last/number", |old: i64| old as u64)
}

#[test]
fn what_has_the_same_name_and_type_keeps_its_state_and_what_is_gone_is_kept_and_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let report = run(job(first_version()).state(directory.path()), ALL).expect("runs");
    assert_eq!(report.orphans, Vec::<String>::new());
    let report = run(migrating(second_version()).state(directory.path()), 0).expect("runs");
    assert_eq!(report.orphans, ["last/number", "last/timers", "old-counts"]);

    let reader = StateReader::open(directory.path()).expect("the job has ended");
    let three = VisitsAndLast { count: 3, last: None };
    for key in 0..KEYS {
        assert_eq!(reader.get::<u32, u64>("counts", &key).expect("it is there"), Some(3), "key {key}");
        assert_eq!(
            reader.get::<u32, VisitsAndLast>("visits", &key).expect("it is there"),
            Some(three.clone())
        );
        assert_eq!(reader.get::<u32, u64>("old-counts", &key).expect("it is kept"), Some(3));
        let last = VisitsAndLast { count: u64::from(KEYS * 2 + key), last: None };
        assert_eq!(
            reader.get::<u32, VisitsAndLast>("latest", &key).expect("it is there"),
            Some(last.clone())
        );
        assert_eq!(
            reader.get::<u32, u64>("new-counts", &key).expect("it is there"),
            None,
            "nothing has come since"
        );
    }
    // What an operator keeps is its own type; what is in it was migrated.
    let shown = reader.json_rows("sessions").expect("it is there").map(|row| row.expect("it is whole").line);
    assert!(shown.all_hold("\"last\":null"), "the sessions hold the new type");
    assert_eq!(reader.orphans(), Some(report.orphans));
    drop(reader);

    // The next start has nothing to migrate; the first program cannot read any more what is of another type.
    run(migrating(second_version()).state(directory.path()), 0).expect("runs");
    let text = run(job(first_version()).state(directory.path()), 0).expect_err("another type").to_string();
    assert!(text.contains("VisitsAndLast") && text.contains("change_of_program.rs:"), "{text}");
}

trait AllHold {
    fn all_hold(self, part: &str) -> bool;
}

impl<I: Iterator<Item = String>> AllHold for I {
    /// Whether there are as many as keys, and each holds the part.
    fn all_hold(self, part: &str) -> bool {
        let found: Vec<bool> = self.map(|line| line.contains(part)).collect();
        found.len() == KEYS as usize && found.into_iter().all(|holds| holds)
    }
}

#[test]
fn another_type_is_refused_without_a_migration_and_the_error_says_what_can_be_done() {
    let directory = tempfile::tempdir().expect("a directory");
    run(job(first_version()).state(directory.path()), ALL).expect("runs");
    let missing = job(second_version()).migrate("visits", convert).migrate("sessions", convert);
    let text = run(missing.state(directory.path()), 0).expect_err("`latest` is another type").to_string();
    for part in [
        "`latest`",
        "change_of_program.rs:",
        "Visits{count:u64}",
        "last:option<i64>",
        "Job::migrate",
        "rename",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let wrong = job(second_version()).migrate("visits", convert).migrate("sessions", convert);
    let wrong = wrong.migrate("latest", |old: Visits| old.count);
    let text = run(wrong.state(directory.path()), 0).expect_err("`latest` is no number").to_string();
    assert!(text.contains("`latest`") && text.contains("nothing was changed"), "{text}");
    run(migrating(second_version()).state(directory.path()), 0).expect("all are declared");
}

#[test]
fn a_migration_that_panics_ends_the_job_and_the_old_program_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    run(job(first_version()).state(directory.path()), ALL).expect("runs");
    let job_2 = job(second_version()).migrate("sessions", convert).migrate("latest", convert);
    let job_2 =
        job_2.migrate("visits", |old: Visits| -> VisitsAndLast { panic!("no visits of {}", old.count) });
    let error = run(job_2.state(directory.path()), 0).expect_err("it panicked");
    assert!(
        matches!(error, JobError::Panicked { .. }) && error.to_string().contains("no visits of 3"),
        "{error}"
    );
    let reader = StateReader::open(directory.path()).expect("the job has ended");
    assert_eq!(reader.get::<u32, Visits>("visits", &7).expect("it is as it was"), Some(Visits { count: 3 }));
    drop(reader);
    run(migrating(second_version()).state(directory.path()), 0).expect("a migration that works");
}

#[test]
fn a_savepoint_begins_another_version_of_the_program() {
    let directory = tempfile::tempdir().expect("a directory");
    let (state, new) = (directory.path().join("state"), directory.path().join("new"));
    let made =
        run(job(first_version()).state(&state).savepoint_on_stop("upgrade"), ALL).expect("runs").savepoint;
    let savepoint = made.expect("it was made");
    run(migrating(second_version()).state(&new).from_savepoint(&savepoint).workers(3), 0).expect("runs");
    let reader = StateReader::open(&new).expect("the job has ended");
    let visits = reader.get::<u32, VisitsAndLast>("visits", &7).expect("it is migrated");
    assert_eq!(visits, Some(VisitsAndLast { count: 3, last: None }));
    // Where the upgrade was a mistake, the savepoint is still what it was.
    run(job(first_version()).state(directory.path().join("back")).from_savepoint(&savepoint), 0)
        .expect("runs");
}

#[test]
fn orphans_go_when_the_program_says_so_and_what_is_used_never_does() {
    let directory = tempfile::tempdir().expect("a directory");
    run(job(first_version()).state(directory.path()), ALL).expect("runs");
    let dropping = || migrating(second_version()).state(directory.path()).drop_state("old-counts");
    let Err(error) = run(dropping().drop_state("counts"), 0) else { panic!("`counts` is used") };
    assert!(matches!(&error, JobError::State(StateError::Used { name }) if name == "counts"), "{error}");
    for _ in 0..2 {
        let report = run(dropping().drop_state("last/timers"), 0).expect("the line may stay");
        assert_eq!(report.orphans, ["last/number"]);
    }
    let reader = StateReader::open(directory.path()).expect("the job has ended");
    assert!(matches!(reader.get::<u32, u64>("old-counts", &1), Err(StateError::Unknown { .. })));
    assert_eq!(reader.get::<u32, u64>("counts", &1).expect("it is used"), Some(3));
}

/// Not a test by itself: the process that dies in the middle of a migration.
#[test]
fn child() {
    let Ok(directory) = std::env::var("HIGHWATER_MIGRATION_CHILD") else { return };
    let dies_at: usize =
        std::env::var("HIGHWATER_MIGRATION_DIES_AT").expect("it is set").parse().expect("a number");
    let seen = std::sync::atomic::AtomicUsize::new(0);
    let job = padded("padded").migrate("padded", move |old: Padded| {
        if seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == dies_at {
            std::process::abort();
        }
        (old.padding, old.count)
    });
    run(job.state(directory), 0).expect("runs");
    println!("migrated");
}

/// Large rows, so that a migration of all of them takes several commits.
#[derive(Clone, Serialize, Deserialize)]
struct Padded {
    count: u64,
    padding: String,
}

const PADDING: usize = 10_000;

/// The program whose state is a pair.
fn padded(name: &str) -> Job {
    let topology = Topology::new("padded");
    let begin = || (" ".repeat(PADDING), 0u64);
    numbers(&topology).fold(name, begin, |(_, count), _| *count += 1).keep();
    job(topology)
}

#[test]
fn a_process_that_dies_in_a_migration_leaves_the_old_state_and_the_next_start_migrates_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let topology = Topology::new("padded");
    let begin = || Padded { count: 0, padding: " ".repeat(PADDING) };
    numbers(&topology).fold("padded", begin, |padded, _| padded.count += 1).keep();
    run(job(topology).state(directory.path()), ALL).expect("runs");
    let migrated = |dies_at: usize| {
        let mut command = Command::new(std::env::current_exe().expect("a test has a path"));
        command.args(["--exact", "child", "--nocapture"]).env("HIGHWATER_MIGRATION_CHILD", directory.path());
        let ended =
            command.env("HIGHWATER_MIGRATION_DIES_AT", dies_at.to_string()).output().expect("it is started");
        ended.status.success() && String::from_utf8_lossy(&ended.stdout).contains("migrated")
    };
    for dies_at in [0, 1, KEYS as usize / 2, KEYS as usize - 1] {
        assert!(!migrated(dies_at), "it dies at {dies_at}");
        let reader = StateReader::open(directory.path()).expect("the process is gone");
        let rows = reader.rows::<u32, Padded>("padded").expect("it is of the old type");
        assert_eq!(
            rows.filter(|row| row.as_ref().is_ok_and(|row| row.value.count == 3)).count(),
            KEYS as usize
        );
    }
    assert!(migrated(usize::MAX));
    let reader = StateReader::open(directory.path()).expect("the process is gone");
    let rows = reader.rows::<u32, (String, u64)>("padded").expect("it is of the new type");
    let is_whole = |row: &highwater::state::reader::Row<u32, (String, u64)>| {
        row.value.1 == 3 && row.value.0.len() == PADDING
    };
    assert_eq!(rows.filter(|row| row.as_ref().is_ok_and(is_whole)).count(), KEYS as usize);
}
