//! What travels between two operators.
//!
//! The grammar of every edge, which [`check`](crate::check) asserts:
//!
//! ```text
//! edge := (Batch | Watermark | Idle | Active | Split | Barrier)* End
//! ```
//!
//! Watermarks strictly rise; barriers are consecutive; nothing follows `End`; `Split` travels only on streams
//! without event time, `Watermark`, `Idle` and `Active` only on streams with it.

use highwater_state::{Epoch, Timestamp};

use crate::batch::SplitId;

/// What happened to a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitStatus {
    /// It is read from here on: it holds the watermark back until it has delivered a record.
    Active,
    /// It has delivered nothing for the stated time and leaves the minimum until it does.
    Idle,
    /// It will never deliver anything again.
    Finished,
}

/// One thing that travels over an edge.
#[derive(Clone, Debug, PartialEq)]
pub enum Signal<B> {
    /// Records.
    Batch(B),
    /// No record with a smaller event time comes over this edge any more, except late ones.
    Watermark(Timestamp),
    /// Nothing is to be expected over this edge for now: it does not hold back the watermark of what it feeds.
    Idle,
    /// Something is to be expected again: it holds back the watermark from here on. Said before the first batch after
    /// an `Idle`, because after an exchange not every worker gets a part of that batch.
    Active,
    /// A split of a source changed its status.
    Split(SplitId, SplitStatus),
    /// All that belongs to the epoch has passed.
    Barrier(Epoch),
    /// Nothing follows.
    End,
}

impl<B> Signal<B> {
    /// The same signal with another batch in it.
    pub fn map<C>(self, batch: impl FnOnce(B) -> C) -> Signal<C> {
        match self {
            Signal::Batch(records) => Signal::Batch(batch(records)),
            other => match other.control() {
                Some(control) => control,
                None => unreachable!("only a batch is no control signal"),
            },
        }
    }

    /// A copy of a signal that is no batch.
    pub fn control<C>(&self) -> Option<Signal<C>> {
        Some(match self {
            Signal::Batch(_) => return None,
            Signal::Watermark(watermark) => Signal::Watermark(*watermark),
            Signal::Idle => Signal::Idle,
            Signal::Active => Signal::Active,
            Signal::Split(split, status) => Signal::Split(*split, *status),
            Signal::Barrier(epoch) => Signal::Barrier(*epoch),
            Signal::End => Signal::End,
        })
    }
}
