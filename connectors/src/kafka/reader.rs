//! Reads one partition.
//!
//! Invariant: `next` is behind everything that was delivered and never behind anything that was not. It rises with
//! each record, and over offsets without records (commit markers, aborted transactions) by where the client says that
//! the partition ends; otherwise retention could drop the markers of a quiet topic and make a good position look
//! lost. What the consumer calls its position is of no use here: librdkafka moves it one offset too far when a
//! batch holds the end of the partition.

use std::sync::Arc;

use highwater_operators::codec::Decode;
use highwater_operators::error::Cause;
use highwater_operators::source::{Origin, Poll, Polled, Reader};
use highwater_state::Epoch;
use rdkafka::error::RDKafkaErrorCode as Code;
use serde::{Deserialize, Serialize};

use super::client::{Client, passes};
use super::fetched::{Fetched, Queue};
use super::transactions::Transactions;
use super::{KafkaError, Tombstones};

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
    queue: Queue,
    client: Arc<Client>,
    /// Of which the position is part, if any.
    transactions: Option<Arc<Transactions>>,
}

impl Partition {
    pub(super) fn new(
        topic: String,
        number: i32,
        queue: Queue,
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
}

impl<T: 'static> KafkaReader<T> {
    pub(super) fn new(
        partition: Partition,
        codec: Arc<dyn Decode<T>>,
        tombstones: Tombstones,
        next: i64,
        end: Option<i64>,
    ) -> Self {
        KafkaReader { partition, codec, tombstones, next, end }
    }

    fn has_finished(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }

    /// Takes what one look into the queue gives.
    fn take(&mut self, limit: usize, into: &mut Polled<T>) -> Result<(), KafkaError> {
        let KafkaReader { partition: Partition { topic, number, queue, .. }, codec, tombstones, .. } = self;
        let (next, end) = (&mut self.next, self.end);
        queue.take(limit, |fetched| {
            let (offset, bytes) = match fetched {
                Fetched::Record { offset, payload } => (offset, payload),
                // Everything before that end was delivered, or is no record; it is not before the end at opening.
                Fetched::End { offset } => {
                    *next = end.unwrap_or(offset).max(*next);
                    return Ok(end.is_none());
                }
                Fetched::Report(code) => return reported(code, topic, *number, *next).map(|()| true),
            };
            if let Some(end) = end.filter(|end| offset >= *end) {
                *next = end;
                return Ok(false);
            }
            *next = offset + 1;
            let decoded = match (bytes, *tombstones) {
                (None, Tombstones::Bad) => Err("no payload".to_owned()),
                (bytes, _) => codec.decode(bytes.unwrap_or_default()),
            };
            into.push(decoded, bytes.unwrap_or_default(), || Origin::Topic {
                topic: topic.clone(),
                partition: *number,
                offset,
            });
            Ok(end.is_none_or(|end| *next < end))
        })
    }
}

/// What it means that the partition reported this in place of a record.
fn reported(code: Code, topic: &str, number: i32, offset: i64) -> Result<(), KafkaError> {
    let reason = match code {
        code if passes(code) => {
            tracing::warn!(topic = %topic, partition = number, "Kafka, tried again: {code}");
            return Ok(());
        }
        Code::AutoOffsetReset => {
            "the offset is not in the partition any more: retention has dropped it, or the topic was made anew"
                .to_owned()
        }
        Code::UnknownPartition | Code::UnknownTopic | Code::UnknownTopicOrPartition => {
            "the brokers do not know it any more: the topic was deleted".to_owned()
        }
        code => code.to_string(),
    };
    Err(KafkaError::Read { topic: topic.to_owned(), partition: number, offset, reason })
}

impl<T: Send + 'static> Reader for KafkaReader<T> {
    type Item = T;
    type Position = KafkaPosition;

    fn poll(&mut self, limit: usize, into: &mut Polled<T>) -> Result<Poll, Cause> {
        self.partition.client.serve()?;
        if self.partition.client.is_gone(self.partition.number) {
            reported(Code::UnknownPartition, &self.partition.topic, self.partition.number, self.next)?;
        }
        let before = into.len();
        if !self.has_finished() {
            self.take(limit, into)?;
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

    fn lag(&self) -> Option<u64> {
        self.partition.client.behind(self.partition.number, self.next)
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
