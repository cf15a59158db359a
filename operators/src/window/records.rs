//! Count windows: so many records of a key, whatever their times.
//!
//! Memory: one row per key whose window is not full, in the shared table budget, on disk beyond it. A row is deleted
//! when its window fires, and kept for ever if it does not. It does not know watermarks.

use std::sync::Arc;

use highwater_state::delta::Family;
use highwater_state::table::{RowRef, Slot, Table};
use highwater_state::{Delta, Epoch, Key, Piece, TimeRange, Timestamp};
use serde::{Deserialize, Serialize};

use crate::aggregate::update::Update;
use crate::batch::KeyedBatch;
use crate::data::Data;
use crate::opening::{NodeOpening, OpenError};
use crate::operator::{Fault, Operator};
use crate::window::{Firing, Out, Timing, WholeWindows, WindowOperator, Windowed, Windows};

/// Windows of a number of records.
///
/// A window holds records of one key in the order in which they come, and fires with the last of them. No record is
/// late. A window that is not full when the input ends does not fire.
///
/// Its bounds are `[smallest time, largest time + 1 ms)`, and its result has the largest time. A result can lie
/// behind the watermark only if the record that filled the window did.
///
/// Which records share a window depends on their order. If a key's records come from several splits of a source,
/// that order is not the same in every run.
///
/// ```
/// # use highwater_operators::testkit::timed_output_of;
/// # use highwater_operators::window::records;
/// let pairs = timed_output_of([(1, 5), (4, 6), (2, 7)], |numbers| {
///     let windows = numbers.key_by(|_| ()).window(records(2));
///     windows.aggregate("pairs", |a| a.sum(|number: &i32| *number)).map(|sum| sum.value)
/// });
/// assert_eq!(pairs, [(4, 11)]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountWindows {
    records: u64,
}

/// Windows of `count` records of a key each.
pub fn records(count: u64) -> CountWindows {
    CountWindows { records: count }
}

impl Windows for CountWindows {
    fn check(&self) -> Result<(), String> {
        if self.records == 0 {
            return Err("a window of records needs at least one record".to_owned());
        }
        Ok(())
    }

    fn open<K: Key, T: Data, U: Update<T>>(
        &self,
        update: &Arc<U>,
        _: &Firing,
        opening: &mut NodeOpening<'_>,
    ) -> Result<WindowOperator<K, T, U::Value>, OpenError> {
        let store = opening.store::<K, Filling<U::Kept>>(None, Family::Values)?;
        Ok(Box::new(Counted {
            records: self.records,
            filling: Table::<K, Filling<U::Kept>>::open(store, opening.committed())?,
            update: Arc::clone(update),
            slots: Vec::new(),
        }))
    }
}

impl<T> WholeWindows<T> for CountWindows {}

/// A window that is not full.
#[derive(Serialize, Deserialize)]
struct Filling<A> {
    records: u64,
    smallest: Timestamp,
    largest: Timestamp,
    kept: Option<A>,
}

struct Counted<K, A, U> {
    records: u64,
    filling: Table<K, Filling<A>>,
    update: Arc<U>,
    slots: Vec<Slot>,
}

impl<K, T, U> Operator<KeyedBatch<K, T>, Out<K, T, U::Value>> for Counted<K, U::Kept, U>
where
    K: Key,
    T: Data,
    U: Update<T>,
{
    fn on_batch(&mut self, batch: &mut KeyedBatch<K, T>, out: &mut Out<K, T, U::Value>) -> Result<(), Fault> {
        let KeyedBatch { keys, hashes, records } = std::mem::take(batch);
        let row = |index: usize| RowRef { hash: hashes[index], time: Timestamp::MIN, key: &keys[index] };
        self.filling.resolve(keys.len(), row, &mut self.slots)?;
        let rows = records.values.into_iter().zip(records.times).zip(keys).zip(&self.slots);
        for (((value, time), key), &slot) in rows {
            let row = self.filling.value_mut(slot);
            let empty = || Filling { records: 0, smallest: time, largest: time, kept: None };
            let window = row.get_or_insert_with(empty);
            window.records += 1;
            window.smallest = window.smallest.min(time);
            window.largest = window.largest.max(time);
            self.update.add(&mut window.kept, value, time);
            // More than are wanted were there if the topology was changed to want fewer.
            if window.records < self.records {
                continue;
            }
            let Some(Filling { smallest, largest, kept: Some(kept), .. }) = row.take() else { continue };
            let end = Timestamp::from_millis(largest.as_millis().saturating_add(1));
            let window = TimeRange { start: smallest, end };
            let value = self.update.last_value(kept);
            out.0.push(Windowed { key, window, value, timing: Timing::OnTime }, largest);
        }
        Ok(())
    }

    fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        self.filling.begin_freeze(epoch, delta);
        Ok(())
    }

    fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<(), Fault> {
        Ok(self.filling.write_frozen(piece)?)
    }

    fn applied(&mut self, epoch: Epoch) {
        self.filling.applied(epoch);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stream::Stream;
    use crate::testkit::{Harness, at};
    use crate::window::records;
    use crate::window::replay::{Ids, Rec, Seen, in_batches, in_epochs, record_by_record, recs, sort};

    fn chain(count: u64) -> impl Fn(Stream<Rec>) -> Stream<Seen> {
        move |stream| {
            let (windows, late) = stream.key_by(|record| record.key).window(records(count)).with_late();
            windows.aggregate("ids", |_| Ids).map(Seen::from).merge(late.map(|record| Seen::Late(record.id)))
        }
    }

    fn by_brute_force(records: &[Rec], count: usize) -> Vec<Seen> {
        let mut seen = Vec::new();
        for key in 0..2 {
            let of_key: Vec<Rec> = records.iter().copied().filter(|record| record.key == key).collect();
            for window in of_key.chunks_exact(count) {
                let mut times: Vec<i64> = window.iter().map(|record| record.time).collect();
                times.sort_unstable();
                let (start, end) = (times[0], times[count - 1] + 1);
                let ids = window.iter().map(|record| record.id).collect();
                seen.push(Seen::Window { key, start, end, ids, timing: Timing::OnTime });
            }
        }
        sort(seen)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn every_so_many_records_are_a_window_also_late_ones(
            records in recs(-80..80, 0..40),
            lag in 0i64..30,
            count in 1u64..6,
        ) {
            let expected = by_brute_force(&records, count as usize);
            prop_assert_eq!(sort(record_by_record(&records, lag, chain(count))), expected.clone());
            prop_assert_eq!(sort(in_batches(&records, lag, chain(count))), expected.clone());
            prop_assert_eq!(sort(in_epochs(&records, lag, chain(count))), expected);
        }
    }

    #[test]
    fn a_result_has_the_largest_time_and_what_does_not_fill_a_window_never_fires() {
        let mut harness = Harness::new(|stream| {
            let windows = stream.key_by(|_: &char| ()).window(records(2));
            windows.fold("letters", String::new, |text, letter| text.push(letter)).map(|text| text.value)
        });
        [('a', 7), ('b', 3), ('c', i64::MAX), ('d', i64::MIN), ('e', 4)]
            .into_iter()
            .for_each(|(letter, time)| harness.record(letter, at(time)));
        harness.watermark(Timestamp::MAX);
        assert_eq!(harness.take(), [("ab".to_owned(), at(7)), ("cd".to_owned(), Timestamp::MAX)]);
    }

    #[test]
    fn windows_of_no_records_are_refused() {
        assert!(records(0).check().is_err());
        assert!(records(1).check().is_ok());
    }
}
