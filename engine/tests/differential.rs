//! HW-8: the engine's output equals the interpreter's, as a multiset, for every number of workers, every
//! interleaving, every place where epochs end, and every restart.
//!
//! Random topologies of all operators run over random records. Seeds run them in the public simulation
//! ([`highwater::simulate`]), with the smallest limits, tables that do not fit their budget, deaths and every other
//! fault; the threaded ones are real jobs. If a test fails here, a topology means one thing on one worker and another
//! on several, or a restart loses, repeats or misjudges records (HW-1, HW-3, HW-4, HW-6).

#[path = "differential/build.rs"]
mod build;
#[path = "differential/case.rs"]
mod case;
#[path = "differential/joins.rs"]
mod joins;
#[path = "differential/kept.rs"]
mod kept;
#[path = "differential/patterns.rs"]
mod patterns;
#[path = "differential/seeds.rs"]
mod seeds;
#[path = "differential/whole.rs"]
mod whole;

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::{Duration, Instant};

use highwater::operators::interpret::interpret;
use highwater::operators::memory::Memory;
use highwater::prelude::{Job, JobError};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{FileFailurePersistence, TestRunner};

use build::{Gate, InMemory, build};
use case::{Case, Keyed, Keys, Out, Stage};

const PERSISTENCE: FileFailurePersistence =
    FileFailurePersistence::Direct("tests/differential.proptest-regressions");

/// `HIGHWATER_CASES=100` runs a hundred times as many.
fn config(cases: u32) -> ProptestConfig {
    let times = std::env::var("HIGHWATER_CASES").ok().and_then(|times| times.parse().ok());
    let cases = cases * times.unwrap_or(1);
    let failure_persistence = Some(Box::new(PERSISTENCE) as Box<_>);
    ProptestConfig { cases, failure_persistence, ..ProptestConfig::default() }
}

fn sorted(mut out: Vec<Out>) -> Vec<Out> {
    out.sort();
    out
}

/// What the topology means.
fn meaning(case: &Case) -> Vec<Out> {
    let sink = Memory::sink();
    interpret(build(case, &InMemory { gate: &Gate::open(), sink: &sink }, || {}))
        .expect("the interpreter runs");
    sorted(sink.take())
}

fn job(
    case: &Case,
    gate: &Gate,
    sink: &highwater::operators::memory::MemorySink<Out>,
    workers: usize,
) -> Job {
    let topology = build(case, &InMemory { gate, sink }, || {});
    Job::new(topology).workers(workers).epoch_interval(Duration::from_millis(10)).memory(64 << 20)
}

/// What comes out of a real job with state in memory.
fn threaded(case: &Case, workers: usize) -> Vec<Out> {
    let sink = Memory::sink();
    let report = job(case, &Gate::open(), &sink, workers).run().expect("the job runs");
    assert!(report.finished);
    sorted(sink.take())
}

/// What comes out of a job on disk that is stopped after each number of records and goes on with the next
/// number of workers.
fn stopped(case: &Case, runs: &[(usize, usize)], last_workers: usize) -> Vec<Out> {
    let directory = tempfile::tempdir().expect("a directory");
    let sink = Memory::sink();
    for &(records, workers) in runs {
        let gate = Gate::of(records);
        let running =
            job(case, &gate, &sink, workers).state(directory.path()).start().expect("the job starts");
        let since = Instant::now();
        while !gate.is_used_up() && !running.is_finished() {
            assert!(since.elapsed() < Duration::from_secs(30), "the job neither reads nor ends");
            std::thread::sleep(Duration::from_millis(1));
        }
        running.stop();
        running.wait().expect("the job stops");
    }
    let report = job(case, &Gate::open(), &sink, last_workers).state(directory.path()).run();
    assert!(report.expect("the job runs").finished);
    sorted(sink.take())
}

/// What comes out of a job on disk that dies of a panic after each number of records and is started again.
fn panicking(case: &Case, deaths: &[(usize, usize)], last_workers: usize) -> Vec<Out> {
    let directory = tempfile::tempdir().expect("a directory");
    let sink = Memory::sink();
    let run = |left: isize, workers: usize| {
        let left = Arc::new(AtomicIsize::new(left));
        let look = move || assert!(left.fetch_sub(1, Ordering::SeqCst) != 0, "on purpose");
        let topology = build(case, &InMemory { gate: &Gate::open(), sink: &sink }, look);
        let job = Job::new(topology).workers(workers).state(directory.path()).memory(64 << 20);
        job.epoch_interval(Duration::from_millis(10)).run()
    };
    for &(records, workers) in deaths {
        match run(records as isize, workers) {
            Ok(report) => assert!(report.finished),
            Err(error) => assert!(matches!(error, JobError::Panicked { .. }), "{error}"),
        }
    }
    assert!(run(-1, last_workers).expect("the job runs").finished);
    sorted(sink.take())
}

fn workers() -> impl Strategy<Value = usize> {
    prop_oneof![Just(1usize), Just(2), Just(4)]
}

#[test]
fn random_patterns_match_now_and_then() {
    let mut runner = TestRunner::deterministic();
    let (mut matching, mut matches) = (0, 0);
    let only_matches = |search: patterns::Search| Keyed::Search(search.in_any_order().with_nothing_aside());
    for number in 0..300 {
        let mut drawn = |keyed: BoxedStrategy<Keyed>| {
            let both = (case::calm(60), keyed);
            both.new_tree(&mut runner).expect("every case can be made").current()
        };
        // The number of the output of the matches: the pattern by types tells of what ran out of time before.
        let (of_matches, (mut case, keyed)) = match number % 3 {
            0 => (1, drawn((60u16..200).prop_map(|within| Keyed::Typed { within }).boxed())),
            _ => (0, drawn(patterns::search().prop_map(only_matches).boxed())),
        };
        case.stages = vec![Stage::Keyed(Keys::Number(2), keyed)];
        let found = meaning(&case).iter().filter(|(output, _)| *output == of_matches).count();
        matching += usize::from(found > 0);
        matches += found;
    }
    assert!(matching > 100 && matches > 1_000, "{matching} of 300 patterns have {matches} matches");
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn one_two_and_four_workers_emit_what_the_interpreter_emits(
        case in prop_oneof![case::calm(300), case::late(300)],
    ) {
        let expected = meaning(&case);
        for workers in [1, 2, 4] {
            prop_assert_eq!(&threaded(&case, workers), &expected, "{} workers", workers);
        }
    }
}

proptest! {
    #![proptest_config(config(12))]

    #[test]
    fn a_job_that_is_stopped_and_goes_on_with_other_workers_emits_what_the_interpreter_emits(
        case in prop_oneof![case::calm(300), case::late(300)],
        runs in prop::collection::vec((1usize..400, workers()), 0..3),
        last in workers(),
    ) {
        prop_assert_eq!(stopped(&case, &runs, last), meaning(&case));
    }

    #[test]
    fn a_job_that_dies_and_goes_on_with_other_workers_emits_what_the_interpreter_emits(
        case in prop_oneof![case::calm(300), case::late(300)],
        deaths in prop::collection::vec((0usize..600, workers()), 1..3),
        last in workers(),
    ) {
        prop_assert_eq!(panicking(&case, &deaths, last), meaning(&case));
    }
}
