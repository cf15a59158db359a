//! Windows of the user's own: any that are known from a record's event time.
//!
//! They may overlap, share ends, leave times out and differ in length. Each is kept as a whole, by its end, so that a
//! watermark costs in proportion to what it closes; windows of one key and one end share a row. Invariant: the
//! windows of a row are in the order of their starts, each once.
//!
//! Memory: what is kept of every open window of every key, in the shared table budget, on disk beyond it; a record
//! costs in proportion to the number of windows that hold it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use highwater_state::delta::Family;
use highwater_state::panes::Panes;
use highwater_state::table::{RowRef, Slot};
use highwater_state::{Delta, Epoch, Key, Persist, Piece, TimeRange, Timestamp};
use serde::{Deserialize, Serialize};

use crate::aggregate::update::Update;
use crate::batch::KeyedBatch;
use crate::data::Data;
use crate::lateness::KeptWatermark;
use crate::opening::{NodeOpening, OpenError};
use crate::operator::{Fault, Operator, Progress};
use crate::outbox::Outputs;
use crate::window::{AlignedWindows, Firing, Out, Timing, WholeWindows, WindowOperator, Windowed, Windows};

/// Windows of your own: what implements this is a kind of window.
///
/// A record is added to each of its windows that is not gone: a window `[start, end)` fires when the watermark
/// reaches `end`, and is gone when that is [`allow_late`](super::WindowedStream::allow_late) ago. A record that has
/// windows, all of them gone, is late. One that has none belongs nowhere and is dropped; filter such records before,
/// if they are to be seen.
///
/// ```
/// use highwater_operators::window::AssignWindows;
/// use highwater_state::{TimeRange, Timestamp};
/// # use highwater_operators::testkit::timed_output_of;
///
/// /// One window a day, from 9:00 to 17:00 UTC.
/// #[derive(Clone)]
/// struct OfficeHours;
///
/// impl AssignWindows for OfficeHours {
///     fn windows_of(&self, time: Timestamp, into: &mut Vec<TimeRange>) {
///         const HOUR: i64 = 3_600_000;
///         let midnight = time.as_millis().div_euclid(24 * HOUR) * 24 * HOUR;
///         let [start, end] = [9, 17].map(|hour| Timestamp::from_millis(midnight + hour * HOUR));
///         let day = TimeRange { start, end };
///         if day.contains(time) {
///             into.push(day);
///         }
///     }
/// }
///
/// let hour = 3_600_000;
/// let calls = timed_output_of([(8 * hour, ()), (9 * hour, ()), (33 * hour, ()), (40 * hour, ())], |calls| {
///     calls.key_by(|_| ()).window(OfficeHours).count("calls").map(|calls| calls.value)
/// });
/// assert_eq!(calls, [(17 * hour - 1, 1), (41 * hour - 1, 2)]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which windows a record belongs to",
    label = "implement `AssignWindows` for it"
)]
pub trait AssignWindows: Clone + Send + Sync + 'static {
    /// Appends the windows of a record with this event time, in any order; one that is named twice counts once.
    ///
    /// The same time must always give the same windows, after a restart too, and each must hold the time: the job
    /// fails where one does not. A window that ends at [`Timestamp::MAX`] holds that time as well.
    fn windows_of(&self, time: Timestamp, into: &mut Vec<TimeRange>);

    /// Why these windows cannot be, if they cannot; said when the topology is built.
    ///
    /// # Errors
    /// What is wrong with them, and what would be right.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

#[diagnostic::do_not_recommend]
impl<W: AssignWindows> Windows for W {
    fn check(&self) -> Result<(), String> {
        AssignWindows::check(self)
    }

    fn open<K: Key, T: Data, U: Update<T>>(
        &self,
        update: &Arc<U>,
        firing: &Firing,
        opening: &mut NodeOpening<'_>,
    ) -> Result<WindowOperator<K, T, U::Value>, OpenError> {
        let store = opening.store::<K, Vec<OpenWindow<U::Kept>>>(None, Family::Windows)?;
        Ok(Box::new(Custom {
            assign: Assign {
                windows: self.clone(),
                found: Vec::new(),
                parts: Vec::new(),
                shares: Vec::new(),
            },
            lateness: firing.allowed_lateness,
            panes: Panes::<K, Vec<OpenWindow<U::Kept>>>::open(store, opening.committed())?,
            watermark: KeptWatermark::open(opening)?,
            update: Arc::clone(update),
            most: opening.batch_records(),
            slots: Vec::new(),
            closing: Vec::new(),
            fired: None,
        }))
    }
}

#[diagnostic::do_not_recommend]
impl<W: AssignWindows> AlignedWindows for W {}

#[diagnostic::do_not_recommend]
impl<T: Clone, W: AssignWindows> WholeWindows<T> for W {
    fn copy() -> Option<fn(&T) -> T> {
        Some(T::clone)
    }
}

/// A window that is kept, in the row of its end.
#[derive(Serialize, Deserialize)]
struct OpenWindow<A> {
    start: Timestamp,
    /// What is kept of its records; never `None`, but for the way in which records are added.
    kept: Option<A>,
}

/// What the records of a batch have to do with windows.
struct Assign<W> {
    windows: W,
    found: Vec<TimeRange>,
    /// A record's number and a window to which it is added.
    parts: Vec<(usize, TimeRange)>,
    shares: Vec<Share>,
}

/// The part of one record.
#[derive(Clone)]
struct Share {
    parts: Range<usize>,
    late: bool,
}

impl<W: AssignWindows> Assign<W> {
    /// Finds the windows of every record that end after `gone`.
    fn assign(&mut self, times: &[Timestamp], gone: Timestamp) -> Result<(), Fault> {
        self.parts.clear();
        self.shares.clear();
        let mut last = None;
        for (index, &time) in times.iter().enumerate() {
            if last != Some(time) {
                self.find(time)?;
                last = Some(time);
            }
            let from = self.parts.len();
            let open = self.found.iter().filter(|window| window.end > gone);
            self.parts.extend(open.map(|&window| (index, window)));
            let parts = from..self.parts.len();
            let late = parts.is_empty() && !self.found.is_empty();
            self.shares.push(Share { parts, late });
        }
        Ok(())
    }

    fn find(&mut self, time: Timestamp) -> Result<(), Fault> {
        self.found.clear();
        self.windows.windows_of(time, &mut self.found);
        let holds =
            |window: &&TimeRange| window.contains(time) || (time, time) == (Timestamp::MAX, window.end);
        if let Some(wrong) = self.found.iter().find(|window| !holds(window)) {
            let reason = format!(
                "`windows_of` gives a record at {time} the window from {} to {}, which does not hold it; a window \
                    begins at or before the record's time and ends after it",
                wrong.start, wrong.end
            );
            return Err(Fault::Failed(reason.into()));
        }
        self.found.sort_unstable();
        self.found.dedup();
        Ok(())
    }
}

struct Custom<K, W, A, U> {
    assign: Assign<W>,
    lateness: Duration,
    panes: Panes<K, Vec<OpenWindow<A>>>,
    watermark: KeptWatermark,
    update: Arc<U>,
    most: usize,
    slots: Vec<Slot>,
    closing: Vec<(K, Vec<OpenWindow<A>>)>,
    /// How far the firing of windows that are kept has come: a pane, and how many of its rows.
    fired: Option<(Timestamp, usize)>,
}

impl<K: Key, W: AssignWindows, A: Persist + Clone, U> Custom<K, W, A, U> {
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
            for (key, windows) in self.closing.drain(..) {
                for OpenWindow { start, kept } in windows {
                    let Some(kept) = kept else { continue };
                    let (window, value) = (TimeRange { start, end }, self.update.last_value(kept));
                    let key = key.clone();
                    out.0.push(Windowed { key, window, value, timing: Timing::OnTime }, window.last());
                }
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
            for &slot in &self.slots {
                let (Some(key), Some(windows)) = (self.panes.key(slot), self.panes.value(slot)) else {
                    continue;
                };
                for OpenWindow { start, kept } in windows {
                    let Some(kept) = kept else { continue };
                    let (window, value) = (TimeRange { start: *start, end }, self.update.value(kept));
                    let key = key.clone();
                    out.0.push(Windowed { key, window, value, timing: Timing::OnTime }, window.last());
                }
            }
            after = end;
        }
    }

    /// Drops every window that ends at or before `through`.
    fn drop_through(&mut self, through: Timestamp) -> Result<(), Fault> {
        while let Some(end) = self.panes.due(through)? {
            self.panes.take(end, self.most, &mut self.closing)?;
            self.closing.clear();
        }
        Ok(())
    }

    /// The last point in time whose windows are gone at this watermark.
    fn gone_through(&self, watermark: Timestamp) -> Timestamp {
        if watermark == Timestamp::MAX { watermark } else { watermark - self.lateness }
    }

    /// Adds a record of the batch to its windows, and emits those that have fired; says whether there are any.
    fn add<T: Data>(
        &mut self,
        index: usize,
        key: &K,
        record: T,
        time: Timestamp,
        out: &mut Out<K, T, U::Value>,
    ) -> bool
    where
        U: Update<T, Kept = A>,
    {
        let Share { parts, late } = self.assign.shares[index].clone();
        let Some(last) = parts.clone().last() else {
            if late {
                out.1.push(record, time);
            }
            return false;
        };
        let mut updated = false;
        for part in parts.start..last {
            updated |= self.add_to(part, key, out, |update, kept| update.add_shared(kept, &record, time));
        }
        updated | self.add_to(last, key, out, |update, kept| update.add(kept, record, time))
    }

    fn add_to<T: Data>(
        &mut self,
        part: usize,
        key: &K,
        out: &mut Out<K, T, U::Value>,
        add: impl FnOnce(&U, &mut Option<A>),
    ) -> bool
    where
        U: Update<T, Kept = A>,
    {
        let (_, window) = self.assign.parts[part];
        let windows = self.panes.value_mut(self.slots[part]).get_or_insert_default();
        let position = match windows.binary_search_by_key(&window.start, |open| open.start) {
            Ok(position) => position,
            Err(position) => {
                windows.insert(position, OpenWindow { start: window.start, kept: None });
                position
            }
        };
        let kept = &mut windows[position].kept;
        add(&self.update, kept);
        let fired = window.end <= self.watermark.get();
        if let Some(kept) = kept.as_ref().filter(|_| fired) {
            let (key, value) = (key.clone(), self.update.value(kept));
            out.0.push(Windowed { key, window, value, timing: Timing::Late }, window.last());
        }
        fired
    }
}

impl<K, T, W, U> Operator<KeyedBatch<K, T>, Out<K, T, U::Value>> for Custom<K, W, U::Kept, U>
where
    K: Key,
    T: Data,
    W: AssignWindows,
    U: Update<T>,
{
    fn on_batch(&mut self, batch: &mut KeyedBatch<K, T>, out: &mut Out<K, T, U::Value>) -> Result<(), Fault> {
        let KeyedBatch { keys, hashes, records } = batch;
        let gone = self.gone_through(self.watermark.get());
        self.assign.assign(&records.times, gone)?;
        let parts = &self.assign.parts;
        let row = |part: usize| {
            let (index, window) = parts[part];
            RowRef { hash: hashes[index], time: window.end, key: &keys[index] }
        };
        self.panes.resolve(parts.len(), row, &mut self.slots)?;
        let mut values = std::mem::take(&mut records.values).into_iter();
        let mut done = 0;
        for value in values.by_ref() {
            let updated = self.add(done, &keys[done], value, records.times[done], out);
            done += 1;
            // A record may update many windows that have fired.
            if updated && !out.has_room() {
                break;
            }
        }
        records.values = values.collect();
        records.times.drain(..done);
        keys.drain(..done);
        hashes.drain(..done);
        Ok(())
    }

    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        out: &mut Out<K, T, U::Value>,
    ) -> Result<Progress, Fault> {
        if watermark <= self.watermark.get() {
            return Ok(Progress::Done);
        }
        let fired =
            if self.lateness.is_zero() { self.close(watermark, out)? } else { self.fire(watermark, out)? };
        if fired == Progress::Again {
            return Ok(Progress::Again);
        }
        self.drop_through(self.gone_through(watermark))?;
        self.watermark.rise(watermark);
        Ok(Progress::Done)
    }

    fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        self.watermark.freeze(delta)?;
        self.panes.begin_freeze(epoch, delta);
        Ok(())
    }

    fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<(), Fault> {
        Ok(self.panes.write_frozen(piece)?)
    }

    fn applied(&mut self, epoch: Epoch) {
        self.panes.applied(epoch);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::stream::Stream;
    use crate::testkit::{Harness, at};
    use crate::window::replay::{Ids, Rec, Seen, in_batches, in_epochs, record_by_record, recs, sort};

    /// Every window of 10 and of 25 ms that ends at a multiple of 10 ms; none for times that end in 7.
    #[derive(Clone)]
    struct Overlapping;

    const LENGTHS: [i64; 2] = [10, 25];

    impl AssignWindows for Overlapping {
        fn windows_of(&self, time: Timestamp, into: &mut Vec<TimeRange>) {
            let time = time.as_millis();
            if time.rem_euclid(10) == 7 {
                return;
            }
            let first = time.div_euclid(10) * 10 + 10;
            for end in (first..=time + 25).step_by(10) {
                let lengths = LENGTHS.into_iter().filter(|length| end - length <= time);
                // The shortest is named twice.
                let lengths = lengths.chain((end == first).then_some(LENGTHS[0]));
                into.extend(lengths.map(|length| TimeRange { start: at(end - length), end: at(end) }));
            }
        }
    }

    /// All windows, from the records alone, each looked at against each window that there could be.
    fn by_brute_force(records: &[Rec], lag: i64, lateness: i64) -> Vec<Seen> {
        let mut seen = Vec::new();
        let mut windows: BTreeMap<(u8, i64, i64), Vec<u64>> = BTreeMap::new();
        let mut fired: Vec<(u8, i64, i64)> = Vec::new();
        let (mut watermark, mut largest) = (i64::MIN, i64::MIN);
        for &Rec { key, time, id } in records {
            let (mut any, mut added) = (false, false);
            for end in (-200..400).map(|tens| tens * 10) {
                for start in LENGTHS.map(|length| end - length) {
                    if time < start || time >= end || time.rem_euclid(10) == 7 {
                        continue;
                    }
                    any = true;
                    if end + lateness <= watermark {
                        continue;
                    }
                    added = true;
                    let window = windows.entry((key, start, end)).or_default();
                    window.push(id);
                    if end <= watermark {
                        fired.push((key, start, end));
                        seen.push(Seen::Window {
                            key,
                            start,
                            end,
                            ids: window.clone(),
                            timing: Timing::Late,
                        });
                    }
                }
            }
            if any && !added {
                seen.push(Seen::Late(id));
            }
            largest = largest.max(time);
            watermark = watermark.max(largest - lag);
            fire(&windows, &mut fired, watermark, &mut seen);
        }
        fire(&windows, &mut fired, i64::MAX, &mut seen);
        sort(seen)
    }

    fn fire(
        windows: &BTreeMap<(u8, i64, i64), Vec<u64>>,
        fired: &mut Vec<(u8, i64, i64)>,
        watermark: i64,
        seen: &mut Vec<Seen>,
    ) {
        for (&(key, start, end), ids) in windows {
            if end <= watermark && !fired.contains(&(key, start, end)) {
                fired.push((key, start, end));
                seen.push(Seen::Window { key, start, end, ids: ids.clone(), timing: Timing::OnTime });
            }
        }
    }

    fn chain(lateness: i64) -> impl Fn(Stream<Rec>) -> Stream<Seen> {
        move |stream| {
            let windows = stream.key_by(|record| record.key).window(Overlapping);
            let windows = windows.allow_late(Duration::from_millis(lateness as u64));
            let (windows, late) = windows.with_late();
            windows.aggregate("ids", |_| Ids).map(Seen::from).merge(late.map(|record| Seen::Late(record.id)))
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn overlapping_windows_are_those_of_brute_force(
            records in recs(-60..60, 1..30),
            lag in 0i64..20,
            lateness in prop_oneof![Just(0i64), 1i64..40],
        ) {
            let expected = by_brute_force(&records, lag, lateness);
            prop_assert_eq!(sort(record_by_record(&records, lag, chain(lateness))), expected.clone());
            prop_assert_eq!(sort(in_batches(&records, lag, chain(lateness))), expected.clone());
            prop_assert_eq!(sort(in_epochs(&records, lag, chain(lateness))), expected);
        }
    }

    #[test]
    fn a_fold_sees_a_record_once_in_each_of_its_windows() {
        let mut harness = Harness::new(|stream| {
            let windows = stream.key_by(|_: &String| ()).window(Overlapping);
            let texts = windows.fold("texts", String::new, |text, record| text.push_str(&record));
            texts.map(|text| (text.window.start.as_millis(), text.window.end.as_millis(), text.value))
        });
        harness.record("a".to_owned(), at(5));
        harness.record("b".to_owned(), at(12));
        harness.watermark(Timestamp::MAX);
        let texts: Vec<_> = harness.take().into_iter().map(|(text, _)| text).collect();
        let text = |start, end, text: &str| (start, end, text.to_owned());
        let expected = [(-15, 10, "a"), (0, 10, "a"), (-5, 20, "ab"), (10, 20, "b"), (5, 30, "ab")];
        assert_eq!(texts, expected.map(|(start, end, of)| text(start, end, of)).to_vec());
    }

    /// One window for all, whatever the time.
    #[derive(Clone)]
    struct Fixed(i64, i64);

    impl AssignWindows for Fixed {
        fn windows_of(&self, _: Timestamp, into: &mut Vec<TimeRange>) {
            into.push(TimeRange { start: at(self.0), end: at(self.1) });
        }

        fn check(&self) -> Result<(), String> {
            if self.0 < self.1 { Ok(()) } else { Err("a window must not be empty".to_owned()) }
        }
    }

    #[test]
    fn a_window_that_does_not_hold_its_record_fails_the_job_and_says_which() {
        let topology = crate::topology::Topology::new("wrong");
        let records = crate::memory::Memory::source([(1_000, 'a')]);
        let timed = topology.source("records", records).event_time(|record| at(record.0), Duration::ZERO);
        let counts = timed.key_by(|record| record.1).window(Fixed(0, 10)).count("counts");
        counts.sink("sink", crate::memory::Memory::sink());
        let error = crate::interpret::interpret(topology).expect_err("fails").to_string();
        for part in ["counts", "1970-01-01T00:00:01Z", "1970-01-01T00:00:00.010Z"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn the_end_of_time_lies_in_the_window_that_ends_there() {
        let mut harness = Harness::new(|stream| {
            let windows = stream.key_by(|_: &u8| ()).window(Fixed(0, i64::MAX));
            windows.count("counts").map(|count| count.value)
        });
        harness.record(1, Timestamp::MAX);
        harness.record(2, at(0));
        harness.watermark(Timestamp::MAX);
        assert_eq!(harness.take(), [(2, at(i64::MAX - 1))]);
    }

    #[test]
    fn windows_that_cannot_be_are_refused_when_the_topology_is_built() {
        let topology = crate::topology::Topology::new("refused");
        let records = crate::memory::Memory::source([(0, 'a')]);
        let timed = topology.source("records", records).event_time(|record| at(record.0), Duration::ZERO);
        let counts = timed.key_by(|record| record.1).window(Fixed(10, 10)).count("counts");
        counts.sink("sink", crate::memory::Memory::sink());
        let error = crate::interpret::interpret(topology).expect_err("is refused").to_string();
        assert!(error.contains("a window must not be empty"), "{error}");
    }
}
