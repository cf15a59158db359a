//! The loop that a user writes: `poll`, then `send`, no transactions.
//!
//! It uses one thread of its own, and the sizes of queues that Highwater sets for its clients. What it sends waits
//! 5 ms for more, as librdkafka has it: with Highwater's 1 ms it is no faster. It asks for no idempotence. A record
//! that is not delivered ends it.

use std::time::Duration;

use highwater::connectors::kafka::{PREFETCH_KIB, PREFETCH_LOOK_MS, PRODUCER_QUEUE_KIB};
use highwater_benches::cpu::Taken;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::PARTITIONS;
use crate::mark::Mark;
use crate::records::Visit;
use crate::way::{Orders, warm};

/// After how many records the loop looks for delivery reports.
const RECORDS_A_LOOK: u64 = 1024;

const PATIENCE: Duration = Duration::from_secs(60);

struct Reports;

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            panic!("a record was not delivered: {error}");
        }
    }
}

pub fn bytes(orders: &Orders) -> Taken {
    copy(orders, |bytes, into| into.extend_from_slice(bytes))
}

pub fn json(orders: &Orders) -> Taken {
    copy(orders, |bytes, into| {
        let visit: Visit = serde_json::from_slice(bytes).expect("the input is JSON");
        serde_json::to_writer(into, &visit).expect("a visit can be written");
    })
}

fn copy(orders: &Orders, work: impl Fn(&[u8], &mut Vec<u8>)) -> Taken {
    let mark = Mark::behind(warm(orders.records));
    run(orders, &mark, work).unwrap_or_else(|error| panic!("the loop failed: {error}"));
    mark.taken()
}

fn clients(orders: &Orders) -> Result<(BaseConsumer, BaseProducer<Reports>), KafkaError> {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", &orders.brokers).set("group.id", "loop");
    settings.set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    settings.set("queued.max.messages.kbytes", PREFETCH_KIB.to_string());
    settings.set("fetch.queue.backoff.ms", PREFETCH_LOOK_MS.to_string());
    let consumer: BaseConsumer = settings.create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(&orders.input, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", &orders.brokers).set("acks", "all");
    settings.set("queue.buffering.max.kbytes", PRODUCER_QUEUE_KIB.to_string());
    Ok((consumer, settings.create_with_context(Reports)?))
}

fn run(orders: &Orders, mark: &Mark, work: impl Fn(&[u8], &mut Vec<u8>)) -> Result<(), KafkaError> {
    let (consumer, producer) = clients(orders)?;
    let mut payload = Vec::new();
    let mut taken = 0;
    while taken < orders.records {
        let Some(message) = consumer.poll(PATIENCE) else { continue };
        let message = message?;
        mark.pass();
        payload.clear();
        work(message.payload().unwrap_or_default(), &mut payload);
        send(&producer, &orders.output, &payload)?;
        taken += 1;
        if taken % RECORDS_A_LOOK == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(PATIENCE)
}

/// Sends a record, and waits while the producer's queue is full.
fn send(producer: &BaseProducer<Reports>, topic: &str, payload: &[u8]) -> Result<(), KafkaError> {
    let mut record = BaseRecord::<(), [u8]>::to(topic).payload(payload);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => record = back,
            Err((error, _)) => return Err(error),
        }
        producer.poll(Duration::from_millis(1));
    }
}
