//! The Kafka connector against a real broker, which `scripts/kafka` starts.
//!
//! Where the broker cannot be had (no Java, no Maven, no jars) each test says so and passes.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll as Polling, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use highwater_connectors::kafka::{Kafka, KafkaError, KafkaPosition, KafkaSource, Tombstones};
use highwater_operators::batch::Batch;
use highwater_operators::codec::{Json, Raw, Text};
use highwater_operators::error::Cause;
use highwater_operators::sink::{Publish, Sink, Writer};
use highwater_operators::source::{Poll, Polled, Reader, Source};
use highwater_state::Epoch;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(60);

type BoxedReader<T> = Box<dyn Reader<Item = T, Position = KafkaPosition>>;

fn script(arguments: &[&str]) -> std::process::Output {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scripts/kafka");
    Command::new(script).args(arguments).output().unwrap()
}

struct Broker {
    directory: String,
    address: String,
}

impl Broker {
    /// A broker that ends with this process, or `None` where none can be had.
    fn start(name: &str) -> Option<Broker> {
        let directory = format!("{}/kafka-{name}-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        let address = Self::start_at(&[&directory])?;
        Some(Broker { directory, address })
    }

    fn start_at(place: &[&str]) -> Option<String> {
        if std::env::var("HIGHWATER_KAFKA").is_ok_and(|wanted| wanted == "off") {
            println!("skipped: HIGHWATER_KAFKA is off");
            return None;
        }
        let parent = std::process::id().to_string();
        let output = script(&[&["start", "--parent", &parent, "--lifetime", "600"], place].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0) => {
                let line = String::from_utf8(output.stdout).unwrap();
                Some(line.trim().strip_prefix("bootstrap=").unwrap().to_owned())
            }
            Some(3) => {
                println!("skipped: {said}");
                None
            }
            code => panic!("scripts/kafka start: {code:?}: {said}"),
        }
    }

    fn kill(&self) {
        assert!(script(&["kill", &self.directory]).status.success());
    }

    fn start_again(&self) {
        let port = self.address.rsplit(':').next().unwrap();
        assert_eq!(Self::start_at(&[&self.directory, port]).unwrap(), self.address);
    }

    fn kafka(&self) -> Kafka {
        Kafka::at(&self.address)
    }

    fn settings(&self) -> ClientConfig {
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", &self.address);
        settings
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.settings().create().unwrap()
    }

    fn create(&self, topic: &str, partitions: i32) {
        let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let name = topic.name;
        for made in wait(self.admin().create_topics([&topic], &options)).unwrap() {
            made.unwrap();
        }
        // A broker hears of what its controller has made a moment later.
        let admin = self.admin();
        let ask = || admin.inner().fetch_metadata(Some(name), PATIENCE).unwrap();
        while ask().topics()[0].partitions().is_empty() {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Drops the records before `offset`, as retention does.
    fn drop_before(&self, topic: &str, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
        wait(self.admin().delete_records(&list, &AdminOptions::new())).unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        script(&["stop", &self.directory]);
    }
}

/// The broker that the tests share; its parent's end stops it.
fn broker() -> Option<&'static Broker> {
    static BROKER: OnceLock<Option<Broker>> = OnceLock::new();
    let broker = BROKER.get_or_init(|| Broker::start("shared")).as_ref();
    if broker.is_none() {
        println!("skipped: no broker can be had here");
    }
    broker
}

fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Polling::Ready(value) => return value,
            Polling::Pending => thread::park_timeout(Duration::from_secs(1)),
        }
    }
}

fn kafka_error(cause: Cause) -> KafkaError {
    *cause.downcast::<KafkaError>().unwrap()
}

fn refusal<T>(outcome: Result<T, Cause>) -> KafkaError {
    match outcome {
        Ok(_) => panic!("was not refused"),
        Err(cause) => kafka_error(cause),
    }
}

/// Writes and stages.
fn write<T>(writer: &mut dyn Writer<T>, values: Vec<T>) {
    let mut batch = Batch::untimed(values);
    let end = Instant::now() + PATIENCE;
    while !writer.ready() {
        assert!(Instant::now() < end, "never ready");
        thread::sleep(Duration::from_millis(1));
    }
    writer.write(&mut batch).unwrap();
    assert!(batch.is_empty());
}

/// Polls once without patience; the poll itself must not wait.
fn poll<T>(reader: &mut BoxedReader<T>, limit: usize, into: &mut Polled<T>) -> Poll {
    let outcome = reader.poll(limit, into).unwrap();
    if outcome == Poll::Pending {
        thread::sleep(Duration::from_millis(1));
    }
    outcome
}

/// Everything up to the end that was there at opening.
fn read_to_end<T: Send + 'static>(source: &KafkaSource<T>, split: &str) -> Polled<T> {
    let mut reader = source.open(split, None).unwrap();
    let mut read = Polled::default();
    let end = Instant::now() + PATIENCE;
    while poll(&mut reader, 500, &mut read) != Poll::Finished {
        assert!(Instant::now() < end, "{split} never finished; {} records", read.len());
    }
    read
}

/// Numbers whose order within each of four keys can be checked.
fn numbers(count: u64) -> Vec<(u64, u64)> {
    (0..count).map(|number| (number % 16, number)).collect()
}

fn key_of(record: &(u64, u64)) -> Vec<u8> {
    record.0.to_be_bytes().to_vec()
}

/// Whether every number is there once, and each key's are in order and in one partition.
fn assert_complete(partitions: &[Vec<(u64, u64)>], count: u64) {
    let mut homes = BTreeMap::new();
    let mut all = Vec::new();
    for (partition, records) in partitions.iter().enumerate() {
        let mut last = BTreeMap::new();
        for (key, number) in records {
            assert_eq!(*homes.entry(*key).or_insert(partition), partition, "key {key} has two partitions");
            if let Some(before) = last.insert(*key, *number) {
                assert!(before < *number, "partition {partition} key {key}: {number} after {before}");
            }
            all.push(*number);
        }
    }
    all.sort_unstable();
    assert_eq!(all.len() as u64, count);
    assert!(all.iter().enumerate().all(|(index, number)| index as u64 == *number), "lost or doubled");
}

#[test]
fn ten_thousand_records_over_four_partitions() {
    let Some(broker) = broker() else { return };
    broker.create("numbers", 4);
    let sink = broker.kafka().sink("numbers", Json::new()).key(key_of);
    sink.recover(Epoch(0), &[]).unwrap();
    let mut writer = sink.open(0).unwrap();
    for chunk in numbers(10_000).chunks(1000) {
        write(&mut *writer, chunk.to_vec());
    }
    let began = Instant::now();
    assert!(writer.stage(Epoch(1)).unwrap().is_empty());
    println!("drained in {:?}", began.elapsed());

    let source = broker.kafka().source("numbers", Json::<(u64, u64)>::new()).until_end();
    let splits = source.splits().unwrap();
    assert_eq!(splits, ["partition-0", "partition-1", "partition-2", "partition-3"]);
    let partitions: Vec<_> = splits.iter().map(|split| read_to_end(&source, split).values).collect();
    assert!(partitions.iter().all(|records| !records.is_empty()));
    assert_complete(&partitions, 10_000);
}

#[test]
fn readers_of_one_source_keep_apart() {
    let Some(broker) = broker() else { return };
    broker.create("apart", 4);
    let mut writer = broker.kafka().sink("apart", Json::new()).key(key_of).open(0).unwrap();
    write(&mut *writer, numbers(4000));
    writer.stage(Epoch(1)).unwrap();
    let source = broker.kafka().source("apart", Json::<(u64, u64)>::new()).until_end();
    let threads: Vec<_> = source
        .splits()
        .unwrap()
        .into_iter()
        .map(|split| {
            let source = source.clone();
            thread::spawn(move || read_to_end(&source, &split).values)
        })
        .collect();
    let partitions: Vec<_> = threads.into_iter().map(|reading| reading.join().unwrap()).collect();
    assert_complete(&partitions, 4000);

    let held = source.open("partition-0", None).unwrap();
    let refused = refusal(source.open("partition-0", None));
    assert!(matches!(refused, KafkaError::Taken { partition: 0, .. }), "{refused}");
    drop(held);
    read_to_end(&source, "partition-0");
}

#[test]
fn restarts_from_positions_lose_and_double_nothing() {
    let Some(broker) = broker() else { return };
    broker.create("restarts", 1);
    let mut writer = broker.kafka().sink("restarts", Json::new()).open(0).unwrap();
    write(&mut *writer, numbers(2000));
    writer.stage(Epoch(1)).unwrap();
    let mut read = Polled::default();
    let mut position = None;
    let mut starts = 0;
    let shared = broker.kafka().source("restarts", Json::<(u64, u64)>::new()).until_end();
    loop {
        // By turns with the consumer of before, and with one of its own, as a new process would have.
        let anew = broker.kafka().group("restarts").source("restarts", Json::new()).until_end();
        let source = if starts % 2 == 0 { &shared } else { &anew };
        let mut reader = source.open("partition-0", position).unwrap();
        starts += 1;
        let before = read.len();
        let mut last = Poll::Ready;
        while read.len() - before < 150 && last != Poll::Finished {
            last = poll(&mut reader, 50, &mut read);
        }
        position = Some(reader.position());
        reader.committed(reader.position());
        if last == Poll::Finished {
            break;
        }
    }
    assert!(starts > 10);
    let monitor: BaseConsumer = broker.settings().set("group.id", "restarts").create().unwrap();
    let mut asked = TopicPartitionList::new();
    asked.add_partition("restarts", 0);
    let committed = monitor.committed_offsets(asked, PATIENCE).unwrap();
    assert!(matches!(committed.elements()[0].offset(), Offset::Offset(1000..)), "{committed:?}");
    assert_complete(&[read.values], 2000);
}

/// Writes `values` in a transaction and commits or aborts it.
fn transaction(broker: &Broker, topic: &str, values: &[&str], commit: bool) {
    let producer: BaseProducer =
        broker.settings().set("transactional.id", format!("of-{topic}")).create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    for value in values {
        producer.send(BaseRecord::<(), str>::to(topic).payload(*value)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    match commit {
        true => producer.commit_transaction(PATIENCE).unwrap(),
        false => producer.abort_transaction(PATIENCE).unwrap(),
    }
}

#[test]
fn aborted_transactions_are_not_seen() {
    let Some(broker) = broker() else { return };
    broker.create("aborted", 1);
    transaction(broker, "aborted", &["a", "b"], true);
    transaction(broker, "aborted", &["no", "nor this"], false);
    transaction(broker, "aborted", &["c"], true);
    transaction(broker, "aborted", &["never"], false);

    let source = broker.kafka().source("aborted", Text).until_end();
    let mut reader = source.open("partition-0", None).unwrap();
    let mut read = Polled::default();
    let mut at = Vec::new();
    let end = Instant::now() + PATIENCE;
    while poll(&mut reader, 1, &mut read) != Poll::Finished {
        at.push(reader.position().next_offset);
        assert!(Instant::now() < end);
    }
    assert_eq!(read.values, ["a", "b", "c"]);
    // 2 records, marker, 2 aborted, marker, 1 record, marker, 1 aborted, marker.
    assert_eq!(reader.position().next_offset, 10);
    at.dedup();
    assert!(at.starts_with(&[0, 1, 2]) || at.starts_with(&[1, 2]), "{at:?}");
}

#[test]
fn a_quiet_topic_keeps_its_position_when_retention_drops_its_markers() {
    let Some(broker) = broker() else { return };
    broker.create("quiet", 1);
    transaction(broker, "quiet", &["a", "b"], true);
    let source = broker.kafka().source("quiet", Text);
    let mut reader = source.open("partition-0", None).unwrap();
    let mut read = Polled::default();
    let end = Instant::now() + PATIENCE;
    while reader.position().next_offset < 3 {
        assert_ne!(poll(&mut reader, 10, &mut read), Poll::Finished);
        assert!(Instant::now() < end, "stays at {:?}", reader.position());
    }
    let position = reader.position();
    assert_eq!((read.values.concat().as_str(), position.next_offset), ("ab", 3));
    drop(reader);
    broker.drop_before("quiet", 0, 3);
    let mut reader = source.open("partition-0", Some(position)).unwrap();
    transaction(broker, "quiet", &["c"], true);
    while read.len() < 3 {
        poll(&mut reader, 10, &mut read);
        assert!(Instant::now() < end);
    }
    assert_eq!(read.values[2], "c");
}

#[test]
fn a_position_out_of_range_is_refused() {
    let Some(broker) = broker() else { return };
    broker.create("range", 1);
    let mut writer = broker.kafka().sink("range", Text).open(0).unwrap();
    write(&mut *writer, (0..10).map(|number| number.to_string()).collect());
    writer.stage(Epoch(1)).unwrap();
    broker.drop_before("range", 0, 4);
    let source = broker.kafka().source("range", Text).until_end();
    for offset in [3, 11] {
        let refused = refusal(source.open("partition-0", Some(KafkaPosition { next_offset: offset })));
        let expected =
            KafkaError::OutOfRange { topic: "range".into(), partition: 0, offset, low: 4, high: 10 };
        assert_eq!(refused, expected);
    }
    assert_eq!(read_to_end(&source, "partition-0").values.len(), 6);
    let latest = broker.kafka().source("range", Text).from_latest();
    assert_eq!(latest.open("partition-0", None).unwrap().position().next_offset, 10);
}

#[test]
fn a_topic_made_anew_under_a_reader_is_an_error() {
    let Some(broker) = broker() else { return };
    broker.create("anew", 1);
    let mut writer = broker.kafka().sink("anew", Text).open(0).unwrap();
    write(&mut *writer, vec!["x".to_owned(); 10]);
    writer.stage(Epoch(1)).unwrap();
    let mut reader = broker.kafka().source("anew", Text).open("partition-0", None).unwrap();
    let mut read = Polled::default();
    let end = Instant::now() + PATIENCE;
    while read.len() < 10 {
        poll(&mut reader, 10, &mut read);
        assert!(Instant::now() < end);
    }
    wait(broker.admin().delete_topics(&["anew"], &AdminOptions::new())).unwrap();
    thread::sleep(Duration::from_secs(1));
    broker.create("anew", 1);
    let failed = loop {
        match reader.poll(10, &mut read) {
            Ok(_) => thread::sleep(Duration::from_millis(1)),
            Err(cause) => break kafka_error(cause),
        }
        assert!(Instant::now() < end, "no error; {} records", read.len());
    };
    assert!(matches!(failed, KafkaError::Read { offset: 10, .. }), "{failed}");
    assert_eq!(read.len(), 10);
}

#[test]
fn what_does_not_exist_is_refused_and_not_made() {
    let Some(broker) = broker() else { return };
    broker.create("one", 1);
    let source = broker.kafka().source("nowhere", Text);
    for refused in [refusal(source.splits()), refusal(source.open("partition-0", None))] {
        assert_eq!(
            refused,
            KafkaError::UnknownTopic { topic: "nowhere".into(), brokers: broker.address.clone() }
        );
    }
    let refused = refusal(broker.kafka().sink("nowhere", Text).open(0));
    assert!(matches!(refused, KafkaError::UnknownTopic { .. }), "{refused}");
    for split in ["partition-1", "partition-", "one"] {
        let refused = refusal(broker.kafka().source("one", Text).open(split, None));
        assert!(matches!(refused, KafkaError::UnknownPartition { partitions: 1, .. }), "{refused}");
    }
    assert!(matches!(refusal(source.splits()), KafkaError::UnknownTopic { .. }));
}

#[test]
fn bad_records_say_where_they_came_from() {
    let Some(broker) = broker() else { return };
    broker.create("bad", 3);
    let producer: BaseProducer = broker.settings().create().unwrap();
    for payload in [Some("1"), Some("{"), None, Some("2")] {
        let mut record = BaseRecord::<str, str>::to("bad").key("k").partition(2);
        record.payload = payload;
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let source = broker.kafka().source("bad", Json::<u64>::new()).until_end();
    let read = read_to_end(&source, "partition-2");
    assert_eq!(read.values, [1, 2]);
    assert_eq!(read.bad.len(), 2);
    assert_eq!((read.bad[0].0, read.bad[0].1.origin.to_string()), (1, "bad partition 2 offset 1".to_owned()));
    assert_eq!(read.bad[0].1.raw, b"{");
    assert_eq!(read.bad[1].1.origin.to_string(), "bad partition 2 offset 2");
    assert_eq!(read.bad[1].1.reason, "no payload");
    let source = broker.kafka().source("bad", Raw).until_end().tombstones(Tombstones::Empty);
    assert_eq!(read_to_end(&source, "partition-2").values, [&b"1"[..], b"{", b"", b"2"]);
}

#[test]
fn a_record_that_cannot_be_written_is_named() {
    let Some(broker) = broker() else { return };
    broker.create("large", 1);
    let kafka = broker.kafka().setting("message.max.bytes", "2000");
    let mut writer = kafka.sink("large", Text).open(3).unwrap();
    let mut batch = Batch::untimed(vec!["x".to_owned(), "y".repeat(3000)]);
    let refused = kafka_error(writer.write(&mut batch).unwrap_err());
    assert!(matches!(refused, KafkaError::Encode { record: 2, worker: 3, .. }), "{refused}");
}

#[test]
fn a_full_queue_makes_the_writer_wait_and_loses_nothing() {
    let Some(broker) = broker() else { return };
    broker.create("narrow", 1);
    let kafka = broker.kafka().setting("queue.buffering.max.messages", "10");
    let mut writer = kafka.sink("narrow", Json::new()).open(0).unwrap();
    let mut was_busy = false;
    for chunk in numbers(2000).chunks(100) {
        write(&mut *writer, chunk.to_vec());
        was_busy |= !writer.ready();
    }
    writer.stage(Epoch(1)).unwrap();
    assert!(was_busy);
    let source = broker.kafka().source("narrow", Json::<(u64, u64)>::new()).until_end();
    assert_complete(&[read_to_end(&source, "partition-0").values], 2000);
}

/// Takes what a reader has until `count` records are there.
fn collect(reader: &mut BoxedReader<(u64, u64)>, read: &mut Polled<(u64, u64)>, count: usize) {
    let end = Instant::now() + PATIENCE;
    while read.len() < count {
        poll(reader, 100, read);
        assert!(Instant::now() < end, "{} of {count} records", read.len());
    }
}

#[test]
fn a_broker_that_is_killed_and_comes_back_loses_nothing() {
    let Some(broker) = Broker::start("killed") else { return };
    broker.create("killed", 1);
    let source = broker.kafka().source("killed", Json::<(u64, u64)>::new());
    let mut reader = source.open("partition-0", None).unwrap();
    let mut read = Polled::default();
    let mut writer = broker.kafka().sink("killed", Json::new()).open(0).unwrap();
    let all = numbers(6000);
    write(&mut *writer, all[..2000].to_vec());
    writer.stage(Epoch(1)).unwrap();
    collect(&mut reader, &mut read, 1000);

    write(&mut *writer, all[2000..3000].to_vec());
    broker.kill();
    write(&mut *writer, all[3000..4000].to_vec());
    for _ in 0..20 {
        poll(&mut reader, 10, &mut read);
    }
    thread::scope(|scope| {
        scope.spawn(|| broker.start_again());
        writer.stage(Epoch(2)).unwrap();
    });
    write(&mut *writer, all[4000..].to_vec());
    writer.stage(Epoch(3)).unwrap();
    collect(&mut reader, &mut read, 6000);
    assert_complete(&[read.values], 6000);
}

#[test]
fn a_broker_that_stays_away_is_an_error_with_its_address() {
    let Some(broker) = Broker::start("gone") else { return };
    broker.create("gone", 1);
    let sink = broker.kafka().sink("gone", Text).drain_timeout(Duration::from_secs(1));
    let mut writer = sink.open(0).unwrap();
    broker.kill();
    write(&mut *writer, vec!["x".to_owned()]);
    let failed = kafka_error(writer.stage(Epoch(1)).unwrap_err());
    assert!(matches!(failed, KafkaError::Drain { open: 1, .. }), "{failed}");
    let refused = refusal(broker.kafka().source("gone", Text).splits());
    assert!(refused.to_string().contains(&broker.address), "{refused}");
    assert!(matches!(refused, KafkaError::Unreachable { .. }), "{refused}");
}

#[test]
fn settings_that_would_break_a_guarantee_are_refused() {
    let set = |name: &str, value: &str| Kafka::at("127.0.0.1:1").setting(name, value);
    for (name, value) in [
        ("enable.auto.commit", "true"),
        ("enable.auto.offset.store", "true"),
        ("auto.offset.reset", "latest"),
        ("isolation.level", "read_uncommitted"),
        ("group.id", "g"),
        ("bootstrap.servers", "elsewhere:1"),
        ("no.such.setting", "x"),
    ] {
        let refused = refusal(set(name, value).source("t", Text).splits());
        assert!(matches!(&refused, KafkaError::Setting { setting, .. } if setting == name), "{refused}");
    }
    for (name, value) in [
        ("enable.idempotence", "false"),
        ("acks", "1"),
        ("request.required.acks", "0"),
        ("delivery.report.only.error", "true"),
        ("transactional.id", "mine"),
        ("metadata.broker.list", "elsewhere:1"),
    ] {
        let refused = refusal(set(name, value).sink("t", Text).recover(Epoch(0), &[]));
        assert!(matches!(&refused, KafkaError::Setting { setting, .. } if setting == name), "{refused}");
    }
    for (name, value) in [("acks", "-1"), ("acks", "ALL"), ("enable.idempotence", "true")] {
        set(name, value).sink("t", Text).recover(Epoch(0), &[]).unwrap();
    }
}

#[test]
fn secrets_are_not_shown() {
    let secret = "canary-4711";
    let kafka = Kafka::at("127.0.0.1:1").group("g").setting("sasl.password", secret);
    let mut shown = format!("{kafka:?} {:?}", kafka.source("t", Text));
    shown += &format!("{:?}", kafka.sink::<String>("t", Text));
    assert!(shown.contains("sasl.password"));
    for name in ["ssl.key.pem", "ssl.certificate.pem", "security.protocol", "acks", "sasl.mechanisms", secret]
    {
        let wrong = kafka.clone().setting("security.protocol", "ssl").setting(name, secret);
        let error = match wrong.sink("t", Text).recover(Epoch(0), &[]) {
            Err(cause) => kafka_error(cause),
            Ok(()) => continue,
        };
        if name != secret {
            shown += &format!("{error} {error:?}");
        }
    }
    assert!(shown.contains("cannot be used"));
    assert!(!shown.contains(secret), "{shown}");
}
