//! A topic as a sink, at least once.
//!
//! The writers of a sink share one producer; each counts its own records in flight, so that one worker's epoch
//! does not wait for another's records. Invariant: `stage` succeeds only when every record that its writer took
//! has been acknowledged by all replicas in sync, and a failed record is an error, never a log line.
//!
//! Nothing is staged: what is written is visible at once. A sink with transactions begins, and ends them in
//! [`Publish`]; the producer, the counting and the draining stay as they are.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use highwater_operators::batch::Batch;
use highwater_operators::codec::Encode;
use highwater_operators::error::Cause;
use highwater_operators::sink::{Publish, Sink, Writer};
use highwater_state::Epoch;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use super::client::{Troubles, ask, partitions_of};
use super::{DRAIN_TIMEOUT, IN_FLIGHT_RECORDS, Kafka, KafkaError};

/// How long one look for acknowledgements waits while draining; short, because the client waits all of it.
const LOOK: Duration = Duration::from_millis(1);

/// How many reports one call without waiting serves; a report covers a whole request's records.
const REPORTS_PER_CALL: usize = 8;

type KeyOf<T> = Arc<dyn Fn(&T) -> Vec<u8> + Send + Sync>;

/// Writes records to a topic, at least once. Made by [`Kafka::sink`].
///
/// Each record is one message; order is kept per partition and worker. Records go to partitions by the hash of
/// their key, or at random without one. After a crash, records that the last committed epoch does not cover are
/// written again. Nothing of a sink survives a restart, nor has to.
///
/// Clones, and the writers of all workers, share one producer, with up to
/// [`PRODUCER_QUEUE_KIB`](super::PRODUCER_QUEUE_KIB) of memory.
pub struct KafkaSink<T> {
    kafka: Kafka,
    topic: Arc<str>,
    codec: Arc<dyn Encode<T>>,
    key: Option<KeyOf<T>>,
    drain: Duration,
    producer: Arc<Mutex<Option<Arc<BaseProducer<ProducerReports>>>>>,
}

impl<T> Clone for KafkaSink<T> {
    fn clone(&self) -> Self {
        KafkaSink {
            kafka: self.kafka.clone(),
            topic: self.topic.clone(),
            codec: self.codec.clone(),
            key: self.key.clone(),
            drain: self.drain,
            producer: self.producer.clone(),
        }
    }
}

impl<T> fmt::Debug for KafkaSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSink")
            .field("kafka", &self.kafka)
            .field("topic", &self.topic)
            .field("has_key", &self.key.is_some())
            .field("drain", &self.drain)
            .finish_non_exhaustive()
    }
}

impl<T: 'static> KafkaSink<T> {
    pub(super) fn new(kafka: Kafka, topic: String, codec: impl Encode<T>) -> Self {
        KafkaSink {
            kafka,
            topic: topic.into(),
            codec: Arc::new(codec),
            key: None,
            drain: DRAIN_TIMEOUT,
            producer: Arc::default(),
        }
    }

    /// Gives each message a key: messages with equal keys go to one partition, the one where Java's clients would
    /// put them.
    pub fn key(mut self, key: impl Fn(&T) -> Vec<u8> + Send + Sync + 'static) -> Self {
        self.key = Some(Arc::new(key));
        self
    }

    /// How long an epoch may wait for the brokers' acknowledgements before the job fails; the default is
    /// [`DRAIN_TIMEOUT`]. Beyond librdkafka's `message.timeout.ms`, 5 minutes by default, it has no effect.
    pub fn drain_timeout(mut self, limit: Duration) -> Self {
        self.drain = limit;
        self
    }

    fn producer(&self) -> Result<Arc<BaseProducer<ProducerReports>>, KafkaError> {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = &*producer {
            return Ok(producer.clone());
        }
        let reports = ProducerReports(Troubles::new(&self.kafka.brokers, &self.topic, false));
        let settings = self.kafka.producer_settings()?;
        let made = settings.create_with_context(reports).map_err(|error| self.kafka.refused(error))?;
        Ok(producer.insert(Arc::new(made)).clone())
    }
}

impl<T: 'static> Publish for KafkaSink<T> {
    /// Checks the settings; there is nothing to recover.
    fn recover(&self, _: Epoch, _: &[Vec<u8>]) -> Result<(), Cause> {
        self.producer()?;
        Ok(())
    }

    /// Nothing is staged, so nothing is published.
    fn publish(&self, _: Epoch, _: &[Vec<u8>]) -> Result<(), Cause> {
        Ok(())
    }
}

impl<T: 'static> Sink<T> for KafkaSink<T> {
    /// Asks the cluster for the topic; waits up to [`ANSWER_TIMEOUT`](super::ANSWER_TIMEOUT).
    fn open(&self, worker: usize) -> Result<Box<dyn Writer<T>>, Cause> {
        let producer = self.producer()?;
        let troubles = &producer.context().0;
        ask(troubles, || serve(&producer), |left| partitions_of(producer.client(), &self.topic, left))?;
        Ok(Box::new(KafkaWriter {
            brokers: self.kafka.brokers.clone(),
            topic: self.topic.clone(),
            worker,
            codec: self.codec.clone(),
            key: self.key.clone(),
            drain: self.drain,
            producer,
            flight: Arc::default(),
            waiting: VecDeque::new(),
            scratch: Vec::new(),
            taken: 0,
        }))
    }
}

fn serve(producer: &BaseProducer<ProducerReports>) {
    for _ in 0..REPORTS_PER_CALL {
        producer.poll(Duration::ZERO);
    }
}

/// The records of one writer that the client has and the brokers have not acknowledged.
#[derive(Default)]
pub(super) struct Flight {
    open: AtomicUsize,
    failure: OnceLock<String>,
}

/// Passes on what a producer reports.
pub(super) struct ProducerReports(Troubles);

impl ClientContext for ProducerReports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: ClientError, reason: &str) {
        self.0.error(&error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        tracing::trace!("librdkafka statistics: {}", String::from_utf8_lossy(statistics));
    }
}

impl ProducerContext for ProducerReports {
    type DeliveryOpaque = Arc<Flight>;

    fn delivery(&self, result: &DeliveryResult<'_>, flight: Arc<Flight>) {
        if let Err((error, _)) = result {
            let _ = flight.failure.set(why(error));
        }
        // The failure is seen by whoever sees the count.
        flight.open.fetch_sub(1, Ordering::Release);
    }
}

fn why(error: &ClientError) -> String {
    match error.rdkafka_error_code() {
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => "the topic does not exist".to_owned(),
        Some(Code::MessageTimedOut) => "the brokers did not acknowledge it in time".to_owned(),
        Some(code) => code.to_string(),
        None => error.to_string(),
    }
}

/// A message that the client's queue had no room for.
struct Message {
    key: Option<Vec<u8>>,
    payload: Vec<u8>,
}

struct KafkaWriter<T> {
    brokers: String,
    topic: Arc<str>,
    worker: usize,
    codec: Arc<dyn Encode<T>>,
    key: Option<KeyOf<T>>,
    drain: Duration,
    producer: Arc<BaseProducer<ProducerReports>>,
    flight: Arc<Flight>,
    /// Behind everything that was sent; at most a batch, if `ready` is heeded.
    waiting: VecDeque<Message>,
    scratch: Vec<u8>,
    taken: u64,
}

impl<T: 'static> KafkaWriter<T> {
    /// Hands a message to the client; `false` if its queue is full.
    fn send(&self, key: Option<&[u8]>, payload: &[u8]) -> Result<bool, KafkaError> {
        self.flight.open.fetch_add(1, Ordering::Relaxed);
        let record = BaseRecord {
            topic: &self.topic,
            partition: None,
            payload: Some(payload),
            key,
            timestamp: None,
            headers: None,
            delivery_opaque: self.flight.clone(),
        };
        let Err((error, _)) = self.producer.send(record) else { return Ok(true) };
        self.flight.open.fetch_sub(1, Ordering::Relaxed);
        match error.rdkafka_error_code() {
            Some(Code::QueueFull) => Ok(false),
            Some(Code::MessageSizeTooLarge) => Err(self.refused(format!(
                "{} bytes are more than the setting `message.max.bytes` allows",
                payload.len()
            ))),
            _ => Err(KafkaError::Delivery { topic: self.topic.to_string(), reason: why(&error) }),
        }
    }

    /// The record that is next to be sent cannot be.
    fn refused(&self, reason: String) -> KafkaError {
        let behind = self.waiting.len().saturating_sub(1) as u64;
        let (topic, worker, record) = (self.topic.to_string(), self.worker, self.taken - behind);
        KafkaError::Encode { topic, worker, record, reason }
    }

    /// Hands over what waits, as far as there is room.
    fn send_waiting(&mut self) -> Result<(), KafkaError> {
        while let Some(message) = self.waiting.front() {
            if !self.send(message.key.as_deref(), &message.payload)? {
                break;
            }
            self.waiting.pop_front();
        }
        Ok(())
    }

    fn check(&self) -> Result<(), KafkaError> {
        if let Some(reason) = self.flight.failure.get() {
            return Err(KafkaError::Delivery { topic: self.topic.to_string(), reason: reason.clone() });
        }
        self.producer.context().0.check()
    }

    fn open(&self) -> usize {
        self.flight.open.load(Ordering::Acquire) + self.waiting.len()
    }

    fn take(&mut self, value: &T) -> Result<(), KafkaError> {
        self.taken += 1;
        self.scratch.clear();
        if let Err(reason) = self.codec.encode(value, &mut self.scratch) {
            let (topic, worker, record) = (self.topic.to_string(), self.worker, self.taken);
            return Err(KafkaError::Encode { topic, worker, record, reason });
        }
        let key = self.key.as_ref().map(|key| key(value));
        if !self.waiting.is_empty() || !self.send(key.as_deref(), &self.scratch)? {
            self.waiting.push_back(Message { key, payload: self.scratch.clone() });
        }
        Ok(())
    }
}

impl<T: 'static> Writer<T> for KafkaWriter<T> {
    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), Cause> {
        serve(&self.producer);
        self.check()?;
        self.send_waiting()?;
        batch.times.clear();
        for value in batch.values.drain(..) {
            self.take(&value)?;
        }
        Ok(())
    }

    /// Not ready while [`IN_FLIGHT_RECORDS`] wait for their acknowledgement or the client's queue is full. A writer
    /// that has failed is ready, so that the next call says why.
    fn ready(&mut self) -> bool {
        serve(&self.producer);
        if self.check().is_err() || self.send_waiting().is_err() {
            return true;
        }
        self.waiting.is_empty() && self.open() < IN_FLIGHT_RECORDS
    }

    /// Waits until everything is acknowledged, or the drain timeout is over.
    fn stage(&mut self, _: Epoch) -> Result<Vec<u8>, Cause> {
        let end = Instant::now() + self.drain;
        loop {
            serve(&self.producer);
            let open = self.open();
            self.check()?;
            if open == 0 {
                return Ok(Vec::new());
            }
            if Instant::now() >= end {
                let reason = self.producer.context().0.last_or("the brokers are slow");
                let (brokers, topic) = (self.brokers.clone(), self.topic.to_string());
                return Err(KafkaError::Drain { brokers, topic, open, within: self.drain, reason }.into());
            }
            self.send_waiting()?;
            self.producer.poll(LOOK);
        }
    }
}
