//! Jobs and the example `clickstream` on a real Kafka broker, which `scripts/kafka` starts.
//!
//! What falls if these fail: HW-1 for Kafka as a source. Where the broker cannot be had, or `HIGHWATER_KAFKA` is
//! off, each test says that it is skipped and passes.

#[path = "kafka/broker.rs"]
mod broker;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use highwater::operators::memory::MemorySink;
use highwater::prelude::*;

use broker::Broker;

#[test]
fn a_topic_is_made_once_and_keeps_its_partitions() {
    let Some(broker) = Broker::start("topics") else { return };
    let kafka = Kafka::at(&broker.address);
    kafka.topic("made", 3).expect("the topic is made");
    kafka.topic("made", 3).expect("the topic is there");
    broker.write("made", vec!["one".to_owned()]);
    assert_eq!(broker.committed("made"), ["one"]);
    let error = kafka.topic("made", 4).expect_err("it has three").to_string();
    assert!(error.contains("it has 3 partitions, not 4"), "{error}");
    let error = kafka.topic("no name", 1).expect_err("it is none").to_string();
    assert!(error.contains("`no name` cannot be made"), "{error}");
}

/// An example that was built beside the tests.
fn example(name: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().expect("a test has a path");
    let program = own.ancestors().nth(2).expect("tests lie in `deps`").join("examples").join(name);
    if !program.exists() {
        println!("skipped: the example {name} is not built");
        return None;
    }
    Some(program)
}

#[test]
fn the_small_programs_tell_the_same_over_topics_on_kafka_as_in_themselves() {
    let programs: [(&str, &[&str]); 6] = [
        ("word_count", &[]),
        ("playback", &[]),
        ("trips", &[]),
        ("feed", &[]),
        ("analytics", &["--minutes", "30"]),
        // With enough on the shelves, what becomes of an order depends on the order alone.
        ("orders", &["--orders", "100", "--stock", "1000000"]),
    ];
    let programs = programs.map(|(name, arguments)| (example(name), arguments));
    if programs.iter().any(|(program, _)| program.is_none()) {
        return;
    }
    let Some(broker) = Broker::start("programs") else { return };
    let state = tempfile::tempdir().expect("a temporary directory");
    for (program, own) in programs {
        let program = program.expect("it is built");
        let run = |arguments: &[&str]| run(&program, &[own, arguments].concat());
        let in_itself = run(&[]);
        assert!(!in_itself.is_empty());
        let on_kafka = ["--brokers", &broker.address, "--workers", "2", "--prefix"];
        assert_eq!(run(&[&on_kafka[..], &["at-least-once-"]].concat()), in_itself);
        let name = program.file_name().expect("has a name");
        let directory = state.path().join(name).display().to_string();
        let exactly_once = [&on_kafka[..], &["exactly-once-", "--dir", &directory]].concat();
        assert_eq!(run(&exactly_once), in_itself);
        assert_eq!(run(&exactly_once), in_itself, "a second time there is nothing to do");
    }
}

fn run(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("is text")
}

#[test]
fn the_bank_keeps_the_same_books_over_topics_on_kafka_as_in_itself() {
    let Some(program) = example("bank") else { return };
    let Some(broker) = Broker::start("bank") else { return };
    let state = tempfile::tempdir().expect("a temporary directory");
    let told = |arguments: &[&str]| -> serde_json::Value {
        let own = ["--orders", "3000", "--accounts", "5", "--rate", "4000", "--json"];
        let mut told: serde_json::Value =
            serde_json::from_str(&run(&program, &[&own, arguments].concat())).expect("is JSON");
        // From how many entries the summary is put right depends on when.
        told["day"].as_object_mut().map(|day| day.remove("rebuilt_from"));
        told
    };
    let in_itself = told(&[]);
    assert!(in_itself["day"]["accepted"].as_u64().is_some_and(|accepted| accepted > 1000), "{in_itself}");
    let on_kafka = ["--brokers", &broker.address, "--workers", "2", "--prefix"];
    assert_eq!(told(&[&on_kafka[..], &["at-least-once-"]].concat()), in_itself);
    let directory = state.path().display().to_string();
    let exactly_once = [&on_kafka[..], &["exactly-once-", "--dir", &directory]].concat();
    assert_eq!(told(&exactly_once), in_itself);
    assert_eq!(told(&exactly_once)["books"], in_itself["books"], "a second time it only looks");
    let entries = broker.committed("exactly-once-bank-entries");
    let all: u64 = entries.len() as u64;
    let figures = &in_itself["books"]["summary"];
    assert!(
        all > in_itself["day"]["accepted"].as_u64().unwrap_or(u64::MAX) && figures["accounts"] == 6,
        "{all}"
    );
}

fn counting(broker: &Broker, counts: &MemorySink<(u64, u64)>) -> Topology {
    let topology = Topology::new("count");
    let numbers = Kafka::at(&broker.address).source("numbers", Json::<u64>::new()).until_end();
    let keyed = topology.source("numbers", numbers).key_by(|number| number % 10);
    keyed.count("counts").to_stream().sink("out", counts.clone());
    topology
}

#[test]
fn every_record_of_a_topic_counts_once_over_stops_with_another_number_of_workers() {
    let Some(broker) = Broker::start("jobs") else { return };
    broker.create("numbers");
    broker.write("numbers", (0..20_000).map(|number: u64| number.to_string()).collect());
    let state = tempfile::tempdir().expect("a temporary directory");
    let counts = Memory::sink();
    let mut stops = 0;
    for workers in [1, 2, 4, 1, 3, 2].into_iter().cycle() {
        let job = Job::new(counting(&broker, &counts)).workers(workers).state(state.path());
        let job = job.epoch_interval(Duration::from_millis(20)).rate(5_000);
        let running = job.start().expect("the job starts");
        std::thread::sleep(Duration::from_millis(700));
        running.stop();
        if running.wait().expect("the job runs").finished {
            break;
        }
        stops += 1;
        assert!(stops < 100, "the job makes no progress");
    }
    assert!(stops >= 3, "only {stops} stops hit the job");
    let mut largest = BTreeMap::new();
    let changes: Vec<(u64, u64)> = counts.take();
    assert_eq!(changes.len(), 20_000, "one change a record");
    for &(key, count) in &changes {
        let before = largest.entry(key).or_insert(0);
        *before = count.max(*before);
    }
    assert_eq!(largest, (0..10).map(|key| (key, 2_000)).collect());
    println!("{stops} stops, 20000 records counted once each");
}

#[test]
fn clickstream_tells_the_same_of_a_topic_as_of_a_file() {
    let own = std::env::current_exe().expect("a test has a path");
    let program = own.ancestors().nth(2).expect("tests lie in `deps`").join("examples/clickstream");
    if !program.exists() {
        println!("skipped: the example is not built");
        return;
    }
    let Some(broker) = Broker::start("example") else { return };
    broker.create("hits");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = directory.path().join("access.log");
    let (mut lines, mut records) = (String::new(), vec!["no JSON".to_owned()]);
    for number in 0..5_000 {
        let (address, page) = (number % 7, number % 11);
        let (minute, second) = (number / 60 % 60, number % 60);
        let request = format!("GET /page-{page}?n={number} HTTP/1.1");
        lines += &format!(
            "10.0.0.{address} - - [17/May/2015:10:{minute:02}:{second:02} +0000] \"{request}\" 200 1\n"
        );
        let time = format!("2015-05-17T10:{minute:02}:{second:02}Z");
        records.push(format!(
            r#"{{"time":"{time}","address":"10.0.0.{address}","request":"{request}","status":200}}"#
        ));
    }
    std::fs::write(&log, lines).expect("there is room");
    broker.write("hits", records);
    let told = |from: &[&str], name: &str| {
        let output = directory.path().join(name);
        let mut command = Command::new(&program);
        command.args(from).args(["--lateness", "2h", "--workers", "2", "--output"]).arg(&output);
        command.arg("--state-dir").arg(directory.path().join(format!("{name}.state")));
        assert!(command.status().expect("it starts").success());
        let text = std::fs::read_to_string(output).expect("it writes");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let of_file = told(&["--input", log.to_str().expect("is text")], "file");
    let from_topic = ["--brokers", &broker.address, "--topic", "hits", "--until-end"];
    let mut of_topic = told(&from_topic, "topic");
    let bad: Vec<_> = of_topic.extract_if(.., |line| line.contains("\"bad\"")).collect();
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert!(of_file.len() > 100);
    assert_eq!(of_topic, of_file);
    // From topic to topic, on state of its own: what the run before has told the group is none of its business.
    broker.create("results");
    let mut command = Command::new(&program);
    command.args(from_topic).args(["--lateness", "2h", "--output-topic", "results", "--state-dir"]);
    assert!(command.arg(directory.path().join("transactions")).status().expect("it starts").success());
    let mut written = broker.committed("results");
    written.retain(|line| !line.contains("\"bad\""));
    written.sort();
    assert_eq!(written, of_file);
}
