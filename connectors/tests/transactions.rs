//! Which errors of the brokers a transaction is tried again after, and which end the job with what text.
//!
//! The brokers are librdkafka's, which answer a request with the error that a test asks for. They show which error
//! means what, and nothing else: they hide no aborted records and fence nobody, so whether transactions are right is
//! judged against real brokers only.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use highwater_connectors::kafka::{Kafka, KafkaError};
use highwater_operators::batch::Batch;
use highwater_operators::codec::Text;
use highwater_operators::decide::{Marker, Terms};
use highwater_operators::error::{Cause, TryAgain};
use highwater_operators::sink::{Publish, Sink};
use highwater_operators::source::{Polled, Source};
use highwater_state::Epoch;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey as Request, RDKafkaRespErr as Answer};

type Brokers = MockCluster<'static, DefaultProducerContext>;

const TERMS: Terms =
    Terms { epoch_interval: Duration::from_millis(100), epoch_timeout: Duration::from_secs(6) };

/// What follows from an error.
#[derive(Debug, PartialEq)]
enum Fate {
    /// The client does it again by itself.
    Nothing,
    /// The epoch is done again.
    Again,
    /// The job ends.
    Ends,
}
use Fate::{Again, Ends, Nothing};

fn brokers() -> Brokers {
    let brokers = MockCluster::new(1).unwrap();
    for topic in ["in", "out"] {
        brokers.create_topic(topic, 1, 1).unwrap();
    }
    brokers
}

/// One epoch from its take-over to its decision; while it runs, each request of the kind gets the answers.
fn epoch(request: Request, answers: &[Answer]) -> Result<(), Cause> {
    let brokers = brokers();
    let kafka = Kafka::at(brokers.bootstrap_servers()).exactly_once("views");
    let (source, sink) = (kafka.source("in", Text), kafka.sink::<String>("out", Text));
    let decider = Publish::decider(&sink).unwrap();
    let early = matches!(request, Request::InitProducerId);
    if early {
        brokers.request_errors(request, answers);
    }
    decider.take_over(&TERMS)?;
    let mut reader = source.open("partition-0", None)?;
    reader.poll(10, &mut Polled::default())?;
    let mut writer = sink.open(0)?;
    if !early {
        brokers.request_errors(request, answers);
    }
    let mut batch = Batch { values: vec!["a".to_owned(), "b".to_owned()], ..Batch::default() };
    writer.write(&mut batch)?;
    writer.stage(Epoch(1))?;
    reader.ends_epoch(Epoch(1));
    decider.stage(&Marker { epoch: Epoch(1), state: 1, instance: 1 })?;
    decider.decide(Epoch(1))?;
    Ok(())
}

fn fate(outcome: Result<(), Cause>) -> (Fate, String) {
    match outcome {
        Ok(()) => (Nothing, String::new()),
        Err(cause) if cause.is::<TryAgain>() => (Again, cause.to_string()),
        Err(cause) => (Ends, cause.to_string()),
    }
}

fn assert_fates(request: Request, fates: &[(Answer, usize, Fate, &str)]) {
    let mut wrong = Vec::new();
    for (answer, times, meant, part) in fates {
        let (found, text) = fate(epoch(request, &vec![*answer; *times]));
        println!("{request:?} {answer:?} x{times}: {found:?} {text}");
        if found != *meant || !text.contains(part) {
            wrong.push(format!("{answer:?} x{times}: {found:?} in place of {meant:?}: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{request:?}: {wrong:#?}");
}

#[test]
fn errors_of_produce() {
    use Answer::*;
    assert_fates(
        Request::Produce,
        &[
            (RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, 2, Nothing, ""),
            (RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, 2, Nothing, ""),
            (RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, 1, Ends, "`max.message.bytes`"),
            (RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, 1, Ends, "`out`"),
            (RD_KAFKA_RESP_ERR_INVALID_RECORD, 1, Ends, "`out`"),
            (RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, 1, Ends, "start the program again"),
            (RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID, 1, Again, "`out`"),
            (RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, 1, Again, "`views`"),
        ],
    );
}

#[test]
fn errors_of_adding_partitions() {
    use Answer::*;
    assert_fates(
        Request::AddPartitionsToTxn,
        &[
            (RD_KAFKA_RESP_ERR_NOT_COORDINATOR, 2, Nothing, ""),
            (RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, 2, Nothing, ""),
            (RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 2, Nothing, ""),
            (RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, 2, Nothing, ""),
            (RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, 1, Ends, "Topic authorization failed"),
            (RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, 1, Ends, "allow it on the brokers"),
            (RD_KAFKA_RESP_ERR_PRODUCER_FENCED, 1, Again, "`views`"),
            (RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, 1, Again, "`views`"),
            (RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, 1, Ends, "`views`"),
            (RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING, 1, Again, "not currently assigned"),
        ],
    );
}

#[test]
fn errors_of_adding_offsets() {
    use Answer::*;
    assert_fates(
        Request::AddOffsetsToTxn,
        &[
            (RD_KAFKA_RESP_ERR_NOT_COORDINATOR, 2, Nothing, ""),
            (RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 2, Nothing, ""),
            (RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, 2, Nothing, ""),
            (RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, 1, Ends, "add the positions"),
            (RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, 1, Ends, "allow it on the brokers"),
            (RD_KAFKA_RESP_ERR_PRODUCER_FENCED, 1, Again, "`views`"),
            (RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, 1, Ends, "`views`"),
            (RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING, 1, Again, ""),
        ],
    );
}

#[test]
fn errors_of_committing_offsets() {
    use Answer::*;
    assert_fates(
        Request::TxnOffsetCommit,
        &[
            (RD_KAFKA_RESP_ERR_NOT_COORDINATOR, 2, Nothing, ""),
            (RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 2, Nothing, ""),
            (RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, 2, Nothing, ""),
            (RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, 1, Again, "add the positions"),
            (RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, 1, Again, "add the positions"),
            (RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, 1, Again, "add the positions"),
            (RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, 1, Ends, "add the positions"),
            (RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE, 1, Ends, "add the positions"),
            (RD_KAFKA_RESP_ERR_PRODUCER_FENCED, 1, Again, "`views`"),
        ],
    );
}

#[test]
fn errors_of_committing() {
    use Answer::*;
    assert_fates(
        Request::EndTxn,
        &[
            (RD_KAFKA_RESP_ERR_NOT_COORDINATOR, 2, Nothing, ""),
            (RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, 2, Nothing, ""),
            (RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 2, Nothing, ""),
            (RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, 2, Nothing, ""),
            (RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID, 1, Again, ""),
            (RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING, 1, Again, ""),
            (RD_KAFKA_RESP_ERR_PRODUCER_FENCED, 1, Again, "`views`"),
            (RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, 1, Again, "`views`"),
            (RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, 1, Ends, "allow it on the brokers"),
            (RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, 1, Ends, "`views`"),
        ],
    );
}

#[test]
fn errors_of_a_take_over() {
    use Answer::*;
    assert_fates(
        Request::InitProducerId,
        &[
            (RD_KAFKA_RESP_ERR_NOT_COORDINATOR, 2, Nothing, ""),
            (RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 2, Nothing, ""),
            (RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, 2, Nothing, ""),
            (RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT, 1, Ends, "`transaction.max.timeout.ms`"),
            (RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, 1, Ends, "take over"),
            (RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, 1, Ends, "take over"),
        ],
    );
}

/// Every setting that exactly once rests on, set to something else: an error at the start that names it.
#[test]
fn settings_that_exactly_once_rests_on_are_refused() {
    let brokers = brokers();
    let both = [("bootstrap.servers", "x:1"), ("metadata.broker.list", "x:1"), ("group.id", "other")];
    let of_producers = [
        ("acks", "1"),
        ("acks", "0"),
        ("request.required.acks", "1"),
        ("enable.idempotence", "false"),
        ("delivery.report.only.error", "true"),
        ("transactional.id", "other"),
        ("transaction.timeout.ms", "900000"),
    ];
    let of_consumers = [
        ("isolation.level", "read_uncommitted"),
        ("enable.auto.commit", "true"),
        ("auto.commit.enable", "true"),
        ("enable.auto.offset.store", "true"),
        ("auto.offset.reset", "earliest"),
        ("auto.offset.reset", "latest"),
        ("enable.partition.eof", "false"),
    ];
    for (name, value) in both.into_iter().chain(of_producers).chain(of_consumers) {
        let kafka = Kafka::at(brokers.bootstrap_servers()).setting(name, value).exactly_once("views");
        let sink = kafka.sink::<String>("out", Text);
        let decider = Publish::decider(&sink).unwrap();
        // As a start does: it looks at the marker, then takes over.
        let started = decider.look(&TERMS).and_then(|_| decider.take_over(&TERMS));
        let cause = started.err().unwrap_or_else(|| panic!("`{name}` = `{value}` was taken"));
        assert!(!cause.is::<TryAgain>(), "{name}: {cause}");
        let refused = cause.downcast::<KafkaError>().unwrap();
        assert!(matches!(&*refused, KafkaError::Setting { setting, .. } if setting == name), "{refused}");
    }
}
