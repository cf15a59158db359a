//! HW-1 on a real broker: every record counts once in state and in what readers of committed records see, whatever is
//! killed when.
//!
//! The program under test is this one, started again as a child: windowed counts and running sums over RocksDB, from
//! Kafka to Kafka and to a file. A run is killed, started again until it has read everything, and what is visible
//! then is compared with what the interpreter makes of the same records. Where the broker cannot be had, or
//! `HIGHWATER_KAFKA` is off, each test says that it is skipped and passes.
//!
//! `HIGHWATER_KILLS=300` sets how many random kills there are.

#[path = "kafka/broker.rs"]
mod broker;
#[path = "exactly_once/child.rs"]
mod child;
#[path = "exactly_once/pipeline.rs"]
mod pipeline;
#[path = "exactly_once/run.rs"]
mod run;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use highwater::connectors::kafka::TRANSACTION_TIMEOUT_MIN;
use highwater::prelude::*;
use highwater::step::{Moment, Step};

use broker::Broker;
use child::Failpoint;
use run::{Dice, Run, Running};

/// The broker of all tests, one at a time: two cores carry no more.
fn broker() -> Option<MutexGuard<'static, Broker>> {
    static BROKER: OnceLock<Option<Mutex<Broker>>> = OnceLock::new();
    let broker = BROKER.get_or_init(|| Broker::start("exactly-once").map(Mutex::new)).as_ref();
    if broker.is_none() {
        println!("skipped");
    }
    broker.map(|broker| broker.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The program that the other tests start; not a test of its own.
#[test]
fn child() {
    child::run_if_asked();
}

#[test]
fn a_death_at_every_step_before_and_after_it_loses_and_repeats_nothing() {
    let Some(broker) = broker() else { return };
    let (mut deaths, mut at_start) = (0, 0);
    for &step in Step::ALL {
        // With Kafka on the sink side nothing is written without a decision.
        if step == Step::Write {
            continue;
        }
        let run = Run::new(&broker, &format!("step-{}", step.number()), 1 + step.number() % 2);
        let is_start = step.number() < Step::Order.number();
        for moment in [Moment::Before, Moment::After] {
            // The first start, and a later one; the second epoch, and a later one.
            for hit in if is_start { [1, 1] } else { [2, 4] } {
                assert!(run.dies_at(Failpoint { step, moment, hit }), "{step} {moment:?} was never met");
                deaths += 1;
                at_start += usize::from(is_start);
            }
        }
        run.finishes_and_is_right();
    }
    println!("{deaths} deaths at steps, {at_start} of them in a start: nothing lost, nothing twice");
}

#[test]
fn a_kill_at_any_time_loses_and_repeats_nothing_on_kafka_and_in_a_file_with_1_and_2_workers() {
    let Some(broker) = broker() else { return };
    let wanted = std::env::var("HIGHWATER_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(24);
    let (mut kills, mut rounds, mut dice) = (0, 0, Dice::new());
    while kills < wanted {
        let run = Run::new(&broker, &format!("kill-{rounds}"), 1 + rounds % 2);
        rounds += 1;
        for _ in 0..10 {
            kills += usize::from(run.is_killed_after(Duration::from_millis(50 + dice.below(900))));
        }
        run.finishes_and_is_right();
    }
    println!("{kills} kills in {rounds} runs: nothing lost, nothing twice");
}

#[test]
fn epochs_in_which_nothing_happens_hold_nobody_up() {
    let Some(broker) = broker() else { return };
    let (from, to) = (broker.name("idle-in"), broker.name("idle-out"));
    broker.create(&from);
    broker.create(&to);
    let topology = Topology::new("idle");
    let kafka = Kafka::at(&broker.address).exactly_once(broker.name("idle"));
    let lines = topology.source("lines", kafka.source(&from, Json::<u64>::new()));
    lines.sink("out", kafka.sink(&to, Json::new()));
    let state = tempfile::tempdir().expect("a directory");
    let interval = Duration::from_millis(20);
    let job = Job::new(topology).workers(2).state(state.path()).epoch_interval(interval).start();
    let running = job.expect("the job starts");
    for round in 1..=3 {
        broker.fill(&from, vec![vec![round], vec![round]]);
        let until = Instant::now() + Duration::from_secs(30);
        while broker.committed(&to).len() < 2 * round {
            assert!(Instant::now() < until, "round {round}: nothing is written any more");
            std::thread::sleep(interval);
        }
        std::thread::sleep(10 * interval);
    }
    running.stop();
    running.wait().expect("the job stops");
    assert_eq!(broker.committed(&to).len(), 6);
}

#[test]
fn a_zombie_that_wakes_up_after_its_successor_took_over_is_fenced_and_says_so() {
    let Some(broker) = broker() else { return };
    let run = Run::slow(&broker, "zombie");
    let zombie = run.start(None);
    run.writes_more_than(0);
    zombie.stops();
    let successor = run.on_a_copy_of_its_directories();
    let before = run.written();
    let running = successor.start(None);
    run.writes_more_than(before);
    zombie.goes_on();
    let said = zombie.fails();
    assert!(said.contains("another instance has taken over the Kafka transactions"), "{said}");
    running.ends_well();
    successor.is_right();
}

#[test]
fn a_second_instance_with_keyed_state_of_its_own_is_refused_and_the_first_goes_on() {
    let Some(broker) = broker() else { return };
    let run = Run::slow(&broker, "second");
    let first = run.start(None);
    run.writes_more_than(0);
    let said = run.with_directories_of_its_own().start(None).fails();
    assert!(said.contains("belongs to another state directory"), "{said}");
    assert!(said.contains("keyed state is not shared between instances"), "{said}");
    let said = run.start(None).fails();
    assert!(said.contains("is in use by another process"), "{said}");
    first.ends_well();
    run.is_right();
}

#[test]
fn instances_without_state_share_the_partitions_and_hand_them_over_at_the_end_of_an_epoch() {
    let Some(broker) = broker() else { return };
    let run = Run::sharing(&broker, "shared");
    let mut instances = vec![run.start(None)];
    run.writes_more_than(0);
    // One more joins, one leaves, one more joins: each time the partitions are divided anew.
    instances.push(run.start(None));
    std::thread::sleep(Duration::from_millis(2500));
    let leaving = instances.remove(0);
    let since = Instant::now();
    leaving.stops_when_asked();
    println!("an instance left in {:?}", since.elapsed());
    run.writes_more_than(run.written());
    instances.push(run.start(None));
    instances.into_iter().for_each(Running::ends_well);
    run.is_right();
}

#[test]
fn what_the_brokers_end_because_it_takes_too_long_is_done_again() {
    // A broker of its own: this takes more than the minute that brokers keep a transaction open.
    let Some(broker) = Broker::start("a-minute") else { return };
    let asleep = Run::new(&broker, "asleep", 1);
    let sleeper = asleep.start(None);
    let shared = Run::sharing(&broker, "killed");
    let victim = shared.start(None);
    let paused = Run::sharing(&broker, "paused");
    let (dozing, awake) = (paused.start(None), paused.start(None));
    asleep.writes_more_than(0);
    shared.writes_more_than(0);
    paused.writes_more_than(0);
    let heir = shared.start(None);
    dozing.stops();
    sleeper.stops();
    victim.dies();
    // The group gives up a member after six seconds, here, and the brokers a transaction after a minute.
    std::thread::sleep(Duration::from_secs(15));
    dozing.goes_on();
    dozing.ends_well();
    awake.ends_well();
    paused.is_right();
    std::thread::sleep(TRANSACTION_TIMEOUT_MIN);
    sleeper.goes_on();
    sleeper.ends_well();
    asleep.is_right();
    heir.ends_well();
    shared.is_right();
}

#[test]
fn a_broker_that_dies_and_comes_back_holds_a_job_up_and_does_it_no_harm() {
    let Some(broker) = broker() else { return };
    let run = Run::new(&broker, "broker-dies", 2);
    let running = run.start(None);
    run.writes_more_than(0);
    broker.kill();
    std::thread::sleep(Duration::from_millis(1500));
    broker.start_again();
    running.ends_well();
    run.is_right();
}
