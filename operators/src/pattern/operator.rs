//! The operator that runs each key's records through a pattern's automaton.
//!
//! It stands behind an operator that sorts, so the records of a key come in the order of event time. Invariants: a key
//! has a row exactly while it has live runs or withheld matches, and one timer, which is set for no later
//! than the next of its runs runs out of time.

use std::marker::PhantomData;
use std::sync::Arc;

use highwater_state::delta::Family;
use highwater_state::hash::key_hash;
use highwater_state::panes::Panes;
use highwater_state::table::{RowRef, Slot, Table};
use highwater_state::{Delta, Epoch, Key, Persist, Piece, StateError, Timestamp};

use crate::batch::KeyedBatch;
use crate::data::Data;
use crate::graph::Counters;
use crate::opening::{NodeOpening, OpenError};
use crate::operator::{Fault, Operator, Progress};
use crate::outbox::{Outbox, Outputs};
use crate::pattern::automaton::{Automaton, Position};
use crate::pattern::buffer::Buffer;
use crate::pattern::capture::Capture;
use crate::pattern::run::{Run, Runs};
use crate::pattern::step::{Machine, Outcome, Scratch, Told};
use crate::pattern::taken::Listed;

pub(super) type Out<K, M, O> = (Outbox<KeyedBatch<K, M>>, Outbox<KeyedBatch<K, O>>);

/// What is made of runs that ran out of time, where anybody wants to know.
pub(super) type TimedOut<K, T, P, O> =
    dyn for<'a> Fn(&'a K, <P as Capture<T>>::Partial<'a>) -> O + Send + Sync;

pub(super) struct Matching<K, T: 'static, P: Capture<T>, M, O, F> {
    machine: Arc<Machine<T>>,
    select: Arc<F>,
    timed_out: Option<Arc<TimedOut<K, T, P, O>>>,
    rows: Table<K, Runs<T>>,
    timers: Panes<K, ()>,
    name: String,
    counters: Arc<Counters>,
    most: usize,
    scratch: Scratch,
    slots: Vec<Slot>,
    timer: Vec<Slot>,
    due: Vec<(K, ())>,
    marker: PhantomData<fn() -> M>,
}

impl<K, T, P, M, O, F> Matching<K, T, P, M, O, F>
where
    K: Key,
    T: Persist,
    P: Capture<T>,
    M: Data,
    O: Data,
    F: for<'a> Fn(&'a K, P::Match<'a>) -> M,
{
    pub(super) fn open(
        machine: Arc<Machine<T>>,
        text: &str,
        select: &Arc<F>,
        timed_out: &Option<Arc<TimedOut<K, T, P, O>>>,
        opening: &NodeOpening<'_>,
    ) -> Result<Self, OpenError> {
        let rows = opening.store_filed::<K, Runs<T>>(None, Family::Values, &format!(" of {text}"))?;
        let timers = opening.store::<K, ()>(Some("timers"), Family::Timers)?;
        Ok(Matching {
            machine,
            select: Arc::clone(select),
            timed_out: timed_out.clone(),
            rows: Table::open(rows, opening.committed())?,
            timers: Panes::open(timers, opening.committed())?,
            name: opening.name().to_owned(),
            counters: opening.counters(),
            most: opening.batch_records(),
            scratch: Scratch::default(),
            slots: Vec::new(),
            timer: Vec::new(),
            due: Vec::new(),
            marker: PhantomData,
        })
    }

    /// Lets `change` deal with the runs of a key, whose timer has `fired`; their row and timer follow what it leaves.
    fn change(
        &mut self,
        (key, hash, slot): (&K, u64, Slot),
        fired: bool,
        out: &mut Out<K, M, O>,
        change: impl FnOnce(
            &Machine<T>,
            &mut Runs<T>,
            &mut Scratch,
            &mut Emit<'_, K, T, P, M, O, F>,
        ) -> Result<u64, Fault>,
    ) -> Result<(), Fault> {
        let row = self.rows.value_mut(slot);
        let mut fresh = Runs::default();
        let is_fresh = row.is_none();
        let runs = row.as_mut().unwrap_or(&mut fresh);
        self.machine.revive(&self.name, runs)?;
        if fired {
            runs.timer = Timestamp::MAX;
        }
        let timer = runs.timer;
        let mut emit = Emit {
            key,
            hash,
            automaton: &self.machine.automaton,
            select: self.select.as_ref(),
            timed_out: self.timed_out.as_deref(),
            out,
            damaged: false,
            marker: PhantomData,
        };
        let dropped = change(&self.machine, runs, &mut self.scratch, &mut emit)?;
        if emit.damaged {
            let reason = "a run matches without a record that it must have: the row is damaged".to_owned();
            return Err(StateError::Row { name: self.name.clone(), reason }.into());
        }
        if dropped > 0 {
            self.counters.runs_dropped.fetch_add(dropped, std::sync::atomic::Ordering::Relaxed);
        }
        // A timer that fires too early is set anew then; only one that would come too late is moved at once.
        let deadline = if runs.is_over() { Timestamp::MAX } else { runs.deadline };
        let set = if runs.is_over() || deadline < runs.timer { deadline } else { runs.timer };
        runs.timer = set;
        match (runs.is_over(), is_fresh) {
            (true, _) => *row = None,
            (false, true) => *row = Some(fresh),
            (false, false) => {}
        }
        if set != timer {
            self.set_timer((key, hash), timer, set)?;
        }
        Ok(())
    }

    fn set_timer(&mut self, (key, hash): (&K, u64), from: Timestamp, to: Timestamp) -> Result<(), Fault> {
        for (time, is_set) in [(from, None), (to, Some(()))] {
            if time != Timestamp::MAX {
                self.timers.resolve(1, |_| RowRef { hash, time, key }, &mut self.timer)?;
                *self.timers.value_mut(self.timer[0]) = is_set;
            }
        }
        Ok(())
    }
}

/// Makes results of what the machine tells.
struct Emit<'a, K, T: 'static, P: Capture<T>, M, O, F> {
    key: &'a K,
    hash: u64,
    automaton: &'a Automaton<T>,
    select: &'a F,
    timed_out: Option<&'a TimedOut<K, T, P, O>>,
    out: &'a mut Out<K, M, O>,
    /// A match lacks a record that a stage must have taken.
    damaged: bool,
    marker: PhantomData<fn() -> P>,
}

impl<K, T, P, M, O, F> Told<T> for Emit<'_, K, T, P, M, O, F>
where
    K: Key,
    P: Capture<T>,
    M: 'static,
    O: 'static,
    F: for<'a> Fn(&'a K, P::Match<'a>) -> M,
{
    fn told(&mut self, outcome: Outcome, buffer: &Buffer<T>, run: &Run, at: Timestamp) {
        match outcome {
            Outcome::Matched => {
                let taken = Listed::new(self.automaton, buffer, run);
                let Some(taken) = P::matched(Position::default(), taken.all()) else {
                    self.damaged = true;
                    return;
                };
                self.out.0.push_keyed(self.key.clone(), self.hash, (self.select)(self.key, taken), at);
            }
            Outcome::TimedOut => {
                let Some(timed_out) = self.timed_out else { return };
                let taken = Listed::new(self.automaton, buffer, run);
                let result = timed_out(self.key, P::partial(Position::default(), taken.all()));
                self.out.1.push_keyed(self.key.clone(), self.hash, result, at);
            }
        }
    }
}

impl<K, T, P, M, O, F> Operator<KeyedBatch<K, T>, Out<K, M, O>> for Matching<K, T, P, M, O, F>
where
    K: Key,
    T: Persist,
    P: Capture<T>,
    M: Data,
    O: Data,
    F: for<'a> Fn(&'a K, P::Match<'a>) -> M,
{
    fn on_batch(&mut self, batch: &mut KeyedBatch<K, T>, out: &mut Out<K, M, O>) -> Result<(), Fault> {
        let KeyedBatch { mut keys, mut hashes, mut records } = std::mem::take(batch);
        let mut slots = std::mem::take(&mut self.slots);
        let row = |index: usize| RowRef { hash: hashes[index], time: Timestamp::MIN, key: &keys[index] };
        self.rows.resolve(keys.len(), row, &mut slots)?;
        let mut values = std::mem::take(&mut records.values).into_iter();
        let mut done = 0;
        while out.has_room()
            && let Some(record) = values.next()
        {
            let (of, time) = ((&keys[done], hashes[done], slots[done]), records.times[done]);
            self.change(of, false, out, |machine, runs, scratch, emit| {
                machine.on_record(runs, record, time, scratch, emit).map_err(Fault::Failed)
            })?;
            done += 1;
        }
        self.slots = slots;
        if values.len() > 0 {
            keys.drain(..done);
            hashes.drain(..done);
            records.times.drain(..done);
            records.values = values.collect();
            *batch = KeyedBatch { keys, hashes, records };
        }
        Ok(())
    }

    fn on_watermark(&mut self, watermark: Timestamp, out: &mut Out<K, M, O>) -> Result<Progress, Fault> {
        while let Some(time) = self.timers.due(watermark)? {
            if !out.has_room() {
                return Ok(Progress::Again);
            }
            let mut due = std::mem::take(&mut self.due);
            self.timers.take(time, self.most, &mut due)?;
            let mut slots = std::mem::take(&mut self.slots);
            let row = |index: usize| {
                let (key, ()) = &due[index];
                RowRef { hash: key_hash(key), time: Timestamp::MIN, key }
            };
            self.rows.resolve(due.len(), row, &mut slots)?;
            for ((key, ()), &slot) in due.drain(..).zip(&slots) {
                let hash = key_hash(&key);
                self.change((&key, hash, slot), true, out, |machine, runs, scratch, emit| {
                    machine
                        .advance(runs, time, Timestamp::MIN, scratch, emit)
                        .map_err(Fault::Failed)
                        .map(|()| 0)
                })?;
            }
            (self.due, self.slots) = (due, slots);
        }
        Ok(Progress::Done)
    }

    fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        self.timers.begin_freeze(epoch, delta);
        self.rows.begin_freeze(epoch, delta);
        Ok(())
    }

    fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<(), Fault> {
        self.timers.write_frozen(piece)?;
        Ok(self.rows.write_frozen(piece)?)
    }

    fn applied(&mut self, epoch: Epoch) {
        self.timers.applied(epoch);
        self.rows.applied(epoch);
    }
}
