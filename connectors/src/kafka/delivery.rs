//! What becomes of records that a producer has: delivered, or not and why.
//!
//! Invariant: a writer's flight counts each of its records from the moment the producer has it until its delivery
//! report was taken, and knows of the first that failed before it is not counted any more.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, DeliveryResult, ProducerContext};

use super::KafkaError;
use super::client::Troubles;

/// How many reports one call without waiting serves; a report covers a whole request's records.
const REPORTS_PER_CALL: usize = 8;

/// Takes delivery reports and what else the producer reports, without waiting.
pub(super) fn serve(producer: &BaseProducer<ProducerReports>) {
    for _ in 0..REPORTS_PER_CALL {
        producer.poll(Duration::ZERO);
    }
}

/// The records of one writer that the client has and the brokers have not acknowledged.
#[derive(Default)]
pub(super) struct Flight {
    open: AtomicUsize,
    failure: OnceLock<Failure>,
}

impl Flight {
    /// How many there are. Whoever sees that one has gone sees why it failed.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// So many more are with the client, or about to be.
    pub(super) fn add(&self, records: usize) {
        self.open.fetch_add(records, Ordering::Relaxed);
    }

    /// So many have left.
    pub(super) fn remove(&self, records: usize) {
        self.open.fetch_sub(records, Ordering::Release);
    }

    /// Why the first record failed that did.
    pub(super) fn failure(&self) -> Option<&Failure> {
        self.failure.get()
    }
}

/// Why a record was not taken.
#[derive(Clone)]
pub(super) struct Failure {
    reason: String,
    /// Whether it would not be the next time either.
    for_good: bool,
}

impl Failure {
    pub(super) fn of(error: &ClientError) -> Failure {
        let code = error.rdkafka_error_code();
        let for_good = code.is_some_and(|code| {
            matches!(
                code,
                Code::UnknownTopic
                    | Code::UnknownTopicOrPartition
                    | Code::TopicAuthorizationFailed
                    | Code::MessageSizeTooLarge
                    | Code::InvalidMessageSize
                    | Code::InvalidRecord
            )
        });
        Failure { reason: why(error), for_good }
    }

    pub(super) fn for_topic(&self, topic: &str) -> KafkaError {
        KafkaError::Delivery { topic: topic.to_owned(), reason: self.reason.clone(), for_good: self.for_good }
    }
}

/// Passes on what a producer reports.
pub(super) struct ProducerReports(pub(super) Troubles);

impl ClientContext for ProducerReports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: ClientError, reason: &str) {
        self.0.error(&error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.0.statistics(statistics);
    }
}

impl ProducerContext for ProducerReports {
    type DeliveryOpaque = Arc<Flight>;

    fn delivery(&self, result: &DeliveryResult<'_>, flight: Arc<Flight>) {
        if let Err((error, _)) = result {
            let _ = flight.failure.set(Failure::of(error));
        }
        flight.remove(1);
    }
}

fn why(error: &ClientError) -> String {
    match error.rdkafka_error_code() {
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
            "the topic does not exist".to_owned()
        }
        Some(Code::MessageSizeTooLarge) => {
            "it is larger than the topic's or the brokers' `max.message.bytes` allows".to_owned()
        }
        Some(Code::MessageTimedOut) => "the brokers did not acknowledge it in time".to_owned(),
        Some(code) => code.to_string(),
        None => error.to_string(),
    }
}
