//! The channels between workers: bounded, and never waited for (HW-5).
//!
//! There is one per edge and pair of workers, made when the first of its two ends is asked for. A worker that
//! sends wakes the one that receives; a worker that makes room in a full channel wakes the one that sends.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use highwater_operators::exchange::{Channel, ChannelEnd, EdgeId, Erased, Transport};

/// Wakes a worker that has nothing to do.
#[derive(Clone, Default)]
pub(crate) struct Waker(Arc<OnceLock<Thread>>);

impl Waker {
    /// Called by the worker itself when it starts.
    pub(crate) fn is_me(&self) {
        let _ = self.0.set(std::thread::current());
    }

    pub(crate) fn wake(&self) {
        if let Some(thread) = self.0.get() {
            thread.unpark();
        }
    }
}

type Ends = (Option<Sender<Erased>>, Option<Receiver<Erased>>);

/// All channels of a job.
pub(crate) struct Channels {
    capacity: usize,
    wakers: Vec<Waker>,
    ends: Mutex<HashMap<(EdgeId, usize, usize), Ends>>,
    /// A further end of every channel, for who asks how long it is.
    watched: Mutex<Vec<(EdgeId, Receiver<Erased>)>>,
}

impl Channels {
    pub(crate) fn new(capacity: usize, wakers: Vec<Waker>) -> Self {
        Channels { capacity, wakers, ends: Mutex::default(), watched: Mutex::default() }
    }

    fn end<E>(&self, edge: EdgeId, from: usize, to: usize, take: impl FnOnce(&mut Ends) -> Option<E>) -> E {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = ends.entry((edge, from, to)).or_insert_with(|| {
            let (sender, receiver) = bounded(self.capacity);
            self.watched.lock().unwrap_or_else(PoisonError::into_inner).push((edge, receiver.clone()));
            (Some(sender), Some(receiver))
        });
        take(ends).expect("each end of a channel is asked for once")
    }

    /// How many batches wait for each operator that takes some from other workers, by its number.
    pub(crate) fn lengths(&self) -> Vec<(usize, u64)> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lengths = BTreeMap::new();
        for (edge, receiver) in watched.iter() {
            *lengths.entry(edge.to).or_insert(0) += receiver.len() as u64;
        }
        lengths.into_iter().collect()
    }
}

/// The channels of one worker.
pub(crate) struct WorkerChannels {
    pub(crate) own: usize,
    pub(crate) channels: Arc<Channels>,
}

impl Transport for WorkerChannels {
    fn sender(&self, edge: EdgeId, to: usize) -> Box<dyn Channel> {
        let sender = self.channels.end(edge, self.own, to, |ends| ends.0.take());
        Box::new(Sending { sender, reader: self.channels.wakers[to].clone() })
    }

    fn receiver(&self, edge: EdgeId, from: usize) -> Box<dyn ChannelEnd> {
        let receiver = self.channels.end(edge, from, self.own, |ends| ends.1.take());
        Box::new(Receiving { receiver, writer: self.channels.wakers[from].clone() })
    }
}

struct Sending {
    sender: Sender<Erased>,
    reader: Waker,
}

impl Channel for Sending {
    fn try_send(&mut self, signal: Erased) -> Result<(), Erased> {
        match self.sender.try_send(signal) {
            Ok(()) => {
                self.reader.wake();
                Ok(())
            }
            // A worker that has gone takes nothing more; the coordinator is about to stop this one too.
            Err(TrySendError::Disconnected(signal) | TrySendError::Full(signal)) => Err(signal),
        }
    }
}

struct Receiving {
    receiver: Receiver<Erased>,
    writer: Waker,
}

impl ChannelEnd for Receiving {
    fn try_receive(&mut self) -> Option<Erased> {
        let was_full = self.receiver.is_full();
        let signal = self.receiver.try_recv().ok()?;
        if was_full {
            self.writer.wake();
        }
        Some(signal)
    }
}
