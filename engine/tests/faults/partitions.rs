//! A topic that changes while a job reads it: it grows, or it is deleted.

use std::path::Path;
use std::time::{Duration, Instant};

use highwater::prelude::*;

use crate::broker::Broker;
use crate::{broker, directory, until};

const OLD: u64 = 500;

/// From where a new job reads.
#[derive(Clone, Copy, PartialEq)]
enum From {
    Earliest,
    Latest,
}

fn kafka(broker: &Broker, name: &str, exactly_once: bool) -> Kafka {
    // How long a client believes in a topic that the brokers do not know: 30 s unless said.
    let kafka = Kafka::at(&broker.address).setting("topic.metadata.propagation.max.ms", "3000");
    // How long instances that share their input take to learn of new partitions: 1 min unless said.
    let kafka = kafka.setting("topic.metadata.refresh.interval.ms", "500");
    if exactly_once { kafka.exactly_once(name) } else { kafka }
}

/// Copies numbers from `<name>-in` to `<name>-out`.
fn job(broker: &Broker, name: &str, from: From, exactly_once: bool, state: Option<&Path>) -> Job {
    let kafka = kafka(broker, name, exactly_once);
    let topology = Topology::new("copy");
    let source = kafka.source(format!("{name}-in"), Json::<u64>::new());
    let source = if from == From::Latest { source.from_latest() } else { source.from_earliest() };
    let numbers = topology.source("numbers", source);
    // How long an epoch waits for a topic that does not answer: 1 min unless said.
    let out = kafka.sink(format!("{name}-out"), Json::new()).drain_timeout(Duration::from_secs(5));
    numbers.sink("out", out);
    let job = Job::new(topology).workers(2).epoch_interval(Duration::from_millis(50));
    let job = job.split_interval(Duration::from_millis(200));
    match state {
        Some(state) => job.state(state),
        None => job,
    }
}

fn copied(broker: &Broker, name: &str) -> Vec<u64> {
    let mut copied: Vec<u64> =
        broker.committed(&format!("{name}-out")).iter().map(|text| text.parse().expect("a number")).collect();
    copied.sort_unstable();
    copied
}

/// Before the job starts there are some numbers; while it runs the topic grows, and every partition gets more; then it
/// grows while the job is stopped.
fn grows(name: &str, from: From, exactly_once: bool, shared: bool) {
    let Some(broker) = broker() else { return };
    let directory = directory();
    let state = (!shared).then(|| directory.path());
    let topic = format!("{name}-in");
    broker.create_with(&topic, 2);
    broker.create(&format!("{name}-out"));
    broker.fill(&topic, vec![(0..OLD).collect(), (OLD..2 * OLD).collect()]);
    let running = job(broker, name, from, exactly_once, state).start().expect("it starts");
    let first = if from == From::Earliest { 0 } else { 2 * OLD };
    // Where a new job begins is where the topic ends when it reads it first: it has to have done so.
    std::thread::sleep(Duration::from_millis(1500));
    broker.fill(&topic, vec![vec![2 * OLD], vec![2 * OLD + 1]]);
    until("the first numbers", || copied(broker, name).len() as u64 >= 2 * OLD + 2 - first);

    broker.grow(&topic, 4);
    let more = (2 * OLD + 2..2 * OLD + 402).collect::<Vec<u64>>();
    broker.fill(&topic, more.chunks(100).map(<[u64]>::to_vec).collect());
    let meant: Vec<u64> = (first..2 * OLD + 402).collect();
    until("what is in new partitions", || copied(broker, name).len() >= meant.len());
    running.stop();
    running.wait().expect("the job runs");
    assert_eq!(copied(broker, name), meant, "{name}");

    broker.grow(&topic, 6);
    broker.fill(&topic, (0..6).map(|partition| vec![2 * OLD + 402 + partition]).collect());
    let running = job(broker, name, from, exactly_once, state).start().expect("it starts again");
    let meant: Vec<u64> = (first..2 * OLD + 408).collect();
    until("what came while it was stopped", || copied(broker, name).len() >= meant.len());
    running.stop();
    running.wait().expect("the job runs");
    assert_eq!(copied(broker, name), meant, "{name}");
}

#[test]
fn partitions_that_are_added_are_read_from_their_beginning_exactly_once() {
    grows("grows-exactly", From::Earliest, true, false);
}

#[test]
fn partitions_that_are_added_are_read_from_their_beginning_also_by_a_job_that_began_at_the_end() {
    grows("grows-latest", From::Latest, true, false);
}

#[test]
fn partitions_that_are_added_are_read_by_a_job_without_transactions() {
    grows("grows-plain", From::Latest, false, false);
}

#[test]
fn partitions_that_are_added_are_read_by_instances_that_share_their_input() {
    grows("grows-shared", From::Latest, true, true);
}

/// A job whose topic is deleted ends with an error that names it.
fn deleted(name: &str, exactly_once: bool, which: &str) {
    let Some(broker) = broker() else { return };
    let directory = directory();
    for end in ["in", "out"] {
        broker.create(&format!("{name}-{end}"));
    }
    broker.fill(&format!("{name}-in"), vec![(0..OLD).collect()]);
    let running = job(broker, name, From::Earliest, exactly_once, Some(directory.path()));
    let running = running.start().expect("it starts");
    until("the first numbers", || copied(broker, name).len() as u64 >= OLD);
    let topic = format!("{name}-{which}");
    broker.delete(&topic);
    let since = Instant::now();
    if which == "out" {
        broker.fill(&format!("{name}-in"), vec![(OLD..2 * OLD).collect()]);
    }
    until(&format!("the end of {name}"), || running.is_finished());
    let error = running.wait().expect_err("its topic is gone").to_string();
    println!("{name}, after {:?}: {error}", since.elapsed());
    assert!(error.contains(&topic), "{error}");
    // It says so at once at the next start.
    let since = Instant::now();
    let again = job(broker, name, From::Earliest, exactly_once, Some(directory.path())).run();
    let error = again.expect_err("its topic is gone").to_string();
    println!("{name}, started again, after {:?}: {error}", since.elapsed());
    assert!(error.contains(&format!("no topic `{topic}`")), "{error}");
}

#[test]
fn a_job_whose_input_is_deleted_ends_and_names_it() {
    deleted("deleted-plain", false, "in");
}

#[test]
fn a_job_with_transactions_whose_input_is_deleted_ends_and_names_it() {
    deleted("deleted-exactly", true, "in");
}

#[test]
fn a_job_whose_output_is_deleted_ends_and_names_it() {
    deleted("deleted-output", false, "out");
}

#[test]
fn a_job_with_transactions_whose_output_is_deleted_ends_and_names_it() {
    deleted("deleted-output-exactly", true, "out");
}
