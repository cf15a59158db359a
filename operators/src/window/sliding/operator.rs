//! The operator that keeps sliding windows.
//!
//! Each key has one timer: for its next window that holds records, so that time without records costs nothing however
//! far the watermark jumps. When it fires, the key's window is emitted, slices that no window needs any more are
//! dropped, and the next timer is set. Where late records are allowed, slices stay until none can come for them, and
//! the timer is for the first that goes if that is earlier.
//!
//! Memory: one row per key with open windows, and its timer, in the shared table budget, on disk beyond it; what a
//! row holds is said at [`Sliding`](super::Sliding).

use std::sync::Arc;
use std::time::Duration;

use highwater_state::delta::Family;
use highwater_state::hash::key_hash;
use highwater_state::panes::Panes;
use highwater_state::table::{RowRef, Slot, Table};
use highwater_state::{Delta, Epoch, Key, Persist, Piece, TimeRange, Timestamp};

use super::queue::Queue;
use super::slices::{Placed, Slices};
use super::{Grid, timestamp};
use crate::aggregate::update::Update;
use crate::batch::KeyedBatch;
use crate::data::Data;
use crate::lateness::KeptWatermark;
use crate::opening::{NodeOpening, OpenError};
use crate::operator::{Fault, Operator, Progress};
use crate::outbox::Outputs;
use crate::window::early::Early;
use crate::window::{Firing, Out, Timing, WindowOperator, Windowed};

/// Opens the operator that keeps such windows.
pub(super) fn open<K: Key, T: Data, U: Update<T>>(
    grid: Grid,
    update: &Arc<U>,
    firing: &Firing,
    opening: &mut NodeOpening<'_>,
) -> Result<WindowOperator<K, T, U::Value>, OpenError> {
    let keys = opening.store::<K, Slices<U::Kept>>(None, Family::Values)?;
    let timers = opening.store::<K, ()>(Some("timers"), Family::Timers)?;
    Ok(Box::new(SlidingWindows {
        grid,
        lateness: firing.allowed_lateness,
        keys: Table::<K, Slices<U::Kept>>::open(keys, opening.committed())?,
        timers: Panes::<K, ()>::open(timers, opening.committed())?,
        early: Early::open(firing, opening)?,
        watermark: KeptWatermark::open(opening)?,
        update: Arc::clone(update),
        most: opening.batch_records(),
        slots: Vec::new(),
        due: Vec::new(),
        hashes: Vec::new(),
        arming: Vec::new(),
        disarming: Vec::new(),
    }))
}

struct SlidingWindows<K, A, U> {
    grid: Grid,
    lateness: Duration,
    keys: Table<K, Slices<A>>,
    timers: Panes<K, ()>,
    early: Option<Early<K>>,
    watermark: KeptWatermark,
    update: Arc<U>,
    most: usize,
    slots: Vec<Slot>,
    /// The keys whose timers fire, and their hashes.
    due: Vec<(K, ())>,
    hashes: Vec<u64>,
    /// The timers to set, and then those to delete: the number of a key, and when.
    arming: Vec<(usize, Timestamp)>,
    disarming: Vec<(usize, Timestamp)>,
}

/// What a window gives, if it holds records.
fn emit<K: Key, T: Data, U: Update<T>>(
    update: &U,
    grid: &Grid,
    (key, end, timing): (&K, i128, Timing),
    merged: Option<U::Kept>,
    out: &mut Out<K, T, U::Value>,
) {
    let Some(merged) = merged else { return };
    let window = TimeRange { start: timestamp(end - grid.size), end: timestamp(end) };
    let (key, value) = (key.clone(), update.last_value(merged));
    out.0.push(Windowed { key, window, value, timing }, window.last());
}

impl<K: Key, A: Persist + Clone, U> SlidingWindows<K, A, U> {
    /// Sets and deletes timers as noted; `key` gives a key's hash and the key.
    fn arm<'k>(&mut self, key: impl Fn(usize) -> (u64, &'k K)) -> Result<(), Fault> {
        for (timers, set) in [(&mut self.arming, Some(())), (&mut self.disarming, None)] {
            if timers.is_empty() {
                continue;
            }
            let row = |index: usize| {
                let (number, time) = timers[index];
                let (hash, key) = key(number);
                RowRef { hash, time, key }
            };
            self.timers.resolve(timers.len(), row, &mut self.slots)?;
            for &slot in &self.slots {
                *self.timers.value_mut(slot) = set;
            }
            timers.clear();
        }
        Ok(())
    }

    /// Notes which slices the records change, for early results.
    fn note_early(&mut self, keys: &[K], hashes: &[u64], times: &[Timestamp]) -> Result<(), Fault> {
        let Some(early) = &mut self.early else { return Ok(()) };
        let Some(due) = early.due(self.watermark.get()) else { return Ok(()) };
        let changed = |index: usize| {
            let span = self.grid.span(times[index]);
            (!span.is_in_no_window() && span.last_end > due.as_millis().into()).then_some(span.start)
        };
        Ok(early.note(due, keys, hashes, changed)?)
    }

    /// Emits the windows that a late record has changed.
    fn emit_late<T: Data>(&self, key: &K, slot: Slot, placed: &Placed, out: &mut Out<K, T, U::Value>)
    where
        U: Update<T, Kept = A>,
    {
        let Some(slices) = self.keys.value(slot) else { return };
        let (mut end, last) = placed.updated(&self.grid, self.lateness, self.watermark.get());
        let mut queue = Queue::default();
        while end <= last {
            let merged = slices.merged(&*self.update, &self.grid, end, &mut queue);
            emit(&*self.update, &self.grid, (key, end, Timing::Late), merged, out);
            end += i128::from(self.grid.slide);
        }
    }

    /// Emits what is due of a key when its timer fires; gives its next timer.
    fn fire<T: Data>(
        &mut self,
        key: &K,
        slot: Slot,
        time: Timestamp,
        out: &mut Out<K, T, U::Value>,
    ) -> Option<Timestamp>
    where
        U: Update<T, Kept = A>,
    {
        let row = self.keys.value_mut(slot);
        let slices = row.as_mut()?;
        let (mut end, last) = slices.firing(&self.grid, time);
        while end <= last {
            let merged = slices.merged_next(&*self.update, &self.grid, end);
            emit(&*self.update, &self.grid, (key, end, Timing::OnTime), merged, out);
            end += i128::from(self.grid.slide);
        }
        let next = slices.advance(&self.grid, self.lateness, time);
        if next.is_none() {
            *row = None;
        }
        next
    }

    /// Fires every timer up to `through`, also those that are set anew on the way.
    fn fire_through<T: Data>(
        &mut self,
        through: Timestamp,
        out: &mut Out<K, T, U::Value>,
    ) -> Result<Progress, Fault>
    where
        U: Update<T, Kept = A>,
    {
        while let Some(time) = self.timers.due(through)? {
            if !out.has_room() {
                return Ok(Progress::Again);
            }
            let (mut due, mut hashes) = (std::mem::take(&mut self.due), std::mem::take(&mut self.hashes));
            due.clear();
            self.timers.take(time, self.most, &mut due)?;
            hashes.clear();
            hashes.extend(due.iter().map(|(key, ())| key_hash(key)));
            let row = |index: usize| RowRef { hash: hashes[index], time: Timestamp::MIN, key: &due[index].0 };
            self.keys.resolve(due.len(), row, &mut self.slots)?;
            for (index, (key, ())) in due.iter().enumerate() {
                if let Some(next) = self.fire(key, self.slots[index], time, out) {
                    self.arming.push((index, next));
                }
            }
            self.arm(|index| (hashes[index], &due[index].0))?;
            (self.due, self.hashes) = (due, hashes);
        }
        Ok(Progress::Done)
    }

    /// Emits the open windows whose early results are due.
    fn emit_early<T: Data>(&mut self, out: &mut Out<K, T, U::Value>) -> Result<Progress, Fault>
    where
        U: Update<T, Kept = A>,
    {
        let watermark = self.watermark.get();
        let Some(mut early) = self.early.take() else { return Ok(Progress::Done) };
        let mut noted = Vec::new();
        let mut progress = Progress::Done;
        while early.is_due(watermark)? {
            if !out.has_room() {
                progress = Progress::Again;
                break;
            }
            // Each key may emit as many windows as hold one slice, and more.
            let windows = (self.grid.size / i128::from(self.grid.slide)).max(1);
            let most = (self.most as i128 / windows).max(1) as usize;
            early.take(watermark, most, &mut noted)?;
            let hashes: Vec<u64> = noted.iter().map(|(key, _)| key_hash(key)).collect();
            let row =
                |index: usize| RowRef { hash: hashes[index], time: Timestamp::MIN, key: &noted[index].0 };
            self.keys.resolve(noted.len(), row, &mut self.slots)?;
            for ((key, changed), &slot) in noted.iter().zip(&self.slots) {
                self.emit_changed(key, slot, changed, out);
            }
            noted.clear();
        }
        self.early = Some(early);
        Ok(progress)
    }

    /// Emits every open window that holds one of these slices of a key.
    fn emit_changed<T: Data>(&self, key: &K, slot: Slot, changed: &[Timestamp], out: &mut Out<K, T, U::Value>)
    where
        U: Update<T, Kept = A>,
    {
        let Some(slices) = self.keys.value(slot) else { return };
        let mut queue = Queue::default();
        let mut end = self.grid.end_after(self.watermark.get());
        for &slice in changed {
            let span = self.grid.span(slice);
            end = end.max(span.first_end);
            while end <= span.last_end {
                let merged = slices.merged(&*self.update, &self.grid, end, &mut queue);
                emit(&*self.update, &self.grid, (key, end, Timing::Early), merged, out);
                end += i128::from(self.grid.slide);
            }
        }
    }
}

impl<K, T, U> Operator<KeyedBatch<K, T>, Out<K, T, U::Value>> for SlidingWindows<K, U::Kept, U>
where
    K: Key,
    T: Data,
    U: Update<T>,
{
    fn on_batch(&mut self, batch: &mut KeyedBatch<K, T>, out: &mut Out<K, T, U::Value>) -> Result<(), Fault> {
        let KeyedBatch { mut keys, mut hashes, mut records } = std::mem::take(batch);
        self.note_early(&keys, &hashes, &records.times)?;
        let row = |index: usize| RowRef { hash: hashes[index], time: Timestamp::MIN, key: &keys[index] };
        self.keys.resolve(keys.len(), row, &mut self.slots)?;
        let watermark = self.watermark.get();
        let place = |time| Placed::of(&self.grid, self.lateness, watermark, time);
        let mut placed = place(records.times[0]);
        let mut values = std::mem::take(&mut records.values).into_iter();
        let mut done = 0;
        for value in values.by_ref() {
            let (index, time) = (done, records.times[done]);
            done += 1;
            if !placed.span.contains(time) {
                placed = place(time);
            }
            if placed.span.is_in_no_window() {
                continue;
            }
            if placed.is_late {
                out.1.push(value, time);
                continue;
            }
            let slot = self.slots[index];
            let slices = self.keys.value_mut(slot).get_or_insert_default();
            slices.add(&*self.update, placed.span.start, value, time);
            if let Some((timer, before)) = slices.arm(placed.due) {
                self.arming.push((index, timer));
                self.disarming.extend(before.map(|before| (index, before)));
            }
            if placed.span.first_end <= watermark.as_millis().into() {
                self.emit_late(&keys[index], slot, &placed, out);
                // It may have been in many windows that have fired.
                if !out.has_room() {
                    break;
                }
            }
        }
        self.arm(|index| (hashes[index], &keys[index]))?;
        if values.len() > 0 {
            keys.drain(..done);
            hashes.drain(..done);
            records.times.drain(..done);
            records.values = values.collect();
            *batch = KeyedBatch { keys, hashes, records };
        }
        Ok(())
    }

    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        out: &mut Out<K, T, U::Value>,
    ) -> Result<Progress, Fault> {
        if watermark > self.watermark.get() {
            if self.fire_through(watermark, out)? == Progress::Again {
                return Ok(Progress::Again);
            }
            self.watermark.rise(watermark);
        }
        self.emit_early(out)
    }

    fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        self.watermark.freeze(delta)?;
        self.keys.begin_freeze(epoch, delta);
        if let Some(early) = &mut self.early {
            early.begin_freeze(epoch, delta);
        }
        self.timers.begin_freeze(epoch, delta);
        Ok(())
    }

    fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<(), Fault> {
        self.keys.write_frozen(piece)?;
        if let Some(early) = &mut self.early {
            early.write_frozen(piece)?;
        }
        Ok(self.timers.write_frozen(piece)?)
    }

    fn applied(&mut self, epoch: Epoch) {
        self.keys.applied(epoch);
        self.timers.applied(epoch);
        if let Some(early) = &mut self.early {
            early.applied(epoch);
        }
    }
}
