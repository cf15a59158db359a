//! Transactions that decide epochs: one producer writes an epoch's records, positions and marker together.
//!
//! All sinks and sources that are made of clones of one [`Kafka`] with [`exactly_once`](Kafka::exactly_once) share one
//! of these; it is the topology's decider. Invariants: after a take-over no earlier producer of the same name can
//! commit anything (the brokers fence it); a producer that has failed is never used again, the next take-over makes a
//! new one and asks the group's offsets what was decided; a producer that finds itself fenced looks whose marker is
//! there before it does anything else, and gives up if it is another instance's.
//!
//! It does not know what an epoch is made of, nor what a topic's records are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use highwater_operators::decide::{Decide, Marker, Terms};
use highwater_operators::error::{Cause, TryAgain};
use highwater_state::Epoch;
use rdkafka::error::{KafkaError as ClientError, RDKafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, Producer, PurgeConfig};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{LAST_LOOKS, Troubles, ask, partitions_of};
use super::delivery::{ProducerReports, serve};
use super::group::{Group, Partition};

use super::{
    ABORT_TIMEOUT, CHECK_EPOCHS, Kafka, KafkaError, TAKE_OVER_TIMEOUT, TRANSACTION_INTERVALS,
    TRANSACTION_TIMEOUT_MAX, TRANSACTION_TIMEOUT_MIN, marker,
};

/// What belongs to the transactions: found out while the topology is written.
#[derive(Default)]
struct Members {
    cluster: Option<Kafka>,
    /// A second cluster or other settings under the same name.
    conflict: bool,
    sinks: BTreeSet<String>,
    sources: BTreeSet<String>,
    /// A topic that two sources read.
    twice: Option<String>,
}

/// One producer, from a take-over to the next.
pub(super) struct Instance {
    pub(super) producer: Arc<BaseProducer<ProducerReports>>,
    /// How many troubles the producer had had when the epoch's transaction was begun; `None` if none is.
    begun: Mutex<Option<u64>>,
}

impl Instance {
    /// Begins the epoch's transaction, if nobody has.
    pub(super) fn begin(&self) -> Result<(), ClientError> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if begun.is_none() {
            self.producer.begin_transaction()?;
            *begun = Some(self.producer.context().0.count());
        }
        Ok(())
    }

    /// Why the brokers have refused the transaction that is open, if they have. Asked by beginning another one, which
    /// is refused, for that reason, whatever becomes of the open one.
    fn refusal(&self) -> Option<RDKafkaError> {
        let begun = locked(&self.begun).is_some();
        match begun.then(|| self.producer.begin_transaction()) {
            Some(Err(ClientError::Transaction(error))) if error.txn_requires_abort() => Some(error),
            _ => None,
        }
    }

    /// The transaction has ended; whether a connection broke while it was open.
    fn end(&self) -> bool {
        serve(&self.producer);
        let begun = locked(&self.begun).take();
        begun.is_some_and(|troubles| troubles != self.producer.context().0.count())
    }
}

/// The transactions of one program.
pub(super) struct Transactions {
    name: String,
    members: Mutex<Members>,
    instance: Mutex<Option<Arc<Instance>>>,
    group: Mutex<Option<Arc<Group>>>,
    /// How many epochs have been decided or passed over: what writers wait for.
    decisions: AtomicU64,
    /// The next offset of each partition that is read, as of the last barrier.
    positions: Mutex<BTreeMap<Partition, i64>>,
    /// The marker that the last take-over found.
    found: Mutex<Option<Marker>>,
    /// The marker that this instance wrote last.
    written: Mutex<Option<Marker>>,
    terms: Mutex<Option<Terms>>,
    shared: AtomicBool,
    /// What tells this process from others where the input is shared.
    process: OnceLock<String>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Transactions {
    pub(super) fn new(name: String) -> Self {
        Transactions {
            name,
            members: Mutex::default(),
            instance: Mutex::default(),
            group: Mutex::default(),
            decisions: AtomicU64::new(0),
            positions: Mutex::default(),
            found: Mutex::default(),
            written: Mutex::default(),
            terms: Mutex::default(),
            shared: AtomicBool::new(false),
            process: OnceLock::new(),
        }
    }

    /// A sink writes to this topic.
    pub(super) fn add_sink(&self, kafka: &Kafka, topic: &str) {
        let mut members = locked(&self.members);
        members.admit(kafka);
        members.sinks.insert(topic.to_owned());
    }

    /// A source reads this topic.
    pub(super) fn add_source(&self, kafka: &Kafka, topic: &str) {
        let mut members = locked(&self.members);
        members.admit(kafka);
        if !members.sources.insert(topic.to_owned()) {
            members.twice = Some(topic.to_owned());
        }
    }

    /// The producer of the last take-over.
    pub(super) fn instance(&self) -> Result<Arc<Instance>, KafkaError> {
        let instance = locked(&self.instance).clone();
        instance.ok_or_else(|| self.failed("write", "nobody has taken them over yet"))
    }

    /// How many epochs have been decided or passed over.
    pub(super) fn decisions(&self) -> u64 {
        self.decisions.load(Ordering::Acquire)
    }

    /// A reader has passed the barrier at this offset.
    pub(super) fn note(&self, topic: &str, partition: i32, next_offset: i64) {
        locked(&self.positions).insert((topic.to_owned(), partition), next_offset);
    }

    /// Whether anything is written in them; if not, positions are nobody's but the state directory's.
    pub(super) fn decides(&self) -> bool {
        !locked(&self.members).sinks.is_empty()
    }

    pub(super) fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }

    /// The partitions of a topic that are this instance's; only where the input is shared.
    pub(super) fn share_of(&self, topic: &str) -> Result<Vec<i32>, KafkaError> {
        Ok(self.group()?.partitions(topic))
    }

    /// Where the group goes on reading the partitions of a topic: those that it has ever read.
    pub(super) fn committed(
        &self,
        topic: &str,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, i64>, KafkaError> {
        let all = partitions.iter().map(|partition| (topic.to_owned(), *partition)).collect();
        let found = self.group()?.committed(&all);
        let found = found.map_err(|error| self.failed("read the group's offsets", &error.to_string()))?;
        Ok(found.into_iter().map(|((_, partition), offset, _)| (partition, offset)).collect())
    }

    /// Whether a new try may help a writer that has met this error, and if not what to tell the user.
    pub(super) fn judge(&self, instance: &Instance, error: KafkaError, passes: bool) -> Cause {
        match instance.producer.client().fatal_error() {
            Some((code, reason)) if is_fenced(code) => self.fenced(&reason),
            Some((code, reason)) if is_refused_for_good(code) => self
                .failed("go on", &format!("{reason}; allow it on the brokers, and start the program again"))
                .into(),
            Some((code, reason)) if !is_forgotten(code) => {
                self.failed("go on", &format!("{code}: {reason}; start the program again")).into()
            }
            _ => match (error, instance.refusal()) {
                // The record was let go because the brokers had refused the transaction.
                (KafkaError::Delivery { topic, for_good: false, .. }, Some(refusal)) => {
                    let for_good = is_refused_for_good(refusal.code());
                    let error = KafkaError::Delivery { topic, reason: refusal.string(), for_good };
                    if for_good { error.into() } else { TryAgain(error.into()).into() }
                }
                (error, _) if passes => TryAgain(error.into()).into(),
                (error, _) => error.into(),
            },
        }
    }

    /// This producer is fenced: by its own transaction that took too long, or by another instance.
    fn fenced(&self, reason: &str) -> Cause {
        let held = || {
            let terms = *locked(&self.terms);
            let limit = terms.map(|terms| transaction_timeout(terms, self.is_shared())).unwrap_or_default();
            let reason = format!(
                "the brokers gave up the transaction, which may be open for {limit:?} (`Job::epoch_timeout`): {reason}"
            );
            TryAgain(self.failed("commit", &reason).into()).into()
        };
        if self.is_shared() {
            return held();
        }
        let Some(own) = locked(&self.written).map(|marker| marker.instance) else {
            let reason = format!("another instance is taking them over at the same time: {reason}");
            return TryAgain(self.failed("start", &reason).into()).into();
        };
        match self.marker() {
            Ok(Some(marker)) if marker.instance != own && Some(marker) != *locked(&self.found) => {
                self.taken_over().into()
            }
            Ok(_) => held(),
            Err(error) => TryAgain(error.into()).into(),
        }
    }

    fn taken_over(&self) -> KafkaError {
        KafkaError::Fenced { transactions: self.name.clone(), brokers: self.brokers() }
    }

    fn brokers(&self) -> String {
        locked(&self.members).cluster.as_ref().map(|kafka| kafka.brokers.clone()).unwrap_or_default()
    }

    fn failed(&self, doing: &'static str, reason: &str) -> KafkaError {
        KafkaError::Transaction { transactions: self.name.clone(), doing, reason: reason.to_owned() }
    }

    /// How to talk to the brokers, if all sources and sinks agree about it.
    pub(super) fn cluster(&self) -> Result<Kafka, KafkaError> {
        let members = locked(&self.members);
        match &members.cluster {
            Some(kafka) if !members.conflict => Ok(kafka.clone()),
            _ => Err(KafkaError::Setting {
                setting: "exactly_once".to_owned(),
                reason: format!(
                    "the sources and sinks of the transactions `{}` have different brokers, groups or settings; set \
                     them before `exactly_once` and make all from clones of one `Kafka`",
                    self.name
                ),
            }),
        }
    }

    fn group(&self) -> Result<Arc<Group>, KafkaError> {
        let cluster = self.cluster()?;
        let mut group = locked(&self.group);
        if let Some(group) = &*group {
            return Ok(Arc::clone(group));
        }
        let members = locked(&self.members);
        let name = cluster.group.clone().unwrap_or_else(|| self.name.clone());
        let made = Group::new(&cluster, &name, members.sources.union(&members.sinks).cloned().collect())?;
        Ok(Arc::clone(group.insert(Arc::new(made))))
    }

    /// Where markers stand.
    fn homes(&self) -> BTreeSet<Partition> {
        locked(&self.members).sinks.iter().map(|topic| (topic.clone(), 0)).collect()
    }

    /// The marker as the brokers have it, when no transaction is about to change it.
    fn marker(&self) -> Result<Option<Marker>, KafkaError> {
        let found = self.group()?.committed(&self.homes());
        self.newest(found.map_err(|error| self.failed("read the epoch marker", &error.to_string()))?)
    }

    fn newest(&self, found: Vec<(Partition, i64, String)>) -> Result<Option<Marker>, KafkaError> {
        let mut newest: Option<Marker> = None;
        // An offset without metadata is a position: of a topic that is read and written.
        for (_, _, text) in found.into_iter().filter(|(_, _, text)| !text.is_empty()) {
            let found =
                marker::parse(&text).map_err(|reason| self.failed("read the epoch marker", &reason))?;
            if newest.is_none_or(|newest| found.epoch > newest.epoch) {
                newest = Some(found);
            }
        }
        Ok(newest)
    }

    /// The transactional id: the same at every start, so that a start fences what ran before; but where the input is
    /// shared one for each process.
    fn id(&self) -> String {
        if !self.is_shared() {
            return self.name.clone();
        }
        let process = self.process.get_or_init(|| {
            use std::hash::{BuildHasher, RandomState};
            format!("{:016x}", RandomState::new().hash_one(std::process::id()))
        });
        format!("{}-{process}", self.name)
    }

    /// A producer that has fenced all others of its id, and ended what they left open.
    fn produce(&self, terms: &Terms) -> Result<Arc<Instance>, Cause> {
        let cluster = self.cluster()?;
        let timeout = transaction_timeout(*terms, self.is_shared());
        let settings = cluster.transaction_settings(&self.id(), timeout)?;
        let topic = locked(&self.members).sinks.first().cloned().unwrap_or_default();
        let reports = ProducerReports(Troubles::new(&cluster, &topic, false));
        let producer: BaseProducer<ProducerReports> =
            settings.create_with_context(reports).map_err(|error| cluster.refused(error))?;
        if let Err(error) = producer.init_transactions(TAKE_OVER_TIMEOUT) {
            return Err(match error.rdkafka_error_code() {
                Some(Code::InvalidTransactionTimeout) => KafkaError::TransactionTimeout {
                    transactions: self.name.clone(),
                    epoch_interval: terms.epoch_interval,
                    timeout,
                }
                .into(),
                Some(code) if is_refused_for_good(code) => self.failed("take over", &code.to_string()).into(),
                Some(code) => {
                    (0..LAST_LOOKS).for_each(|_| producer.poll(Duration::ZERO));
                    let troubles = &producer.context().0;
                    let reason =
                        troubles.last_refusal().unwrap_or_else(|| troubles.last_or(&code.to_string()));
                    may_pass(self.failed("take over", &reason))
                }
                None => may_pass(self.failed("take over", &error.to_string())),
            });
        }
        Ok(Arc::new(Instance { producer: Arc::new(producer), begun: Mutex::default() }))
    }

    /// What a failed call on the producer means.
    fn explain(&self, instance: &Instance, doing: &'static str, error: ClientError) -> Cause {
        let (passes, text) = match &error {
            ClientError::Transaction(error) if is_fenced(error.code()) => {
                return self.fenced(&error.string());
            }
            ClientError::Transaction(error) => (!error.is_fatal(), error.string()),
            error => (true, error.to_string()),
        };
        let for_good = error.rdkafka_error_code().is_some_and(is_refused_for_good);
        self.judge(instance, self.failed(doing, &text), passes && !for_good)
    }

    /// The offsets that the transaction commits: positions, and the marker at its homes.
    fn offsets(&self, marker: &Marker) -> Result<TopicPartitionList, ClientError> {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), next) in &*locked(&self.positions) {
            list.add_partition_offset(topic, *partition, Offset::Offset(*next))?;
        }
        if !self.is_shared() {
            let text = marker::write(marker);
            for (topic, partition) in self.homes() {
                let next = locked(&self.positions).get(&(topic.clone(), partition)).copied();
                let mut home = match next {
                    // A topic that is read and written: its position must not be replaced.
                    Some(_) => list.find_partition(&topic, partition).ok_or(ClientError::Canceled)?,
                    None => list.add_partition(&topic, partition),
                };
                home.set_offset(Offset::Offset(next.unwrap_or(0)))?;
                home.set_metadata(&text);
            }
        }
        Ok(list)
    }

    /// Compares the brokers' marker with ours: a commit that was lost or torn must not go unnoticed.
    fn check(&self, epoch: Epoch) -> Result<(), Cause> {
        if self.is_shared() {
            return Ok(());
        }
        let found = self.marker().map_err(|error| TryAgain(error.into()))?;
        let own = *locked(&self.written);
        if found == own {
            return Ok(());
        }
        if let (Some(found), Some(own)) = (found, own)
            && found.instance != own.instance
        {
            return Err(self.taken_over().into());
        }
        let found = found.map_or("none".to_owned(), |marker| marker.epoch.to_string());
        let reason = format!("{epoch} was committed, but their marker is {found}: a transaction was lost");
        Err(self.failed("trust the brokers", &reason).into())
    }
}

impl Members {
    fn admit(&mut self, kafka: &Kafka) {
        match &self.cluster {
            None => self.cluster = Some(kafka.clone_without_transactions()),
            Some(first) => {
                let same = first.brokers == kafka.brokers
                    && first.group == kafka.group
                    && first.settings == kafka.settings;
                self.conflict |= !same;
            }
        }
    }
}

/// How long brokers keep a transaction open that nobody ends: long after the epoch should have, and where only a start
/// of the same program has to wait for it, which ends it, as long as an epoch may take.
fn transaction_timeout(terms: Terms, shared: bool) -> Duration {
    let of_intervals =
        TRANSACTION_TIMEOUT_MIN.max(terms.epoch_interval.saturating_mul(TRANSACTION_INTERVALS));
    let of_an_epoch = terms.epoch_timeout.saturating_add(terms.epoch_interval).min(TRANSACTION_TIMEOUT_MAX);
    if shared { of_intervals } else { of_intervals.max(of_an_epoch) }
}

/// Another producer of the same id, or the brokers' own timeout, has ended this one.
fn is_fenced(code: Code) -> bool {
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)
}

/// The brokers have forgotten the producer after a long silence: a new one goes on.
fn is_forgotten(code: Code) -> bool {
    matches!(code, Code::InvalidProducerIdMapping | Code::UnknownProducerId)
}

/// Nothing that a new try would change.
fn is_refused_for_good(code: Code) -> bool {
    matches!(
        code,
        Code::TransactionalIdAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::OffsetMetadataTooLarge
            | Code::UnsupportedFeature
    )
}

impl Decide for Transactions {
    fn describe(&self) -> String {
        format!("the Kafka transactions `{}` on {}", self.name, self.brokers())
    }

    /// Reads what is there now, also where a transaction is about to change it: a marker that is too old only lets
    /// pass what the take-over refuses.
    fn look(&self, terms: &Terms) -> Result<Option<Marker>, Cause> {
        *locked(&self.terms) = Some(*terms);
        let cluster = self.cluster()?;
        let name = cluster.group.clone().unwrap_or_else(|| self.name.clone());
        let found = Group::reading_uncommitted(&cluster, &name, self.homes()).map_err(may_pass)?;
        Ok(self.newest(found)?)
    }

    fn take_over(&self, terms: &Terms) -> Result<Option<Marker>, Cause> {
        *locked(&self.terms) = Some(*terms);
        let before = locked(&self.instance).take();
        drop(before);
        locked(&self.positions).clear();
        *locked(&self.written) = None;
        let instance = self.produce(terms)?;
        // A marker for a topic that is not there would be tried until the epoch has timed out.
        let client = instance.producer.client();
        let cluster = self.cluster()?;
        for topic in locked(&self.members).sinks.clone() {
            let troubles = Troubles::new(&cluster, &topic, false);
            ask(&troubles, || {}, |left| partitions_of(client, &topic, left)).map_err(may_pass)?;
        }
        *locked(&self.instance) = Some(instance);
        if self.is_shared() {
            return Ok(None);
        }
        let found = self.marker().map_err(may_pass)?;
        *locked(&self.found) = found;
        Ok(found)
    }

    fn stage(&self, marker: &Marker) -> Result<(), Cause> {
        let instance = self.instance()?;
        let explain = |error| self.explain(&instance, "add the positions", error);
        instance.begin().map_err(explain)?;
        let offsets = self.offsets(marker).map_err(explain)?;
        if offsets.count() == 0 {
            return Ok(());
        }
        let group = self.group()?;
        group.serve();
        let Some(metadata) = group.metadata() else {
            return Err(TryAgain(self.failed("name the group", "its consumer is closed").into()).into());
        };
        if !group.holds_its_share() {
            let reason = "the group has given this instance's partitions to others";
            return Err(TryAgain(self.failed("commit", reason).into()).into());
        }
        let within = locked(&self.terms).map_or(TAKE_OVER_TIMEOUT, |terms| terms.epoch_timeout);
        instance.producer.send_offsets_to_transaction(&offsets, &metadata, within).map_err(explain)?;
        *locked(&self.written) = Some(*marker);
        Ok(())
    }

    /// Commits. Where a connection broke on the way the producer is replaced: a request that was delayed could end the
    /// next transaction of the same producer.
    fn decide(&self, epoch: Epoch) -> Result<(), Cause> {
        let instance = self.instance()?;
        let terms = locked(&self.terms).ok_or_else(|| self.failed("commit", "nobody has taken them over"))?;
        let committed = instance.producer.commit_transaction(terms.epoch_timeout);
        committed.map_err(|error| self.explain(&instance, "commit", error))?;
        let shaky = instance.end();
        if shaky {
            tracing::warn!("a connection broke while {epoch} was committed; its producer is replaced");
            *locked(&self.instance) = Some(self.produce(&terms)?);
        }
        if shaky || epoch.0.is_multiple_of(CHECK_EPOCHS) {
            self.check(epoch)?;
        }
        self.decisions.fetch_add(1, Ordering::Release);
        Ok(())
    }

    fn pass_over(&self, _: Epoch) {
        self.decisions.fetch_add(1, Ordering::Release);
    }

    fn share(&self) -> Result<(), Cause> {
        if let Some(topic) = &locked(&self.members).twice {
            let reason = format!("two sources read the topic `{topic}`, for which a group has one position");
            return Err(self.failed("share the input", &reason).into());
        }
        self.shared.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn join(&self, within: Duration) -> Result<bool, Cause> {
        let group = self.group()?;
        let sources = locked(&self.members).sources.clone();
        group.subscribe(&sources).map_err(may_pass)?;
        Ok(group.join(within)?)
    }

    fn is_called_back(&self) -> bool {
        locked(&self.group).as_ref().is_some_and(|group| group.is_called_back())
    }

    fn let_go(&self) {
        if let Some(group) = &*locked(&self.group) {
            group.let_go();
        }
    }

    /// Aborts what is open, so that nobody waits for it, and leaves the group.
    fn leave(&self) {
        let instance = locked(&self.instance).take();
        if let Some(instance) = instance
            && locked(&instance.begun).is_some()
            && instance.producer.client().fatal_error().is_none()
        {
            instance.producer.purge(PurgeConfig::default().queue().inflight());
            let end = Instant::now() + ABORT_TIMEOUT;
            // An abort fails while delivery reports wait to be taken.
            while instance.producer.in_flight_count() > 0 && Instant::now() < end {
                instance.producer.poll(Duration::from_millis(1));
            }
            if let Err(error) = instance.producer.abort_transaction(ABORT_TIMEOUT) {
                tracing::debug!("the open transaction was not aborted; the brokers do so in time: {error}");
            }
        }
        let group = locked(&self.group).take();
        if let Some(group) = group {
            group.leave();
        }
    }
}

/// What an error of a start means: a broker that does not answer may do so later.
pub(super) fn may_pass(error: KafkaError) -> Cause {
    match &error {
        KafkaError::Transaction { .. } | KafkaError::Unreachable { .. } | KafkaError::NotLetIn { .. } => {
            TryAgain(error.into()).into()
        }
        _ => error.into(),
    }
}
