//! What exactly once cannot be promised for is refused at the start, by name.

use std::time::Duration;

use highwater::prelude::*;

use crate::{broker, directory};

#[test]
fn an_epoch_interval_that_the_broker_allows_no_transaction_for_is_refused() {
    let Some(broker) = broker() else { return };
    broker.create("refused-timeout");
    let directory = directory();
    let topology = Topology::new("long");
    let kafka = Kafka::at(&broker.address).exactly_once("refused-timeout");
    topology
        .source("numbers", Memory::source(0..10u64))
        .sink("out", kafka.sink("refused-timeout", Json::new()));
    // The broker allows 15 minutes, and transactions last ten intervals.
    let job = Job::new(topology).state(directory.path()).epoch_interval(Duration::from_secs(91));
    let error = job.start().err().expect("it is refused").to_string();
    let parts =
        ["do not allow the Kafka transactions `refused-timeout`", "910s", "91s", "`Job::epoch_interval`"];
    for part in parts.into_iter().chain(["`transaction.max.timeout.ms`"]) {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn transactions_of_two_kinds_in_one_topology_are_refused() {
    for (one, other) in [("same", "same"), ("one", "other")] {
        let topology = Topology::new("two");
        let numbers = topology.source("numbers", Memory::source(0..10u64));
        let sink = |name| Kafka::at("127.0.0.1:1").exactly_once(name).sink("out", Json::new());
        numbers.clone().sink("first", sink(one));
        numbers.sink("second", sink(other));
        let state = directory();
        let error = Job::new(topology).state(state.path()).start().err().expect("it is refused").to_string();
        assert!(error.contains("`second`") && error.contains("`first`"), "{error}");
        println!("{error}");
    }
}

#[test]
fn keyed_state_without_a_state_directory_is_refused_by_its_name_and_line() {
    let topology = Topology::new("forgetful");
    let kafka = Kafka::at("127.0.0.1:1").exactly_once("forgetful");
    let numbers = topology.source("numbers", kafka.source("in", Json::<u64>::new()));
    let counts = numbers.key_by(|number| number % 10).count("my-counts");
    let line = line!() - 1;
    counts.to_stream().map(|(_, count)| count).sink("out", kafka.sink("out", Json::new()));
    let error = Job::new(topology).start().err().expect("it is refused").to_string();
    for part in ["`my-counts`", &format!("refusals.rs:{line}"), "`Job::state`"] {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn settings_of_one_set_of_transactions_that_differ_are_refused() {
    let topology = Topology::new("differ");
    let kafka = Kafka::at("127.0.0.1:1").exactly_once("differ");
    let other = kafka.clone().setting("linger.ms", "7");
    let numbers = topology.source("numbers", kafka.source("in", Json::<u64>::new()));
    numbers.sink("out", other.sink("out", Json::new()));
    let state = directory();
    let error = Job::new(topology).state(state.path()).start().err().expect("it is refused").to_string();
    assert!(error.contains("different brokers, groups or settings"), "{error}");
}
