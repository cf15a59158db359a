//! A topic as a sink: at least once, or exactly once in transactions.
//!
//! The writers of a sink share one producer; each counts its own records in flight, so that one worker's epoch
//! does not wait for another's records. Invariant: `stage` succeeds only when every record that its writer took
//! has been acknowledged by all replicas in sync, and a failed record is an error, never a log line.
//!
//! Without transactions nothing is staged: what is written is visible at once. With them it is visible when they
//! decide the epoch, and a writer takes nothing between its end of the epoch and the decision: there is one
//! transaction at a time, and what is written goes into it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use highwater_operators::batch::Batch;
use highwater_operators::codec::Encode;
use highwater_operators::decide::Decide;
use highwater_operators::error::Cause;
use highwater_operators::sink::{Publish, Sink, Writer};
use highwater_state::Epoch;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::client::{Troubles, ask, partitions_of};
use super::delivery::{Failure, Flight, ProducerReports, serve};
use super::outgoing::Outgoing;
use super::send_batch::{Outcome, Topic};
use super::transactions::{Instance, Transactions};
use super::{DRAIN_TIMEOUT, IN_FLIGHT_RECORDS, Kafka, KafkaError};

/// How long the writer sleeps between two looks for acknowledgements while it drains: 0.2 ms, which an epoch does not
/// notice and which costs 2 % of a core. Not a `poll` that waits: one of less than 2 ms does so by reading the clock
/// again and again, and takes the processor from the brokers' answers.
const LOOK: Duration = Duration::from_micros(200);

type KeyOf<T> = Arc<dyn Fn(&T) -> Vec<u8> + Send + Sync>;
type HeadersOf<T> = Arc<dyn Fn(&T) -> Headers + Send + Sync>;

/// What a record carries beside its key and value: names and bytes, in order.
pub type Headers = Vec<(&'static str, Vec<u8>)>;

/// Writes records to a topic: exactly once if its cluster was made with [`Kafka::exactly_once`], at least once if
/// not. Made by [`Kafka::sink`].
///
/// Each record is one message; order is kept per partition and worker. Records go to partitions by the hash of
/// their key, or at random without one. Without transactions records that the last committed epoch does not cover are
/// written again after a crash. Nothing of a sink survives a restart, nor has to.
///
/// Clones, and the writers of all workers, share one producer, with up to
/// [`PRODUCER_QUEUE_KIB`](super::PRODUCER_QUEUE_KIB) of memory.
pub struct KafkaSink<T> {
    kafka: Kafka,
    topic: Arc<str>,
    codec: Arc<dyn Encode<T>>,
    key: Option<KeyOf<T>>,
    headers: Option<HeadersOf<T>>,
    drain: Duration,
    in_flight: usize,
    producer: Arc<Mutex<Option<Arc<BaseProducer<ProducerReports>>>>>,
}

impl<T> Clone for KafkaSink<T> {
    fn clone(&self) -> Self {
        KafkaSink {
            kafka: self.kafka.clone(),
            topic: self.topic.clone(),
            codec: self.codec.clone(),
            key: self.key.clone(),
            headers: self.headers.clone(),
            drain: self.drain,
            in_flight: self.in_flight,
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
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

impl<T: 'static> KafkaSink<T> {
    pub(super) fn new(kafka: Kafka, topic: String, codec: impl Encode<T>) -> Self {
        if let Some(transactions) = &kafka.transactions {
            transactions.add_sink(&kafka, &topic);
        }
        KafkaSink {
            kafka,
            topic: topic.into(),
            codec: Arc::new(codec),
            key: None,
            headers: None,
            drain: DRAIN_TIMEOUT,
            in_flight: IN_FLIGHT_RECORDS,
            producer: Arc::default(),
        }
    }

    /// Gives each message a key: messages with equal keys go to one partition, the one where Java's clients would
    /// put them.
    pub fn key(mut self, key: impl Fn(&T) -> Vec<u8> + Send + Sync + 'static) -> Self {
        self.key = Some(Arc::new(key));
        self
    }

    /// Gives each message headers.
    pub fn headers(mut self, headers: impl Fn(&T) -> Headers + Send + Sync + 'static) -> Self {
        self.headers = Some(Arc::new(headers));
        self
    }

    /// How long an epoch may wait for the brokers' acknowledgements before the job fails; the default is
    /// [`DRAIN_TIMEOUT`]. Beyond librdkafka's `message.timeout.ms`, 5 minutes by default, it has no effect.
    pub fn drain_timeout(mut self, limit: Duration) -> Self {
        self.drain = limit;
        self
    }

    /// How many records of one worker may wait for the brokers' acknowledgement before it takes no more; the default
    /// is [`IN_FLIGHT_RECORDS`]. No more than this is written in the time of one answer: raise it where brokers are
    /// far away. At least 1; a batch is taken as a whole, so there may be one more of them.
    pub fn in_flight(mut self, records: usize) -> Self {
        self.in_flight = records.max(1);
        self
    }

    fn producer(&self) -> Result<Arc<BaseProducer<ProducerReports>>, KafkaError> {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = &*producer {
            return Ok(producer.clone());
        }
        let reports = ProducerReports(Troubles::new(&self.kafka, &self.topic, false));
        let settings = self.kafka.producer_settings()?;
        let made = settings.create_with_context(reports).map_err(|error| self.kafka.refused(error))?;
        Ok(producer.insert(Arc::new(made)).clone())
    }
}

impl<T: 'static> Publish for KafkaSink<T> {
    /// Checks the settings; there is nothing to recover.
    fn recover(&self, _: Epoch, _: &[Vec<u8>]) -> Result<(), Cause> {
        if self.kafka.transactions.is_none() {
            self.producer()?;
        }
        Ok(())
    }

    /// What was written is visible already.
    fn publish(&self, _: Epoch, _: &[Vec<u8>]) -> Result<(), Cause> {
        Ok(())
    }

    fn decider(&self) -> Option<Arc<dyn Decide>> {
        self.kafka.transactions.clone().map(|transactions| transactions as _)
    }
}

impl<T: 'static> Sink<T> for KafkaSink<T> {
    /// Asks the cluster for the topic; waits up to [`ANSWER_TIMEOUT`](super::ANSWER_TIMEOUT).
    fn open(&self, worker: usize) -> Result<Box<dyn Writer<T>>, Cause> {
        let way = match &self.kafka.transactions {
            None => Way::Plain(self.producer()?),
            Some(transactions) => Way::InTransactions {
                instance: transactions.instance()?,
                transactions: Arc::clone(transactions),
                staged_at: None,
            },
        };
        let producer = way.producer();
        let found = ask(
            &producer.context().0,
            || serve(producer),
            |left| partitions_of(producer.client(), &self.topic, left),
        );
        found.map_err(|error| way.failure(error))?;
        Ok(Box::new(KafkaWriter {
            brokers: self.kafka.brokers.clone(),
            topic: self.topic.clone(),
            worker,
            codec: self.codec.clone(),
            key: self.key.clone(),
            headers: self.headers.clone(),
            drain: self.drain,
            in_flight: self.in_flight,
            way,
            queue_bytes: self.kafka.queue_bytes(),
            written: 0,
            flight: Arc::default(),
            outgoing: Outgoing::default(),
            destination: None,
            refusal: None,
            taken: 0,
        }))
    }
}

/// How records go out.
enum Way {
    Plain(Arc<BaseProducer<ProducerReports>>),
    InTransactions {
        transactions: Arc<Transactions>,
        instance: Arc<Instance>,
        /// How many transactions had been committed when this writer ended its epoch; it takes nothing until there
        /// is one more.
        staged_at: Option<u64>,
    },
}

impl Way {
    fn producer(&self) -> &Arc<BaseProducer<ProducerReports>> {
        match self {
            Way::Plain(producer) => producer,
            Way::InTransactions { instance, .. } => &instance.producer,
        }
    }

    /// Whether records may be written; goes on with the next transaction if the last is decided.
    fn is_open(&mut self) -> Result<bool, KafkaError> {
        if let Way::InTransactions { transactions, instance, staged_at } = self
            && let Some(staged) = *staged_at
        {
            if transactions.decisions() == staged {
                return Ok(false);
            }
            *instance = transactions.instance()?;
            *staged_at = None;
        }
        Ok(true)
    }

    /// Nothing more is written until the epoch is decided.
    fn close(&mut self) {
        if let Way::InTransactions { transactions, staged_at, .. } = self {
            *staged_at = Some(transactions.decisions());
        }
    }

    fn begin(&self) -> Result<(), ClientError> {
        match self {
            Way::Plain(_) => Ok(()),
            Way::InTransactions { instance, .. } => instance.begin(),
        }
    }

    /// What an error means for the job.
    fn failure(&self, error: KafkaError) -> Cause {
        match self {
            Way::Plain(_) => error.into(),
            Way::InTransactions { transactions, instance, .. } => {
                let passes = match &error {
                    KafkaError::Drain { .. }
                    | KafkaError::Failed { .. }
                    | KafkaError::Unreachable { .. }
                    | KafkaError::NotLetIn { .. } => true,
                    KafkaError::Delivery { for_good, .. } => !for_good,
                    _ => false,
                };
                transactions.judge(instance, error, passes)
            }
        }
    }
}

struct KafkaWriter<T> {
    brokers: String,
    topic: Arc<str>,
    worker: usize,
    codec: Arc<dyn Encode<T>>,
    key: Option<KeyOf<T>>,
    headers: Option<HeadersOf<T>>,
    drain: Duration,
    in_flight: usize,
    way: Way,
    /// How much the client's queue holds.
    queue_bytes: u64,
    /// Records written in this epoch.
    written: u64,
    flight: Arc<Flight>,
    /// Behind everything that was sent; at most a batch, if `ready` is heeded.
    outgoing: Outgoing,
    /// The topic as the producer knows it, once something was sent.
    destination: Option<Topic>,
    /// Why a record was not taken and never will be.
    refusal: Option<KafkaError>,
    taken: u64,
}

impl<T: 'static> KafkaWriter<T> {
    /// Hands over what waits, as far as there is room.
    fn send_waiting(&mut self) -> Result<(), KafkaError> {
        if self.outgoing.is_empty() {
            return Ok(());
        }
        self.way.begin().map_err(|error| Failure::of(&error).for_topic(&self.topic))?;
        let outcome = if self.headers.is_some() { self.send_each() } else { self.send_all()? };
        self.outgoing.pass(outcome.taken);
        let Some(code) = outcome.refused else { return Ok(()) };
        let bytes = self.outgoing.iter().next().map_or(0, |(_, payload)| payload.len());
        let error = match code {
            Code::QueueFull if bytes as u64 <= self.queue_bytes => return Ok(()),
            // There will never be room for it.
            Code::QueueFull => self.refused(format!(
                "{bytes} bytes are more than the setting `queue.buffering.max.kbytes` allows"
            )),
            Code::MessageSizeTooLarge => {
                self.refused(format!("{bytes} bytes are more than the setting `message.max.bytes` allows"))
            }
            code => Failure::of(&ClientError::MessageProduction(code)).for_topic(&self.topic),
        };
        // It is not tried again: what stands behind it may have been taken.
        self.refusal = Some(error.clone());
        Err(error)
    }

    /// All in one call.
    fn send_all(&mut self) -> Result<Outcome, KafkaError> {
        let producer = self.way.producer();
        let destination = match self.destination.take() {
            Some(topic) if topic.is_of(producer) => topic,
            _ => Topic::of(producer, &self.topic).ok_or_else(|| {
                let (topic, brokers) = (self.topic.to_string(), self.brokers.clone());
                KafkaError::UnknownTopic { topic, brokers }
            })?,
        };
        let destination = self.destination.insert(destination);
        Ok(destination.send(self.outgoing.iter(), &self.flight))
    }

    /// One by one, with headers, which the call for many cannot take.
    fn send_each(&mut self) -> Outcome {
        let mut taken = 0;
        for (key, payload, headers) in self.outgoing.with_headers() {
            let headers = headers.map(|headers| {
                let with = |all: OwnedHeaders, (key, value): &(&'static str, Vec<u8>)| {
                    all.insert(Header { key, value: Some(value) })
                };
                headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), with)
            });
            let record = BaseRecord {
                topic: &self.topic,
                partition: None,
                payload: Some(payload),
                key,
                timestamp: None,
                headers,
                delivery_opaque: self.flight.clone(),
            };
            self.flight.add(1);
            if let Err((error, _)) = self.way.producer().send(record) {
                self.flight.remove(1);
                return Outcome { taken, refused: Some(error.rdkafka_error_code().unwrap_or(Code::Fail)) };
            }
            taken += 1;
        }
        Outcome { taken, refused: None }
    }

    /// The record that is next to be sent cannot be.
    fn refused(&self, reason: String) -> KafkaError {
        let behind = self.outgoing.len().saturating_sub(1) as u64;
        let (topic, worker, record) = (self.topic.to_string(), self.worker, self.taken - behind);
        KafkaError::Encode { topic, worker, record, reason }
    }

    fn check(&self) -> Result<(), KafkaError> {
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        if let Some(failure) = self.flight.failure() {
            return Err(failure.for_topic(&self.topic));
        }
        self.way.producer().context().0.check()
    }

    fn open(&self) -> usize {
        self.flight.open() + self.outgoing.len()
    }

    fn take(&mut self, value: &T) -> Result<(), KafkaError> {
        self.taken += 1;
        self.written += 1;
        let key = self.key.as_ref().map(|key| key(value));
        let headers = self.headers.as_ref().map(|headers| headers(value));
        self.outgoing.add(|into| self.codec.encode(value, into), key, headers).map_err(|reason| {
            let (topic, worker, record) = (self.topic.to_string(), self.worker, self.taken);
            KafkaError::Encode { topic, worker, record, reason }
        })
    }
}

impl<T: 'static> KafkaWriter<T> {
    fn write_all(&mut self, batch: &mut Batch<T>) -> Result<(), KafkaError> {
        serve(self.way.producer());
        self.check()?;
        batch.times.clear();
        batch.values.drain(..).try_for_each(|value| self.take(&value))?;
        self.send_waiting()
    }

    /// Waits until everything is acknowledged, or the drain timeout is over.
    fn drain(&mut self) -> Result<(), KafkaError> {
        let end = Instant::now() + self.drain;
        loop {
            serve(self.way.producer());
            let open = self.open();
            self.check()?;
            if open == 0 {
                return Ok(());
            }
            if Instant::now() >= end {
                let reason = self.way.producer().context().0.last_or("the brokers are slow");
                let (brokers, topic) = (self.brokers.clone(), self.topic.to_string());
                return Err(KafkaError::Drain { brokers, topic, open, within: self.drain, reason });
            }
            self.send_waiting()?;
            std::thread::sleep(LOOK);
        }
    }
}

impl<T: 'static> Writer<T> for KafkaWriter<T> {
    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), Cause> {
        self.write_all(batch).map_err(|error| self.way.failure(error))
    }

    /// Not ready while [`in_flight`](KafkaSink::in_flight) records wait for their acknowledgement, the client's
    /// queue is full, or the last epoch is not decided. A writer that has failed is ready, so that the next call
    /// says why.
    fn ready(&mut self) -> bool {
        match self.way.is_open() {
            Ok(true) => {}
            Ok(false) => return false,
            Err(_) => return true,
        }
        serve(self.way.producer());
        if self.check().is_err() || self.send_waiting().is_err() {
            return true;
        }
        self.outgoing.is_empty() && self.open() < self.in_flight
    }

    /// Waits until everything is acknowledged. In transactions the receipt is how many records that was.
    fn stage(&mut self, _: Epoch) -> Result<Vec<u8>, Cause> {
        self.way.is_open()?;
        self.drain().map_err(|error| self.way.failure(error))?;
        self.way.close();
        let written = std::mem::take(&mut self.written);
        let in_transactions = matches!(self.way, Way::InTransactions { .. });
        Ok(if in_transactions && written > 0 { written.to_be_bytes().to_vec() } else { Vec::new() })
    }
}
