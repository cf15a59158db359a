//! Records that cannot be read: the job fails, skips them, or writes them to a topic of their own in the transaction of
//! their epoch.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use highwater::prelude::*;
use highwater::step::{Moment, Step};
use rdkafka::message::{Headers, Message};

use crate::broker::{Broker, PARTITIONS};
use crate::child::Orders;
use crate::{broker, directory};

const RECORDS: u64 = 4_000;

/// One record in ten is none: bytes that are no text, and text that is no number.
fn payload(number: u64) -> Vec<u8> {
    match number % 20 {
        3 => [&[0xff, 0x00, 0xfe][..], &number.to_be_bytes()].concat(),
        13 => format!("poison {number}").into_bytes(),
        _ => number.to_string().into_bytes(),
    }
}

fn is_poison(number: u64) -> bool {
    number % 20 == 3 || number % 20 == 13
}

fn fill(broker: &Broker, topic: &str) {
    let partitions = PARTITIONS as u64;
    let of = |partition| (0..RECORDS).filter(move |number| number % partitions == partition).map(payload);
    broker.fill_raw(topic, (0..partitions).map(|partition| of(partition).collect()).collect());
}

/// What the process under test does.
pub fn run(brokers: &str, name: &str, state: &Path, dies_at: Option<(usize, bool, usize)>) {
    let kafka = Kafka::at(brokers).exactly_once(name);
    let topology = Topology::new("poison");
    let source = kafka.source(format!("{name}-in"), Json::<u64>::new()).until_end();
    let (numbers, bad) = topology.try_source("numbers", source).or_dead_letter();
    bad.sink("bad", kafka.dead_letters(format!("{name}-bad")));
    let counts = numbers.key_by(|number| number % 10).count("counts").to_stream();
    counts.map(|(key, count)| format!("{key} {count}")).sink("out", kafka.sink(format!("{name}-out"), Text));
    let mut job = Job::new(topology).state(state).workers(2).rate(2_000);
    if let Some((number, after, hit)) = dies_at {
        let (moment, met) = (if after { Moment::After } else { Moment::Before }, AtomicUsize::new(0));
        job = job.watch_steps(move |step, at| {
            let here = step.number() == number && at == moment;
            if here && met.fetch_add(1, Ordering::SeqCst) + 1 == hit {
                std::process::abort();
            }
        });
    }
    assert!(job.epoch_interval(Duration::from_millis(60)).run().expect("the job runs").finished);
}

/// Each bad record's payload and headers, in order of what it was.
fn dead_letters(broker: &Broker, topic: &str) -> Vec<(Vec<u8>, BTreeMap<String, String>)> {
    broker.committed_records(topic, |message| {
        let headers = message.headers().expect("it has headers");
        let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap_or_default().to_vec());
        let all = headers.iter().map(|header| (header.key.to_owned(), text(header.value).expect("is text")));
        (message.payload().expect("it has a payload").to_vec(), all.collect())
    })
}

fn assert_each_once(broker: &Broker, name: &str) {
    let mut found = BTreeMap::new();
    for (raw, headers) in dead_letters(broker, &format!("{name}-bad")) {
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["offset", "partition", "reason", "topic"]);
        assert_eq!(headers["topic"], format!("{name}-in"));
        assert!(headers["reason"].starts_with("not the expected JSON"), "{}", headers["reason"]);
        let place = (headers["partition"].clone(), headers["offset"].clone());
        assert_eq!(found.insert(place.clone(), raw), None, "{place:?} is there twice");
    }
    let partitions = PARTITIONS as u64;
    let meant = (0..RECORDS).filter(|number| is_poison(*number)).map(|number| {
        ((number % partitions).to_string(), (number / partitions).to_string(), payload(number))
    });
    let meant: BTreeMap<_, _> = meant.map(|(partition, offset, raw)| ((partition, offset), raw)).collect();
    assert_eq!(found, meant);
    let mut counts = broker.committed(&format!("{name}-out"));
    counts.sort();
    let good = (0..RECORDS).filter(|number| !is_poison(*number));
    let (mut of_key, mut lines) = ([0; 10], Vec::new());
    for number in good {
        let key = number as usize % 10;
        of_key[key] += 1;
        lines.push(format!("{key} {}", of_key[key]));
    }
    lines.sort();
    assert_eq!(counts, lines);
}

fn create(broker: &Broker, name: &str) {
    for end in ["in", "out", "bad"] {
        broker.create(&format!("{name}-{end}"));
    }
    fill(broker, &format!("{name}-in"));
}

#[test]
fn every_poison_record_is_in_the_dead_letters_once_with_its_headers_whatever_is_killed_when() {
    let Some(broker) = broker() else { return };
    let directory = directory();
    let name = "poison";
    create(broker, name);
    let start = |dies_at| {
        let (brokers, name) = (broker.address.clone(), name.to_owned());
        Orders::Poison { brokers, name, state: directory.path().join("state"), dies_at }.start()
    };
    let mut deaths = 0;
    for step in [Step::Order, Step::Gather, Step::Prepare, Step::Stage, Step::Decide, Step::Apply] {
        for after in [false, true] {
            assert!(!start(Some((step.number(), after, 2))).ends(), "{step} was never met");
            deaths += 1;
        }
    }
    let mut dice = crate::Dice(5);
    for _ in 0..6 {
        let running = start(None);
        std::thread::sleep(Duration::from_millis(150 + dice.below(400) as u64));
        running.kill();
        deaths += 1;
    }
    assert!(start(None).ends(), "nobody kills the last run");
    assert_each_once(broker, name);
    println!("{deaths} deaths: each of {} poison records once", RECORDS / 10);
}

#[test]
fn a_poison_record_ends_the_job_with_its_place_or_is_skipped_as_the_policy_says() {
    let Some(broker) = broker() else { return };
    let name = "poison-policies";
    create(broker, name);
    let job = |skips: bool, out: &str| {
        let kafka = Kafka::at(&broker.address);
        let topology = Topology::new("poison");
        let source = kafka.source(format!("{name}-in"), Json::<u64>::new()).until_end();
        let tried = topology.try_source("numbers", source);
        let numbers = if skips { tried.or_skip() } else { tried.or_fail() };
        numbers.sink("out", kafka.sink(out, Json::new()));
        Job::new(topology)
    };
    broker.create("poison-skipped");
    let report = job(true, "poison-skipped").run().expect("bad records are skipped");
    let skipped: u64 = report.nodes.iter().map(|node| node.skipped).sum();
    assert_eq!((report.finished, skipped), (true, RECORDS / 10));
    assert_eq!(broker.committed("poison-skipped").len() as u64, RECORDS - RECORDS / 10);

    let error = job(false, &format!("{name}-out")).run().expect_err("a bad record ends it").to_string();
    for part in
        ["source `numbers`", "poison-policies-in partition ", " offset ", "not the expected JSON", "skip"]
    {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn a_poison_line_of_a_file_keeps_its_bytes_and_its_line() {
    let Some(broker) = broker() else { return };
    broker.create("poison-lines");
    let directory = directory();
    let path = directory.path().join("numbers.jsonl");
    std::fs::write(&path, b"1\n\xff\xfe\n2\nx\n").expect("there is room");
    let kafka = Kafka::at(&broker.address).exactly_once("poison-lines");
    let topology = Topology::new("lines");
    let source = File::at(&path).lines(Json::<u64>::new());
    let (numbers, bad) = topology.try_source("numbers", source).or_dead_letter();
    let kept = Memory::sink();
    numbers.sink("out", kept.clone());
    bad.sink("bad", kafka.dead_letters("poison-lines"));
    Job::new(topology).state(directory.path().join("state")).run().expect("the job runs");
    assert_eq!(kept.take(), [1, 2]);
    let mut found = dead_letters(broker, "poison-lines");
    found.sort_by(|(_, one), (_, other)| one["line"].cmp(&other["line"]));
    let lines: Vec<_> =
        found.iter().map(|(raw, headers)| (raw.as_slice(), headers["line"].as_str())).collect();
    assert_eq!(lines, [(&b"\xff\xfe"[..], "2"), (b"x", "4")]);
    assert!(found.iter().all(|(_, headers)| headers["file"] == path.display().to_string()));
}
