//! The input topic, and what became of it in an output topic.
//!
//! A record is JSON of some 110 bytes, made from its number alone. It is its bytes that are compared, by number and
//! by the sum of their hashes: in whatever order and partition they arrived. It does not know who copied them.

use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use crate::PARTITIONS;

/// How long writing or reading may stand still.
const PATIENCE: Duration = Duration::from_secs(60);

/// A record. Written as JSON and read again it has the same bytes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Visit {
    id: u64,
    user: String,
    page: String,
    at: i64,
    bytes: u32,
    secure: bool,
}

impl Visit {
    fn numbered(id: u64) -> Visit {
        let mixed = (id ^ (id >> 7)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Visit {
            id,
            user: format!("user-{:06}", (mixed >> 20) % 100_000),
            page: format!("/products/{:05}", (mixed >> 40) % 10_000),
            at: 1_700_000_000_000 + id as i64,
            bytes: (mixed >> 44) as u32,
            secure: mixed & 1 == 0,
        }
    }
}

/// How many records there are, and the sum of their hashes and lengths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub count: u64,
    hashes: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, payload: &[u8]) {
        let mut hasher = FixedState::with_seed(0).build_hasher();
        hasher.write(payload);
        self.count += 1;
        self.hashes = self.hashes.wrapping_add(hasher.finish());
        self.bytes += payload.len() as u64;
    }

    pub fn bytes_a_record(&self) -> u64 {
        self.bytes / self.count.max(1)
    }
}

/// Writes the input.
pub fn fill(brokers: &str, topic: &str, records: u64) -> Result<Sum, KafkaError> {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let mut sum = Sum::default();
    let mut payload = Vec::new();
    for id in 0..records {
        payload.clear();
        serde_json::to_writer(&mut payload, &Visit::numbered(id)).expect("a visit can be written");
        sum.add(&payload);
        let partition = (id % PARTITIONS as u64) as i32;
        let mut record = BaseRecord::<(), [u8]>::to(topic).payload(&payload).partition(partition);
        while let Err((error, back)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error);
            }
            record = back;
            producer.poll(Duration::from_millis(1));
        }
    }
    producer.flush(PATIENCE)?;
    Ok(sum)
}

/// Reads all committed records of a topic.
pub fn sum_up(brokers: &str, topic: &str, partitions: i32) -> Result<Sum, KafkaError> {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", brokers).set("group.id", "check").set("enable.auto.commit", "false");
    settings.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = settings.create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let mut sum = Sum::default();
    let mut ended = 0;
    let mut moved = Instant::now();
    while ended < partitions {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => sum.add(message.payload().unwrap_or_default()),
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(error),
            None if moved.elapsed() < PATIENCE => continue,
            None => return Err(KafkaError::Canceled),
        }
        moved = Instant::now();
    }
    Ok(sum)
}
