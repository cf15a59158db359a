//! What a source must do.
//!
//! A source is a set of splits (partitions, files), each read in order by a reader from a position. The engine
//! spreads the splits over the workers, keeps the positions in the epoch, and opens each reader where the last
//! committed epoch left it. Invariant that a reader keeps: reading from a position delivers exactly the records
//! that were delivered after it, in the same order.
//!
//! A reader never blocks: a worker that waits for one source cannot drain the others.

use std::fmt;
use std::sync::Arc;

use highwater_state::{Epoch, Persist};

use crate::decide::Decide;
use crate::error::Cause;

/// Something that records come from.
pub trait Source: Send + Sync + 'static {
    /// What it delivers.
    type Item: Send + 'static;
    /// Where in a split a reader stands; kept in every epoch. Of two positions in one split that is the greater one
    /// before which more has been read.
    type Position: Persist + PartialOrd;

    /// The names of the splits, unique and stable over restarts: `partition-3`, a file's path.
    ///
    /// # Errors
    /// If they cannot be found out: the topic or the file is missing.
    fn splits(&self) -> Result<Vec<String>, Cause>;

    /// Opens a split where `from` says, or at its beginning.
    ///
    /// # Errors
    /// If there is no such split, or the position is no longer in it.
    fn open(
        &self,
        split: &str,
        from: Option<Self::Position>,
    ) -> Result<Box<dyn Reader<Item = Self::Item, Position = Self::Position>>, Cause>;

    /// Opens a split that was not there when the source was first read: at its beginning, wherever a new job begins,
    /// because every record in it came later.
    ///
    /// # Errors
    /// As [`open`](Source::open).
    fn open_added(
        &self,
        split: &str,
    ) -> Result<Box<dyn Reader<Item = Self::Item, Position = Self::Position>>, Cause> {
        self.open(split, None)
    }

    /// Who keeps the positions beside the state directory, if they are part of a transaction.
    fn decider(&self) -> Option<Arc<dyn Decide>> {
        None
    }
}

/// What a reader says after a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// There may be more at once.
    Ready,
    /// There is nothing now, and there may be later.
    Pending,
    /// The split has ended.
    Finished,
}

/// Reads one split.
pub trait Reader {
    /// What it delivers.
    type Item;
    /// Where it stands.
    type Position;

    /// Takes up to `limit` records without waiting, good and bad ones counted.
    ///
    /// # Errors
    /// If the outside world fails. A record that cannot be decoded is no error: it goes to
    /// [`Polled::bad`], and the source's policy decides.
    fn poll(&mut self, limit: usize, into: &mut Polled<Self::Item>) -> Result<Poll, Cause>;

    /// The position behind the last record that was delivered: what a restart continues from.
    fn position(&self) -> Self::Position;

    /// About how many records of the split are there and have not been delivered; `None` if that is not known. Asked at
    /// the end of every epoch: it answers at once, by what is known, and asks nobody.
    fn lag(&self) -> Option<u64> {
        None
    }

    /// The epoch ends here: the position is now what it keeps. Called whether or not the position has moved.
    fn ends_epoch(&mut self, epoch: Epoch) {
        let _ = epoch;
    }

    /// Called after every commit with the position that is now durable, so that the outside world can be told
    /// (a consumer group's offsets). Never needed for recovery.
    fn committed(&mut self, position: Self::Position) {
        let _ = position;
    }
}

/// What one poll delivered.
#[derive(Debug)]
pub struct Polled<T> {
    /// The good records, in order.
    pub values: Vec<T>,
    /// The records that could not be decoded, each with the number of good ones before it.
    pub bad: Vec<(usize, BadRecord)>,
    /// What the pushed records were decoded from, in bytes.
    decoded: usize,
}

impl<T> Default for Polled<T> {
    fn default() -> Self {
        Polled { values: Vec::new(), bad: Vec::new(), decoded: 0 }
    }
}

impl<T> Polled<T> {
    /// Takes a decoded record, or files the bytes as a bad one.
    pub fn push(&mut self, decoded: Result<T, String>, raw: &[u8], origin: impl FnOnce() -> Origin) {
        self.decoded += raw.len();
        match decoded {
            Ok(value) => self.values.push(value),
            Err(reason) => {
                let bad = BadRecord { raw: raw.to_vec(), reason, origin: origin() };
                self.bad.push((self.values.len(), bad));
            }
        }
    }

    /// What the records have in bytes, as far as it is known: themselves, and what they were decoded from, counted
    /// since this was asked last.
    pub(crate) fn take_bytes(&mut self) -> usize {
        std::mem::take(&mut self.decoded) + self.len() * size_of::<T>()
    }

    /// How many records were delivered, good and bad.
    pub fn len(&self) -> usize {
        self.values.len() + self.bad.len()
    }

    /// Whether nothing was delivered.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.bad.is_empty()
    }
}

/// A record that could not be decoded: its bytes, why, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BadRecord {
    /// The record's bytes as they were read.
    pub raw: Vec<u8>,
    /// Why they are no record.
    pub reason: String,
    /// Where they came from.
    pub origin: Origin,
}

/// Where a record came from; as text `clicks partition 2 offset 9001`, `access.log line 17`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Origin {
    /// A record of a topic.
    Topic {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The record's offset.
        offset: i64,
    },
    /// A line of a file, or of what is read like one.
    File {
        /// The file's path, or `stdin`.
        file: String,
        /// The line, or the first of several, counted from 1.
        line: u64,
    },
    /// Anything else, in the source's words.
    Text(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Topic { topic, partition, offset } => {
                write!(f, "{topic} partition {partition} offset {offset}")
            }
            Origin::File { file, line } => write!(f, "{file} line {line}"),
            Origin::Text(text) => f.write_str(text),
        }
    }
}
