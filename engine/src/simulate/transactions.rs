//! A process's side of the brokers: who decides its epochs, and the sinks that write into their transactions.
//!
//! As the Kafka connector does it: one producer, which is never used again once it has failed; positions and marker go
//! into the transaction; a producer that is fenced looks whose marker is there. Requests may stay on their way when
//! their sender has given up waiting for them.

use std::any::Any;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use highwater_operators::batch::Batch;
use highwater_operators::decide::{Decide, Marker, Terms};
use highwater_operators::error::{Cause, TryAgain};
use highwater_operators::sink::Writer;
use highwater_state::Epoch;

use super::broker::{self, Arrived, Positions, Request, Written};
use super::fault::{Call, Fault};
use super::outside::{Injected, Outside, Process};
use super::planted::Bug;

/// The transactions of one process.
pub(super) struct Transactions {
    process: Process,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Of the producer; 0 before the first take-over.
    epoch: u32,
    positions: Positions,
    /// The marker that was staged last.
    marker: Option<Marker>,
    /// How many transactions have been committed; what writers wait for.
    decisions: u64,
}

impl Transactions {
    pub(super) fn of(process: &Process) -> Arc<Transactions> {
        Arc::new(Transactions { process: process.clone(), held: Mutex::default() })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader has passed the barrier at this offset.
    pub(super) fn note(&self, topic: &str, split: &str, next: u64) {
        self.held().positions.insert((topic.to_owned(), split.to_owned()), next);
    }

    /// What it means that the producer is fenced.
    fn fenced(&self, outside: &mut Outside) -> Cause {
        outside.hurt(self.process.number);
        let own = self.held().marker.map(|marker| marker.instance);
        outside.broker.complete();
        let found = outside.broker.marker().map(|marker| marker.instance);
        if own.is_some() && found != own {
            outside.coverage.count(Fault::Fenced);
            return Injected::Fenced.into();
        }
        TryAgain(broker::Fenced.into()).into()
    }

    fn call<R>(
        &self,
        call: Call,
        effect: impl FnOnce(&mut Outside, u32) -> Result<R, broker::Fenced>,
    ) -> Result<R, Cause> {
        let epoch = self.held().epoch;
        self.process.call(call, |outside| {
            while !outside.broker.on_the_way.is_empty() && outside.dice.one_in(3) {
                arrive(outside);
            }
            effect(outside, epoch).map_err(|_| self.fenced(outside))
        })
    }

    /// Sends records; they arrive some time before the flush.
    fn send(&self, sink: &str, records: Vec<Written>) -> Result<(), Cause> {
        if records.is_empty() {
            return Ok(());
        }
        self.call(Call::Produce, |outside, epoch| {
            if outside.faults_left > 0 && outside.dice.one_in(outside.fails_one_in) {
                outside.inject(Fault::RecordsLost);
                outside.broker.lose(epoch);
                return Ok(());
            }
            let sink = sink.to_owned();
            outside.broker.on_the_way.push_back(Request::Produce { epoch, sink, records });
            Ok(())
        })
    }

    fn flush(&self) -> Result<(), Cause> {
        self.call(Call::Flush, |outside, epoch| {
            while !outside.broker.on_the_way.is_empty() {
                arrive(outside);
            }
            let flushed = outside.broker.flush(epoch);
            if outside.planted(Bug::LostRecordsIgnored) { Ok(()) } else { flushed }
        })
    }
}

/// A request arrives that was on its way.
pub(super) fn arrive(outside: &mut Outside) {
    match outside.broker.deliver() {
        Some((Request::End { .. }, Arrived::Done)) => outside.coverage.count(Fault::LateCommit),
        Some((Request::End { .. }, Arrived::Refused)) => outside.coverage.count(Fault::LateCommitRefused),
        Some((Request::Produce { .. }, Arrived::Refused)) => {
            outside.coverage.count(Fault::LateRecordsRefused);
        }
        Some((Request::Produce { .. }, Arrived::Done)) | None => {}
    }
}

impl Decide for Transactions {
    fn describe(&self) -> String {
        "the simulated transactions".to_owned()
    }

    fn look(&self, _: &Terms) -> Result<Option<Marker>, Cause> {
        self.call(Call::Look, |outside, _| Ok(outside.broker.marker()))
    }

    fn take_over(&self, _: &Terms) -> Result<Option<Marker>, Cause> {
        let before = {
            let mut held = self.held();
            *held = Held { epoch: held.epoch, decisions: held.decisions, ..Held::default() };
            held.epoch
        };
        let (epoch, marker) = self.call(Call::TakeOver, |outside, _| {
            let unstable = outside.broker.marker();
            let reused = before > 0 && outside.planted(Bug::ProducerUsedAgain);
            let epoch = if reused {
                outside.broker.end_what_is_open();
                before
            } else {
                outside.broker.new_producer()
            };
            let marker = outside.broker.marker();
            Ok((epoch, if outside.planted(Bug::PositionsReadUnstable) { unstable } else { marker }))
        })?;
        self.held().epoch = epoch;
        Ok(marker)
    }

    fn stage(&self, marker: &Marker) -> Result<(), Cause> {
        self.held().marker = Some(*marker);
        let positions = self.held().positions.clone();
        self.call(Call::Stage, |outside, epoch| outside.broker.stage(epoch, marker, &positions))
    }

    fn decide(&self, epoch: Epoch) -> Result<(), Cause> {
        let number = self.process.number;
        let delayed = self.call(Call::Decide, |outside, producer| {
            let lost = outside.faults_left > 0 && outside.dice.one_in(outside.fails_one_in);
            if lost {
                outside.broker.on_the_way.push_back(Request::End { epoch: producer });
                outside.inject(Fault::AnswerLost(Call::Decide));
                outside.hurt(number);
                return Ok(true);
            }
            outside.broker.end(producer)?;
            if outside.dice.one_in(2) {
                outside.broker.complete();
            }
            Ok(false)
        })?;
        if delayed {
            return Err(TryAgain(format!("nobody says whether {epoch} was committed").into()).into());
        }
        self.held().decisions += 1;
        Ok(())
    }

    fn pass_over(&self, _: Epoch) {
        self.held().decisions += 1;
    }
}

/// Writes one worker's records into the transactions.
pub(super) struct TransactionalWriter {
    pub(super) transactions: Arc<Transactions>,
    pub(super) sink: String,
    waiting: Vec<Written>,
    /// How many transactions had been committed when this writer ended its epoch.
    staged_at: Option<u64>,
    written: u64,
}

impl TransactionalWriter {
    pub(super) fn new(transactions: Arc<Transactions>, sink: String) -> Self {
        TransactionalWriter { transactions, sink, waiting: Vec::new(), staged_at: None, written: 0 }
    }

    fn is_open(&mut self) -> bool {
        self.staged_at = self.staged_at.filter(|staged| self.transactions.held().decisions == *staged);
        self.staged_at.is_none() || self.transactions.process.lock().planted(Bug::WritesBeforeTheDecision)
    }
}

impl<T: Clone + Debug + Send + 'static> Writer<T> for TransactionalWriter {
    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), Cause> {
        self.written += batch.values.len() as u64;
        self.waiting.extend(batch.values.drain(..).map(written));
        let now = self.transactions.process.lock().dice.one_in(2);
        if now { self.transactions.send(&self.sink, std::mem::take(&mut self.waiting)) } else { Ok(()) }
    }

    fn ready(&mut self) -> bool {
        self.is_open()
    }

    fn stage(&mut self, _: Epoch) -> Result<Vec<u8>, Cause> {
        self.transactions.send(&self.sink, std::mem::take(&mut self.waiting))?;
        self.transactions.flush()?;
        self.staged_at = Some(self.transactions.held().decisions);
        let written = std::mem::take(&mut self.written);
        Ok(if written > 0 { written.to_be_bytes().to_vec() } else { Vec::new() })
    }
}

/// A record as sinks keep it.
pub(super) fn written<T: Clone + Debug + Send + 'static>(record: T) -> Written {
    let text = format!("{record:?}");
    Written { record: Box::new(record) as Box<dyn Any + Send>, text }
}
