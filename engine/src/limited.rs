//! A source that is read at most so fast, whatever the others of the topology are.
//!
//! [`Job::rate`](crate::job::Job::rate) is for all sources together; [`limited`] is for one: a service behind it that
//! must not be asked too often, or dead letters that are replayed beside the records of the day. Invariant: positions
//! and records are those of the source, unchanged.

use std::sync::Arc;

use highwater_operators::decide::Decide;
use highwater_operators::error::Cause;
use highwater_operators::source::{Poll, Polled, Reader, Source};
use highwater_operators::task::Pace;
use highwater_state::Epoch;

use crate::pace::Bucket;

/// Reads a source at most `records_per_second` fast, over all its splits; in bursts of a twentieth of that.
///
/// A split that has its turn less often than `Job::idle_after` counts as idle: give each split a record in that time.
/// Each instance of the program, and each attempt of a job, has the rate for itself.
///
/// ```
/// use highwater::limited::limited;
/// use highwater::prelude::*;
///
/// let (topology, sink) = (Topology::new("slow"), Memory::sink());
/// topology.source("numbers", limited(Memory::source(0..50), 10_000)).sink("out", sink.clone());
/// Job::new(topology).run()?;
/// assert_eq!(sink.take(), (0..50).collect::<Vec<_>>());
/// # Ok::<(), JobError>(())
/// ```
pub fn limited<S: Source>(source: S, records_per_second: u64) -> Limited<S> {
    Limited { source, records_per_second, bucket: Arc::new(Bucket::new(records_per_second)) }
}

/// A source that is read at most so fast; made by [`limited`].
#[derive(Clone)]
pub struct Limited<S> {
    source: S,
    records_per_second: u64,
    bucket: Arc<Bucket>,
}

type Opened<S> = Box<dyn Reader<Item = <S as Source>::Item, Position = <S as Source>::Position>>;

impl<S: Source> Limited<S> {
    fn slowly(&self, reader: Opened<S>) -> Opened<S> {
        Box::new(Slowly { reader, bucket: Arc::clone(&self.bucket) })
    }
}

impl<S: Source> Source for Limited<S> {
    type Item = S::Item;
    type Position = S::Position;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        if self.records_per_second == 0 {
            return Err("a source that is limited to 0 records a second is never read; say at least 1".into());
        }
        self.source.splits()
    }

    fn open(&self, split: &str, from: Option<S::Position>) -> Result<Opened<S>, Cause> {
        Ok(self.slowly(self.source.open(split, from)?))
    }

    fn open_added(&self, split: &str) -> Result<Opened<S>, Cause> {
        Ok(self.slowly(self.source.open_added(split)?))
    }

    fn decider(&self) -> Option<Arc<dyn Decide>> {
        self.source.decider()
    }
}

struct Slowly<T, P> {
    reader: Box<dyn Reader<Item = T, Position = P>>,
    bucket: Arc<Bucket>,
}

impl<T, P> Reader for Slowly<T, P> {
    type Item = T;
    type Position = P;

    fn poll(&mut self, limit: usize, into: &mut Polled<T>) -> Result<Poll, Cause> {
        let granted = self.bucket.take(limit);
        if granted == 0 {
            return Ok(Poll::Pending);
        }
        let before = into.len();
        let poll = self.reader.poll(granted, into)?;
        self.bucket.give_back(granted.saturating_sub(into.len() - before));
        Ok(poll)
    }

    fn position(&self) -> P {
        self.reader.position()
    }

    fn lag(&self) -> Option<u64> {
        self.reader.lag()
    }

    fn ends_epoch(&mut self, epoch: Epoch) {
        self.reader.ends_epoch(epoch);
    }

    fn committed(&mut self, position: P) {
        self.reader.committed(position);
    }
}
