//! A topic as a source: its partitions are the splits.
//!
//! Invariant: a reader is opened at a concrete offset that is in the partition, or not at all. A source knows
//! where to begin; how to go on is the readers' part.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use highwater_operators::codec::Decode;
use highwater_operators::decide::Decide;
use highwater_operators::error::Cause;
use highwater_operators::source::{Reader, Source};

use super::client::Client;
use super::reader::{KafkaReader, Partition};
use super::transactions::{Transactions, may_pass};
use super::{Kafka, KafkaError, KafkaPosition};

/// What a record without a payload is. On a compacted topic it says that its key is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tombstones {
    /// A bad record with the reason `no payload`; the source's policy for bad records decides.
    #[default]
    Bad,
    /// A record of no bytes: the codec decides.
    Empty,
}

type OpenReader<T> = Box<dyn Reader<Item = T, Position = KafkaPosition>>;

/// Where a partition is begun that has no position yet.
#[derive(Clone, Copy, Debug)]
enum Begin {
    Earliest,
    Latest,
}

/// What is known of a partition when it is opened.
#[derive(Clone, Copy, Debug)]
enum Start {
    /// Its next offset.
    At(i64),
    /// It was added after the topic was first read.
    Added,
    /// Nothing: the job is new.
    New,
}

/// The records of a topic. Made by [`Kafka::source`].
///
/// Splits are `partition-0`, `partition-1` and so on; the job asks now and then for partitions that were added. Clones
/// share one consumer, which is made at the first use: one connection per broker, and up to
/// [`PREFETCH_KIB`](super::PREFETCH_KIB) of memory per partition.
///
/// What survives a restart is each partition's [`KafkaPosition`], in the job's epochs.
pub struct KafkaSource<T> {
    kafka: Kafka,
    topic: String,
    codec: Arc<dyn Decode<T>>,
    begin: Begin,
    bounded: bool,
    tombstones: Tombstones,
    client: Arc<Mutex<Option<Arc<Client>>>>,
}

impl<T> Clone for KafkaSource<T> {
    fn clone(&self) -> Self {
        KafkaSource {
            kafka: self.kafka.clone(),
            topic: self.topic.clone(),
            codec: self.codec.clone(),
            begin: self.begin,
            bounded: self.bounded,
            tombstones: self.tombstones,
            client: self.client.clone(),
        }
    }
}

impl<T> fmt::Debug for KafkaSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSource")
            .field("kafka", &self.kafka)
            .field("topic", &self.topic)
            .field("begin", &self.begin)
            .field("bounded", &self.bounded)
            .field("tombstones", &self.tombstones)
            .finish_non_exhaustive()
    }
}

impl<T> KafkaSource<T> {
    pub(super) fn new(kafka: Kafka, topic: String, codec: impl Decode<T>) -> Self {
        if let Some(transactions) = &kafka.transactions {
            transactions.add_source(&kafka, &topic);
        }
        KafkaSource {
            kafka,
            topic,
            codec: Arc::new(codec),
            begin: Begin::Earliest,
            bounded: false,
            tombstones: Tombstones::default(),
            client: Arc::default(),
        }
    }

    /// A partition without a position begins at its first record; the default.
    pub fn from_earliest(mut self) -> Self {
        self.begin = Begin::Earliest;
        self
    }

    /// A new job begins behind the last record of each partition. A partition that is added later is read from its
    /// first record: it came after the start. Where the input is shared by several instances, a partition is taken
    /// for added if the group has offsets of others and none of it.
    pub fn from_latest(mut self) -> Self {
        self.begin = Begin::Latest;
        self
    }

    /// Each partition ends where it ended when it was opened: for batches and tests. Records of transactions that
    /// are open at that time, and what stands behind them, are not waited for.
    pub fn until_end(mut self) -> Self {
        self.bounded = true;
        self
    }

    /// What records without a payload are; the default is [`Tombstones::Bad`].
    pub fn tombstones(mut self, are: Tombstones) -> Self {
        self.tombstones = are;
        self
    }

    fn client(&self) -> Result<Arc<Client>, KafkaError> {
        // Before anything is asked: settings that differ are no trouble of a broker.
        if let Some(transactions) = &self.kafka.transactions {
            transactions.cluster()?;
        }
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        match &*client {
            Some(client) => Ok(client.clone()),
            None => Ok(client.insert(Arc::new(Client::new(&self.kafka, &self.topic)?)).clone()),
        }
    }

    /// The transactions, if other instances read the topic, too.
    fn shared(&self) -> Option<&Arc<Transactions>> {
        self.kafka.transactions.as_ref().filter(|transactions| transactions.is_shared())
    }

    /// What an error means for the job: where epochs can be done again, so can a question to the cluster.
    fn failure(&self, error: KafkaError) -> Cause {
        match self.kafka.transactions {
            Some(_) => may_pass(error),
            None => error.into(),
        }
    }

    /// Where to begin, and the range of what is there.
    fn begin(&self, client: &Client, partition: i32, from: Start) -> Result<(i64, i64), KafkaError> {
        let (low, high) = client.range(partition)?;
        // Where other instances have read. A job with a state directory goes by that alone: what a group has for it may
        // have been written for monitoring, by a run on other state.
        let from = match (from, self.shared()) {
            (Start::New, Some(transactions)) => {
                let committed = transactions.committed(&self.topic, &client.partitions()?)?;
                match committed.get(&partition) {
                    Some(next_offset) => Start::At(*next_offset),
                    None if committed.is_empty() => Start::New,
                    None => Start::Added,
                }
            }
            (from, _) => from,
        };
        let offset = match (from, self.begin) {
            (Start::At(next_offset), _) => next_offset,
            (Start::Added, _) | (Start::New, Begin::Earliest) => low,
            (Start::New, Begin::Latest) => client.latest_at_first(partition, high),
        };
        if offset < low || offset > high {
            return Err(KafkaError::OutOfRange { topic: self.topic.clone(), partition, offset, low, high });
        }
        Ok((offset, high))
    }
}

impl<T: Send + 'static> Source for KafkaSource<T> {
    type Item = T;
    type Position = KafkaPosition;

    /// Asks the cluster; waits up to [`ANSWER_TIMEOUT`](super::ANSWER_TIMEOUT).
    fn splits(&self) -> Result<Vec<String>, Cause> {
        let partitions = match self.shared() {
            Some(transactions) => transactions.share_of(&self.topic)?,
            None => self.client()?.partitions().map_err(|error| self.failure(error))?,
        };
        Ok(partitions.into_iter().map(|partition| format!("partition-{partition}")).collect())
    }

    fn decider(&self) -> Option<Arc<dyn Decide>> {
        self.kafka.transactions.clone().map(|transactions| transactions as _)
    }

    /// Asks the cluster for the partition's range; waits up to three times
    /// [`ANSWER_TIMEOUT`](super::ANSWER_TIMEOUT).
    fn open(&self, split: &str, from: Option<KafkaPosition>) -> Result<OpenReader<T>, Cause> {
        self.read(split, from.map_or(Start::New, |position| Start::At(position.next_offset)))
    }

    fn open_added(&self, split: &str) -> Result<OpenReader<T>, Cause> {
        self.read(split, Start::Added)
    }
}

impl<T: Send + 'static> KafkaSource<T> {
    fn read(&self, split: &str, from: Start) -> Result<OpenReader<T>, Cause> {
        let client = self.client()?;
        let partitions = client.partitions().map_err(|error| self.failure(error))?;
        let named = split.strip_prefix("partition-").and_then(|number| number.parse::<i32>().ok());
        let Some(partition) = named.filter(|partition| partitions.contains(partition)) else {
            let (topic, split) = (self.topic.clone(), split.to_owned());
            return Err(KafkaError::UnknownPartition { topic, split, partitions: partitions.len() }.into());
        };
        let (offset, high) = self.begin(&client, partition, from).map_err(|error| self.failure(error))?;
        let end = self.bounded.then_some(high);
        let queue = client.assign(partition, offset)?;
        let transactions = self.kafka.transactions.clone();
        let partition = Partition::new(self.topic.clone(), partition, queue, client, transactions);
        Ok(Box::new(KafkaReader::new(partition, self.codec.clone(), self.tombstones, offset, end)))
    }
}
