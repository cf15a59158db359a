//! What is made of windows: `count`, `aggregate`, `fold`, `reduce`, and the operator behind them.
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
use highwater_state::panes::Panes;
use highwater_state::table::{RowRef, Slot};
use highwater_state::{Delta, Epoch, Key, Persist, Timestamp};

use crate::aggregate::{Agg, Aggregate, update};
use crate::batch::{Batch, KeyedBatch};
use crate::data::{Data, HasEventTime};
use crate::error::Place;
use crate::lateness::KeptWatermark;
use crate::operator::{Fault, Operator, Progress};
use crate::outbox::{Outbox, Outputs};
use crate::stream::{Stream, here, set_operator};
use crate::window::{Windowed, WindowedStream, Windows};

impl<K: Key, T: Data, W: Windows, C: HasEventTime> WindowedStream<K, T, W, C> {
    /// Counts the records of each key and window.
    ///
    /// ```
    /// # use highwater_operators::testkit::timed_output_of;
    /// # use highwater_operators::window::tumbling;
    /// # use std::time::Duration;
    /// let counts = timed_output_of([(1, 'a'), (2, 'a'), (11, 'a')], |letters| {
    ///     let windows = letters.key_by(|letter| *letter).window(tumbling(Duration::from_millis(10)));
    ///     windows.count("letters").map(|counted| (counted.key, counted.value))
    /// });
    /// assert_eq!(counts, [(9, ('a', 2)), (19, ('a', 1))]);
    /// ```
    #[track_caller]
    pub fn count(self, name: &str) -> Stream<Windowed<K, u64>, C> {
        self.apply(here("window", Some(name)), update::count, u64::clone)
    }

    /// Aggregates the records of each key and window: `count sum min max mean`, tuples of them, or your own.
    ///
    /// ```
    /// # use highwater_operators::testkit::timed_output_of;
    /// # use highwater_operators::window::tumbling;
    /// # use std::time::Duration;
    /// let stats = timed_output_of([(1, 4.0), (2, 8.0)], |values| {
    ///     let windows = values.key_by(|_| ()).window(tumbling(Duration::from_millis(10)));
    ///     windows.aggregate("stats", |a| (a.max(|v: &f64| *v), a.mean(|v| *v))).map(|stats| stats.value)
    /// });
    /// assert_eq!(stats, [(9, (8.0, 6.0))]);
    /// ```
    #[track_caller]
    pub fn aggregate<A: Aggregate<T>>(
        self,
        name: &str,
        of: impl FnOnce(Agg<T>) -> A,
    ) -> Stream<Windowed<K, A::Out>, C> {
        let (add, finish) = update::aggregate(of(Agg::default()));
        self.apply(here("window", Some(name)), add, finish)
    }

    /// Folds the records of each key and window into one value: `initial` before the first, changed by `f` with
    /// each.
    #[track_caller]
    pub fn fold<A: Persist + Clone>(
        self,
        name: &str,
        initial: impl Fn() -> A + Send + Sync + 'static,
        f: impl Fn(&mut A, T) + Send + Sync + 'static,
    ) -> Stream<Windowed<K, A>, C> {
        self.apply(here("window", Some(name)), update::fold(initial, f), A::clone)
    }

    /// Combines the records of each key and window two by two, in the order in which they came.
    #[track_caller]
    pub fn reduce(
        self,
        name: &str,
        f: impl Fn(T, T) -> T + Send + Sync + 'static,
    ) -> Stream<Windowed<K, T>, C>
    where
        T: Persist + Clone,
    {
        self.apply(here("window", Some(name)), update::reduce(f), T::clone)
    }

    fn apply<A: Persist, V: Data>(
        self,
        place: Place,
        update: impl Fn(&mut Option<A>, T) + Send + Sync + 'static,
        finish: impl Fn(&A) -> V + Send + Sync + 'static,
    ) -> Stream<Windowed<K, V>, C> {
        let (windows, lateness) = (self.windows, self.allowed_lateness);
        let (update, finish) = (Arc::new(update), Arc::new(finish));
        let node = self.wire.port.node;
        self.wire.graph.borrow_mut().nodes[node].place = place;
        set_operator::<KeyedBatch<K, T>, Out<K, T, V>>(&self.wire.graph, node, move |opening| {
            let store = opening.store::<K, A>(None, Family::Windows)?;
            Ok(Box::new(Window {
                windows: windows.clone(),
                lateness,
                panes: Panes::<K, A>::open(store, opening.committed())?,
                watermark: KeptWatermark::open(opening)?,
                update: Arc::clone(&update),
                finish: Arc::clone(&finish),
                most: opening.batch_records(),
                ends: Vec::new(),
                slots: Vec::new(),
                closing: Vec::new(),
                fired: None,
            }))
        });
        Stream::at(self.wire)
    }
}

type Out<K, T, V> = (Outbox<Batch<Windowed<K, V>>>, Outbox<Batch<T>>);

struct Window<K, W, A, U, F> {
    windows: W,
    lateness: Duration,
    panes: Panes<K, A>,
    watermark: KeptWatermark,
    update: Arc<U>,
    finish: Arc<F>,
    most: usize,
    ends: Vec<Timestamp>,
    slots: Vec<Slot>,
    closing: Vec<(K, A)>,
    /// How far the firing of windows that are kept has come: a pane, and how many of its rows.
    fired: Option<(Timestamp, usize)>,
}

impl<K: Key, W: Windows, A: Persist, U, F> Window<K, W, A, U, F> {
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
    fn close<T: 'static, V: 'static>(
        &mut self,
        through: Timestamp,
        out: &mut Out<K, T, V>,
    ) -> Result<Progress, Fault>
    where
        F: Fn(&A) -> V,
    {
        while let Some(end) = self.panes.due(through)? {
            if !out.has_room() {
                return Ok(Progress::Again);
            }
            self.panes.take(end, self.most, &mut self.closing)?;
            let window = self.windows.window_ending(end);
            for (key, kept) in self.closing.drain(..) {
                let value = (self.finish)(&kept);
                out.0.push(Windowed { key, window, value }, window.last());
            }
        }
        Ok(Progress::Done)
    }

    /// Emits every window that ends after the last watermark and at or before `through`; they stay.
    fn fire<T: 'static, V: 'static>(
        &mut self,
        through: Timestamp,
        out: &mut Out<K, T, V>,
    ) -> Result<Progress, Fault>
    where
        F: Fn(&A) -> V,
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
                self.emit(self.slots[index], end, out);
            }
            after = end;
        }
    }

    fn emit<T: 'static, V: 'static>(&mut self, slot: Slot, end: Timestamp, out: &mut Out<K, T, V>)
    where
        F: Fn(&A) -> V,
    {
        let (Some(key), Some(kept)) = (self.panes.key(slot), self.panes.value(slot)) else { return };
        let window = self.windows.window_ending(end);
        out.0.push(Windowed { key: key.clone(), window, value: (self.finish)(kept) }, window.last());
    }

    /// The last point in time whose windows are dropped at this watermark.
    fn dropped_through(&self, watermark: Timestamp) -> Timestamp {
        if watermark == Timestamp::MAX { watermark } else { watermark - self.lateness }
    }

    /// Adds records of which some may be late, or may belong to windows that have fired.
    fn add_one_by_one<T: 'static, V: 'static>(
        &mut self,
        batch: KeyedBatch<K, T>,
        out: &mut Out<K, T, V>,
    ) -> Result<(), Fault>
    where
        U: Fn(&mut Option<A>, T),
        F: Fn(&A) -> V,
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
            (self.update)(self.panes.value_mut(slot), value);
            if end <= watermark {
                self.emit(slot, end, out);
            }
        }
        Ok(())
    }
}

impl<K, T, V, W, A, U, F> Operator<KeyedBatch<K, T>, Out<K, T, V>> for Window<K, W, A, U, F>
where
    K: Key,
    T: 'static,
    V: 'static,
    W: Windows,
    A: Persist,
    U: Fn(&mut Option<A>, T),
    F: Fn(&A) -> V,
{
    fn on_batch(&mut self, batch: &mut KeyedBatch<K, T>, out: &mut Out<K, T, V>) -> Result<(), Fault> {
        let batch = std::mem::take(batch);
        if self.assign(&batch.records.times) {
            return self.add_one_by_one(batch, out);
        }
        let KeyedBatch { keys, hashes, records } = batch;
        let ends = &self.ends;
        let row = |index: usize| RowRef { hash: hashes[index], time: ends[index], key: &keys[index] };
        self.panes.resolve(keys.len(), row, &mut self.slots)?;
        for (value, &slot) in records.values.into_iter().zip(&self.slots) {
            (self.update)(self.panes.value_mut(slot), value);
        }
        Ok(())
    }

    fn on_watermark(&mut self, watermark: Timestamp, out: &mut Out<K, T, V>) -> Result<Progress, Fault> {
        if watermark <= self.watermark.get() {
            return Ok(Progress::Done);
        }
        if self.lateness.is_zero() {
            if self.close(watermark, out)? == Progress::Again {
                return Ok(Progress::Again);
            }
        } else {
            if self.fire(watermark, out)? == Progress::Again {
                return Ok(Progress::Again);
            }
            let through = self.dropped_through(watermark);
            while let Some(end) = self.panes.due(through)? {
                self.panes.take(end, self.most, &mut self.closing)?;
                self.closing.clear();
            }
        }
        self.watermark.rise(watermark);
        Ok(Progress::Done)
    }

    fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        self.watermark.freeze(delta)?;
        Ok(self.panes.freeze(epoch, delta)?)
    }

    fn applied(&mut self, epoch: Epoch) {
        self.panes.applied(epoch);
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
