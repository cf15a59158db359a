//! What can go wrong with Kafka, in words for the person who runs the job.
//!
//! No error holds the value of a setting: it may be a password.

use std::time::Duration;

use thiserror::Error;

/// Why a topic cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KafkaError {
    /// A setting is unknown, has a value that cannot be, or would break a guarantee.
    #[error("the Kafka setting `{setting}` cannot be used: {reason}")]
    Setting {
        /// Its name.
        setting: String,
        /// Why, without its value.
        reason: String,
    },
    /// The client could not be made of its settings.
    #[error("no client for the Kafka brokers {brokers}: {reason}")]
    Client {
        /// The brokers as they were given.
        brokers: String,
        /// What the client said.
        reason: String,
    },
    /// The cluster gave no answer.
    #[error(
        "the Kafka brokers {brokers} gave no answer about topic `{topic}` within {within:?}: {reason}; is the \
        address right, and does a broker run there?"
    )]
    Unreachable {
        /// The brokers as they were given.
        brokers: String,
        /// What was asked about.
        topic: String,
        /// How long was waited.
        within: Duration,
        /// The last trouble that was seen.
        reason: String,
    },
    /// The brokers did not accept who we are, or we did not accept who they are.
    #[error(
        "the Kafka brokers {brokers} were asked about topic `{topic}` for {within:?} and there is no trust between \
        them and this program: {reason}; look at the settings `security.protocol`, `sasl.mechanism`, `sasl.username`, \
        `sasl.password`, `ssl.ca.location` and `ssl.keystore.location`"
    )]
    NotLetIn {
        /// The brokers as they were given.
        brokers: String,
        /// What was asked about.
        topic: String,
        /// How long was tried.
        within: Duration,
        /// What the brokers or the client said.
        reason: String,
    },
    /// There is no such topic. It is never created by asking for it.
    #[error("the Kafka brokers {brokers} know no topic `{topic}`; create it, or correct the name")]
    UnknownTopic {
        /// The topic.
        topic: String,
        /// The brokers as they were given.
        brokers: String,
    },
    /// A topic was not made.
    #[error("topic `{topic}` cannot be made on the Kafka brokers {brokers}: {reason}")]
    NotMade {
        /// The topic.
        topic: String,
        /// The brokers as they were given.
        brokers: String,
        /// What the brokers said.
        reason: String,
    },
    /// There is no such partition.
    #[error("topic `{topic}` has no `{split}`; it has {partitions} partitions, named partition-0 and so on")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// What was asked for.
        split: String,
        /// How many there are.
        partitions: usize,
    },
    /// A partition is read twice through one source.
    #[error("topic `{topic}` partition {partition} is open already; a partition has one reader at a time")]
    Taken {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// A position is not in the topic: retention has dropped it, or it is another topic of the same name.
    #[error(
        "topic `{topic}` partition {partition} has no offset {offset}: it holds {low} to {high}; records in \
        between are lost to this job, so it does not go on by itself: start again without its state, or restore \
        the topic"
    )]
    OutOfRange {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The position: the next offset that was to be read.
        offset: i64,
        /// The first offset that is there.
        low: i64,
        /// The offset behind the last one that can be read.
        high: i64,
    },
    /// A partition cannot be read any further.
    #[error("topic `{topic}` partition {partition} cannot be read at offset {offset}: {reason}")]
    Read {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The next offset that was to be read.
        offset: i64,
        /// What the client said.
        reason: String,
    },
    /// The client has given up for good.
    #[error("the client of the Kafka brokers {brokers} for topic `{topic}` has given up: {reason}")]
    Failed {
        /// The brokers as they were given.
        brokers: String,
        /// The topic.
        topic: String,
        /// What it said.
        reason: String,
    },
    /// A record cannot be encoded.
    #[error("record {record} that worker {worker} took for topic `{topic}` cannot be written: {reason}")]
    Encode {
        /// The topic.
        topic: String,
        /// The worker.
        worker: usize,
        /// Which record since the start, counted from 1.
        record: u64,
        /// What the codec or the client said.
        reason: String,
    },
    /// A record was not acknowledged.
    #[error("topic `{topic}` did not take a record: {reason}")]
    Delivery {
        /// The topic.
        topic: String,
        /// What the brokers or the client said.
        reason: String,
        /// Whether a new try would fail in the same way.
        for_good: bool,
    },
    /// A transaction failed.
    #[error("the Kafka transactions `{transactions}` cannot {doing}: {reason}")]
    Transaction {
        /// Their name.
        transactions: String,
        /// What was being done.
        doing: &'static str,
        /// What the brokers or the client said.
        reason: String,
    },
    /// Another instance writes in these transactions now.
    #[error(
        "another instance has taken over the Kafka transactions `{transactions}` on {brokers}; this one has \
            stopped and written nothing since: run one instance of the program, or give each \
            transactions of its own name"
    )]
    Fenced {
        /// Their name.
        transactions: String,
        /// The brokers as they were given.
        brokers: String,
    },
    /// The brokers do not allow transactions as long as epochs need them.
    #[error(
        "the brokers do not allow the Kafka transactions `{transactions}` to stay open for {timeout:?}, which \
            epochs of {epoch_interval:?} need: shorten `Job::epoch_interval` and `Job::epoch_timeout`, or raise the \
            brokers' `transaction.max.timeout.ms`"
    )]
    TransactionTimeout {
        /// Their name.
        transactions: String,
        /// Time between two epochs.
        epoch_interval: Duration,
        /// How long a transaction may stay open.
        timeout: Duration,
    },
    /// Acknowledgements did not arrive in time.
    #[error(
        "{open} records for topic `{topic}` were not acknowledged by the Kafka brokers {brokers} within \
        {within:?}: {reason}"
    )]
    Drain {
        /// The brokers as they were given.
        brokers: String,
        /// The topic.
        topic: String,
        /// How many are open.
        open: usize,
        /// How long was waited.
        within: Duration,
        /// The last trouble that was seen.
        reason: String,
    },
}
