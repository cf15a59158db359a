//! Jobs and the example `clickstream` on a real Kafka broker, which `scripts/kafka` starts.
//!
//! What falls if these fail: HW-1 for Kafka as a source. Where the broker cannot be had, or `HIGHWATER_KAFKA` is
//! off, each test says that it is skipped and passes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use highwater::operators::memory::MemorySink;
use highwater::prelude::*;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

const PARTITIONS: i32 = 4;

fn script(arguments: &[&str]) -> std::process::Output {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scripts/kafka");
    Command::new(script).args(arguments).output().expect("bash is there")
}

/// A broker that ends with this process.
struct Broker {
    directory: String,
    address: String,
}

impl Broker {
    fn start(name: &str) -> Option<Broker> {
        if std::env::var("HIGHWATER_KAFKA").is_ok_and(|wanted| wanted == "off") {
            println!("skipped: HIGHWATER_KAFKA is off");
            return None;
        }
        let directory = format!("{}/{name}-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        let parent = std::process::id().to_string();
        let output = script(&["start", "--parent", &parent, "--lifetime", "300", &directory]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0) => {
                let line = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                let address = line.strip_prefix("bootstrap=").expect("it says where it listens").to_owned();
                Some(Broker { directory, address })
            }
            Some(3) => {
                println!("skipped: {said}");
                None
            }
            code => panic!("scripts/kafka start: {code:?}: {said}"),
        }
    }

    fn create(&self, topic: &str) {
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", &self.address);
        let admin: AdminClient<DefaultClientContext> = settings.create().expect("a client");
        let topic = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
        for made in wait(admin.create_topics([&topic], &AdminOptions::new())).expect("the broker answers") {
            made.expect("the topic is new");
        }
    }

    /// Writes records as they are, through the sink that is tested with it.
    fn write(&self, topic: &str, records: Vec<String>) {
        let topology = Topology::new("write");
        let source = topology.source("records", Memory::source(records));
        source.sink("topic", Kafka::at(&self.address).sink(topic, Text));
        Job::new(topology).run().expect("the records are written");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        script(&["stop", &self.directory]);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
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
    let mut of_topic = told(&["--brokers", &broker.address, "--topic", "hits", "--until-end"], "topic");
    let bad: Vec<_> = of_topic.extract_if(.., |line| line.contains("\"bad\"")).collect();
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert!(of_file.len() > 100);
    assert_eq!(of_topic, of_file);
}
