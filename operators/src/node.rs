//! Runs one operator: takes signals from its inputs in the order of the grammar, and passes on what the
//! operator does not deal with itself. Operators contain none of this, and no metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use highwater_state::{Epoch, Piece, Timestamp};

use crate::batch::Records;
use crate::check::Grammar;
use crate::edge::Inputs;
use crate::error::{Place, RunError};
use crate::graph::Counters;
use crate::operator::{Fault, Operator, Progress};
use crate::outbox::Outputs;
use crate::signal::Signal;
use crate::task::{StepContext, Task};

/// How many signals a node deals with in one step, so that the others get their turn.
const SIGNALS_PER_STEP: usize = 8;

enum Pending<B> {
    Nothing,
    Batch(B),
    Watermark(Timestamp),
    Barrier(Epoch),
}

/// One operator with its inputs and outputs.
pub(crate) struct Node<In, Out> {
    pub(crate) place: Place,
    pub(crate) inputs: Inputs<In>,
    pub(crate) operator: Box<dyn Operator<In, Out>>,
    pub(crate) out: Out,
    pub(crate) counters: Arc<Counters>,
    /// Where its watermark can be read by others.
    watermark: Arc<AtomicI64>,
    is_sink: bool,
    grammar: Grammar,
    pending: Pending<In>,
    ended: bool,
}

impl<In: Records, Out: Outputs> Node<In, Out> {
    pub(crate) fn new(
        place: Place,
        inputs: Inputs<In>,
        operator: Box<dyn Operator<In, Out>>,
        out: Out,
        counters: Arc<Counters>,
        worker: usize,
    ) -> Self {
        Node {
            is_sink: place.verb == "sink",
            watermark: counters.watermarks.of(worker),
            place,
            inputs,
            operator,
            out,
            counters,
            grammar: Grammar::default(),
            pending: Pending::Nothing,
            ended: false,
        }
    }

    fn take_signal(&mut self, now: Timestamp) -> Result<bool, Fault> {
        let Some(signal) = self.inputs.receive() else { return Ok(false) };
        self.grammar.check(&signal);
        match signal {
            Signal::Batch(batch) => {
                self.counters.records_in.fetch_add(batch.count() as u64, Ordering::Relaxed);
                if let Some(time) = batch.last_time().filter(|_| self.is_sink) {
                    self.counters.latency.observe(batch.count(), time, now);
                }
                self.operator.batch_watermark(self.inputs.batch_watermark());
                self.pending = Pending::Batch(batch);
            }
            Signal::Watermark(watermark) => {
                self.watermark.store(watermark.as_millis(), Ordering::Relaxed);
                self.pending = Pending::Watermark(watermark);
            }
            Signal::Idle => self.operator.on_idle(true, &mut self.out),
            Signal::Active => self.operator.on_idle(false, &mut self.out),
            Signal::Split(split, status) => self.operator.on_split(split, status, &mut self.out)?,
            Signal::Barrier(epoch) => self.pending = Pending::Barrier(epoch),
            Signal::End => {
                self.out.end();
                self.ended = true;
            }
        }
        Ok(true)
    }

    fn pass_barrier(&mut self, epoch: Epoch, context: &mut StepContext<'_>) -> Result<(), Fault> {
        self.operator.side_watermarks(self.inputs.side_watermarks());
        self.operator.freeze(epoch, &mut context.contribution.delta)?;
        if let Some(receipt) = self.operator.stage(epoch)? {
            let name = self.place.name.clone().unwrap_or_default();
            context.contribution.receipts.push((name, receipt));
        }
        self.out.barrier(epoch);
        context.contribution.passed += 1;
        Ok(())
    }

    /// Goes on with a batch, a watermark or a barrier; says whether anything moved.
    fn go_on(&mut self, context: &mut StepContext<'_>) -> Result<bool, Fault> {
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Nothing => Ok(false),
            Pending::Batch(mut batch) => {
                if context.making_way {
                    self.operator.make_way();
                }
                if !self.operator.ready() {
                    self.pending = Pending::Batch(batch);
                    return Ok(false);
                }
                self.operator.on_batch(&mut batch, &mut self.out)?;
                self.out.flush();
                if batch.count() > 0 {
                    self.pending = Pending::Batch(batch);
                }
                Ok(true)
            }
            Pending::Barrier(epoch) if context.finishing && !self.operator.is_settled() => {
                self.pending = Pending::Barrier(epoch);
                Ok(false)
            }
            Pending::Barrier(epoch) => {
                self.pass_barrier(epoch, context)?;
                Ok(true)
            }
            Pending::Watermark(watermark) => {
                match self.operator.on_watermark(watermark, &mut self.out)? {
                    Progress::Again => self.pending = Pending::Watermark(watermark),
                    Progress::Done if self.operator.passes_watermarks() => self.out.watermark(watermark),
                    Progress::Done => {}
                }
                self.out.flush();
                Ok(true)
            }
        }
    }

    fn step_signals(&mut self, context: &mut StepContext<'_>) -> Result<bool, Fault> {
        // Not asked a second time before a batch is taken: another worker may make room in between, and the operator
        // would meet the batch with an old clock.
        if !self.out.has_room() {
            return Ok(false);
        }
        // Nothing follows the end, also where the clock goes on until the last epoch is committed.
        let mut moved = !self.ended && self.operator.on_clock(context.now, &mut self.out)?;
        for _ in 0..SIGNALS_PER_STEP {
            if !self.out.has_room() {
                break;
            }
            let waits = matches!(self.pending, Pending::Nothing);
            let went_on = if waits { self.take_signal(context.now)? } else { self.go_on(context)? };
            if !went_on {
                break;
            }
            moved = true;
        }
        Ok(moved)
    }
}

impl<In: Records, Out: Outputs> Task for Node<In, Out> {
    fn step(&mut self, context: &mut StepContext<'_>) -> Result<bool, RunError> {
        self.step_signals(context).map_err(|fault| at_place(&self.place, fault))
    }

    fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<(), RunError> {
        self.operator.write_frozen(piece).map_err(|fault| at_place(&self.place, fault))
    }

    fn applied(&mut self, epoch: Epoch) {
        self.operator.applied(epoch);
    }

    fn has_ended(&self) -> bool {
        self.ended
    }
}

/// Adds to a fault where it happened.
pub(crate) fn at_place(place: &Place, fault: Fault) -> RunError {
    let place = place.clone();
    match fault {
        Fault::Failed(cause) if place.verb == "sink" => RunError::Sink { place, cause },
        Fault::Failed(cause) if place.verb == "source" => RunError::Source { place, cause },
        Fault::Failed(cause) => RunError::Operator { place, cause },
        Fault::State(cause) => RunError::State { place, cause },
        Fault::BadRecord(bad) => RunError::BadRecord { place, origin: bad.origin, reason: bad.reason },
    }
}
