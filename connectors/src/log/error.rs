//! What can go wrong with a log, in words for the person who runs the job: which topic or file, and what to do.
//!
//! A record that cannot be decoded is not among them: it is a bad record, and the source's policy decides.

use std::io;
use std::path::PathBuf;

use highwater_state::Epoch;
use thiserror::Error;

use super::limits::{NAME_CHARS_MAX, PARTITIONS_MAX, RECORD_BYTES_MAX};

/// A log that cannot do what it was asked to.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogError {
    /// The operating system refused.
    #[error("cannot {doing} {}: {cause}", path.display())]
    System {
        /// What was tried: `open`, `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Another process, or another `Log` of this one, has the directory open.
    #[error("the log in {} is open already: one process opens it, once, and shares it by clones", directory.display())]
    InUse {
        /// The log's directory.
        directory: PathBuf,
    },
    /// Bytes that were synced are not what was written.
    #[error("{} is damaged at byte {at}: {reason}; put a good copy of the log's directory back", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        at: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A sync failed, so nobody knows what is on disk.
    #[error("the log takes nothing more, because a sync failed: {reason}; start the program again")]
    Broken {
        /// What the system said.
        reason: String,
    },
    /// There is no such topic.
    #[error("the log has no topic `{topic}`; create it with `Log::topic` before it is used")]
    UnknownTopic {
        /// The topic.
        topic: String,
    },
    /// The topic has another number of partitions.
    #[error(
        "topic `{topic}` has {partitions} partitions, not {wanted}; a topic keeps the number that it began with"
    )]
    OtherPartitions {
        /// The topic.
        topic: String,
        /// How many it has.
        partitions: u32,
        /// How many were asked for.
        wanted: u32,
    },
    /// A name that cannot be one.
    #[error("`{name}` cannot be a name: it has 1 to {NAME_CHARS_MAX} of the characters A-Z a-z 0-9 . _ -")]
    Name {
        /// What was given.
        name: String,
    },
    /// A number of partitions that cannot be.
    #[error("topic `{topic}` cannot have {partitions} partitions: a topic has 1 to {PARTITIONS_MAX}")]
    Partitions {
        /// The topic.
        topic: String,
        /// How many were asked for.
        partitions: u32,
    },
    /// There is no such partition.
    #[error("topic `{topic}` has no `{split}`: its {partitions} partitions are counted from 0")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// What was asked for.
        split: String,
        /// How many it has.
        partitions: u32,
    },
    /// An offset behind the end of its partition.
    #[error(
        "{topic} partition {partition} ends at offset {end}, and {offset} was asked for: this is not the log that the \
         position was taken in, or an older copy of it; put the newer one back, or delete the job's state to begin anew"
    )]
    OutOfRange {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// What was asked for.
        offset: u64,
        /// Where the partition ends.
        end: u64,
    },
    /// A record that is too large.
    #[error(
        "a record for topic `{topic}` has {bytes} bytes with its key; at most {RECORD_BYTES_MAX} are allowed"
    )]
    RecordTooLarge {
        /// The topic.
        topic: String,
        /// How large it is.
        bytes: usize,
    },
    /// The topic is full.
    #[error(
        "topic `{topic}` holds {bytes} bytes, and {more} more are over its limit of {limit}; nothing is deleted from a \
         log: raise the limit with `Log::topic_bytes`, or go on with a new log"
    )]
    Full {
        /// The topic.
        topic: String,
        /// What it holds, with what is staged for it.
        bytes: u64,
        /// What was to be added.
        more: u64,
        /// What it may hold.
        limit: u64,
    },
    /// A record that cannot be written.
    #[error("record {record} of worker {worker} for topic `{topic}` cannot be written: {reason}")]
    Encode {
        /// The topic.
        topic: String,
        /// The worker that had the record.
        worker: usize,
        /// Which record of the worker since it started, counted from 1.
        record: u64,
        /// What the codec said.
        reason: String,
    },
    /// Another sink writes under the same name.
    #[error(
        "`{producer}` writes already, in this job or another one that still runs; give each sink a name of its own \
         with `Log::producer`"
    )]
    ProducerInUse {
        /// The producer's name and the topic.
        producer: String,
    },
    /// The log is newer than the state.
    #[error(
        "`{producer}` has published up to {published}, but the state is at {last}: the state is older than the log; \
         start from the newer state; or, to write what comes after {last} once more, as after going back to a \
         savepoint, give the producer another name"
    )]
    Ahead {
        /// The producer's name and the topic.
        producer: String,
        /// What it has published.
        published: Epoch,
        /// What the state holds.
        last: Epoch,
    },
    /// The producer has begun anew since the state was written, or the log is another one.
    #[error(
        "what `{producer}` staged for {epoch} is not in this log: either a job without state has begun anew under \
         this name since, then give one of them another name; or the log is another one, as one in memory is after \
         every start, then give the job its log back, or delete its state to begin anew"
    )]
    OtherProducer {
        /// The producer's name and the topic.
        producer: String,
        /// The epoch that the state holds.
        epoch: Epoch,
    },
    /// What was staged is gone.
    #[error(
        "the log has lost what `{producer}` staged for {epoch} at byte {at}: it is an older copy; put the newer one \
         back, or delete the job's state to begin anew"
    )]
    Lost {
        /// The producer's name and the topic.
        producer: String,
        /// The epoch that the state holds.
        epoch: Epoch,
        /// Where it was.
        at: u64,
    },
    /// A receipt that is none.
    #[error("a receipt of `{producer}` cannot be read: {reason}; it was written by another sink or damaged")]
    Receipt {
        /// The producer's name and the topic.
        producer: String,
        /// Why not.
        reason: String,
    },
}

impl LogError {
    /// Says for `map_err` what was tried with which file.
    pub(super) fn system(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> LogError {
        let path = path.into();
        move |cause| LogError::System { doing, path, cause }
    }
}
