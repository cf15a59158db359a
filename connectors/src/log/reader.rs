//! Goes through a partition, record by record.
//!
//! Invariant: `next` is behind everything that was given and before everything that was not; offsets are dense, so it
//! rises by one with each record. A cursor holds one piece of the partition at a time. It does not know codecs.

use std::sync::Arc;

use highwater_operators::codec::Decode;
use highwater_operators::error::Cause;
use highwater_operators::source::{Origin, Poll, Polled, Reader};

use super::core::{Core, Records};
use super::error::LogError;
use super::frame::RecordAt;
use super::source::LogPosition;

/// A place in a partition.
pub(super) struct Cursor {
    core: Arc<Core>,
    pub(super) topic: Arc<str>,
    pub(super) partition: u32,
    pub(super) next: u64,
    open: Option<Piece>,
}

/// The records around the cursor.
struct Piece {
    records: Records,
    /// The record that begins at `at`.
    offset: u64,
    at: usize,
}

impl Cursor {
    pub(super) fn new(core: Arc<Core>, topic: Arc<str>, partition: u32, next: u64) -> Cursor {
        Cursor { core, topic, partition, next, open: None }
    }

    /// What `make` makes of the next record, its piece's bytes and its offset; `None` if there is none yet.
    pub(super) fn next<R>(
        &mut self,
        make: impl FnOnce(RecordAt, &[u8], u64) -> R,
    ) -> Result<Option<R>, LogError> {
        let ended = |piece: &mut Piece| piece.offset == piece.records.first + u64::from(piece.records.count);
        if self.open.as_mut().is_none_or(ended) {
            let Some(records) = self.core.records_at(&self.topic, self.partition, self.next)? else {
                return Ok(None);
            };
            self.open = Some(Piece { offset: records.first, at: 0, records });
        }
        let piece = self.open.as_mut().expect("it was opened above");
        loop {
            let record = RecordAt::read(&piece.records.bytes, piece.at);
            let record = record.ok_or_else(|| self.core.torn(&piece.records))?;
            let offset = piece.offset;
            (piece.at, piece.offset) = (record.value.end, offset + 1);
            if offset == self.next {
                self.next += 1;
                return Ok(Some(make(record, &piece.records.bytes, offset)));
            }
        }
    }
}

/// Reads one partition into values.
pub(super) struct LogReader<T> {
    pub(super) cursor: Cursor,
    pub(super) codec: Arc<dyn Decode<T>>,
    /// Where the split finishes, if it does.
    pub(super) end: Option<u64>,
}

impl<T: Send + 'static> Reader for LogReader<T> {
    type Item = T;
    type Position = LogPosition;

    fn poll(&mut self, limit: usize, into: &mut Polled<T>) -> Result<Poll, Cause> {
        let (topic, partition) = (Arc::clone(&self.cursor.topic), self.cursor.partition as i32);
        for _ in 0..limit {
            if self.end.is_some_and(|end| self.cursor.next >= end) {
                break;
            }
            let taken = self.cursor.next(|record, bytes, offset| {
                let raw = &bytes[record.value];
                let origin = || Origin::Topic { topic: topic.to_string(), partition, offset: offset as i64 };
                into.push(self.codec.decode(raw), raw, origin);
            })?;
            if taken.is_none() {
                return Ok(Poll::Pending);
            }
        }
        Ok(match self.end.is_some_and(|end| self.cursor.next >= end) {
            true => Poll::Finished,
            false => Poll::Ready,
        })
    }

    fn position(&self) -> LogPosition {
        LogPosition { next_offset: self.cursor.next }
    }
}
