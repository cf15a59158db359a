//! Planted bugs, and what a seed promises.

use std::time::Duration;

use super::*;
use crate::prelude::*;

fn visits(from: i64, count: i64) -> Vec<(i64, i64)> {
    (0..count).map(|n| (from + n * 40 + (n * 7919) % 90, n % 5)).collect()
}

/// Windows and running counts, into transactions.
fn counts() -> Simulation {
    Simulation::new(|world| {
        let topology = Topology::new("visits");
        let keyed = topology
            .source("visits", world.topic("visits", [visits(0, 60), visits(70, 40)]))
            .event_time(|visit| Timestamp::from_millis(visit.0), Duration::from_millis(100))
            .key_by(|visit| visit.1);
        let windows = keyed.clone().window(tumbling(Duration::from_millis(200))).count("windows");
        windows.sink("windows-out", world.transactional_sink("windows"));
        keyed.count("running").to_stream().sink("running-out", world.transactional_sink("running"));
        topology
    })
}

#[test]
fn counts_are_right() {
    let checked = counts().check_seeds(0..300).expect("clean");
    println!("{}", checked.coverage());
    println!("missing {:?}", checked.coverage().missing());
}
