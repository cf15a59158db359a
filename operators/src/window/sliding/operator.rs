//! The operator behind sliding windows.
//!
//! Each key has one timer that counts: at the next end of a window that holds one of its slices, or at the time at
//! which a slice is dropped, whichever is first. So a watermark costs what fires and never what is open, and no time
//! without records is walked over. A record that makes a window fire earlier sets an earlier timer; the other is left
//! over and does nothing.

use std::sync::Arc;
use std::time::Duration;

use highwater_state::delta::Family;
use highwater_state::hash::key_hash;
use highwater_state::panes::Panes;
use highwater_state::table::{RowRef, Slot, Table};
use highwater_state::{Delta, Epoch, Key, Persist, Timestamp};

use super::slices::Slices;
use super::{Slice, Sliding};
use crate::aggregate::update::Update;
use crate::batch::KeyedBatch;
use crate::data::Data;
use crate::lateness::KeptWatermark;
use crate::opening::{NodeOpening, OpenError};
use crate::operator::{Fault, Operator, Progress};
use crate::outbox::Outputs;
use crate::window::early::Early;
use crate::window::{Firing, Out, Timing, WindowOperator, Windowed};

pub(super) fn open<K: Key, T: Data, U: Update<T>>(
    windows: Sliding,
    update: &Arc<U>,
    firing: &Firing,
    opening: &mut NodeOpening<'_>,
) -> Result<WindowOperator<K, T, U::Value>, OpenError> {
    let rows = opening.store::<K, Slices<U::Kept>>(None, Family::Values)?;
    let timers = opening.store::<K, ()>(Some("timers"), Family::Timers)?;
    Ok(Box::new(SlidingWindow {
        windows,
        lateness: firing.allowed_lateness,
        rows: Table::<K, Slices<U::Kept>>::open(rows, opening.committed())?,
        timers: Panes::<K, ()>::open(timers, opening.committed())?,
        early: Early::open(firing, opening)?,
        watermark: KeptWatermark::open(opening)?,
        update: Arc::clone(update),
        most: opening.batch_records(),
        slots: Vec::new(),
        timer_slots: Vec::new(),
        due: Vec::new(),
        arming: Vec::new(),
    }))
}

struct SlidingWindow<K, A, U> {
    windows: Sliding,
    lateness: Duration,
    rows: Table<K, Slices<A>>,
    timers: Panes<K, ()>,
    early: Option<Early<K>>,
    watermark: KeptWatermark,
    update: Arc<U>,
    most: usize,
    slots: Vec<Slot>,
    timer_slots: Vec<Slot>,
    due: Vec<(K, ())>,
    /// The timers to set: the number of a key, and when.
    arming: Vec<(usize, Timestamp)>,
}

impl<K: Key, A: Persist + Clone, U> SlidingWindow<K, A, U> {
    /// The slice that begins at a point in time.
    fn slice_from(&self, start: Timestamp) -> Slice {
        self.windows.slice_of(start).expect("only slices of windows are kept")
    }

    /// When a slice is dropped.
    fn dropped_at(&self, slice: &Slice) -> Timestamp {
        slice.last_end + self.lateness
    }

    /// The last point in time whose windows are dropped at this watermark.
    fn dropped_through(&self, watermark: Timestamp) -> Timestamp {
        if watermark == Timestamp::MAX { watermark } else { watermark - self.lateness }
    }

    /// When a key with a record in this slice must be looked at.
    fn next_of(&self, slice: &Slice, after: Timestamp) -> Timestamp {
        self.windows.next_end(slice, after).unwrap_or_else(|| self.dropped_at(slice))
    }

    /// Sets the timers that are noted in `arming`; `key` gives a key's hash and the key.
    fn arm<'k>(&mut self, key: impl Fn(usize) -> (u64, &'k K)) -> Result<(), Fault> {
        if self.arming.is_empty() {
            return Ok(());
        }
        let arming = &self.arming;
        let row = |index: usize| {
            let (number, time) = arming[index];
            let (hash, key) = key(number);
            RowRef { hash, time, key }
        };
        self.timers.resolve(arming.len(), row, &mut self.timer_slots)?;
        for &slot in &self.timer_slots {
            if self.timers.value(slot).is_none() {
                *self.timers.value_mut(slot) = Some(());
            }
        }
        Ok(())
    }

    /// Fires the window of a key that ends at `time`, if one does, and drops slices; gives the next time at which the
    /// key must be looked at.
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
        let is_armed = self.rows.value(slot).is_some_and(|slices| slices.armed == Some(time));
        if !is_armed {
            return None;
        }
        let (windows, lateness, update) = (self.windows, self.lateness, &*self.update);
        let row = self.rows.value_mut(slot);
        let slices = row.as_mut().expect("the row has a value");
        if let Some(window) = windows.window_ending(time) {
            let merged = slices.next_merged(window, |kept, later| update.merge(kept, later));
            if let Some(kept) = merged {
                let (key, value) = (key.clone(), update.last_value(kept));
                out.0.push(Windowed { key, window, value, timing: Timing::OnTime }, window.last());
            }
        }
        let slice = |start| windows.slice_of(start).expect("only slices of windows are kept");
        slices.drop_while(|start| slice(start).last_end + lateness <= time);
        let first = slices.starts().next();
        // The windows of the first slices may all have fired, where those are kept for late records.
        let next_end = slices
            .first_not(|start| slice(start).last_end <= time)
            .and_then(|start| windows.next_end(&slice(start), time));
        let drop = first.map(|start| slice(start).last_end + lateness);
        slices.armed = next_end.into_iter().chain(drop).min();
        let next = slices.armed;
        if slices.is_empty() {
            *row = None;
        }
        next
    }

    /// Emits the windows that have fired and hold a record that has come since.
    fn emit_late<T: Data>(&self, key: &K, slot: Slot, slice: &Slice, out: &mut Out<K, T, U::Value>)
    where
        U: Update<T, Kept = A>,
    {
        let Some(slices) = self.rows.value(slot) else { return };
        let watermark = self.watermark.get();
        let mut after = self.dropped_through(watermark);
        while let Some(end) = self.windows.next_end(slice, after).filter(|&end| end <= watermark) {
            self.emit(key, slices, end, Timing::Late, out);
            after = end;
        }
    }

    fn emit<T: Data>(
        &self,
        key: &K,
        slices: &Slices<A>,
        end: Timestamp,
        timing: Timing,
        out: &mut Out<K, T, U::Value>,
    ) where
        U: Update<T, Kept = A>,
    {
        let Some(window) = self.windows.window_ending(end) else { return };
        if let Some(kept) = slices.merged(window, |kept, later| self.update.merge(kept, later)) {
            let (key, value) = (key.clone(), self.update.last_value(kept));
            out.0.push(Windowed { key, window, value, timing }, window.last());
        }
    }

    /// Emits the open windows that hold slices which have changed.
    fn emit_early<T: Data>(
        &mut self,
        watermark: Timestamp,
        out: &mut Out<K, T, U::Value>,
    ) -> Result<Progress, Fault>
    where
        U: Update<T, Kept = A>,
    {
        let Some(mut early) = self.early.take() else { return Ok(Progress::Done) };
        let progress = loop {
            if !out.has_room() {
                break Progress::Again;
            }
            let Some((key, changed)) = early.next_due(watermark)? else { break Progress::Done };
            let row = RowRef { hash: key_hash(&key), time: Timestamp::MIN, key: &key };
            let slot = self.rows.resolve_one(&row)?;
            let Some(slices) = self.rows.value(slot) else { continue };
            let mut after = watermark;
            for start in changed {
                let slice = self.slice_from(start);
                while let Some(end) = self.windows.next_end(&slice, after) {
                    self.emit(&key, slices, end, Timing::Early, out);
                    after = end;
                }
            }
        };
        self.early = Some(early);
        Ok(progress)
    }
}

impl<K, T, U> Operator<KeyedBatch<K, T>, Out<K, T, U::Value>> for SlidingWindow<K, U::Kept, U>
where
    K: Key,
    T: Data,
    U: Update<T>,
{
    fn on_batch(&mut self, batch: &mut KeyedBatch<K, T>, out: &mut Out<K, T, U::Value>) -> Result<(), Fault> {
        let KeyedBatch { keys, hashes, records } = std::mem::take(batch);
        let row = |index: usize| RowRef { hash: hashes[index], time: Timestamp::MIN, key: &keys[index] };
        self.rows.resolve(keys.len(), row, &mut self.slots)?;
        self.arming.clear();
        let watermark = self.watermark.get();
        let dropped_through = self.dropped_through(watermark);
        let mut current: Option<Slice> = None;
        for (index, (value, time)) in records.values.into_iter().zip(records.times).enumerate() {
            if !current.is_some_and(|slice| slice.contains(time)) {
                current = self.windows.slice_of(time);
            }
            let Some(slice) = current else { continue };
            if slice.last_end <= dropped_through {
                out.1.push(value, time);
                continue;
            }
            let slot = self.slots[index];
            let slices = self.rows.value_mut(slot).get_or_insert_default();
            self.update.add(slices.at(slice.start), value, time);
            if slices.armed.is_none_or(|armed| armed > slice.first_end || armed > self.dropped_at(&slice)) {
                let next = self.next_of(&slice, watermark);
                let slices = self.rows.value_mut(slot).get_or_insert_default();
                if slices.armed.is_none_or(|armed| armed > next) {
                    slices.armed = Some(next);
                    self.arming.push((index, next));
                }
            }
            if slice.first_end <= watermark {
                self.emit_late(&keys[index], slot, &slice, out);
            }
            if let Some(early) = &mut self.early {
                early.note(index, slice.start, time.max(watermark), slice.last_end);
            }
        }
        if let Some(early) = &mut self.early {
            early.arm(&keys, &hashes)?;
        }
        self.arm(|index| (hashes[index], &keys[index]))
    }

    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        out: &mut Out<K, T, U::Value>,
    ) -> Result<Progress, Fault> {
        // Also what was set anew on the way: a key's windows fire in the order of their ends.
        while let Some(time) = self.timers.due(watermark)? {
            if !out.has_room() {
                return Ok(Progress::Again);
            }
            let mut due = std::mem::take(&mut self.due);
            due.clear();
            self.timers.take(time, self.most, &mut due)?;
            let hashes: Vec<u64> = due.iter().map(|(key, ())| key_hash(key)).collect();
            let row = |index: usize| RowRef { hash: hashes[index], time: Timestamp::MIN, key: &due[index].0 };
            self.rows.resolve(due.len(), row, &mut self.slots)?;
            self.arming.clear();
            for (index, (key, ())) in due.iter().enumerate() {
                if let Some(next) = self.fire(key, self.slots[index], time, out) {
                    self.arming.push((index, next));
                }
            }
            self.arm(|index| (hashes[index], &due[index].0))?;
            self.due = due;
        }
        if self.emit_early(watermark, out)? == Progress::Again {
            return Ok(Progress::Again);
        }
        self.watermark.rise(watermark);
        Ok(Progress::Done)
    }

    fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        self.watermark.freeze(delta)?;
        if let Some(early) = &mut self.early {
            early.freeze(epoch, delta)?;
        }
        self.rows.freeze(epoch, delta)?;
        Ok(self.timers.freeze(epoch, delta)?)
    }

    fn applied(&mut self, epoch: Epoch) {
        if let Some(early) = &mut self.early {
            early.applied(epoch);
        }
        self.rows.applied(epoch);
        self.timers.applied(epoch);
    }
}
