//! The consumer group behind transactions: whose offsets they commit, and who shares the input.
//!
//! Its consumer reads no records. Without a share it only asks for committed offsets and says in whose name
//! transactions commit them. When the input is shared it is the instance's member of the group: it is assigned
//! partitions, which it pauses and other clients read, and it holds up a revocation until the epoch has ended.
//!
//! Invariants: a revocation waits for [`let_go`](Group::let_go), but not longer than [`REVOKE_TIMEOUT`]; what is
//! committed in the name of a generation that is over is refused by the brokers. It knows neither transactions nor
//! positions.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata, Rebalance};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::client::{Troubles, ask, partitions_of};
use super::{ANSWER_TIMEOUT, Kafka, KafkaError, REVOKE_TIMEOUT};

/// How long one look for what the group wants waits.
const LOOK: Duration = Duration::from_millis(100);

/// A topic and the number of a partition.
pub(super) type Partition = (String, i32);

/// Which share of the input this instance has.
#[derive(Default)]
struct Share {
    partitions: BTreeSet<Partition>,
    /// The group wants the share back, and waits for it.
    called_back: bool,
    /// The share that is being read is not this instance's any more: the group did not wait.
    lost: bool,
    /// Nothing of the share is read at present.
    idle: bool,
    ended: bool,
    /// Why the group does not take this instance.
    refused: Option<String>,
}

impl Share {
    /// The group has given the partitions to others. Whoever reads them must not commit any more, also not as the
    /// member of a later generation that this instance is by then.
    fn is_lost(&mut self) {
        self.partitions.clear();
        self.lost = !self.idle;
    }
}

/// Passes on what the group wants.
pub(super) struct GroupReports {
    troubles: Troubles,
    share: Mutex<Share>,
    changed: Condvar,
}

impl GroupReports {
    fn share(&self) -> MutexGuard<'_, Share> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing of the share is read any more.
    fn wait_for_the_epoch(&self) {
        let end = Instant::now() + REVOKE_TIMEOUT;
        let mut share = self.share();
        share.called_back = true;
        while !share.idle && !share.ended {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::error!(
                    "the epoch did not end within {REVOKE_TIMEOUT:?} of a rebalance; it is given up, and its records \
                     are read by whoever has the partitions now"
                );
                share.lost = true;
                break;
            }
            let waited = self.changed.wait_timeout(share, left).unwrap_or_else(PoisonError::into_inner);
            share = waited.0;
        }
        share.partitions.clear();
        share.called_back = false;
    }
}

impl ClientContext for GroupReports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.troubles.log(level, facility, message);
    }

    fn error(&self, error: ClientError, reason: &str) {
        if error.rdkafka_error_code() == Some(Code::GroupAuthorizationFailed) {
            self.share().refused = Some(reason.to_owned());
            self.changed.notify_all();
        }
        self.troubles.error(&error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.troubles.statistics(statistics);
    }
}

impl ConsumerContext for GroupReports {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Revoke(_) if consumer.assignment_lost() => {
                tracing::warn!("the group has given this instance's partitions to others already");
                self.share().is_lost();
            }
            Rebalance::Revoke(_) => self.wait_for_the_epoch(),
            Rebalance::Error(error) => {
                tracing::warn!("a rebalance failed: {error}");
                self.share().is_lost();
            }
            Rebalance::Assign(_) => {}
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(assigned) = rebalance else { return };
        // Other clients read them.
        if let Err(error) = consumer.pause(assigned) {
            tracing::warn!("partitions could not be paused: {error}");
        }
        let elements = assigned.elements();
        let partitions = elements.iter().map(|element| (element.topic().to_owned(), element.partition()));
        let mut share = self.share();
        share.partitions = partitions.collect();
        tracing::info!(partitions = share.partitions.len(), "has a share of the input");
        self.changed.notify_all();
    }
}

/// A consumer group, seen by one instance.
pub(super) struct Group {
    consumer: Arc<BaseConsumer<GroupReports>>,
    stop: Arc<AtomicBool>,
    member: Mutex<Option<JoinHandle<()>>>,
}

impl Group {
    /// `topics` name the group's input in errors.
    pub(super) fn new(kafka: &Kafka, group: &str, topics: BTreeSet<String>) -> Result<Group, KafkaError> {
        let topic = topics.first().map(String::as_str).unwrap_or_default();
        let reports = GroupReports {
            troubles: Troubles::new(kafka, topic, true),
            share: Mutex::new(Share { idle: true, ..Share::default() }),
            changed: Condvar::new(),
        };
        let mut settings = kafka.consumer_settings()?;
        settings.set("group.id", group);
        // It reads nothing, so it need not know where to begin.
        settings.set("auto.offset.reset", "latest");
        let consumer = settings.create_with_context(reports).map_err(|error| kafka.refused(error))?;
        Ok(Group { consumer: Arc::new(consumer), stop: Arc::default(), member: Mutex::default() })
    }

    /// What a group has committed, now: nothing is waited for, so a transaction that is about to change it has not.
    pub(super) fn reading_uncommitted(
        kafka: &Kafka,
        group: &str,
        partitions: BTreeSet<Partition>,
    ) -> Result<Vec<(Partition, i64, String)>, KafkaError> {
        let topic = partitions.first().map(|(topic, _)| topic.clone()).unwrap_or_default();
        let mut settings = kafka.consumer_settings()?;
        settings.set("group.id", group).set("isolation.level", "read_uncommitted");
        let reports = GroupReports {
            troubles: Troubles::new(kafka, &topic, true),
            share: Mutex::default(),
            changed: Condvar::new(),
        };
        let consumer = settings.create_with_context(reports).map_err(|error| kafka.refused(error))?;
        let group = Group { consumer: Arc::new(consumer), stop: Arc::default(), member: Mutex::default() };
        let troubles = &group.reports().troubles;
        group
            .committed(&partitions)
            .map_err(|error| troubles.explain(error.rdkafka_error_code(), &error.to_string()))
    }

    fn reports(&self) -> &GroupReports {
        self.consumer.client().context()
    }

    /// In whose name offsets are committed, as of now: the generation changes with every rebalance.
    pub(super) fn metadata(&self) -> Option<ConsumerGroupMetadata> {
        self.consumer.group_metadata()
    }

    /// What the group has committed for these partitions: offset and metadata, where there are any. Waits for
    /// transactions that are about to change them.
    pub(super) fn committed(
        &self,
        partitions: &BTreeSet<Partition>,
    ) -> Result<Vec<(Partition, i64, String)>, ClientError> {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in partitions {
            list.add_partition(topic, *partition);
        }
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.consumer.committed_offsets(list, ANSWER_TIMEOUT)?;
        let mut committed = Vec::new();
        for element in found.elements() {
            element.error()?;
            if let Some(offset) = element.offset().to_raw().filter(|offset| *offset >= 0) {
                let partition = (element.topic().to_owned(), element.partition());
                committed.push((partition, offset, element.metadata().to_owned()));
            }
        }
        Ok(committed)
    }

    /// Becomes a member that takes a share of these topics, if it is none.
    pub(super) fn subscribe(&self, topics: &BTreeSet<String>) -> Result<(), KafkaError> {
        let mut member = self.member.lock().unwrap_or_else(PoisonError::into_inner);
        if member.is_some() {
            return Ok(());
        }
        // A group waits for ever for partitions of a topic that there is not.
        for topic in topics {
            let client = self.consumer.client();
            ask(&self.reports().troubles, || {}, |left| partitions_of(client, topic, left))?;
        }
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        let refused = |error: &ClientError| {
            self.reports().troubles.explain(error.rdkafka_error_code(), &error.to_string())
        };
        self.consumer.subscribe(&topics).map_err(|error| refused(&error))?;
        let (consumer, stop) = (Arc::clone(&self.consumer), Arc::clone(&self.stop));
        let thread = std::thread::Builder::new().name("group".to_owned());
        let spawned = thread.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                // A record that was fetched before its partition was paused is read by others.
                if let Some(Err(error)) = consumer.poll(LOOK) {
                    tracing::debug!("the group's member: {error}");
                }
            }
            consumer.unsubscribe();
        });
        *member = spawned.map_err(|_| refused(&ClientError::Canceled)).map(Some)?;
        Ok(())
    }

    /// Waits until there is a share, at most so long; from then on it is not given back before
    /// [`let_go`](Group::let_go).
    pub(super) fn join(&self, within: Duration) -> Result<bool, KafkaError> {
        let reports = self.reports();
        reports.troubles.check()?;
        let has_share = |share: &Share| !share.partitions.is_empty() && !share.called_back && !share.lost;
        let mut share = reports.share();
        if !has_share(&share) {
            let waited = reports.changed.wait_timeout(share, within).unwrap_or_else(PoisonError::into_inner);
            share = waited.0;
        }
        if let Some(reason) = share.refused.clone() {
            let (brokers, topic) =
                (reports.troubles.brokers().to_owned(), reports.troubles.topic().to_owned());
            return Err(KafkaError::Failed { brokers, topic, reason });
        }
        if has_share(&share) {
            share.idle = false;
            return Ok(true);
        }
        Ok(false)
    }

    /// Whether the share that was joined is still this instance's. Asked after [`metadata`](Group::metadata): a member
    /// that has lost its share hears of it before it is one of the next generation.
    pub(super) fn holds_its_share(&self) -> bool {
        !self.reports().share().lost
    }

    /// Takes what the client has to say, where no member does.
    pub(super) fn serve(&self) {
        if self.member.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            self.consumer.poll(Duration::ZERO);
        }
    }

    /// The partitions of a topic in the share.
    pub(super) fn partitions(&self, topic: &str) -> Vec<i32> {
        let share = self.reports().share();
        share.partitions.iter().filter(|(of, _)| of == topic).map(|(_, partition)| *partition).collect()
    }

    pub(super) fn is_called_back(&self) -> bool {
        let share = self.reports().share();
        share.called_back || share.lost
    }

    /// Nothing of the share is read from now on.
    pub(super) fn let_go(&self) {
        let mut share = self.reports().share();
        (share.idle, share.lost) = (true, false);
        drop(share);
        self.reports().changed.notify_all();
    }

    /// Leaves the group, so that others get the share at once.
    pub(super) fn leave(&self) {
        self.reports().share().ended = true;
        self.reports().changed.notify_all();
        self.stop.store(true, Ordering::Relaxed);
        let member = self.member.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(member) = member {
            let _ = member.join();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.leave();
    }
}
