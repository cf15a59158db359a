//! A source on a real broker. If one of these fails, a sensor's message is lost, is counted twice where it need not be,
//! or a bad one cannot be found.
#![allow(clippy::unwrap_used, missing_docs)]

mod mosquitto;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use highwater::operators::source::{Polled, Reader, Source};
use highwater::prelude::*;
use highwater_mqtt::{Message, Mqtt, MqttPosition};
use mosquitto::{Broker, PATIENCE, free_port};

type Numbers = Box<dyn Reader<Item = Message<u64>, Position = MqttPosition>>;

fn open(broker: &Broker) -> Numbers {
    let source = Mqtt::at(broker.address(), "reader").source(["numbers/#"], Json::<u64>::new());
    let splits = source.splits().unwrap();
    source.open(&splits[0], None).unwrap()
}

/// Numbers under topics of two levels.
fn numbers(numbers: impl IntoIterator<Item = u64>) -> Vec<(String, String)> {
    numbers.into_iter().map(|number| (format!("numbers/{}", number % 3), number.to_string())).collect()
}

/// Reads until so many messages have come.
fn read(reader: &mut Numbers, count: usize) -> Vec<u64> {
    let (mut polled, since) = (Polled::default(), Instant::now());
    while polled.values.len() < count {
        reader.poll(count - polled.values.len(), &mut polled).unwrap();
        assert!(since.elapsed() < PATIENCE, "{} of {count} messages", polled.values.len());
        std::thread::sleep(Duration::from_millis(1));
    }
    polled.values.into_iter().map(|message| message.value).collect()
}

/// Lets the broker make the session, without which it keeps nothing.
fn subscribe(broker: &Broker) {
    let (mut reader, since) = (open(broker), Instant::now());
    let mut polled = Polled::default();
    while polled.is_empty() {
        // What was published before the subscription is not for it.
        broker.publish(numbers([0]));
        reader.poll(100, &mut polled).unwrap();
        assert!(since.elapsed() < PATIENCE, "nothing comes");
    }
    broker.publish(numbers([999]));
    while polled.values.last().is_none_or(|message| message.value != 999) {
        reader.poll(100, &mut polled).unwrap();
        assert!(since.elapsed() < PATIENCE, "the last does not come");
    }
    let all = reader.position();
    reader.committed(all);
}

#[test]
fn what_was_not_committed_comes_again_and_what_was_does_not() {
    let Some(broker) = Broker::start() else { return };
    subscribe(&broker);
    broker.publish(numbers(1..=100));
    let mut reader = open(&broker);
    assert_eq!(read(&mut reader, 100), (1..=100).collect::<Vec<_>>(), "in order");
    // A crash between receipt and commit: nothing was acknowledged.
    drop(reader);
    let mut reader = open(&broker);
    assert_eq!(read(&mut reader, 40), (1..=40).collect::<Vec<_>>());
    let committed = reader.position();
    assert_eq!(read(&mut reader, 60), (41..=100).collect::<Vec<_>>());
    reader.committed(committed);
    // A crash in the next epoch: what was committed before it stays so.
    drop(reader);
    let mut reader = open(&broker);
    assert_eq!(read(&mut reader, 60), (41..=100).collect::<Vec<_>>());
    let all = reader.position();
    reader.committed(all);
    drop(reader);
    broker.publish(numbers([101]));
    assert_eq!(read(&mut open(&broker), 1), [101]);
}

#[test]
fn a_broker_that_restarts_loses_nothing_and_repeats_nothing_that_waits_for_its_epoch() {
    let Some(mut broker) = Broker::start() else { return };
    subscribe(&broker);
    let mut reader = open(&broker);
    broker.publish(numbers(1..=50));
    assert_eq!(read(&mut reader, 50), (1..=50).collect::<Vec<_>>());
    let first = reader.position();
    broker.end();
    broker.run();
    // It sends again what was not acknowledged: the reader knows it, and goes on.
    broker.publish(numbers(51..=60));
    assert_eq!(read(&mut reader, 10), (51..=60).collect::<Vec<_>>());
    reader.committed(first);
    broker.publish(numbers([61]));
    assert_eq!(read(&mut reader, 1), [61]);
    drop(reader);
    assert_eq!(read(&mut open(&broker), 11), (51..=61).collect::<Vec<_>>(), "the first 50 are acknowledged");
}

/// Starts a job that reads numbers, and says what is none.
fn job(broker: &Broker, directory: &std::path::Path, good: &Log) -> RunningJob {
    let topology = Topology::new("numbers");
    let source = Mqtt::at(broker.address(), "job").source(["numbers/+"], Json::<u64>::new());
    let (numbers, bad) = topology.try_source("numbers", source).or_dead_letter();
    let producer = good.producer("numbers");
    numbers.sink("good", producer.sink("good", Json::new()));
    bad.map(|bad| (bad.origin.to_string(), String::from_utf8_lossy(&bad.raw).into_owned()))
        .sink("bad", producer.sink("bad", Json::new()));
    Job::new(topology).state(directory).workers(2).epoch_interval(Duration::from_millis(20)).start().unwrap()
}

fn said<T: serde::de::DeserializeOwned>(log: &Log, topic: &str) -> Vec<T> {
    let records = log.read(topic, 0, 0, usize::MAX).unwrap();
    records.iter().map(|record| serde_json::from_slice(&record.value).unwrap()).collect()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_job_gets_every_message_over_restarts_of_the_broker_and_its_own() {
    let Some(mut broker) = Broker::start() else { return };
    let (directory, log) = (tempfile::tempdir().unwrap(), Log::in_memory());
    log.topic("good", 1).unwrap();
    log.topic("bad", 1).unwrap();
    let all = |log: &Log| -> BTreeSet<u64> {
        said::<Message<u64>>(log, "good")
            .into_iter()
            .inspect(|message| assert_eq!(message.topic, format!("numbers/{}", message.value % 3)))
            .map(|message| message.value)
            .collect()
    };
    let running = job(&broker, directory.path(), &log);
    until("the session is there", || {
        broker.publish(numbers([0]));
        !all(&log).is_empty()
    });
    broker.publish(numbers(1..=500));
    broker.publish([("numbers/7".to_owned(), "seven".to_owned())]);
    broker.end();
    broker.run();
    broker.publish(numbers(501..=800));
    running.stop();
    running.wait().unwrap();
    // While nobody reads, the broker keeps them.
    broker.publish(numbers(801..=1000));
    let running = job(&broker, directory.path(), &log);
    until("everything has come", || all(&log).len() == 1001);
    until("the bad one, too", || !said::<(String, String)>(&log, "bad").is_empty());
    running.stop();
    running.wait().unwrap();
    assert_eq!(all(&log), (0..=1000).collect());
    let bad: BTreeSet<(String, String)> = said(&log, "bad").into_iter().collect();
    assert_eq!(
        bad.into_iter().collect::<Vec<_>>(),
        [("the MQTT topic numbers/7".to_owned(), "seven".to_owned())]
    );
}

#[test]
fn a_message_that_is_too_large_is_no_reason_to_connect_for_ever() {
    let Some(broker) = Broker::start() else { return };
    subscribe(&broker);
    broker.publish([("numbers/1".to_owned(), "1".repeat(5000))]);
    let source = Mqtt::at(broker.address(), "reader").message_bytes(1000);
    let topology = Topology::new("large");
    topology
        .source("numbers", source.source(["numbers/#"], Json::<u64>::new()))
        .sink("out", Blackhole::new());
    let told = Job::new(topology).start().unwrap().wait().unwrap_err().to_string();
    assert!(told.contains("and 1000 are allowed"), "{told}");
}

#[test]
fn what_cannot_be_read_is_said() {
    let refused = |mqtt: Mqtt, filter: &str| {
        mqtt.source([filter], Json::<u64>::new()).splits().expect_err("is refused").to_string()
    };
    assert!(refused(Mqtt::at("nowhere", "a"), "a").contains("HOST:PORT"));
    assert!(refused(Mqtt::at("localhost:1883", ""), "a").contains("client id"));
    assert!(refused(Mqtt::at("localhost:1883", "a"), "a/#/b").contains("`a/#/b` is none"));
    let away = format!("127.0.0.1:{}", free_port());
    let topology = Topology::new("away");
    let source = Mqtt::at(&away, "a").patience(Duration::from_millis(200)).source(["a"], Json::<u64>::new());
    topology.source("numbers", source).sink("out", Blackhole::new());
    let told = Job::new(topology).start().unwrap().wait().unwrap_err().to_string();
    assert!(told.contains(&away) && told.contains("no connection"), "{told}");
}
