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
use std::time::Duration;

use highwater::step::{Moment, Step};

use broker::Broker;
use child::Failpoint;
use run::{Dice, Run};

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
    for step in Step::ALL {
        // With Kafka on the sink side nothing is written without a decision.
        if step == Step::Write {
            continue;
        }
        for moment in [Moment::Before, Moment::After] {
            let run = Run::new(&broker, &format!("step-{}-{moment:?}", step.number()), 1 + deaths % 2);
            let is_start = step.number() < Step::Order.number();
            // The first start, and a later one; the second epoch, and a later one.
            for hit in if is_start { [1, 1] } else { [2, 4] } {
                assert!(run.dies_at(Failpoint { step, moment, hit }), "{step} {moment:?} was never met");
                deaths += 1;
                at_start += usize::from(is_start);
            }
            run.finishes_and_is_right();
        }
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
fn a_broker_that_dies_and_comes_back_holds_a_job_up_and_does_it_no_harm() {
    let Some(broker) = broker() else { return };
    let run = Run::new(&broker, "broker-dies", 2);
    let running = run.start(None);
    std::thread::sleep(Duration::from_millis(900));
    broker.kill();
    std::thread::sleep(Duration::from_millis(1500));
    broker.start_again();
    running.ends_well();
    run.is_right();
}
