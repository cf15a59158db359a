//! Where an operator puts what it emits.
//!
//! An outbox gathers records into batches and delivers them on every edge that leads away from its port. It
//! tells the operator when to stop ([`Outputs::has_room`]); the operator's node passes control signals on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use highwater_state::{Epoch, Timestamp};

use crate::batch::{Batch, KeyedBatch, Records, SplitId};
use crate::edge::Deliver;
use crate::opening::{NodeOpening, OpenError};
use crate::signal::{Signal, SplitStatus};

/// All outputs of one operator: an [`Outbox`], several of them as a tuple, or `()`.
pub trait Outputs: 'static {
    /// Opens the outputs of a node, in the order of its ports.
    fn open(opening: &mut NodeOpening<'_>) -> Result<Self, OpenError>
    where
        Self: Sized;

    /// Whether the operator may emit more now. It may always finish the record that it is at.
    fn has_room(&mut self) -> bool;

    /// Delivers what is gathered.
    fn flush(&mut self);

    /// Delivers what is gathered, and then the watermark.
    fn watermark(&mut self, watermark: Timestamp);

    /// Says that nothing is to be expected for now.
    fn idle(&mut self);

    /// Says that something is to be expected again.
    fn active(&mut self);

    /// Says that a split changed its status.
    fn split(&mut self, split: SplitId, status: SplitStatus);

    /// Delivers what is gathered, and then the barrier.
    fn barrier(&mut self, epoch: Epoch);

    /// Delivers what is gathered, and then the end.
    fn end(&mut self);
}

/// One output of an operator: a port, and the edges that lead away from it.
pub struct Outbox<B> {
    gathered: B,
    batch_records: usize,
    edges: Vec<Box<dyn Deliver<B>>>,
    copy: Option<fn(&B) -> B>,
    delivered: Arc<AtomicU64>,
}

impl<B: Records> Outbox<B> {
    pub(crate) fn new(
        edges: Vec<Box<dyn Deliver<B>>>,
        copy: Option<fn(&B) -> B>,
        batch_records: usize,
        delivered: Arc<AtomicU64>,
    ) -> Self {
        assert!(edges.len() < 2 || copy.is_some(), "a port with several edges copies its batches");
        Outbox { gathered: B::default(), batch_records, edges, copy, delivered }
    }

    /// Whether anyone takes what is put here; if not, it need not be made.
    pub fn is_taken(&self) -> bool {
        !self.edges.is_empty()
    }

    /// Delivers a whole batch, after what is gathered.
    pub fn send(&mut self, batch: B) {
        self.flush();
        self.deliver(batch);
    }

    fn deliver(&mut self, batch: B) {
        if batch.count() == 0 {
            return;
        }
        self.delivered.fetch_add(batch.count() as u64, Ordering::Relaxed);
        let Some((last, others)) = self.edges.split_last_mut() else { return };
        if let Some(copy) = self.copy {
            others.iter_mut().for_each(|edge| edge.deliver(Signal::Batch(copy(&batch))));
        }
        last.deliver(Signal::Batch(batch));
    }

    fn control(&mut self, signal: Signal<B>) {
        self.flush();
        for edge in &mut self.edges {
            edge.deliver(signal.control().expect("only control signals are passed here"));
        }
    }

    fn full(&self) -> bool {
        self.gathered.count() >= self.batch_records
    }
}

impl<T: 'static> Outbox<Batch<T>> {
    /// Emits one record.
    #[inline]
    pub fn push(&mut self, value: T, time: Timestamp) {
        self.gathered.values.push(value);
        self.gathered.times.push(time);
        if self.full() {
            self.flush();
        }
    }

    /// Emits one record of a stream without event time.
    #[inline]
    pub fn push_untimed(&mut self, value: T, split: SplitId) {
        if self.gathered.split != split {
            self.flush();
            self.gathered.split = split;
        }
        self.gathered.values.push(value);
        if self.full() {
            self.flush();
            self.gathered.split = split;
        }
    }

    /// Emits a record that stands for one of `like`: with its time and split.
    #[inline]
    pub fn push_like(&mut self, value: T, time: Option<Timestamp>, split: SplitId) {
        match time {
            Some(time) => self.push(value, time),
            None => self.push_untimed(value, split),
        }
    }
}

impl<K: 'static, T: 'static> Outbox<KeyedBatch<K, T>> {
    /// Emits one record with its key.
    #[inline]
    pub fn push_keyed(&mut self, key: K, hash: u64, value: T, time: Timestamp) {
        self.gathered.keys.push(key);
        self.gathered.hashes.push(hash);
        self.gathered.records.values.push(value);
        self.gathered.records.times.push(time);
        if self.full() {
            self.flush();
        }
    }

    /// Emits one record with its key that stands for another: with its time or, on a stream without, its split.
    #[inline]
    pub fn push_keyed_like(&mut self, key: K, hash: u64, value: T, time: Option<Timestamp>, split: SplitId) {
        if let Some(time) = time {
            return self.push_keyed(key, hash, value, time);
        }
        if self.gathered.records.split != split {
            self.flush();
            self.gathered.records.split = split;
        }
        self.gathered.keys.push(key);
        self.gathered.hashes.push(hash);
        self.gathered.records.values.push(value);
        if self.full() {
            self.flush();
        }
    }
}

impl<B: Records> Outputs for Outbox<B> {
    fn open(opening: &mut NodeOpening<'_>) -> Result<Self, OpenError> {
        opening.outbox()
    }

    #[inline]
    fn has_room(&mut self) -> bool {
        !self.edges.iter_mut().fold(false, |full, edge| edge.is_full() | full)
    }

    #[inline]
    fn flush(&mut self) {
        if self.gathered.count() > 0 {
            let batch = std::mem::take(&mut self.gathered);
            self.deliver(batch);
        }
    }

    fn watermark(&mut self, watermark: Timestamp) {
        self.control(Signal::Watermark(watermark));
    }

    fn idle(&mut self) {
        self.control(Signal::Idle);
    }

    fn active(&mut self) {
        self.control(Signal::Active);
    }

    fn split(&mut self, split: SplitId, status: SplitStatus) {
        self.control(Signal::Split(split, status));
    }

    fn barrier(&mut self, epoch: Epoch) {
        self.control(Signal::Barrier(epoch));
    }

    fn end(&mut self) {
        self.control(Signal::End);
    }
}

impl Outputs for () {
    fn open(_: &mut NodeOpening<'_>) -> Result<Self, OpenError> {
        Ok(())
    }
    fn has_room(&mut self) -> bool {
        true
    }
    fn flush(&mut self) {}
    fn watermark(&mut self, _: Timestamp) {}
    fn idle(&mut self) {}
    fn active(&mut self) {}
    fn split(&mut self, _: SplitId, _: SplitStatus) {}
    fn barrier(&mut self, _: Epoch) {}
    fn end(&mut self) {}
}

impl<A: Outputs, B: Outputs> Outputs for (A, B) {
    fn open(opening: &mut NodeOpening<'_>) -> Result<Self, OpenError> {
        Ok((A::open(opening)?, B::open(opening)?))
    }
    fn has_room(&mut self) -> bool {
        self.0.has_room() & self.1.has_room()
    }
    fn flush(&mut self) {
        self.0.flush();
        self.1.flush();
    }
    fn watermark(&mut self, watermark: Timestamp) {
        self.0.watermark(watermark);
        self.1.watermark(watermark);
    }
    fn idle(&mut self) {
        self.0.idle();
        self.1.idle();
    }
    fn active(&mut self) {
        self.0.active();
        self.1.active();
    }
    fn split(&mut self, split: SplitId, status: SplitStatus) {
        self.0.split(split, status);
        self.1.split(split, status);
    }
    fn barrier(&mut self, epoch: Epoch) {
        self.0.barrier(epoch);
        self.1.barrier(epoch);
    }
    fn end(&mut self) {
        self.0.end();
        self.1.end();
    }
}
