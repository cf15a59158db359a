//! Session windows: records of a key that follow each other closely.
//!
//! A key's open sessions stand in one row, in order of time. Its first session has a timer at or before its end; a
//! timer that fires while the session still lasts, because a record has extended it, is set anew at the end that the
//! session has then, so that a record that extends a session costs no timer. Invariants: open sessions of a key lie
//! further apart than the gap, and the end of each is after the watermark.
//!
//! Memory: one row per key with open sessions, which holds all of them, and a timer or a few for the key, in the
//! shared table budget, on disk beyond it. The row is deleted when the last of its sessions has fired. How many
//! sessions of a key are open at once depends on how far the watermark lags behind, not on how long the key has been
//! there; a row is written as a whole in every epoch that changes it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use highwater_state::delta::Family;
use highwater_state::hash::key_hash;
use highwater_state::panes::Panes;
use highwater_state::table::{RowRef, Slot, Table};
use highwater_state::time::duration_millis;
use highwater_state::{Delta, Epoch, Key, Persist, Piece, TimeRange, Timestamp};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::aggregate::update::Update;
use crate::batch::KeyedBatch;
use crate::data::Data;
use crate::lateness::KeptWatermark;
use crate::opening::{NodeOpening, OpenError};
use crate::operator::{Fault, Operator, Progress};
use crate::outbox::Outputs;
use crate::window::{Firing, Out, Timing, WindowOperator, Windowed, Windows};

/// Windows that last as long as records of a key follow each other within a gap.
///
/// A session is reported as `[first, last + gap)`, from its first record to its last, and fires when the watermark
/// reaches that end. Two records whose distance is the gap belong together. A record may join two sessions that have
/// not fired into one: what was kept of the earlier, then the record, then what was kept of the later. Else records
/// are added in the order in which they come.
///
/// A record is late when its session, with whatever open sessions it joins, would end at or before the watermark.
/// What has fired is gone, and no record joins it: sessions take no [`allow_late`](super::WindowedStream::allow_late),
/// and as they are merged, no [`fold`](super::WindowedStream::fold).
///
/// ```
/// # use highwater_operators::testkit::timed_output_of;
/// # use highwater_operators::window::session;
/// # use std::time::Duration;
/// let visits = timed_output_of([(0, 'a'), (12, 'a'), (8, 'a'), (50, 'a')], |letters| {
///     let windows = letters.key_by(|letter| *letter).window(session(Duration::from_millis(10)));
///     windows.count("visits").map(|visit| (visit.window.start.as_millis(), visit.value))
/// });
/// assert_eq!(visits, [(21, (0, 3)), (59, (50, 1))]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    gap_millis: i64,
}

/// Sessions that end when a key has been silent for `gap`, in whole milliseconds.
pub fn session(gap: Duration) -> Session {
    Session { gap_millis: duration_millis(gap) }
}

impl Session {
    /// The end of a session whose last record has this time.
    fn end(&self, last: Timestamp) -> Timestamp {
        Timestamp::from_millis(last.as_millis().saturating_add(self.gap_millis))
    }

    /// Which of a key's open sessions a record with this time joins; if none, an empty range where it belongs.
    fn joined<A>(&self, open: &Open<A>, time: Timestamp) -> Range<usize> {
        let from = open.partition_point(|session| self.end(session.last) < time);
        let begins_in_time = |session: &&OpenSession<A>| {
            session.first.as_millis().saturating_sub(self.gap_millis) <= time.as_millis()
        };
        from..from + open[from..].iter().take_while(begins_in_time).count()
    }
}

impl Windows for Session {
    fn check(&self) -> Result<(), String> {
        if self.gap_millis == 0 {
            return Err("a session window needs a gap of at least one millisecond".to_owned());
        }
        Ok(())
    }

    fn open<K: Key, T: Data, U: Update<T>>(
        &self,
        update: &Arc<U>,
        _: &Firing,
        opening: &mut NodeOpening<'_>,
    ) -> Result<WindowOperator<K, T, U::Value>, OpenError> {
        let sessions = opening.store::<K, Open<U::Kept>>(None, Family::Values)?;
        let timers = opening.store::<K, ()>(Some("timers"), Family::Timers)?;
        Ok(Box::new(Sessions {
            windows: *self,
            sessions: Table::<K, Open<U::Kept>>::open(sessions, opening.committed())?,
            timers: Panes::<K, ()>::open(timers, opening.committed())?,
            watermark: KeptWatermark::open(opening)?,
            update: Arc::clone(update),
            most: opening.batch_records(),
            slots: Vec::new(),
            due: Vec::new(),
            hashes: Vec::new(),
            arming: Vec::new(),
        }))
    }
}

/// A session that has not fired.
#[derive(Serialize, Deserialize)]
struct OpenSession<A> {
    first: Timestamp,
    last: Timestamp,
    /// What is kept of its records; never `None`, but for the way in which records are added.
    kept: Option<A>,
}

/// The open sessions of a key, in the order of time: mostly one, which stands in the row itself.
type Open<A> = SmallVec<[OpenSession<A>; 1]>;

struct Sessions<K, A, U> {
    windows: Session,
    sessions: Table<K, Open<A>>,
    timers: Panes<K, ()>,
    watermark: KeptWatermark,
    update: Arc<U>,
    most: usize,
    slots: Vec<Slot>,
    /// The keys whose timers fire, and their hashes.
    due: Vec<(K, ())>,
    hashes: Vec<u64>,
    /// The timers to set: the number of a key, and when.
    arming: Vec<(usize, Timestamp)>,
}

/// Adds a record to the sessions of its key that it joins, which become one.
fn add<T, U: Update<T>>(
    update: &U,
    open: &mut Open<U::Kept>,
    joined: Range<usize>,
    record: T,
    time: Timestamp,
) {
    if joined.is_empty() {
        open.insert(joined.start, OpenSession { first: time, last: time, kept: None });
    }
    let session = &mut open[joined.start];
    session.first = session.first.min(time);
    session.last = session.last.max(time);
    update.add(&mut session.kept, record, time);
    for _ in 1..joined.len() {
        let later = open.remove(joined.start + 1);
        let session = &mut open[joined.start];
        session.last = session.last.max(later.last);
        match (&mut session.kept, later.kept) {
            (Some(kept), Some(later)) => update.merge(kept, later),
            (kept, later) => *kept = kept.take().or(later),
        }
    }
}

impl<K: Key, A: Persist + Clone, U> Sessions<K, A, U> {
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
        self.timers.resolve(arming.len(), row, &mut self.slots)?;
        for &slot in &self.slots {
            if self.timers.value(slot).is_none() {
                *self.timers.value_mut(slot) = Some(());
            }
        }
        Ok(())
    }

    /// Fires the first sessions of a key up to `through`; gives the end of the first that stays.
    fn fire<T: Data>(
        &mut self,
        key: &K,
        slot: Slot,
        through: Timestamp,
        out: &mut Out<K, T, U::Value>,
    ) -> Option<Timestamp>
    where
        U: Update<T, Kept = A>,
    {
        let windows = self.windows;
        let open = self.sessions.value(slot)?;
        let due = open.iter().take_while(|session| windows.end(session.last) <= through).count();
        let next = open.get(due).map(|session| windows.end(session.last));
        if due == 0 {
            return next;
        }
        let row = self.sessions.value_mut(slot);
        for session in row.iter_mut().flat_map(|open| open.drain(..due)) {
            let window = TimeRange { start: session.first, end: windows.end(session.last) };
            let Some(kept) = session.kept else { continue };
            let (key, value) = (key.clone(), self.update.last_value(kept));
            out.0.push(Windowed { key, window, value, timing: Timing::OnTime }, window.last());
        }
        if next.is_none() {
            *row = None;
        }
        next
    }
}

impl<K, T, U> Operator<KeyedBatch<K, T>, Out<K, T, U::Value>> for Sessions<K, U::Kept, U>
where
    K: Key,
    T: Data,
    U: Update<T>,
{
    fn on_batch(&mut self, batch: &mut KeyedBatch<K, T>, out: &mut Out<K, T, U::Value>) -> Result<(), Fault> {
        let KeyedBatch { keys, hashes, records } = std::mem::take(batch);
        let row = |index: usize| RowRef { hash: hashes[index], time: Timestamp::MIN, key: &keys[index] };
        self.sessions.resolve(keys.len(), row, &mut self.slots)?;
        self.arming.clear();
        let watermark = self.watermark.get();
        for (index, (value, time)) in records.values.into_iter().zip(records.times).enumerate() {
            let slot = self.slots[index];
            let open = self.sessions.value(slot);
            let joined = open.map_or(0..0, |open| self.windows.joined(open, time));
            let last = open.and_then(|open| open[joined.clone()].last());
            let last = last.map_or(time, |session| session.last.max(time));
            let end = self.windows.end(last);
            if end <= watermark {
                out.1.push(value, time);
                continue;
            }
            if joined == (0..0) {
                self.arming.push((index, end));
            }
            let open = self.sessions.value_mut(slot).get_or_insert_default();
            add(&*self.update, open, joined, value, time);
        }
        self.arm(|index| (hashes[index], &keys[index]))
    }

    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        out: &mut Out<K, T, U::Value>,
    ) -> Result<Progress, Fault> {
        loop {
            if !out.has_room() {
                return Ok(Progress::Again);
            }
            let (mut due, mut hashes) = (std::mem::take(&mut self.due), std::mem::take(&mut self.hashes));
            due.clear();
            // Timers of many times, so that the rows of their keys are looked up together. A key may be there twice.
            while due.len() < self.most
                && let Some(time) = self.timers.due(watermark)?
            {
                self.timers.take(time, self.most - due.len(), &mut due)?;
            }
            hashes.clear();
            hashes.extend(due.iter().map(|(key, ())| key_hash(key)));
            let row = |index: usize| RowRef { hash: hashes[index], time: Timestamp::MIN, key: &due[index].0 };
            self.sessions.resolve(due.len(), row, &mut self.slots)?;
            self.arming.clear();
            for (index, (key, ())) in due.iter().enumerate() {
                if let Some(end) = self.fire(key, self.slots[index], watermark, out) {
                    self.arming.push((index, end));
                }
            }
            self.arm(|index| (hashes[index], &due[index].0))?;
            let is_over = due.is_empty();
            (self.due, self.hashes) = (due, hashes);
            if is_over {
                break;
            }
        }
        self.watermark.rise(watermark);
        Ok(Progress::Done)
    }

    fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        self.watermark.freeze(delta)?;
        self.sessions.begin_freeze(epoch, delta);
        self.timers.begin_freeze(epoch, delta);
        Ok(())
    }

    fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<(), Fault> {
        self.sessions.write_frozen(piece)?;
        Ok(self.timers.write_frozen(piece)?)
    }

    fn applied(&mut self, epoch: Epoch) {
        self.sessions.applied(epoch);
        self.timers.applied(epoch);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stream::Stream;
    use crate::testkit::{Harness, at};
    use crate::window::replay::{Ids, Rec, Seen, in_batches, in_epochs, record_by_record, recs, sort};
    use crate::window::session;

    fn chain(gap: i64) -> impl Fn(Stream<Rec>) -> Stream<Seen> {
        move |stream| {
            let windows =
                stream.key_by(|record| record.key).window(session(Duration::from_millis(gap as u64)));
            let (windows, late) = windows.with_late();
            windows.aggregate("ids", |_| Ids).map(Seen::from).merge(late.map(|record| Seen::Late(record.id)))
        }
    }

    /// The records of a key that one is connected with by distances of at most the gap.
    fn cluster(kept: &[Rec], of: Rec, gap: i64) -> Vec<Rec> {
        let mut cluster = vec![of];
        loop {
            let near = |record: &&Rec| {
                let unseen = record.key == of.key && !cluster.contains(record);
                unseen && cluster.iter().any(|other| (other.time - record.time).abs() <= gap)
            };
            match kept.iter().find(near) {
                Some(&record) => cluster.push(record),
                None => return cluster,
            }
        }
    }

    fn end(cluster: &[Rec], gap: i64) -> i64 {
        cluster.iter().map(|record| record.time).max().unwrap_or(i64::MIN) + gap
    }

    /// Keeps all records that have not fired, and clusters them anew for every record and every watermark.
    fn by_brute_force(records: &[Rec], lag: i64, gap: i64) -> Vec<Seen> {
        let mut seen = Vec::new();
        let mut kept: Vec<Rec> = Vec::new();
        let (mut watermark, mut largest) = (i64::MIN, i64::MIN);
        for &record in records {
            if end(&cluster(&kept, record, gap), gap) <= watermark {
                seen.push(Seen::Late(record.id));
            } else {
                kept.push(record);
            }
            largest = largest.max(record.time);
            watermark = watermark.max(largest - lag);
            fire(&mut kept, watermark, gap, &mut seen);
        }
        fire(&mut kept, i64::MAX, gap, &mut seen);
        seen
    }

    fn fire(kept: &mut Vec<Rec>, watermark: i64, gap: i64, seen: &mut Vec<Seen>) {
        for record in kept.clone() {
            let cluster = cluster(kept, record, gap);
            if !kept.contains(&record) || end(&cluster, gap) > watermark {
                continue;
            }
            let start = cluster.iter().map(|record| record.time).min().unwrap_or(i64::MAX);
            let ids = cluster.iter().map(|record| record.id).collect();
            let (key, end, timing) = (record.key, end(&cluster, gap), Timing::OnTime);
            seen.push(Seen::Window { key, start, end, ids, timing });
            kept.retain(|record| !cluster.contains(record));
        }
    }

    /// Without the order of the records in a session.
    fn as_sets(mut seen: Vec<Seen>) -> Vec<Seen> {
        for result in &mut seen {
            if let Seen::Window { ids, .. } = result {
                ids.sort_unstable();
            }
        }
        sort(seen)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(192))]

        #[test]
        fn sessions_are_those_of_brute_force(
            records in recs(-80..80, 1..40),
            lag in 0i64..100,
            gap in 1i64..15,
        ) {
            let expected = as_sets(by_brute_force(&records, lag, gap));
            prop_assert_eq!(as_sets(record_by_record(&records, lag, chain(gap))), expected.clone());
            prop_assert_eq!(as_sets(in_batches(&records, lag, chain(gap))), expected.clone());
            prop_assert_eq!(as_sets(in_epochs(&records, lag, chain(gap))), expected);
        }

        #[test]
        fn sessions_of_a_key_fire_in_the_order_of_their_ends(records in recs(-80..80, 1..40), gap in 1i64..15) {
            let seen = in_batches(&records, 1_000, chain(gap));
            for of in 0..2 {
                let ends = seen.iter().filter_map(|seen| match seen {
                    Seen::Window { key, end, .. } if *key == of => Some(*end),
                    _ => None,
                });
                prop_assert!(ends.is_sorted());
            }
        }
    }

    fn texts(gap: Duration) -> Harness<&'static str, (i64, i64, String)> {
        Harness::new(move |stream| {
            let words = stream.map(str::to_owned);
            let windows = words.key_by(|_| ()).window(session(gap));
            let (windows, late) = windows.with_late();
            let words = windows.apply("words", |_, window, words| {
                [(window.start.as_millis(), window.end.as_millis(), words.concat())]
            });
            words.merge(late.map(|word| (0, 0, format!("late {word}"))))
        })
    }

    fn take(harness: &mut Harness<&'static str, (i64, i64, String)>) -> Vec<(i64, i64, String)> {
        harness.take().into_iter().map(|(text, _)| text).collect()
    }

    fn text(start: i64, end: i64, text: &str) -> (i64, i64, String) {
        (start, end, text.to_owned())
    }

    #[test]
    fn a_record_joins_two_sessions_into_one_in_the_order_of_time() {
        let mut harness = texts(Duration::from_millis(10));
        [("d", 30), ("e", 29), ("a", 0), ("b", -5), ("c", 20), ("j", 10)]
            .into_iter()
            .for_each(|(word, time)| harness.record(word, at(time)));
        harness.watermark(at(39));
        assert_eq!(take(&mut harness), []);
        harness.watermark(at(40));
        assert_eq!(take(&mut harness), [text(-5, 40, "abjdec")]);
    }

    #[test]
    fn a_distance_of_the_gap_joins_and_one_more_does_not() {
        let mut harness = texts(Duration::from_millis(10));
        [("a", 0), ("b", 10), ("c", 21)].into_iter().for_each(|(word, time)| harness.record(word, at(time)));
        harness.watermark(at(1_000_000));
        assert_eq!(take(&mut harness), [text(0, 20, "ab"), text(21, 31, "c")]);
    }

    #[test]
    fn a_record_behind_the_watermark_is_late_unless_a_session_holds_it_and_what_fired_is_gone() {
        let mut harness = texts(Duration::from_millis(10));
        harness.record("a", at(30));
        harness.watermark(at(35));
        harness.record("b", at(21));
        harness.record("late", at(10));
        harness.watermark(at(40));
        harness.record("gone", at(30));
        harness.record("new", at(31));
        harness.watermark(Timestamp::MAX);
        let expected =
            [text(0, 0, "late late"), text(21, 40, "ab"), text(0, 0, "late gone"), text(31, 41, "new")];
        let mut found = take(&mut harness);
        found.sort();
        let mut expected = expected.to_vec();
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn sessions_at_both_ends_of_time_do_not_wrap_around() {
        let mut harness = texts(Duration::from_millis(10));
        harness.record("a", Timestamp::MIN);
        harness.record("b", at(i64::MIN + 10));
        harness.record("y", at(i64::MAX - 5));
        harness.record("z", Timestamp::MAX);
        harness.watermark(at(i64::MAX - 1));
        assert_eq!(take(&mut harness), [text(i64::MIN, i64::MIN + 20, "ab")]);
        harness.watermark(Timestamp::MAX);
        assert_eq!(take(&mut harness), [text(i64::MAX - 5, i64::MAX, "yz")]);
        let mut harness = texts(Duration::MAX);
        [("a", i64::MIN + 1), ("b", 0), ("c", i64::MAX)].into_iter().for_each(|(word, time)| {
            harness.record(word, at(time));
        });
        harness.watermark(Timestamp::MAX);
        assert_eq!(take(&mut harness), [text(i64::MIN + 1, i64::MAX, "abc")]);
    }

    #[test]
    fn nothing_stays_when_the_last_session_of_a_key_has_fired() {
        let mut harness = texts(Duration::from_millis(10));
        let records = [("a", 0), ("b", 40), ("c", 5), ("d", 20), ("e", 30), ("f", -30)];
        records.into_iter().for_each(|(word, time)| harness.record(word, at(time)));
        assert!(harness.rows() > 1);
        harness.watermark(at(49));
        harness.watermark(at(50));
        assert_eq!(take(&mut harness).len(), 3);
        assert_eq!(harness.rows(), 0);
    }

    #[test]
    fn a_gap_of_zero_is_refused() {
        assert!(session(Duration::ZERO).check().is_err());
        assert!(session(Duration::from_micros(999)).check().is_err());
        assert!(session(Duration::from_millis(1)).check().is_ok());
    }
}
