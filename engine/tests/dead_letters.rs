//! Dead letters on disk, replayed by a process that dies at every step of its commits: each letter is tried once in
//! each replay, what can be read goes back to its topic once, and poison is parked after its attempts. Beside it: a
//! source that is read no faster than it may be.
//!
//! If these fail, records that were set aside are lost, repeated, or circulate for ever.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use highwater::prelude::*;
use highwater::step::{Moment, Step};
use serde::{Deserialize, Serialize};

const ORDERS: &str = "HIGHWATER_TEST_DEAD_LETTERS";
const RECORDS: u64 = 3_000;
const ATTEMPTS: u32 = 3;
/// Steps that come where there is no decider.
const STEPS: [Step; 6] = [Step::Recover, Step::Order, Step::Gather, Step::Write, Step::Publish, Step::Tell];

/// One record in three is written as it was once agreed, one in ten is none at all.
fn raw(number: u64) -> String {
    match number {
        number if number % 10 == 9 => format!("poison {number}"),
        number if number % 3 == 0 => format!("{number} pieces"),
        number => number.to_string(),
    }
}

fn open(directory: &Path) -> Log {
    let log = Log::open(directory.join("log")).expect("the log opens");
    for topic in ["orders", "dead", "parked"] {
        log.topic(topic, 2).expect("the topic is there, or made");
    }
    log
}

fn raws(log: &Log, topic: &str) -> Vec<Vec<u8>> {
    let all = (0..2).flat_map(|partition| log.read(topic, partition, 0, usize::MAX).expect("can be read"));
    all.map(|record| record.value).collect()
}

fn letters(log: &Log, topic: &str) -> Vec<DeadLetter> {
    let all = raws(log, topic).into_iter();
    all.map(|value| serde_json::from_slice(&value).expect("it is a letter")).collect()
}

/// The program before the fix: it reads numbers, and sets aside what is none.
fn fill(directory: &Path) {
    let log = open(directory);
    let orders = (0..RECORDS).map(|number| (Some(number.to_string()), raw(number)));
    log.append_all("orders", orders).expect("the orders are appended");
    let topology = Topology::new("before");
    let source = log.source("orders", Json::<u64>::new()).until_end();
    let (numbers, bad) = topology.try_source("orders", source).or_dead_letter();
    numbers.sink("numbers", Blackhole::new());
    let dead = log.producer("before").sink("dead", Json::new());
    bad.map(|bad| DeadLetter::of("orders", bad)).sink("dead", dead);
    assert!(Job::new(topology).run().expect("the job runs").finished);
}

/// What the fix can read.
struct Pieces;

impl Decode<u64> for Pieces {
    fn decode(&self, bytes: &[u8]) -> Result<u64, String> {
        let text = Text.decode(bytes)?;
        text.trim_end_matches(" pieces").parse().map_err(|error| format!("`{text}` are no pieces: {error}"))
    }
}

/// Tries every letter that is there now once more.
fn replay(log: &Log) -> Topology {
    let topology = Topology::new("replay");
    let dead = log.source("dead", Json::<DeadLetter>::new()).until_end();
    let replayed = topology.source("letters", limited(dead, 4_000)).replay(Pieces, ATTEMPTS);
    let producer = log.producer("replay");
    let back = replayed.readable.map(|(_, letter)| letter.raw);
    back.sink("back", producer.sink("orders", Raw));
    replayed.unreadable.sink("again", producer.sink("dead", Json::new()));
    replayed.given_up.sink("parked", producer.sink("parked", Json::new()));
    topology
}

/// What a process is to do.
#[derive(Debug, Serialize, Deserialize)]
struct Orders {
    directory: PathBuf,
    /// At which step the process ends, whether after it, and the how manieth time.
    dies_at: Option<(usize, bool, usize)>,
}

impl Orders {
    fn start(&self) -> Child {
        let own = std::env::current_exe().expect("a test has a path");
        let mut command = Command::new(own);
        command.args(["child", "--exact", "--nocapture"]);
        command.env(ORDERS, serde_json::to_string(self).expect("orders are plain data"));
        command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().expect("the program starts")
    }

    fn follow(&self) {
        let log = open(&self.directory);
        let job = Job::new(replay(&log)).state(self.directory.join("state")).workers(2).memory(64 << 20);
        let mut job = job.epoch_interval(Duration::from_millis(20)).again();
        if let Some((number, after, hit)) = self.dies_at {
            let (moment, met) = (if after { Moment::After } else { Moment::Before }, AtomicUsize::new(0));
            job = job.watch_steps(move |step, at| {
                let here = step.number() == number && at == moment;
                if here && met.fetch_add(1, Ordering::SeqCst) + 1 == hit {
                    std::process::abort();
                }
            });
        }
        assert!(job.run().expect("the job runs").finished);
    }
}

/// What a started process does; nothing where nothing is asked of it.
#[test]
fn child() {
    if let Ok(orders) = std::env::var(ORDERS) {
        let orders: Orders = serde_json::from_str(&orders).expect("orders are plain data");
        orders.follow();
    }
}

#[test]
fn a_replay_that_dies_at_every_step_tries_each_letter_once_and_parks_poison() {
    let directory = tempfile::tempdir().expect("a directory");
    fill(directory.path());
    let run = |dies_at| {
        let orders = Orders { directory: directory.path().to_owned(), dies_at };
        orders.start().wait().expect("it was started")
    };
    let mut deaths = 0;
    for step in STEPS {
        for after in [false, true] {
            let hit = if step == Step::Recover { 1 } else { 2 };
            let status = run(Some((step.number(), after, hit)));
            assert!(status.success() || status.signal().is_some(), "{step:?}: {status}");
            deaths += usize::from(status.signal().is_some());
        }
    }
    assert!(deaths >= 6, "only {deaths} deaths hit the replay");
    // As often as there are attempts, and once more, for which nothing is left.
    for _ in 0..=ATTEMPTS {
        assert!(run(None).success());
    }

    let log = open(directory.path());
    let bad = |number: &u64| raw(*number).parse::<u64>().is_err();
    let mut expected: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    for number in 0..RECORDS {
        let is_sent_back = bad(&number) && number % 10 != 9;
        expected.insert(raw(number).into_bytes(), if is_sent_back { 2 } else { 1 });
    }
    let mut found: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    raws(&log, "orders").into_iter().for_each(|raw| *found.entry(raw).or_default() += 1);
    assert!(found == expected, "what was sent back is in its topic twice, the rest once");

    let mut tried: BTreeMap<Vec<u8>, Vec<u32>> = BTreeMap::new();
    for letter in letters(&log, "dead") {
        assert_eq!(letter.operator, "orders");
        assert!(letter.origin.to_string().starts_with("orders partition "), "{}", letter.origin);
        tried.entry(letter.raw).or_default().push(letter.attempts);
    }
    assert_eq!(tried.len(), (0..RECORDS).filter(bad).count());
    for (raw, mut attempts) in tried {
        attempts.sort();
        let is_poison = raw.starts_with(b"poison");
        assert_eq!(attempts, if is_poison { vec![0, 1, 2] } else { vec![0] });
    }
    let mut parked: Vec<Vec<u8>> = Vec::new();
    for letter in letters(&log, "parked") {
        assert_eq!(letter.attempts, ATTEMPTS);
        assert!(letter.reason.contains("are no pieces"), "{}", letter.reason);
        parked.push(letter.raw);
    }
    parked.sort();
    let mut poison: Vec<Vec<u8>> =
        (0..RECORDS).filter(|number| number % 10 == 9).map(|number| raw(number).into_bytes()).collect();
    poison.sort();
    assert!(parked == poison, "{} letters are parked, and not {}", parked.len(), poison.len());
    println!("{deaths} deaths, {} letters parked", parked.len());
}

/// A job that is run again goes on behind what it has read, and one with event time is refused.
#[test]
fn a_job_that_has_ended_goes_on_with_what_has_come_since_if_it_is_told_to() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = Log::in_memory();
    log.topic("numbers", 2).expect("the topic is made");
    let run = |again: bool| {
        let (topology, sink) = (Topology::new("count"), Memory::sink());
        let numbers = topology.source("numbers", log.source("numbers", Json::<u64>::new()).until_end());
        numbers.key_by(|_| ()).count("counts").to_stream().sink("out", sink.clone());
        let job = Job::new(topology).state(directory.path());
        let report = if again { job.again().run() } else { job.run() };
        assert!(report.expect("it runs").finished);
        sink.take().into_iter().map(|((), count)| count).collect::<Vec<u64>>()
    };
    let append =
        |number: u64| log.append("numbers", None, number.to_string().as_bytes()).expect("is appended");
    append(1);
    assert_eq!(run(true), [1]);
    append(2);
    assert_eq!(run(false), [0u64; 0], "it has ended");
    assert_eq!(run(true), [2]);
    assert_eq!(run(true), [0u64; 0], "there is nothing new");
    append(3);
    assert_eq!(run(true), [3]);

    let topology = Topology::new("timed");
    let timed =
        topology.source("numbers", Memory::source([1])).event_time(|_| Timestamp::MIN, Duration::ZERO);
    timed.sink("out", Blackhole::new());
    let error = Job::new(topology).again().start().err().expect("it is refused").to_string();
    assert!(error.contains("event_time") && error.contains("end of time"), "{error}");
}

/// Of two sources of a topology one is limited: it takes the time that its rate says, and the other one does not wait.
#[test]
fn a_limited_source_takes_its_time_and_the_others_do_not() {
    let topology = Topology::new("two");
    let (slow, fast) = (Memory::sink(), Memory::sink());
    topology.source("slow", limited(Memory::source(0..300u64), 500)).sink("slow-out", slow.clone());
    topology.source("fast", Memory::source(0..20_000u64)).sink("fast-out", fast.clone());
    let since = Instant::now();
    let running = Job::new(topology).epoch_interval(Duration::from_millis(10)).start().expect("it starts");
    let (mut seen_slow, mut seen_fast) = (Vec::new(), 0);
    while seen_fast < 20_000 {
        assert!(since.elapsed() < Duration::from_secs(60), "the fast source waits");
        seen_fast += fast.take().len();
        seen_slow.extend(slow.take());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(seen_slow.len() < 300 || since.elapsed() >= Duration::from_millis(500));
    running.wait().expect("it runs");
    // 300 at 500 a second, less the first burst of 25.
    assert!(since.elapsed() >= Duration::from_millis(540), "{:?}", since.elapsed());
    seen_slow.extend(slow.take());
    assert_eq!(seen_slow, (0..300).collect::<Vec<_>>());

    let topology = Topology::new("never");
    topology.source("numbers", limited(Memory::source([1]), 0)).sink("out", Blackhole::new());
    let error = Job::new(topology).start().err().expect("it is refused").to_string();
    assert!(error.contains("at least 1"), "{error}");
}
