//! Planted bugs, each of which the simulation must find, and what a seed promises.

use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::prelude::*;

/// How many seeds find every planted bug, and are clean without.
const SEEDS_TRIED: u64 = 1000;

/// Records every 40 ms, out of order by up to 90 ms.
fn visits(from: i64, count: i64) -> Vec<(i64, i64)> {
    disordered(from, count, 90)
}

fn disordered(from: i64, count: i64, disorder: i64) -> Vec<(i64, i64)> {
    (0..count).map(|n| (from + n * 40 - (n * 7919) % disorder, n % 5)).collect()
}

fn at(visit: &(i64, i64)) -> Timestamp {
    Timestamp::from_millis(visit.0)
}

/// Windows and running counts of a topic, into transactions.
fn counts() -> Simulation {
    Simulation::new(|world| {
        let topology = Topology::new("counts");
        let keyed = topology
            .source("visits", world.topic("visits", [visits(0, 60), visits(70, 40)]))
            .event_time(at, Duration::from_millis(100))
            .key_by(|visit| visit.1);
        let windows = keyed.clone().window(tumbling(Duration::from_millis(200))).count("windows");
        windows.sink("windows-out", world.transactional_sink("windows"));
        keyed.count("running").to_stream().sink("running-out", world.transactional_sink("running"));
        topology
    })
}

/// The same of a source that is no topic, into a sink that stages.
fn files() -> Simulation {
    Simulation::new(|world| {
        let topology = Topology::new("files");
        let keyed = topology
            .source("visits", world.source([visits(0, 60), visits(70, 40)]))
            .event_time(at, Duration::from_millis(100))
            .key_by(|visit| visit.1);
        keyed.count("running").to_stream().sink("running-out", world.sink("running"));
        topology
    })
}

/// Windows that fire when the clock goes on and no record comes, into a sink that stages.
fn in_files_by_time() -> Simulation {
    Simulation::new(|world| {
        let topology = Topology::new("clock");
        let all_of_time = Duration::from_millis(1_000_000_000_000_000);
        let keyed = topology
            .source("visits", world.source([visits(0, 30)]))
            .processing_time()
            .key_by(|visit| visit.1);
        let sums = keyed
            .window(tumbling(Duration::from_millis(20)))
            .aggregate("sums", |a| a.sum(|visit: &(i64, i64)| visit.0));
        // When the clock met a record is chance; what there is in the end is not.
        let all = sums.key_by(|sum| sum.key).window(tumbling(all_of_time).offset(all_of_time / 2));
        all.aggregate("all", |a| a.sum(|sum: &Windowed<i64, i64>| sum.value))
            .map(|all| (all.key, all.value))
            .sink("out", world.sink("sums"));
        topology
    })
}

/// Counts per 100 ms, emitted by a timer.
struct PerBucket {
    counts: Map<i64, i64>,
}

impl KeyedOperator<i64, (i64, i64)> for PerBucket {
    type Out = (i64, i64, i64);

    fn on_record(
        &mut self,
        record: (i64, i64),
        context: &mut Context<'_, i64, (i64, i64, i64)>,
    ) -> Result<(), Cause> {
        let end = (record.0.div_euclid(100) + 1) * 100;
        *self.counts.get_mut(context)?.entry(end).or_insert(0) += 1;
        context.set_timer(Timestamp::from_millis(end))?;
        Ok(())
    }

    fn on_timer(
        &mut self,
        at: Timestamp,
        context: &mut Context<'_, i64, (i64, i64, i64)>,
    ) -> Result<(), Cause> {
        let count = self.counts.get_mut(context)?.remove(&at.as_millis()).unwrap_or(0);
        context.emit((*context.key(), at.as_millis(), count));
        Ok(())
    }
}

/// Timers, and records behind the watermark, with sinks of both kinds.
fn timers() -> Simulation {
    Simulation::new(|world| {
        let topology = Topology::new("timers");
        let keyed = topology
            .source("visits", world.topic("visits", [disordered(-500, 90, 400)]))
            .event_time(at, Duration::from_millis(30))
            .key_by(|visit| visit.1);
        let buckets = keyed
            .clone()
            .process("buckets", |states: &mut States<'_, i64>| PerBucket { counts: states.map("counts") });
        buckets.values().sink("buckets-out", world.transactional_sink("buckets"));
        let (windows, late) = keyed.window(tumbling(Duration::from_millis(50))).with_late();
        windows.count("windows").sink("windows-out", world.sink("windows"));
        late.sink("late-out", world.sink("late"));
        topology
    })
}

#[test]
fn without_a_planted_bug_the_same_seeds_are_clean() {
    for simulation in [counts(), files(), timers(), in_files_by_time()] {
        assert_eq!(simulation.check_seeds(0..SEEDS_TRIED).expect("clean").runs(), SEEDS_TRIED);
    }
}

/// Plants the bug and says after how many seeds it was found.
#[track_caller]
fn finds(bug: Bug, simulation: Simulation) {
    let failure = match simulation.plant(bug).check_seeds(0..SEEDS_TRIED) {
        Ok(_) => panic!("{bug:?} was not found in {SEEDS_TRIED} seeds"),
        Err(failure) => failure,
    };
    println!(
        "{bug:?}: found by seed {}: {}",
        failure.seed(),
        failure.what.lines().next().unwrap_or_default()
    );
}

#[test]
fn positions_that_are_written_before_the_rest_of_the_epoch_are_found() {
    finds(Bug::PositionsFirst, files());
}

#[test]
fn positions_that_are_written_after_the_rest_of_the_epoch_are_found() {
    finds(Bug::PositionsLast, files());
}

#[test]
fn a_delta_that_is_applied_before_the_decision_is_found() {
    finds(Bug::AppliedBeforeTheDecision, counts());
}

#[test]
fn a_redo_that_is_not_synced_is_found() {
    finds(Bug::RedoUnsynced, counts());
}

#[test]
fn a_redo_that_is_dropped_in_place_of_applied_is_found() {
    finds(Bug::RedoDropped, counts());
}

#[test]
fn receipts_that_are_forgotten_are_found() {
    finds(Bug::ReceiptsForgotten, files());
}

#[test]
fn brokers_that_fence_nobody_are_found() {
    finds(Bug::NothingFenced, counts());
}

#[test]
fn a_marker_outside_of_the_transaction_is_found() {
    finds(Bug::MarkerAtOnce, counts());
}

#[test]
fn epochs_of_timers_alone_that_are_forgotten_are_found() {
    finds(Bug::EpochsOfTimersForgotten, in_files_by_time());
}

#[test]
fn a_barrier_that_overtakes_batches_is_found() {
    finds(Bug::BarrierOvertakes, counts());
}

#[test]
fn timers_that_are_lost_at_a_restart_are_found() {
    finds(Bug::TimersLost, timers());
}

#[test]
fn watermarks_that_are_lost_at_a_restart_are_found() {
    finds(Bug::WatermarksLost, timers());
}

#[test]
fn a_sink_that_publishes_before_the_commit_is_found() {
    finds(Bug::PublishedBeforeCommitted, files());
}

#[test]
fn a_sink_that_shows_twice_what_it_publishes_twice_is_found() {
    finds(Bug::PublishedTwice, files());
}

#[test]
fn writers_that_do_not_wait_for_the_decision_are_found() {
    finds(Bug::WritesBeforeTheDecision, counts());
}

#[test]
fn a_source_that_reads_what_is_not_committed_is_found() {
    finds(Bug::ReadsUncommitted, counts());
}

#[test]
fn a_position_that_counts_records_is_found() {
    finds(Bug::PositionCountsRecords, counts());
}

#[test]
fn a_reader_that_is_not_rewound_after_an_abort_is_found() {
    finds(Bug::NotRewound, counts());
}

#[test]
fn a_producer_that_is_used_again_after_an_unknown_outcome_is_found() {
    finds(Bug::ProducerUsedAgain, counts());
}

#[test]
fn a_marker_that_is_read_before_its_transaction_is_complete_is_found() {
    finds(Bug::PositionsReadUnstable, counts());
}

#[test]
fn lost_records_that_nobody_misses_are_found() {
    finds(Bug::LostRecordsIgnored, counts());
}

/// Workers that read no split have reached the end of time; beside an idle one that said that nothing could be on time.
#[test]
fn what_comes_after_an_idle_time_joins_on_any_number_of_workers() {
    let simulation = Simulation::new(|world| {
        let topology = Topology::new("idle");
        let (left, right) = topology
            .source("visits", world.topic("visits", [visits(0, 80)]))
            .event_time(at, Duration::from_millis(100))
            .branch(|visit| visit.0 % 2 == 0);
        let joined = left
            .key_by(|visit| visit.1)
            .join(right.key_by(|visit| visit.1), within(Duration::from_millis(200)));
        joined.inner("joined").entries().sink("out", world.transactional_sink("joined"));
        topology
    });
    simulation.idle_after(Duration::from_millis(50)).check_seeds(0..100).expect("clean");
}

#[test]
fn a_program_that_keeps_something_beside_its_state_is_found() {
    let simulation = Simulation::new(|world| {
        let seen = AtomicI64::new(0);
        let topology = Topology::new("beside");
        topology
            .source("visits", world.topic("visits", [visits(0, 60)]))
            .map(move |visit: (i64, i64)| (visit.0, seen.fetch_add(1, Ordering::Relaxed)))
            .sink("out", world.transactional_sink("numbered"));
        topology
    });
    let failure = simulation.check_seeds(0..50).expect_err("a restart begins to count anew");
    assert!(failure.to_string().contains("in the sink `numbered`"), "{failure}");
}

#[test]
fn a_seed_gives_the_same_run_event_for_event() {
    for simulation in [counts(), files(), timers()] {
        for seed in 0..40 {
            let (first, second) =
                (simulation.run(seed).expect("clean"), simulation.run(seed).expect("clean"));
            assert_eq!(
                (first.fingerprint(), first.events(), first.coverage()),
                (second.fingerprint(), second.events(), second.coverage()),
                "seed {seed}"
            );
            let shown = |run: &Run| run.output::<(i64, u64)>("running");
            if run_has(&first, "running") {
                assert_eq!(shown(&first), shown(&second), "in the same order");
            }
        }
    }
    let simulation = counts();
    assert_ne!(
        simulation.run(1).expect("clean").fingerprint(),
        simulation.run(2).expect("clean").fingerprint()
    );
}

fn run_has(run: &Run, sink: &str) -> bool {
    run.outputs.contains_key(sink)
}

#[test]
fn a_failure_comes_again_with_its_seed_and_says_how() {
    let simulation = counts().plant(Bug::NothingFenced);
    let first = simulation.check_seeds(0..SEEDS_TRIED).expect_err("is found");
    let again = simulation.run(first.seed()).err().expect("fails again");
    assert_eq!(first.to_string(), again.to_string());
    assert!(first.to_string().contains(&format!("HIGHWATER_SEED={}", first.seed())), "{first}");
}

#[test]
fn a_panic_in_the_program_names_the_seed() {
    let simulation = Simulation::new(|world| {
        let topology = Topology::new("panics");
        let numbers = topology.source("numbers", world.source([vec![1, 2, 3]]));
        numbers
            .map(|number: i32| 6 / (number - 4))
            .filter(|number| *number > -6)
            .sink("out", world.sink("out"));
        topology
    });
    assert_eq!(simulation.run(3).expect("runs").output::<i32>("out"), [-2, -3]);
    let simulation = Simulation::new(|world| {
        let topology = Topology::new("refused");
        let numbers = topology.source("numbers", world.source([vec![1, 2, 3]]));
        numbers.sink("numbers", world.sink("out"));
        topology
    });
    let failure = simulation.run(3).err().expect("two things have one name").to_string();
    assert!(failure.contains("seed 3") && failure.contains("`numbers`"), "{failure}");
}
