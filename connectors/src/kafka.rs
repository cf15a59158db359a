//! Kafka: topics as sources and sinks.
//!
//! A source reads each partition from an explicit offset that the engine keeps in its epochs. A sink writes with an
//! idempotent producer and calls an epoch durable when the brokers have acknowledged its last record. With
//! [`exactly_once`](Kafka::exactly_once) sinks write in transactions, and the group's offsets, which are part of
//! them, say what was decided; without it they are written for monitoring tools only, if a group is named.
//!
//! Invariants: reading from a position delivers exactly what was delivered after it, or fails; a record that was
//! taken is acknowledged by the end of [`stage`](highwater_operators::sink::Writer::stage), or that fails. Offsets
//! have holes (aborted transactions, commit markers, compaction), so nothing here counts records.
//!
//! Without transactions a sink is *at least once*: what a process wrote after its last committed epoch is written
//! again by the next one. This module knows neither epochs' contents nor workers' threads, creates no topic unless
//! [`topic`](Kafka::topic) says so, and does not notice one that was deleted and made again under the same name unless
//! the offsets give it away.
//!
//! ```no_run
//! use highwater_connectors::kafka::Kafka;
//! use highwater_operators::codec::Json;
//!
//! let kafka = Kafka::at("localhost:9092").setting("security.protocol", "ssl");
//! let clicks = kafka.source("clicks", Json::<u64>::new()).from_latest();
//! let views = kafka.sink("views", Json::<u64>::new()).key(|views| views.to_be_bytes().to_vec());
//! # let _ = (clicks, views);
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use highwater_operators::codec::{Decode, Encode};

mod client;
mod dead_letters;
mod delivery;
mod ends;
mod error;
mod fetched;
mod group;
pub mod marker;
mod outgoing;
mod reader;
mod secrets;
mod send_batch;
mod settings;
mod sink;
mod source;
mod topic;
mod transactions;

use transactions::Transactions;

pub use error::KafkaError;
pub use limits::*;
pub use reader::KafkaPosition;
pub use sink::{Headers, KafkaSink};
pub use source::{KafkaSource, Tombstones};

/// Every limit of this module: its unit, its default and the reason for it.
mod limits {
    use std::time::Duration;

    /// How long a question to the cluster may take in all (partitions of a topic, its first and last offset),
    /// with tries again: 10 seconds, longer than a broker's restart hides a leader, shorter than patience.
    pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

    /// How long a sink waits for the acknowledgements of an epoch unless
    /// [`drain_timeout`](super::KafkaSink::drain_timeout) says otherwise: 60 seconds, longer than a broker takes
    /// to restart or a partition to change its leader.
    pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

    /// How many records of one writer may wait for their acknowledgement before it is not ready, unless
    /// [`in_flight`](super::KafkaSink::in_flight) says otherwise: 8192, 800 000 a second where an answer takes 10 ms.
    /// More do not make a broker faster: they lengthen the end of an epoch, which waits for all of them, and an
    /// idempotent producer with a request under way looks for its answer without a pause while the next is ready.
    pub const IN_FLIGHT_RECORDS: usize = 8192;

    /// How long a record waits for others to be sent with it, in milliseconds: 1 in place of librdkafka's 5, which
    /// every end of an epoch waits for. A writer hands over a batch at a time, so that requests are large without it.
    /// Changed with the setting `linger.ms`.
    pub const LINGER_MS: u32 = 1;

    /// How much a sink's producer queues, in KiB: 64 MiB in place of librdkafka's 1 GiB, enough for 0.1 s of a
    /// fast disk. Raise it with the setting `queue.buffering.max.kbytes`.
    pub const PRODUCER_QUEUE_KIB: u32 = 64 * 1024;

    /// How much is fetched ahead for each partition, in KiB: 8 MiB in place of librdkafka's 64 MiB, because each
    /// partition has a queue of its own. Raise it with the setting `queued.max.messages.kbytes`.
    pub const PREFETCH_KIB: u32 = 8 * 1024;

    /// How long fetching rests when a partition's queue is full, in milliseconds: 10 in place of librdkafka's 1000,
    /// in which a reader empties the queue and then waits: reading 100 MB/s took six times as long. Changed with
    /// the setting `fetch.queue.backoff.ms`.
    pub const PREFETCH_LOOK_MS: u32 = 10;

    /// How often consumers ask for the partitions of their topics, in milliseconds: every minute, as often as
    /// `Job::split_interval` has a job ask, in place of librdkafka's 5 minutes. It is how instances that share their
    /// input learn of partitions that were added. Changed with the setting `topic.metadata.refresh.interval.ms`.
    pub const METADATA_REFRESH_MS: u32 = 60_000;

    /// How often a consumer says where its partitions end, in milliseconds: every 5 seconds, which is how old a
    /// consumer lag may be; it is some KiB of text for each partition. Changed with the setting
    /// `statistics.interval.ms`; with 0 no lag is known.
    pub const STATISTICS_MS: u32 = 5_000;

    /// How long brokers keep a transaction open at least that nobody ends: 60 seconds, longer than an epoch that
    /// waits for a broker's restart. Readers of committed records wait so long for what a process left open that
    /// died and was not started again.
    pub const TRANSACTION_TIMEOUT_MIN: Duration = Duration::from_secs(60);

    /// How long a transaction may be open at most because an epoch may take as long: 15 minutes, what brokers allow
    /// unless their `transaction.max.timeout.ms` says otherwise.
    pub const TRANSACTION_TIMEOUT_MAX: Duration = Duration::from_secs(900);

    /// How many epoch intervals a transaction may stay open at least: 10. Brokers allow 15 minutes unless their
    /// `transaction.max.timeout.ms` says otherwise, so intervals up to 90 seconds.
    pub const TRANSACTION_INTERVALS: u32 = 10;

    /// How long a start waits for the brokers to end what an earlier instance left open: 30 seconds, longer than the
    /// coordinator of transactions takes to move to another broker.
    pub const TAKE_OVER_TIMEOUT: Duration = Duration::from_secs(30);

    /// How long a job that ends waits for the abort of its open transaction: 5 seconds; the brokers do it in time
    /// otherwise.
    pub const ABORT_TIMEOUT: Duration = Duration::from_secs(5);

    /// After how many epochs the brokers' epoch marker is compared with ours: 100, one question of a few milliseconds.
    pub const CHECK_EPOCHS: u64 = 100;

    /// How long a rebalance waits for the epoch to end: 60 seconds, a fifth of `max.poll.interval.ms`, after which
    /// the group gives up the member.
    pub const REVOKE_TIMEOUT: Duration = Duration::from_secs(60);
}

/// A Kafka cluster, and how to talk to it.
///
/// Connects to nothing until a source or sink made from it starts.
#[derive(Clone)]
pub struct Kafka {
    brokers: String,
    group: Option<String>,
    settings: BTreeMap<String, String>,
    transactions: Option<Arc<Transactions>>,
}

/// Shows names of settings only: their values may be secrets.
impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka")
            .field("brokers", &self.brokers)
            .field("group", &self.group)
            .field("settings", &self.settings.keys().collect::<Vec<_>>())
            .field("exactly_once", &self.transactions.is_some())
            .finish()
    }
}

impl Kafka {
    /// The cluster that these brokers belong to: `host:port`, several with commas.
    ///
    /// An address has no user and no password: what stands before an `@` is forgotten here, and the source or sink
    /// refuses to start. They are the settings `sasl.username` and `sasl.password`.
    pub fn at(brokers: impl Into<String>) -> Self {
        Kafka {
            brokers: secrets::without_users(&brokers.into()),
            group: None,
            settings: BTreeMap::new(),
            transactions: None,
        }
    }

    /// Sets any setting of librdkafka: `security.protocol`, `sasl.password`, `compression.codec`. A later value
    /// replaces an earlier one. Values appear neither in `Debug` nor in errors.
    ///
    /// What the guarantees rest on cannot be set to anything else; the source or sink then refuses to start with
    /// [`KafkaError::Setting`]. For a source: `enable.auto.commit`, `enable.auto.offset.store`, `auto.offset.reset`,
    /// `isolation.level`, `enable.partition.eof`; for a sink: `enable.idempotence`, `acks`,
    /// `delivery.report.only.error`, `transactional.id`, `transaction.timeout.ms`; for both: `bootstrap.servers` and
    /// `group.id`, which have methods. A setting that only consumers know is ignored by sinks, and the reverse.
    ///
    /// What is set here goes before what this module sets for reasons of size and habit:
    /// `queued.max.messages.kbytes` ([`PREFETCH_KIB`]), `fetch.queue.backoff.ms` ([`PREFETCH_LOOK_MS`]),
    /// `topic.metadata.refresh.interval.ms` ([`METADATA_REFRESH_MS`]),
    /// `statistics.interval.ms` ([`STATISTICS_MS`]),
    /// `queue.buffering.max.kbytes` ([`PRODUCER_QUEUE_KIB`]), `linger.ms` ([`LINGER_MS`]),
    /// `partitioner` (`murmur2_random`: a key goes to the partition where Java's clients put it) and
    /// `allow.auto.create.topics` (`false`).
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.insert(name.into(), value.into());
        self
    }

    /// Names the consumer group whose offsets show how far sources have read: after each committed epoch the
    /// positions are committed to it, for monitoring. Recovery never reads them, and a failed commit is logged
    /// and nothing else. Without a name nothing is committed.
    ///
    /// Partitions are assigned by the engine: no other consumer may subscribe with this group. With
    /// [`exactly_once`](Kafka::exactly_once) it is the group whose offsets the transactions commit, and its name is
    /// theirs unless this is called first.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Makes every record count exactly once: sinks made from this value and its clones write in transactions of this
    /// name, one an epoch, and the positions of its sources are part of them. Readers that read committed records only
    /// (`isolation.level=read_committed`) see an epoch as a whole or not at all.
    ///
    /// The name is the producer's `transactional.id`, and the consumer group whose offsets hold the positions and the
    /// epoch's marker, unless [`group`](Kafka::group) names another. It belongs to one program and its
    /// [state directory](https://docs.rs/highwater): a second instance with another directory is refused, one that is
    /// started in place of another fences it. A program that keeps no state and runs without a directory may have
    /// any number of instances, which share the partitions of its topics.
    ///
    /// One job at a time uses it. With access control the program needs to read its sinks' topics too, because the
    /// group's offsets on them hold the marker, and to write with transactional ids that begin with the name. Brokers,
    /// group and settings are the same for all clones. Costs one transaction of a few milliseconds an epoch; a
    /// record is visible at the end of its epoch.
    pub fn exactly_once(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.group.get_or_insert_with(|| name.clone());
        self.transactions = Some(Arc::new(Transactions::new(name)));
        self
    }

    fn clone_without_transactions(&self) -> Kafka {
        Kafka { transactions: None, ..self.clone() }
    }

    /// The records of a topic; only those of committed transactions.
    pub fn source<T: Send + 'static>(
        &self,
        topic: impl Into<String>,
        codec: impl Decode<T>,
    ) -> KafkaSource<T> {
        KafkaSource::new(self.clone(), topic.into(), codec)
    }

    /// Writes records to a topic, which must exist.
    pub fn sink<T: 'static>(&self, topic: impl Into<String>, codec: impl Encode<T>) -> KafkaSink<T> {
        KafkaSink::new(self.clone(), topic.into(), codec)
    }
}
