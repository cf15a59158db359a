//! The consumer that the readers of one source share, and what clients report on the side.
//!
//! Each partition has a queue of its own, so that readers on different workers do not see each other's records.
//! Invariant: a queue is taken out of the common one *before* its partition is assigned; librdkafka then never
//! puts a record into the common queue, where no reader looks for it.
//!
//! The client knows neither codecs nor positions' meaning; it asks the cluster and hands out queues.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as ClientError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::ends::Ends;
use super::fetched::{Gone, Queue};
use super::secrets::Secrets;
use super::{ANSWER_TIMEOUT, Kafka, KafkaError};

/// How long a question waits before it is asked again, where the answer was that a leader is not there yet.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// How many times a client's events are served before an answer is given up: what went wrong may stand behind some
/// thousand log lines, if the user asked for them. Milliseconds, where there are no events.
pub(super) const LAST_LOOKS: usize = 5000;

/// How many events of the common queue one call serves; a reader calls once per batch.
const EVENTS_PER_CALL: usize = 4;

/// What a client reported on the side: connections that broke, brokers that are down. All that librdkafka says goes
/// through here, and loses the values of secret settings.
pub(super) struct Troubles {
    brokers: String,
    secrets: Secrets,
    topic: String,
    /// Whether the user named a group; if not, what concerns the group is no trouble.
    group: bool,
    seen: Mutex<Seen>,
    count: AtomicU64,
}

#[derive(Default)]
struct Seen {
    last: Option<String>,
    /// The last time that brokers, or their certificates, were refused or refused us.
    last_refusal: Option<String>,
    last_for_good: Option<String>,
}

impl Troubles {
    pub(super) fn new(kafka: &Kafka, topic: &str, group: bool) -> Self {
        Troubles {
            brokers: kafka.brokers.clone(),
            secrets: kafka.secrets(),
            topic: topic.to_owned(),
            group,
            seen: Mutex::default(),
            count: AtomicU64::new(0),
        }
    }

    pub(super) fn brokers(&self) -> &str {
        &self.brokers
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// How many troubles there were so far.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn note(&self, code: Option<Code>, reason: &str) {
        let reason = &*self.secrets.hidden(reason);
        self.count.fetch_add(1, Ordering::Relaxed);
        if code == Some(Code::GroupAuthorizationFailed) && !self.group {
            tracing::debug!(topic = %self.topic, "no access to the group, which is not used: {reason}");
            return;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // That all brokers are down follows what each of them had, and says less.
        if code != Some(Code::AllBrokersDown) || seen.last.is_none() {
            seen.last = Some(reason.to_owned());
        }
        if matches!(code, Some(Code::Authentication | Code::SSL)) {
            seen.last_refusal = Some(reason.to_owned());
        }
        // A record that is larger than the client takes: every new try ends in the same way.
        let too_large = code == Some(Code::BadMessage) && reason.contains("receive.message.max.bytes");
        if too_large || code.is_some_and(is_for_good) {
            seen.last_for_good.get_or_insert_with(|| reason.to_owned());
        } else {
            tracing::warn!(brokers = %self.brokers, topic = %self.topic, "Kafka, tried again: {reason}");
        }
    }

    /// The last trouble, or this one if there was none.
    pub(super) fn last_or(&self, otherwise: &str) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.last.clone().unwrap_or_else(|| otherwise.to_owned())
    }

    /// Fails if the client cannot go on.
    pub(super) fn check(&self) -> Result<(), KafkaError> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match &seen.last_for_good {
            None => Ok(()),
            Some(reason) => Err(KafkaError::Failed {
                brokers: self.brokers.clone(),
                topic: self.topic.clone(),
                reason: reason.clone(),
            }),
        }
    }

    /// What a failed question about the topic means.
    pub(super) fn explain(&self, code: Option<Code>, otherwise: &str) -> KafkaError {
        match code {
            Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::InvalidTopic) => {
                KafkaError::UnknownTopic { topic: self.topic.clone(), brokers: self.brokers.clone() }
            }
            Some(code) if is_for_good(code) => KafkaError::Failed {
                brokers: self.brokers.clone(),
                topic: self.topic.clone(),
                reason: otherwise.to_owned(),
            },
            _ => self.unanswered(otherwise),
        }
    }

    /// Nobody answered: because nobody is there, or because we were not let in.
    fn unanswered(&self, otherwise: &str) -> KafkaError {
        let (brokers, topic, within) = (self.brokers.clone(), self.topic.clone(), ANSWER_TIMEOUT);
        match self.last_refusal() {
            Some(reason) => KafkaError::NotLetIn { brokers, topic, within, reason },
            None => KafkaError::Unreachable { brokers, topic, within, reason: self.last_or(otherwise) },
        }
    }

    /// The last time that there was no trust, since [`forget_refusals`](Troubles::forget_refusals).
    pub(super) fn last_refusal(&self) -> Option<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).last_refusal.clone()
    }

    fn forget_refusals(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).last_refusal = None;
    }

    pub(super) fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let message = self.secrets.hidden(message);
        if level as i32 > RDKafkaLogLevel::Warning as i32 {
            tracing::debug!(topic = %self.topic, "librdkafka {facility}: {message}");
        } else {
            tracing::warn!(topic = %self.topic, "librdkafka {facility}: {message}");
        }
    }

    pub(super) fn statistics(&self, statistics: &[u8]) {
        let statistics = String::from_utf8_lossy(statistics);
        tracing::trace!("librdkafka statistics: {}", self.secrets.hidden(&statistics));
    }

    pub(super) fn error(&self, error: &ClientError, reason: &str) {
        self.note(error.rdkafka_error_code(), reason);
    }
}

/// Whether trying again cannot help. A wrong password is not among them: a broker that dies during a handshake
/// is reported in the same way.
pub(super) fn is_for_good(code: Code) -> bool {
    matches!(
        code,
        Code::Fatal
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::UnsupportedSASLMechanism
            | Code::UnsupportedFeature
    )
}

/// Whether a partition goes on by itself after this. Everything else might skip records, and is an error.
pub(super) fn passes(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::TimedOutQueue
            | Code::BrokerDestroy
            | Code::DestroyBroker
            | Code::NodeUpdate
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::NetworkException
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
            | Code::KafkaStorageError
            | Code::ThrottlingQuotaExceeded
            | Code::UnknownBroker
            | Code::SSL
            | Code::Authentication
    )
}

/// Asks until there is an answer or the time is over.
pub(super) fn ask<T>(
    troubles: &Troubles,
    serve: impl Fn(),
    mut question: impl FnMut(Duration) -> Result<T, Code>,
) -> Result<T, KafkaError> {
    let end = Instant::now() + ANSWER_TIMEOUT;
    troubles.forget_refusals();
    loop {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let answer = question(left);
        serve();
        match answer {
            Ok(answer) => return Ok(answer),
            Err(code) if passes(code) && Instant::now() + ASK_AGAIN < end => std::thread::sleep(ASK_AGAIN),
            Err(code) => {
                (0..LAST_LOOKS).for_each(|_| serve());
                return Err(troubles.explain(Some(code), &code.to_string()));
            }
        }
    }
}

/// The partitions of a topic as the cluster names them, without making the topic.
pub(super) fn partitions_of<C: ClientContext>(
    client: &rdkafka::client::Client<C>,
    topic: &str,
    within: Duration,
) -> Result<Vec<i32>, Code> {
    let code = |error: ClientError| error.rdkafka_error_code().unwrap_or(Code::Fail);
    let metadata = client.fetch_metadata(Some(topic), within).map_err(code)?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return Err(Code::UnknownTopic);
    };
    if let Some(error) = found.error() {
        return Err(error.into());
    }
    if found.partitions().is_empty() {
        return Err(Code::UnknownTopic);
    }
    let mut partitions: Vec<i32> = found.partitions().iter().map(|partition| partition.id()).collect();
    partitions.sort_unstable();
    Ok(partitions)
}

/// Passes on what a consumer reports.
pub(super) struct ConsumerReports {
    troubles: Troubles,
    gone: Gone,
    ends: Ends,
}

impl ClientContext for ConsumerReports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.gone.hear(facility, message, &self.troubles.topic);
        self.troubles.log(level, facility, message);
    }

    fn error(&self, error: ClientError, reason: &str) {
        self.troubles.error(&error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.ends.hear(statistics, &self.troubles.topic);
        self.troubles.statistics(statistics);
    }
}

impl ConsumerContext for ConsumerReports {
    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::warn!(
                topic = %self.troubles.topic,
                "offsets were not committed to the group; monitoring lags, nothing is lost: {error}"
            );
        }
    }
}

/// The consumer of one source.
pub(super) struct Client {
    consumer: Arc<BaseConsumer<ConsumerReports>>,
    commits: bool,
    /// Where each partition that is begun at its end ended when it was begun for the first time.
    latest: Mutex<BTreeMap<i32, i64>>,
}

impl Client {
    pub(super) fn new(kafka: &Kafka, topic: &str) -> Result<Self, KafkaError> {
        let commits = kafka.group.is_some();
        let reports = ConsumerReports {
            troubles: Troubles::new(kafka, topic, commits),
            gone: Gone::default(),
            ends: Ends::default(),
        };
        let consumer =
            kafka.consumer_settings()?.create_with_context(reports).map_err(|error| kafka.refused(error))?;
        Ok(Client { consumer: Arc::new(consumer), commits, latest: Mutex::default() })
    }

    fn troubles(&self) -> &Troubles {
        &self.consumer.client().context().troubles
    }

    /// The topic's partitions.
    pub(super) fn partitions(&self) -> Result<Vec<i32>, KafkaError> {
        let topic = &self.troubles().topic;
        ask(
            self.troubles(),
            || self.drain_events(),
            |left| partitions_of(self.consumer.client(), topic, left),
        )
    }

    /// The first offset of a partition, and the one behind the last that can be read.
    pub(super) fn range(&self, partition: i32) -> Result<(i64, i64), KafkaError> {
        let topic = &self.troubles().topic;
        ask(
            self.troubles(),
            || self.drain_events(),
            |left| {
                let range = self.consumer.fetch_watermarks(topic, partition, left);
                range.map_err(|error| error.rdkafka_error_code().unwrap_or(Code::Fail))
            },
        )
    }

    /// Where a partition is begun at its end: at the end that it had when it was first begun in this process, because
    /// what came since may have been read in an epoch that was given up.
    pub(super) fn latest_at_first(&self, partition: i32, end: i64) -> i64 {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner).entry(partition).or_insert(end)
    }

    /// Begins to fetch a partition.
    pub(super) fn assign(&self, partition: i32, offset: i64) -> Result<Queue, KafkaError> {
        let topic = &self.troubles().topic;
        let held = self.consumer.assignment().map_err(|error| self.failed(&error.to_string()))?;
        if held.find_partition(topic, partition).is_some() {
            return Err(KafkaError::Taken { topic: topic.clone(), partition });
        }
        let queue = Queue::of(&self.consumer, topic, partition);
        let queue = queue.ok_or_else(|| self.failed("no queue for the partition"))?;
        self.consumer.client().context().gone.forget(partition);
        let list = self.list(partition, offset)?;
        self.consumer.incremental_assign(&list).map_err(|error| self.failed(&error.to_string()))?;
        Ok(queue)
    }

    /// Stops fetching a partition.
    pub(super) fn release(&self, partition: i32) {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.troubles().topic, partition);
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            tracing::debug!(partition, "the partition was not given back: {error}");
        }
    }

    /// Whether the brokers do not know a partition any more that is being fetched, as far as was served.
    pub(super) fn is_gone(&self, partition: i32) -> bool {
        self.consumer.client().context().gone.has(partition)
    }

    /// How many offsets lie between `next` and the end of the partition, if that has been told.
    pub(super) fn behind(&self, partition: i32, next: i64) -> Option<u64> {
        self.consumer.client().context().ends.behind(partition, next)
    }

    /// Serves call-backs and reports without waiting.
    pub(super) fn serve(&self) -> Result<(), KafkaError> {
        self.drain_events();
        self.troubles().check()
    }

    fn drain_events(&self) {
        for _ in 0..EVENTS_PER_CALL {
            if let Some(Ok(_)) = self.consumer.poll(Duration::ZERO) {
                // Only partitions without a queue of their own would deliver here, and there are none.
                tracing::error!(topic = %self.troubles().topic, "a record arrived beside its partition's queue");
                self.troubles().note(Some(Code::Fatal), "a record arrived beside its partition's queue");
            }
        }
    }

    /// Tells the group, if the user named one, how far a partition is read; does not wait for the outcome.
    pub(super) fn commit(&self, partition: i32, offset: i64) {
        if !self.commits {
            return;
        }
        let outcome = self.list(partition, offset).and_then(|list| {
            self.consumer.commit(&list, CommitMode::Async).map_err(|error| self.failed(&error.to_string()))
        });
        if let Err(error) = outcome {
            tracing::warn!("offsets were not committed to the group: {error}");
        }
    }

    fn list(&self, partition: i32, offset: i64) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.troubles().topic, partition, Offset::Offset(offset))
            .map_err(|error| self.failed(&error.to_string()))?;
        Ok(list)
    }

    fn failed(&self, reason: &str) -> KafkaError {
        KafkaError::Failed {
            brokers: self.troubles().brokers.clone(),
            topic: self.troubles().topic.clone(),
            reason: reason.to_owned(),
        }
    }
}
