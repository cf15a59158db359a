//! A topic of a log as a source: its partitions are the splits.
//!
//! Invariant: a reader is opened at an offset that is in the partition or at its end, or not at all. A source knows
//! where to begin; how to go on is the readers' part.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use highwater_operators::codec::Decode;
use highwater_operators::error::Cause;
use highwater_operators::source::{Reader, Source};
use serde::{Deserialize, Serialize};

use super::core::Core;
use super::error::LogError;
use super::reader::{Cursor, LogReader};

/// Where a partition is continued. Survives a restart in the job's epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogPosition {
    /// The next offset to read.
    pub next_offset: u64,
}

/// Where a partition is begun that has no position yet.
#[derive(Clone, Copy, Debug)]
enum Begin {
    Earliest,
    Latest,
}

/// The records of a topic; made by [`Log::source`](super::Log::source).
///
/// Splits are `partition-0`, `partition-1` and so on. What survives a restart is each partition's [`LogPosition`], in
/// the job's epochs. A reader holds one piece of its partition, some
/// [`PIECE_BYTES`](super::PIECE_BYTES). It does not end unless [`until_end`](LogSource::until_end) says so: what is
/// written later is read later.
///
/// A record that the codec refuses is a bad record that came from `orders partition 2 offset 9001`.
pub struct LogSource<T> {
    core: Arc<Core>,
    topic: Arc<str>,
    codec: Arc<dyn Decode<T>>,
    begin: Begin,
    bounded: bool,
    /// Where each partition ended when it was first begun at its end: a job that begins once more before its first
    /// epoch leaves nothing out.
    latest: Arc<Mutex<BTreeMap<u32, u64>>>,
}

impl<T> Clone for LogSource<T> {
    fn clone(&self) -> Self {
        LogSource {
            core: Arc::clone(&self.core),
            topic: Arc::clone(&self.topic),
            codec: Arc::clone(&self.codec),
            begin: self.begin,
            bounded: self.bounded,
            latest: Arc::clone(&self.latest),
        }
    }
}

impl<T> fmt::Debug for LogSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSource")
            .field("topic", &self.topic)
            .field("begin", &self.begin)
            .field("bounded", &self.bounded)
            .finish_non_exhaustive()
    }
}

impl<T> LogSource<T> {
    pub(super) fn new(core: Arc<Core>, topic: String, codec: impl Decode<T>) -> Self {
        LogSource {
            core,
            topic: topic.into(),
            codec: Arc::new(codec),
            begin: Begin::Earliest,
            bounded: false,
            latest: Arc::default(),
        }
    }

    /// A partition without a position begins at its first record; the default.
    pub fn from_earliest(mut self) -> Self {
        self.begin = Begin::Earliest;
        self
    }

    /// A new job begins behind the last record of each partition.
    pub fn from_latest(mut self) -> Self {
        self.begin = Begin::Latest;
        self
    }

    /// Each partition ends where it ended when it was opened: for batches and tests.
    pub fn until_end(mut self) -> Self {
        self.bounded = true;
        self
    }

    fn latest(&self, partition: u32, end: u64) -> u64 {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        *latest.entry(partition).or_insert(end)
    }
}

impl<T: Send + 'static> Source for LogSource<T> {
    type Item = T;
    type Position = LogPosition;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        let (_, partitions) = self.core.topic(&self.topic)?;
        Ok((0..partitions).map(|partition| format!("partition-{partition}")).collect())
    }

    fn open(
        &self,
        split: &str,
        from: Option<LogPosition>,
    ) -> Result<Box<dyn Reader<Item = T, Position = LogPosition>>, Cause> {
        let (_, partitions) = self.core.topic(&self.topic)?;
        let named = split.strip_prefix("partition-").and_then(|number| number.parse::<u32>().ok());
        let Some(partition) = named.filter(|partition| *partition < partitions) else {
            let (topic, split) = (self.topic.to_string(), split.to_owned());
            return Err(LogError::UnknownPartition { topic, split, partitions }.into());
        };
        let end = self.core.end(&self.topic, partition)?;
        let offset = match (from, self.begin) {
            (Some(position), _) => position.next_offset,
            (None, Begin::Earliest) => 0,
            (None, Begin::Latest) => self.latest(partition, end),
        };
        if offset > end {
            let topic = self.topic.to_string();
            return Err(LogError::OutOfRange { topic, partition, offset, end }.into());
        }
        let cursor = Cursor::new(Arc::clone(&self.core), Arc::clone(&self.topic), partition, offset);
        let end = self.bounded.then_some(end);
        Ok(Box::new(LogReader { cursor, codec: Arc::clone(&self.codec), end }))
    }
}
