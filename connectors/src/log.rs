//! A log of topics inside the process: what Kafka is to programs that run apart, for programs that run in one.
//!
//! A [`Log`] holds topics, each of some partitions; a partition is records behind each other, each with its offset. It
//! is in memory, or in a directory of its own where it outlives the process. Topologies read topics as a [`LogSource`]
//! and write them as a [`LogSink`], exactly once; anybody else reads and appends beside them.
//!
//! Invariants: offsets are dense, and what an offset holds never changes; readers see what is durable only; an epoch of
//! a sink is visible in all partitions at once, or not at all, and once, whatever is killed when.
//!
//! What is synced when: a record that is appended is durable when [`append`](Log::append) returns; what a sink takes
//! when its writer has [staged](highwater_operators::sink::Writer::stage) it, and once more when its epoch is
//! published. One sync serves all who wrote before it began, so many writers share few syncs.
//! (`docs/decisions/0020-an-epoch-is-one-frame-of-a-journal.md` has the reasons.)
//!
//! It deletes nothing, and knows neither consumer groups nor other processes: one process opens a directory at a time.
//!
//! ```
//! use highwater_connectors::log::Log;
//! use highwater_operators::codec::Text;
//! use highwater_operators::source::{Polled, Source};
//!
//! let log = Log::in_memory();
//! log.topic("orders", 4)?;
//! let (partition, offset) = log.append("orders", Some(b"ada"), b"tea")?;
//! assert_eq!(log.read("orders", partition, offset, 1)?[0].value, b"tea");
//!
//! let source = log.source("orders", Text).until_end();
//! let mut polled = Polled::<String>::default();
//! source.open(&format!("partition-{partition}"), None)?.poll(10, &mut polled)?;
//! assert_eq!(polled.values, ["tea"]);
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use highwater_operators::codec::{Decode, Encode};
use highwater_state::Timestamp;

mod book;
mod core;
mod error;
mod frame;
mod journal;
mod partition;
mod reader;
mod sink;
mod source;

use self::core::{Core, Writing};
use frame::{Gathered, Note, RecordAt};

pub use error::LogError;
pub use limits::*;
pub use sink::{LogProducer, LogSink};
pub use source::{LogPosition, LogSource};

/// Every limit of this module: its unit, its default and the reason for it.
mod limits {
    /// How many bytes the records of one topic may have, with 16 for each beside its key and value, unless
    /// [`topic_bytes`](super::Log::topic_bytes) says otherwise: 1 GiB, what a machine has in memory, and what a start
    /// reads from disk in some seconds. A record beyond it is refused with [`LogError::Full`](super::LogError::Full):
    /// an append fails, and a job ends before the epoch of the record is committed, so that it goes on when there is
    /// room.
    pub const TOPIC_BYTES: u64 = 1 << 30;

    /// How many bytes a record may have, key and value together: 1 MiB, what Kafka's brokers take unless told
    /// otherwise. A larger one is refused with [`LogError::RecordTooLarge`](super::LogError::RecordTooLarge), or ends
    /// the job whose sink was given it.
    pub const RECORD_BYTES_MAX: usize = 1 << 20;

    /// How many bytes of records are written in one piece: 1 MiB, which is what a reader holds of a partition, and a
    /// sink's writer of its epoch. A piece may be one record longer.
    pub const PIECE_BYTES: usize = 1 << 20;

    /// How many partitions a topic may have: 1024, eight for each worker that a job may have.
    pub const PARTITIONS_MAX: u32 = 1024;

    /// How long the name of a topic or producer may be: 200 characters, as other names of a topology.
    pub const NAME_CHARS_MAX: usize = 200;
}

/// Topics in memory or in a directory. Clones are the same log.
#[derive(Clone)]
pub struct Log {
    core: Arc<Core>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("topics", &self.topics()).finish_non_exhaustive()
    }
}

/// A record as it stands in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Its place in the partition, counted from 0.
    pub offset: u64,
    /// Its event time where a stream with event time wrote it, else when it was written.
    pub timestamp: Timestamp,
    /// What it was partitioned by, if anything.
    pub key: Option<Vec<u8>>,
    /// Its bytes.
    pub value: Vec<u8>,
}

impl Log {
    /// A log that ends with its last clone.
    ///
    /// A job with a state directory outlives it: started again with a new log, it is refused, because what it had
    /// staged or read is in the old one.
    pub fn in_memory() -> Log {
        Log { core: Arc::new(Core::in_memory()) }
    }

    /// Opens the log in a directory, which is created if need be (mode 0700) and belongs to one process at a time.
    ///
    /// Reads all of it once, to check it; 40 bytes of memory are kept for each piece that was written. What a crash
    /// left half written is cut off: it was never visible.
    ///
    /// # Errors
    /// If another process has it open, if the system refuses, and if what was durable is damaged or gone: the place is
    /// named, and nothing is changed.
    pub fn open(directory: impl AsRef<Path>) -> Result<Log, LogError> {
        Ok(Log { core: Arc::new(Core::open(directory.as_ref())?) })
    }

    /// How many bytes the records of a topic may have, from now on and for all clones; [`TOPIC_BYTES`] unless said. Not
    /// kept: said again at each start.
    #[must_use]
    pub fn topic_bytes(self, limit: u64) -> Log {
        self.core.topic_bytes.store(limit, Ordering::Relaxed);
        self
    }

    /// Makes a topic, unless it is there with as many partitions. Durable when it returns.
    ///
    /// # Errors
    /// If it is there with another number of partitions, if name or number cannot be, if the system refuses.
    pub fn topic(&self, name: &str, partitions: u32) -> Result<(), LogError> {
        check_name(name)?;
        if partitions == 0 || partitions > PARTITIONS_MAX {
            return Err(LogError::Partitions { topic: name.to_owned(), partitions });
        }
        let end = {
            let mut writing = self.core.writing()?;
            match writing.book.topic(name).map(|(_, topic)| topic.ends.len() as u32) {
                None => self.core.note(&mut writing, Note::Topic { name: name.to_owned(), partitions })?,
                Some(found) if found == partitions => writing.end(),
                Some(found) => {
                    let (topic, wanted) = (name.to_owned(), partitions);
                    return Err(LogError::OtherPartitions { topic, partitions: found, wanted });
                }
            }
        };
        self.core.settle(end)
    }

    /// The topics, in the order in which they were made.
    pub fn topics(&self) -> Vec<String> {
        self.core.topics()
    }

    /// How many partitions a topic has.
    ///
    /// # Errors
    /// If there is no such topic.
    pub fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        Ok(self.core.topic(topic)?.1)
    }

    /// Appends a record: the partition and offset that it got. Visible and durable when it returns.
    ///
    /// Records of one key go to one partition, the one where Kafka's clients would put them; those without a key go to
    /// the partitions in turn. Not a sink's way: a program that is killed does not know whether its last call counted.
    ///
    /// # Errors
    /// If there is no such topic, the record is too large, the topic is full, or the system refuses.
    pub fn append(&self, topic: &str, key: Option<&[u8]>, value: &[u8]) -> Result<(u32, u64), LogError> {
        let now = now();
        check_record(topic, key, value)?;
        let (place, end) = {
            let mut writing = self.core.writing()?;
            let (number, partition) = choose(&mut writing, topic, key)?;
            let offset = writing.book.topics[number as usize].ends[partition as usize];
            let mut gathered = Gathered::of(number, partition);
            gathered.push(now, key, value);
            let (_, end) = self.core.records(&mut writing, None, vec![gathered])?;
            ((partition, offset), end)
        };
        self.core.settle(end)?;
        Ok(place)
    }

    /// Appends records that become visible together, or not at all; otherwise as [`append`](Log::append).
    ///
    /// # Errors
    /// As [`append`](Log::append); then none is appended.
    pub fn append_all<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = (Option<K>, V)>,
    ) -> Result<(), LogError> {
        let now = now();
        // Encoded before anybody has to wait for it.
        let records: Vec<(Option<K>, V)> = records.into_iter().collect();
        for (key, value) in &records {
            check_record(topic, key.as_ref().map(K::as_ref), value.as_ref())?;
        }
        let end = {
            let mut writing = self.core.writing()?;
            let mut gathered: Vec<Gathered> = Vec::new();
            for (key, value) in &records {
                let key = key.as_ref().map(K::as_ref);
                let (topic, partition) = choose(&mut writing, topic, key)?;
                let open = gathered.iter_mut().rev().find(|section| section.partition == partition);
                match open.filter(|section| section.bytes.len() < PIECE_BYTES) {
                    Some(section) => section.push(now, key, value.as_ref()),
                    None => {
                        let mut section = Gathered::of(topic, partition);
                        section.push(now, key, value.as_ref());
                        gathered.push(section);
                    }
                }
            }
            if gathered.is_empty() {
                return self.core.topic(topic).map(|_| ());
            }
            self.core.records(&mut writing, None, gathered)?.1
        };
        self.core.settle(end)
    }

    /// Up to `limit` records of a partition, from an offset on; none at its end. Reads at least the piece in which the
    /// offset lies.
    ///
    /// # Errors
    /// If there is no such topic or partition, the offset is behind the end, or the disk has other bytes than were
    /// written.
    pub fn read(
        &self,
        topic: &str,
        partition: u32,
        from: u64,
        limit: usize,
    ) -> Result<Vec<LogRecord>, LogError> {
        let mut cursor = reader::Cursor::new(Arc::clone(&self.core), topic.into(), partition, from);
        let mut records = Vec::new();
        while records.len() < limit {
            match cursor.next(|record: RecordAt, bytes: &[u8], offset| record.to_record(bytes, offset))? {
                Some(record) => records.push(record),
                None => break,
            }
        }
        Ok(records)
    }

    /// The offset behind the last record of a partition: how many it has.
    ///
    /// # Errors
    /// If there is no such topic or partition.
    pub fn end(&self, topic: &str, partition: u32) -> Result<u64, LogError> {
        self.core.end(topic, partition)
    }

    /// The records of a topic.
    pub fn source<T: Send + 'static>(&self, topic: impl Into<String>, codec: impl Decode<T>) -> LogSource<T> {
        LogSource::new(Arc::clone(&self.core), topic.into(), codec)
    }

    /// Names who writes. The log keeps for each name and topic which epoch was published last, so that an epoch is
    /// published once also when the process dies in between, and a job whose state is older is refused.
    ///
    /// The name is yours to give, and belongs to one topology and its state directory, as the name of Kafka's
    /// transactions does: nothing that a sink could derive it from is known to be the same at the next start and
    /// different for every other job. The topic is part of it, so that one name does for all sinks of a topology that
    /// write to different topics.
    ///
    /// ```
    /// # use highwater_connectors::log::Log;
    /// # use highwater_operators::codec::Json;
    /// let log = Log::in_memory();
    /// let billing = log.producer("billing");
    /// let payments = billing.sink("payments", Json::<u64>::new()).key(|id| id.to_be_bytes().to_vec());
    /// # let _ = payments;
    /// ```
    pub fn producer(&self, name: impl Into<String>) -> LogProducer {
        LogProducer { core: Arc::clone(&self.core), name: name.into() }
    }
}

impl LogProducer {
    /// Writes records to a topic, which must exist when the job starts. Exactly once; see [`LogSink`].
    pub fn sink<T: 'static>(&self, topic: impl Into<String>, codec: impl Encode<T>) -> LogSink<T> {
        LogSink::new(self.clone(), topic.into(), codec)
    }
}

/// The topic's number, and the partition that a record goes to.
fn choose(writing: &mut Writing, topic: &str, key: Option<&[u8]>) -> Result<(u32, u32), LogError> {
    let Some((number, page)) = writing.book.topic(topic) else {
        return Err(LogError::UnknownTopic { topic: topic.to_owned() });
    };
    let partitions = page.ends.len() as u32;
    if let Some(key) = key {
        return Ok((number, partition::of_key(key, partitions)));
    }
    let turn = &mut writing.book.topics[number as usize].turn;
    let partition = *turn;
    *turn = (*turn + 1) % partitions;
    Ok((number, partition))
}

fn check_name(name: &str) -> Result<(), LogError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match (1..=NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(allowed) {
        true => Ok(()),
        false => Err(LogError::Name { name: name.to_owned() }),
    }
}

fn check_record(topic: &str, key: Option<&[u8]>, value: &[u8]) -> Result<(), LogError> {
    let bytes = key.map_or(0, <[u8]>::len) + value.len();
    match bytes <= RECORD_BYTES_MAX {
        true => Ok(()),
        false => Err(LogError::RecordTooLarge { topic: topic.to_owned(), bytes }),
    }
}

/// The time of the clock, for records without event time.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
