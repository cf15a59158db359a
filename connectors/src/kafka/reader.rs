//! Reads one partition.
//!
//! Invariant: `next` is behind everything that was delivered and never behind anything that was not. It rises with
//! each record, and over offsets without records (commit markers, aborted transactions) by what the consumer says
//! it has passed; otherwise retention could drop the markers of a quiet topic and make a good position look lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater_operators::codec::Decode;
use highwater_operators::error::Cause;
use highwater_operators::source::{Poll, Polled, Reader};
use highwater_state::Epoch;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;
use serde::{Deserialize, Serialize};

use super::client::{Client, ConsumerReports, passes};
use super::transactions::Transactions;
use super::{KafkaError, PROGRESS_INTERVAL, Tombstones};

/// Where a partition is continued. Survives a restart in the job's epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KafkaPosition {
    /// The next offset to read. Not a count: offsets have holes.
    pub next_offset: i64,
}

/// A partition that is being fetched; given back when it is dropped.
pub(super) struct Partition {
    topic: String,
    number: i32,
    // Before `client`: the queue has to go while the consumer is still there.
    queue: PartitionQueue<ConsumerReports>,
    client: Arc<Client>,
    /// Of which the position is part, if any.
    transactions: Option<Arc<Transactions>>,
}

impl Partition {
    pub(super) fn new(
        topic: String,
        number: i32,
        queue: PartitionQueue<ConsumerReports>,
        client: Arc<Client>,
        transactions: Option<Arc<Transactions>>,
    ) -> Self {
        Partition { topic, number, queue, client, transactions }
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        self.client.release(self.number);
    }
}

/// Reads one partition.
pub(super) struct KafkaReader<T> {
    partition: Partition,
    codec: Arc<dyn Decode<T>>,
    tombstones: Tombstones,
    next: i64,
    /// Where the split finishes, if it does.
    end: Option<i64>,
    /// Whether the end of the partition was met since the consumer was last asked for its progress.
    caught_up: bool,
    asked: Instant,
}

impl<T> KafkaReader<T> {
    pub(super) fn new(
        partition: Partition,
        codec: Arc<dyn Decode<T>>,
        tombstones: Tombstones,
        next: i64,
        end: Option<i64>,
    ) -> Self {
        KafkaReader { partition, codec, tombstones, next, end, caught_up: false, asked: Instant::now() }
    }

    fn has_finished(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }

    /// Passes the offsets without records at the end of the partition.
    fn pass_holes(&mut self) {
        if self.caught_up && self.asked.elapsed() >= PROGRESS_INTERVAL {
            if let Some(progress) = self.partition.client.progress(self.partition.number) {
                self.next = self.next.max(progress);
            }
            self.caught_up = false;
            self.asked = Instant::now();
        }
    }

    /// What the partition reported in place of a record.
    fn reported(&mut self, error: ClientError) -> Result<(), KafkaError> {
        if let ClientError::PartitionEOF(_) = error {
            // The consumer has fetched up to an end that is not before the one at opening.
            if let Some(end) = self.end {
                self.next = self.next.max(end);
            }
            self.caught_up = true;
            return Ok(());
        }
        let (topic, number) = (&self.partition.topic, self.partition.number);
        let reason = match error.rdkafka_error_code() {
            Some(code) if passes(code) => {
                tracing::warn!(topic = %topic, partition = number, "Kafka, tried again: {error}");
                return Ok(());
            }
            Some(Code::AutoOffsetReset) => {
                "the offset is not in the partition any more: retention has dropped it, or the topic was made anew"
                    .to_owned()
            }
            Some(code) => code.to_string(),
            None => error.to_string(),
        };
        Err(KafkaError::Read { topic: topic.clone(), partition: number, offset: self.next, reason })
    }
}

impl<T: Send + 'static> Reader for KafkaReader<T> {
    type Item = T;
    type Position = KafkaPosition;

    fn poll(&mut self, limit: usize, into: &mut Polled<T>) -> Result<Poll, Cause> {
        self.partition.client.serve()?;
        let before = into.len();
        for _ in 0..limit {
            if self.has_finished() {
                break;
            }
            match self.partition.queue.poll(Duration::ZERO) {
                None => {
                    self.pass_holes();
                    break;
                }
                Some(Err(error)) => self.reported(error)?,
                Some(Ok(message)) => {
                    let offset = message.offset();
                    if let Some(end) = self.end.filter(|end| offset >= *end) {
                        self.next = end;
                        break;
                    }
                    self.next = offset + 1;
                    let (topic, number) = (&self.partition.topic, self.partition.number);
                    let bytes = message.payload();
                    let decoded = match (bytes, self.tombstones) {
                        (None, Tombstones::Bad) => Err("no payload".to_owned()),
                        (bytes, _) => self.codec.decode(bytes.unwrap_or_default()),
                    };
                    into.push(decoded, bytes.unwrap_or_default(), || {
                        format!("{topic} partition {number} offset {offset}")
                    });
                }
            }
        }
        match into.len() - before {
            0 if self.has_finished() => Ok(Poll::Finished),
            taken if taken < limit && !self.has_finished() => Ok(Poll::Pending),
            _ => Ok(Poll::Ready),
        }
    }

    fn position(&self) -> KafkaPosition {
        KafkaPosition { next_offset: self.next }
    }

    fn ends_epoch(&mut self, _: Epoch) {
        if let Some(transactions) = &self.partition.transactions {
            transactions.note(&self.partition.topic, self.partition.number, self.next);
        }
    }

    /// Tells the group how far it is read, unless the transaction has.
    fn committed(&mut self, position: KafkaPosition) {
        if self.partition.transactions.as_ref().is_some_and(|transactions| transactions.decides()) {
            return;
        }
        self.partition.client.commit(self.partition.number, position.next_offset);
    }
}
