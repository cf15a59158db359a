//! The operator behind windows of which a record is in exactly one, known from its event time: tumbling windows.
//!
//! A window fires when the watermark reaches its end, and is dropped when the watermark has passed its end by
//! the allowed lateness; a record for a window that has fired makes it emit again at once; a record for a window
//! that is dropped is late. Open windows are kept by their end, so that a watermark costs in proportion to what
//! it closes.
//!
//! Memory: one row per key and open window, in the shared table budget, on disk beyond it.

use std::sync::Arc;
use std::time::Duration;

use highwater_state::delta::Family;
use highwater_state::hash::key_hash;
use highwater_state::panes::Panes;
use highwater_state::table::{RowRef, Slot};
use highwater_state::{Delta, Epoch, Key, Persist, Piece, TimeRange, Timestamp};

use crate::aggregate::update::Update;
use crate::batch::KeyedBatch;
use crate::data::Data;
use crate::lateness::KeptWatermark;
use crate::opening::{NodeOpening, OpenError};
use crate::operator::{Fault, Operator, Progress};
use crate::outbox::Outputs;
use crate::window::early::Early;
use crate::window::{Firing, Out, Timing, WindowOperator, Windowed};

/// Windows that cut event time into pieces, each record in exactly one.
pub(super) trait Pieces: Clone + Send + Sync + 'static {
    /// The window of a record with this event time.
    fn window_of(&self, time: Timestamp) -> TimeRange;

    /// The window that ends at `end`; the inverse of [`window_of`](Pieces::window_of).
    fn window_ending(&self, end: Timestamp) -> TimeRange;
}

/// Opens the operator that keeps such windows.
pub(super) fn open<K: Key, T: Data, W: Pieces, U: Update<T>>(
    windows: &W,
    update: &Arc<U>,
    firing: &Firing,
    opening: &mut NodeOpening<'_>,
) -> Result<WindowOperator<K, T, U::Value>, OpenError> {
    let store = opening.store::<K, U::Kept>(None, Family::Windows)?;
    Ok(Box::new(Window {
        windows: windows.clone(),
        lateness: firing.allowed_lateness,
        panes: Panes::<K, U::Kept>::open(store, opening.committed())?,
        early: Early::open(firing, opening)?,
        watermark: KeptWatermark::open(opening)?,
        update: Arc::clone(update),
        most: opening.batch_records(),
        ends: Vec::new(),
        slots: Vec::new(),
        closing: Vec::new(),
        fired: None,
    }))
}

struct Window<K, W, A, U> {
    windows: W,
    lateness: Duration,
    panes: Panes<K, A>,
    early: Option<Early<K>>,
    watermark: KeptWatermark,
    update: Arc<U>,
    most: usize,
    ends: Vec<Timestamp>,
    slots: Vec<Slot>,
    closing: Vec<(K, A)>,
    /// How far the firing of windows that are kept has come: a pane, and how many of its rows.
    fired: Option<(Timestamp, usize)>,
}

impl<K: Key, W: Pieces, A: Persist + Clone, U> Window<K, W, A, U> {
    /// The ends of the records' windows, and whether any of them lies at or behind the watermark.
    fn assign(&mut self, times: &[Timestamp]) -> bool {
        let watermark = self.watermark.get();
        self.ends.clear();
        let Some(&first) = times.first() else { return false };
        let mut current = self.windows.window_of(first);
        let mut any_behind = false;
        for &time in times {
            if !current.contains(time) {
                current = self.windows.window_of(time);
            }
            any_behind |= current.end <= watermark;
            self.ends.push(current.end);
        }
        any_behind
    }

    /// Takes and emits every window that ends at or before `through`.
    fn close<T: Data>(&mut self, through: Timestamp, out: &mut Out<K, T, U::Value>) -> Result<Progress, Fault>
    where
        U: Update<T, Kept = A>,
    {
        while let Some(end) = self.panes.due(through)? {
            if !out.has_room() {
                return Ok(Progress::Again);
            }
            self.panes.take(end, self.most, &mut self.closing)?;
            let window = self.windows.window_ending(end);
            for (key, kept) in self.closing.drain(..) {
                let value = self.update.last_value(kept);
                out.0.push(Windowed { key, window, value, timing: Timing::OnTime }, window.last());
            }
        }
        Ok(Progress::Done)
    }

    /// Emits every window that ends after the last watermark and at or before `through`; they stay.
    fn fire<T: Data>(&mut self, through: Timestamp, out: &mut Out<K, T, U::Value>) -> Result<Progress, Fault>
    where
        U: Update<T, Kept = A>,
    {
        let mut after = self.watermark.get();
        loop {
            let (end, done) = match self.fired {
                Some(fired) => fired,
                None => match self.panes.due_after(after, through)? {
                    Some(end) => (end, 0),
                    None => return Ok(Progress::Done),
                },
            };
            if !out.has_room() {
                self.fired = Some((end, done));
                return Ok(Progress::Again);
            }
            let slots = self.panes.slots(end);
            let until = slots.len().min(done + self.most);
            self.slots.clear();
            self.slots.extend_from_slice(&slots[done..until]);
            self.fired = (until < slots.len()).then_some((end, until));
            for index in 0..self.slots.len() {
                self.emit(self.slots[index], end, Timing::OnTime, out);
            }
            after = end;
        }
    }

    /// Emits what a higher watermark closes, and drops what it makes too old.
    fn pass<T: Data>(
        &mut self,
        watermark: Timestamp,
        out: &mut Out<K, T, U::Value>,
    ) -> Result<Progress, Fault>
    where
        U: Update<T, Kept = A>,
    {
        if self.lateness.is_zero() {
            return self.close(watermark, out);
        }
        if self.fire(watermark, out)? == Progress::Again {
            return Ok(Progress::Again);
        }
        let through = self.dropped_through(watermark);
        while let Some(end) = self.panes.due(through)? {
            self.panes.take(end, self.most, &mut self.closing)?;
            self.closing.clear();
        }
        Ok(Progress::Done)
    }

    /// Notes which windows the records change, which [`assign`](Window::assign) has found, for early results.
    fn note_early(&mut self, keys: &[K], hashes: &[u64]) -> Result<(), Fault> {
        let Some(early) = &mut self.early else { return Ok(()) };
        let Some(due) = early.due(self.watermark.get()) else { return Ok(()) };
        let ends = &self.ends;
        Ok(early.note(due, keys, hashes, |index| Some(ends[index]).filter(|&end| end > due))?)
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
            early.take(watermark, self.most, &mut noted)?;
            let changed = noted.drain(..).flat_map(|(key, ends)| {
                let hash = key_hash(&key);
                let open = ends.into_iter().filter(|&end| end > watermark);
                open.map(|end| (hash, end, key.clone())).collect::<Vec<_>>()
            });
            let changed: Vec<(u64, Timestamp, K)> = changed.collect();
            let row = |index: usize| {
                let (hash, end, key) = &changed[index];
                RowRef { hash: *hash, time: *end, key }
            };
            self.panes.resolve(changed.len(), row, &mut self.slots)?;
            for (index, &(_, end, _)) in changed.iter().enumerate() {
                self.emit(self.slots[index], end, Timing::Early, out);
            }
        }
        self.early = Some(early);
        Ok(progress)
    }

    fn emit<T: Data>(&mut self, slot: Slot, end: Timestamp, timing: Timing, out: &mut Out<K, T, U::Value>)
    where
        U: Update<T, Kept = A>,
    {
        let (Some(key), Some(kept)) = (self.panes.key(slot), self.panes.value(slot)) else { return };
        let window = self.windows.window_ending(end);
        let value = self.update.value(kept);
        out.0.push(Windowed { key: key.clone(), window, value, timing }, window.last());
    }

    /// The last point in time whose windows are dropped at this watermark.
    fn dropped_through(&self, watermark: Timestamp) -> Timestamp {
        if watermark == Timestamp::MAX { watermark } else { watermark - self.lateness }
    }

    /// Adds records of which some may be late, or may belong to windows that have fired.
    fn add_one_by_one<T: Data>(
        &mut self,
        batch: KeyedBatch<K, T>,
        out: &mut Out<K, T, U::Value>,
    ) -> Result<(), Fault>
    where
        U: Update<T, Kept = A>,
    {
        let watermark = self.watermark.get();
        let dropped_through = self.dropped_through(watermark);
        let KeyedBatch { keys, hashes, records } = batch;
        for (index, value) in records.values.into_iter().enumerate() {
            let end = self.ends[index];
            if end <= dropped_through {
                out.1.push(value, records.times[index]);
                continue;
            }
            let row = |_| RowRef { hash: hashes[index], time: end, key: &keys[index] };
            self.panes.resolve(1, row, &mut self.slots)?;
            let slot = self.slots[0];
            self.update.add(self.panes.value_mut(slot), value, records.times[index]);
            if end <= watermark {
                self.emit(slot, end, Timing::Late, out);
            }
        }
        Ok(())
    }
}

impl<K, T, W, U> Operator<KeyedBatch<K, T>, Out<K, T, U::Value>> for Window<K, W, U::Kept, U>
where
    K: Key,
    T: Data,
    W: Pieces,
    U: Update<T>,
{
    fn on_batch(&mut self, batch: &mut KeyedBatch<K, T>, out: &mut Out<K, T, U::Value>) -> Result<(), Fault> {
        let batch = std::mem::take(batch);
        let any_behind = self.assign(&batch.records.times);
        self.note_early(&batch.keys, &batch.hashes)?;
        if any_behind {
            return self.add_one_by_one(batch, out);
        }
        let KeyedBatch { keys, hashes, records } = batch;
        let ends = &self.ends;
        let row = |index: usize| RowRef { hash: hashes[index], time: ends[index], key: &keys[index] };
        let (update, mut rows) = (&self.update, records.values.into_iter().zip(records.times));
        self.panes.change_each(keys.len(), row, |_, kept| {
            if let Some((value, time)) = rows.next() {
                update.add(kept, value, time);
            }
        })?;
        Ok(())
    }

    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        out: &mut Out<K, T, U::Value>,
    ) -> Result<Progress, Fault> {
        if watermark > self.watermark.get() {
            if self.pass(watermark, out)? == Progress::Again {
                return Ok(Progress::Again);
            }
            self.watermark.rise(watermark);
        }
        self.emit_early(out)
    }

    fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        self.watermark.freeze(delta)?;
        if let Some(early) = &mut self.early {
            early.begin_freeze(epoch, delta);
        }
        self.panes.begin_freeze(epoch, delta);
        Ok(())
    }

    fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<(), Fault> {
        if let Some(early) = &mut self.early {
            early.write_frozen(piece)?;
        }
        Ok(self.panes.write_frozen(piece)?)
    }

    fn applied(&mut self, epoch: Epoch) {
        self.panes.applied(epoch);
        if let Some(early) = &mut self.early {
            early.applied(epoch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Harness, at};
    use crate::window::tumbling;

    type Result = (i64, i64, u64);

    fn counts(lateness: u64) -> Harness<i64, (&'static str, Result)> {
        Harness::new(move |stream| {
            let windows = stream.key_by(|number: &i64| *number).window(tumbling(Duration::from_millis(10)));
            let (windows, late) = windows.allow_late(Duration::from_millis(lateness)).with_late();
            let counts = windows.count("counts");
            let counts = counts.map(|c| ("count", (c.key, c.window.start.as_millis(), c.value)));
            counts.merge(late.map(|number| ("late", (number, 0, 0))))
        })
    }

    fn take(harness: &mut Harness<i64, (&'static str, Result)>) -> Vec<(&'static str, Result)> {
        let mut found: Vec<_> = harness.take().into_iter().map(|(result, _)| result).collect();
        found.sort();
        found
    }

    #[test]
    fn a_window_fires_when_the_watermark_reaches_its_end_and_not_before() {
        let mut harness = counts(0);
        [(1, 0), (2, 9), (1, 10)].into_iter().for_each(|(key, time)| harness.record(key, at(time)));
        harness.watermark(at(9));
        assert_eq!(take(&mut harness), []);
        harness.watermark(at(10));
        assert_eq!(take(&mut harness), [("count", (1, 0, 1)), ("count", (2, 0, 1))]);
        harness.watermark(Timestamp::MAX);
        assert_eq!(take(&mut harness), [("count", (1, 10, 1))]);
    }

    #[test]
    fn a_record_is_late_when_its_window_has_closed_also_before_1970() {
        let mut harness = counts(0);
        harness.record(1, at(-15));
        harness.watermark(at(-10));
        harness.record(1, at(-11));
        harness.record(1, at(-10));
        harness.watermark(at(0));
        assert_eq!(take(&mut harness), [("count", (1, -20, 1)), ("count", (1, -10, 1)), ("late", (1, 0, 0))]);
    }

    #[test]
    fn a_late_record_that_is_allowed_emits_the_updated_window_at_once() {
        let mut harness = counts(5);
        harness.record(1, at(3));
        harness.watermark(at(12));
        harness.record(1, at(4));
        assert_eq!(take(&mut harness), [("count", (1, 0, 1)), ("count", (1, 0, 2))]);
        harness.record(2, at(4));
        assert_eq!(take(&mut harness), [("count", (2, 0, 1))], "an empty window fires with its first record");
        harness.watermark(at(15));
        harness.record(1, at(5));
        assert_eq!(take(&mut harness), [("late", (1, 0, 0))]);
    }

    #[test]
    fn a_window_fires_once_also_when_the_watermark_moves_on_while_it_is_kept() {
        let mut harness = counts(1000);
        harness.record(1, at(3));
        [10, 20, 30].into_iter().for_each(|time| harness.watermark(at(time)));
        assert_eq!(take(&mut harness), [("count", (1, 0, 1))]);
    }
}
