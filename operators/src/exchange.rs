//! Where a stream crosses from worker to worker: after `key_by`, by key group; and before the join with a table that
//! is on every worker, to all of them.
//!
//! A batch is cut by the owner of each record's key group, or copied for every worker, and every part travels as one
//! erased box: the engine that moves it has no type parameter, and the cost is one downcast per batch. Watermarks,
//! idleness, barriers and the end go to every worker, in order with the batches.
//!
//! Invariant HW-5: sending never blocks. What a full channel does not take waits here, the edge says that it is
//! full, and the worker goes on with other work.

mod deal;

use std::any::Any;
use std::collections::VecDeque;
use std::convert::Infallible;

use highwater_state::KeyGroup;

use deal::Deal;

use crate::batch::{Batch, KeyedBatch, Records};
use crate::edge::{Deliver, Receive};
use crate::signal::Signal;

/// A signal whose batch has lost its type on the way between two workers.
pub type Erased = Signal<Box<dyn Any + Send>>;

/// The sending end of a channel between two workers; made by the engine.
pub trait Channel {
    /// Sends without waiting, or gives the signal back if the channel is full.
    fn try_send(&mut self, signal: Erased) -> Result<(), Erased>;
}

/// The receiving end of a channel between two workers; made by the engine.
pub trait ChannelEnd {
    /// The next signal, if there is one now.
    fn try_receive(&mut self) -> Option<Erased>;
}

/// Names one edge of a topology, the same on every worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeId {
    /// The node that the edge leads to.
    pub to: usize,
    /// Which of its inputs.
    pub input: usize,
}

/// Gives a worker the channels to and from the others.
pub trait Transport {
    /// The sending end of the edge, to worker `to`.
    fn sender(&self, edge: EdgeId, to: usize) -> Box<dyn Channel>;

    /// The receiving end of the edge, from worker `from`.
    fn receiver(&self, edge: EdgeId, from: usize) -> Box<dyn ChannelEnd>;
}

/// What must be known of a type of batches to send them to other workers; made where the type is known.
pub(crate) struct Exchange<B> {
    cut: fn(B, usize) -> Vec<B>,
    erase: fn(B) -> Box<dyn Any + Send>,
}

impl<B> Clone for Exchange<B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Exchange<B> {}

impl<K: Send + 'static, T: Send + 'static> Exchange<KeyedBatch<K, T>> {
    pub(crate) fn by_key_group() -> Self {
        Exchange { cut: cut_by_owner, erase: |batch| Box::new(batch) }
    }
}

impl<B: Clone + Send + 'static> Exchange<B> {
    pub(crate) fn to_all() -> Self {
        Exchange { cut: |batch, workers| vec![batch; workers], erase: |batch| Box::new(batch) }
    }
}

fn cut_by_owner<K, T>(batch: KeyedBatch<K, T>, workers: usize) -> Vec<KeyedBatch<K, T>> {
    let owners = batch.hashes.iter().map(|&hash| KeyGroup::of_hash(hash).worker(workers));
    let deal = Deal::new(workers, owners);
    let Batch { values, times, split } = batch.records;
    let (keys, hashes) = (deal.column(batch.keys), deal.column(batch.hashes));
    let records = deal.column(values).into_iter().zip(deal.column(times));
    let parts = keys.into_iter().zip(hashes).zip(records);
    let keyed = parts.map(|((keys, hashes), (values, times))| KeyedBatch {
        keys,
        hashes,
        records: Batch { values, times, split },
    });
    keyed.collect()
}

/// The writing end of an edge that leads to the same operator on every worker.
pub(crate) struct ExchangeEdge<B> {
    exchange: Exchange<B>,
    local: Box<dyn Deliver<B>>,
    crossing: Crossing,
}

impl<B> ExchangeEdge<B> {
    pub(crate) fn new(exchange: Exchange<B>, local: Box<dyn Deliver<B>>, crossing: Crossing) -> Self {
        ExchangeEdge { exchange, local, crossing }
    }
}

impl<B: Records> Deliver<B> for ExchangeEdge<B> {
    fn deliver(&mut self, signal: Signal<B>) {
        let Signal::Batch(batch) = signal else {
            let control = signal.control().expect("a signal that is no batch is a control signal");
            self.crossing.tell_all(&control);
            return self.local.deliver(signal);
        };
        let parts = (self.exchange.cut)(batch, self.crossing.channels.len());
        for (worker, part) in parts.into_iter().enumerate().filter(|(_, part)| part.count() > 0) {
            if worker == self.crossing.own {
                self.local.deliver(Signal::Batch(part));
            } else {
                self.crossing.send(worker, Signal::Batch((self.exchange.erase)(part)));
            }
        }
    }

    fn is_full(&mut self) -> bool {
        self.local.is_full() | self.crossing.is_full()
    }
}

/// The channels from one worker to the others; what travels over them has no type here.
pub(crate) struct Crossing {
    own: usize,
    /// One per worker, with what it did not take yet; none to the worker itself.
    channels: Vec<Option<(Box<dyn Channel>, VecDeque<Erased>)>>,
}

impl Crossing {
    pub(crate) fn new(own: usize, channels: impl Iterator<Item = Option<Box<dyn Channel>>>) -> Crossing {
        let channels = channels.map(|channel| Some((channel?, VecDeque::new()))).collect();
        Crossing { own, channels }
    }

    fn send(&mut self, worker: usize, signal: Erased) {
        let Some((channel, waiting)) = &mut self.channels[worker] else {
            unreachable!("a worker reaches itself by the local edge");
        };
        if !waiting.is_empty() {
            waiting.push_back(signal);
        } else if let Err(signal) = channel.try_send(signal) {
            waiting.push_back(signal);
        }
    }

    /// Sends a signal that is no batch to every other worker.
    fn tell_all(&mut self, signal: &Signal<Infallible>) {
        for worker in 0..self.channels.len() {
            if worker != self.own {
                self.send(worker, signal.control().expect("it holds no batch"));
            }
        }
    }

    /// Whether something waits for room in a channel; passes on what it can.
    fn is_full(&mut self) -> bool {
        let mut full = false;
        for (channel, waiting) in self.channels.iter_mut().flatten() {
            while let Some(signal) = waiting.pop_front() {
                if let Err(signal) = channel.try_send(signal) {
                    waiting.push_front(signal);
                    full = true;
                    break;
                }
            }
        }
        full
    }
}

/// The reading end of a channel from another worker.
pub(crate) struct RemoteEdge(pub(crate) Box<dyn ChannelEnd>);

impl<B: 'static> Receive<B> for RemoteEdge {
    fn receive(&mut self) -> Option<Signal<B>> {
        let signal = self.0.try_receive()?;
        Some(signal.map(|batch| match batch.downcast::<B>() {
            Ok(batch) => *batch,
            Err(_) => unreachable!("both ends of an edge are made from one declaration"),
        }))
    }
}
