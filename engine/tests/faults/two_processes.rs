//! A state directory belongs to one process at a time.

use std::path::Path;
use std::time::Duration;

use highwater::prelude::*;
use highwater::state::StateError;

use crate::child::Orders;
use crate::{directory, until};

fn job(state: &Path) -> Job {
    let topology = Topology::new("held");
    let numbers = topology.source("numbers", Memory::source(0..100u64).unending());
    numbers.key_by(|number| number % 7).count("counts").to_stream().sink("out", Memory::sink());
    Job::new(topology).state(state).epoch_interval(Duration::from_millis(20))
}

/// What the other process does.
pub fn hold(state: &Path) {
    job(state).run().expect("the job runs");
}

#[test]
fn a_state_directory_that_a_process_uses_is_refused_to_a_second_until_the_first_is_gone() {
    let directory = directory();
    let state = directory.path().join("state");
    let holder = Orders::Hold { state: state.clone() }.start();
    until("a database", || state.join("db/CURRENT").exists());
    for _ in 0..3 {
        match job(&state).start().err() {
            Some(JobError::State(StateError::InUse(named))) => assert_eq!(named, state),
            Some(other) => panic!("refused for another reason: {other}"),
            None => panic!("two processes use {}", state.display()),
        }
    }
    holder.kill();
    let running = job(&state).start().expect("the lock has gone with the process");
    running.stop();
    running.wait().expect("the job runs");
}
