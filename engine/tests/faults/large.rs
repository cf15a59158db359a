//! Records of 100 MB and keys of 1 MB: they go through, or an error says which limit they exceed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use highwater::prelude::*;
use rdkafka::message::Message;

use crate::broker::Broker;
use crate::{broker, directory};

/// More than that, with its frame, brokers refuse unless their `socket.request.max.bytes` is raised.
const RECORD: usize = 100_000_000;
const KEY: usize = 1 << 20;

/// The broker, for one of these tests at a time: it has memory for a few such records.
fn broker_with_room() -> Option<(&'static Broker, MutexGuard<'static, ()>)> {
    static ROOM: Mutex<()> = Mutex::new(());
    Some((broker()?, ROOM.lock().unwrap_or_else(PoisonError::into_inner)))
}

fn text(of: usize, bytes: usize) -> String {
    char::from(b'a' + (of % 26) as u8).to_string().repeat(bytes)
}

#[test]
fn a_record_of_100_mb_is_kept_and_comes_back_after_a_restart() {
    let directory = directory();
    let output = directory.path().join("out");
    let job = |last: usize| {
        let topology = Topology::new("large");
        let numbers = topology.source("numbers", Memory::source((0..2usize).take(last)).unending());
        let large = numbers.map(|number| text(number, if number == 0 { RECORD } else { 10 }));
        let kept =
            large.key_by(|_| 0u8).fold("kept", Vec::new, |kept: &mut Vec<String>, text| kept.push(text));
        let lines = kept.to_stream().map(|(_, kept)| {
            let parts: Vec<String> =
                kept.iter().map(|text| format!("{}*{}", text.len(), &text[..1])).collect();
            parts.join(" ")
        });
        lines.sink("out", File::at(&output).sink(Text));
        Job::new(topology).state(directory.path().join("state")).memory(64 << 20)
    };
    for (last, meant) in [(1, vec!["100000000*a"]), (2, vec!["100000000*a", "100000000*a 10*b"])] {
        let running = job(last).epoch_interval(Duration::from_millis(50)).start().expect("it starts");
        crate::until("the record", || crate::lines(&output).len() == last);
        running.stop();
        running.wait().expect("the job runs");
        assert_eq!(crate::lines(&output), meant);
    }
}

#[test]
fn keys_of_1_mb_are_kept_apart_over_a_restart() {
    let directory = directory();
    let output = directory.path().join("out");
    let job = || {
        let topology = Topology::new("keys");
        let numbers = topology.source("numbers", Memory::splits([0..60usize, 60..120].map(Vec::from_iter)));
        // They differ in their last byte only.
        let counts = numbers.key_by(|number| format!("{}{}", text(0, KEY), number % 5)).count("counts");
        let lines = counts.to_stream().map(|(key, count)| format!("{} {} {count}", key.len(), &key[KEY..]));
        lines.sink("out", File::at(&output).sink(Text));
        Job::new(topology).state(directory.path().join("state")).workers(2).rate(100)
    };
    let running = job().epoch_interval(Duration::from_millis(50)).start().expect("it starts");
    std::thread::sleep(Duration::from_millis(500));
    running.stop();
    assert!(!running.wait().expect("the job runs").finished);
    assert!(job().run().expect("the job runs").finished);
    let mut meant: Vec<String> =
        (0..120).map(|number| format!("{} {} {}", KEY + 1, number % 5, number / 5 + 1)).collect();
    meant.sort();
    assert_eq!(crate::lines(&output), meant);
}

#[test]
fn a_record_that_kafka_does_not_take_ends_the_job_and_names_the_limit() {
    let Some((broker, _room)) = broker_with_room() else { return };
    broker.create("large-refused");
    let job = |settings: &[(&str, &str)], bytes: usize, exactly_once: bool| {
        let with = |kafka: Kafka, (name, value): &(&str, &str)| kafka.setting(*name, *value);
        let kafka = settings.iter().fold(Kafka::at(&broker.address), with);
        let name = format!("large-refused-{}-{bytes}", settings.len());
        let kafka = if exactly_once { kafka.exactly_once(name) } else { kafka };
        let topology = Topology::new("large");
        let numbers = topology.source("numbers", Memory::source(0..1usize));
        numbers.map(move |number| text(number, bytes)).sink("out", kafka.sink("large-refused", Text));
        let state = directory();
        let error = Job::new(topology).state(state.path()).run().expect_err("it is too large").to_string();
        println!("{error}");
        error
    };
    let more = ("message.max.bytes", "200000000");
    for exactly_once in [false, true] {
        let error = job(&[], RECORD, exactly_once);
        assert!(error.contains("`large-refused`") && error.contains("message.max.bytes"), "{error}");
        let error = job(&[more], RECORD, exactly_once);
        assert!(error.contains("`large-refused`") && error.contains("queue.buffering.max.kbytes"), "{error}");
        let error = job(&[more], 2 << 20, exactly_once);
        assert!(error.contains("`large-refused`") && error.contains("max.message.bytes"), "{error}");
    }
}

#[test]
fn a_record_of_100_mb_and_a_key_of_1_mb_go_through_kafka_where_the_limits_allow_it() {
    let Some((broker, _room)) = broker_with_room() else { return };
    for topic in ["large-in", "large-out"] {
        broker.create_setting(topic, 1, &[("max.message.bytes", "120000000")]);
    }
    let directory = directory();
    let kafka = Kafka::at(&broker.address)
        .setting("message.max.bytes", "120000000")
        .setting("queue.buffering.max.kbytes", "250000")
        .setting("receive.message.max.bytes", "130000000");
    let write = Topology::new("write");
    let large = write.source("numbers", Memory::source(0..1usize)).map(|number| text(number, RECORD));
    large.sink("out", kafka.sink("large-in", Text));
    Job::new(write).run().expect("it is written");
    let transactions = kafka.exactly_once("large");
    let copy = Topology::new("copy");
    let source = transactions.source("large-in", Text).until_end();
    let sink = transactions.sink("large-out", Text).key(|text: &String| text.as_bytes()[..KEY].to_vec());
    copy.source("large", source).sink("out", sink);
    let job = Job::new(copy).state(directory.path());
    assert!(job.epoch_interval(Duration::from_millis(100)).run().expect("the job runs").finished);
    let mut client = broker.settings();
    client.set("receive.message.max.bytes", "130000000");
    let seen = broker.committed_by(client, "large-out", |message| {
        let is_whole = message.payload().is_some_and(|bytes| bytes.iter().all(|byte| *byte == b'a'));
        (message.payload_len(), message.key_len(), is_whole)
    });
    assert_eq!(seen, [(RECORD, KEY, true)]);
}

#[test]
fn a_record_that_is_larger_than_the_client_receives_ends_the_job_and_names_the_setting() {
    let Some((broker, _room)) = broker_with_room() else { return };
    broker.create_setting("large-unread", 1, &[("max.message.bytes", "120000000")]);
    let kafka = Kafka::at(&broker.address)
        .setting("message.max.bytes", "120000000")
        .setting("queue.buffering.max.kbytes", "250000");
    let write = Topology::new("write");
    let large = write.source("numbers", Memory::source(0..1usize)).map(|number| text(number, RECORD));
    large.sink("out", kafka.sink("large-unread", Text));
    Job::new(write).run().expect("it is written");
    let read = Topology::new("read");
    let source = Kafka::at(&broker.address).source("large-unread", Text).until_end();
    read.source("large", source).sink("out", Memory::sink());
    let running = Job::new(read).start().expect("it starts");
    crate::until("an error", || running.is_finished());
    let error = running.wait().expect_err("the client does not take it").to_string();
    println!("{error}");
    assert!(error.contains("large-unread") && error.contains("receive.message.max.bytes"), "{error}");
}
