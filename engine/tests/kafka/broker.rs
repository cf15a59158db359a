//! A broker of one's own, and what tests do to it.

#![allow(dead_code, reason = "each test program uses its part")]

use std::path::PathBuf;
use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use highwater::prelude::{Job, Kafka, Memory, Text, Topology};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

pub const PARTITIONS: i32 = 4;

/// How long a broker may take for anything before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

fn script(arguments: &[&str]) -> std::process::Output {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scripts/kafka");
    Command::new(script).args(arguments).output().expect("bash is there")
}

/// A broker that ends with this process.
pub struct Broker {
    directory: String,
    pub address: String,
}

impl Broker {
    /// `None` where none can be had; says why.
    pub fn start(name: &str) -> Option<Broker> {
        let directory = format!("{}/{name}-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        let address = Self::start_at(&[&directory])?;
        Some(Broker { directory, address })
    }

    fn start_at(place: &[&str]) -> Option<String> {
        if std::env::var("HIGHWATER_KAFKA").is_ok_and(|wanted| wanted == "off") {
            println!("skipped: HIGHWATER_KAFKA is off");
            return None;
        }
        let parent = std::process::id().to_string();
        let output = script(&[&["start", "--parent", &parent, "--lifetime", "3000"], place].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0) => {
                let line = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                Some(line.strip_prefix("bootstrap=").expect("it says where it listens").to_owned())
            }
            Some(3) => {
                println!("skipped: {said}");
                None
            }
            code => panic!("scripts/kafka start: {code:?}: {said}"),
        }
    }

    /// Kills it as a crash would.
    pub fn kill(&self) {
        assert!(script(&["kill", &self.directory]).status.success());
    }

    /// Starts it again where it was.
    pub fn start_again(&self) {
        let port = self.address.rsplit(':').next().expect("an address has a port");
        assert_eq!(Self::start_at(&[&self.directory, port]).as_deref(), Some(&*self.address));
    }

    pub fn settings(&self) -> ClientConfig {
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", &self.address);
        settings
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.settings().create().expect("a client")
    }

    /// A name that no other test program uses on this broker.
    pub fn name(&self, of: &str) -> String {
        format!("{of}-{}", std::process::id())
    }

    pub fn create(&self, topic: &str) {
        self.create_with(topic, PARTITIONS);
    }

    pub fn create_with(&self, topic: &str, partitions: i32) {
        self.create_setting(topic, partitions, &[]);
    }

    pub fn create_setting(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (name, value) in settings {
            new = new.set(name, value);
        }
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let admin = self.admin();
        for made in wait(admin.create_topics([&new], &options)).expect("the broker answers") {
            made.expect("the topic is new");
        }
        // A broker hears of what its controller has made a moment later.
        let partitions_seen = || {
            let metadata = admin.inner().fetch_metadata(Some(topic), PATIENCE).expect("the broker answers");
            metadata.topics()[0].partitions().len()
        };
        while partitions_seen() < partitions as usize {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn delete(&self, topic: &str) {
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        for gone in wait(self.admin().delete_topics(&[topic], &options)).expect("the broker answers") {
            gone.expect("the topic is there");
        }
    }

    /// Adds partitions to a topic until it has so many.
    pub fn grow(&self, topic: &str, partitions: usize) {
        let more = NewPartitions::new(topic, partitions);
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        for grown in wait(self.admin().create_partitions([&more], &options)).expect("the broker answers") {
            grown.expect("the topic grows");
        }
    }

    /// Writes records as they are, through the sink that is tested with it.
    pub fn write(&self, topic: &str, records: Vec<String>) {
        let topology = Topology::new("write");
        let source = topology.source("records", Memory::source(records));
        source.sink("topic", Kafka::at(&self.address).sink(topic, Text));
        Job::new(topology).run().expect("the records are written");
    }

    /// Writes records as JSON, one list a partition.
    pub fn fill<T: serde::Serialize>(&self, topic: &str, partitions: Vec<Vec<T>>) {
        let json = |record: T| serde_json::to_vec(&record).expect("a record is plain data");
        let json = |records: Vec<T>| records.into_iter().map(json).collect();
        self.fill_raw(topic, partitions.into_iter().map(json).collect());
    }

    /// Writes records as they are, one list a partition.
    pub fn fill_raw(&self, topic: &str, partitions: Vec<Vec<Vec<u8>>>) {
        let producer: BaseProducer = self.settings().create().expect("a client");
        for (partition, records) in partitions.into_iter().enumerate() {
            for payload in records {
                let mut message =
                    BaseRecord::<(), _>::to(topic).payload(&payload).partition(partition as i32);
                while let Err((_, again)) = producer.send(message) {
                    producer.poll(Duration::from_millis(10));
                    message = again;
                }
            }
        }
        producer.flush(PATIENCE).expect("the broker takes the records");
    }

    /// Everything that a reader of committed records sees in a topic, in the order of partitions and offsets.
    pub fn committed(&self, topic: &str) -> Vec<String> {
        self.committed_records(topic, |message| {
            String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned()
        })
    }

    pub fn committed_records<T>(
        &self,
        topic: &str,
        make: impl Fn(&rdkafka::message::BorrowedMessage<'_>) -> T,
    ) -> Vec<T> {
        self.committed_by(self.settings(), topic, make)
    }

    /// The same by a client with settings of its own.
    pub fn committed_by<T>(
        &self,
        mut settings: ClientConfig,
        topic: &str,
        make: impl Fn(&rdkafka::message::BorrowedMessage<'_>) -> T,
    ) -> Vec<T> {
        settings.set("group.id", "the-test").set("enable.auto.commit", "false");
        settings.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
        let consumer: BaseConsumer = settings.create().expect("a client");
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("the broker answers");
        let partitions = metadata.topics()[0].partitions().len();
        let mut list = TopicPartitionList::new();
        let mut ends = Vec::new();
        for partition in 0..partitions as i32 {
            list.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
            let (_, end) = consumer.fetch_watermarks(topic, partition, PATIENCE).expect("it has an end");
            ends.push(end);
        }
        consumer.assign(&list).expect("is assigned");
        let (mut seen, mut ended, until) = (Vec::new(), vec![false; partitions], Instant::now() + PATIENCE);
        while ended.contains(&false) {
            assert!(Instant::now() < until, "the topic `{topic}` does not end");
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    seen.push(make(&message));
                    // The end is told only where nothing is written for a while.
                    let partition = message.partition() as usize;
                    ended[partition] |= message.offset() + 1 >= ends[partition];
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => ended[partition as usize] = true,
                Some(Err(error)) => println!("while reading `{topic}`: {error}"),
                None => {}
            }
        }
        seen
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
