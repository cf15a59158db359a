//! `emit_early`: what open windows hold so far, from time to time.
//!
//! For each key, this notes what has changed since the watermark last reached a multiple of the time between early
//! results. All notes are due at one time, the next multiple, so a window that changes often is noted once, and what
//! it costs to emit is in proportion to the windows that changed and not to those that are open. Which windows a note
//! stands for, and what they give, is known to the operator that keeps them.
//!
//! Invariant: for a window that is open and has changed since its last result, its key has a note, due at the first
//! multiple after the watermark that the change met. Memory: one row per key that has changed, with a number for each
//! window, or slice of sliding windows, that did; in the shared table budget, on disk beyond it.

use std::time::Duration;

use highwater_state::delta::Family;
use highwater_state::error::Result;
use highwater_state::panes::Panes;
use highwater_state::table::{RowRef, Slot};
use highwater_state::time::duration_millis;
use highwater_state::{Delta, Epoch, Key, Piece, Timestamp};

use crate::data::{Data, HasEventTime};
use crate::opening::{NodeOpening, OpenError};
use crate::stream::here;
use crate::window::{Firing, WindowedStream, Windows};

/// Windows that can tell what they hold before their end.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot give early results",
    label = "`emit_early` is for windows that are aligned in time: `tumbling(..)`, `sliding(..)`"
)]
pub trait EarlyWindows: Windows {}

impl<K: Key, T: Data, W: Windows, C: HasEventTime> WindowedStream<K, T, W, C> {
    /// Emits what open windows hold so far, marked [`Timing::Early`](super::Timing::Early), whenever the watermark
    /// reaches a multiple of `every`, aligned to 1970: each window of a key that has received records since its last
    /// result. When the watermark reaches its end, a window gives the same result on time as without this.
    ///
    /// `every` counts in event time, in whole milliseconds. A watermark that passes several multiples at once, as the
    /// first one does, brings one early result of a window; one that reaches the window's end too brings none.
    ///
    /// What an early result holds, and how many there are, depends on how records come in batches and how those of
    /// several splits and workers interleave: records ahead of the watermark may be in it or not. It may change from
    /// run to run, and is never to be added up; results on time do not change.
    ///
    /// Costs a note for each record whose window was not noted yet, and a result for each window that changed; windows
    /// that are open and do not change cost nothing. Notes survive a restart.
    ///
    /// ```
    /// # use highwater_operators::testkit::{Harness, at};
    /// # use highwater_operators::window::{Timing, tumbling};
    /// # use std::time::Duration;
    /// let mut harness = Harness::new(|stream| {
    ///     let windows = stream.key_by(|letter: &char| *letter).window(tumbling(Duration::from_mins(1)));
    ///     let counts = windows.emit_early(Duration::from_secs(10)).count("letters");
    ///     counts.map(|counted| (counted.value, counted.timing))
    /// });
    /// harness.watermark(at(5_000));
    /// harness.record('a', at(6_000));
    /// harness.watermark(at(10_000));
    /// harness.watermark(at(20_000));
    /// harness.watermark(at(60_000));
    /// let found: Vec<_> = harness.take().into_iter().map(|(counted, _)| counted).collect();
    /// assert_eq!(found, [(1, Timing::Early), (1, Timing::OnTime)]);
    /// ```
    #[track_caller]
    pub fn emit_early(mut self, every: Duration) -> Self
    where
        W: EarlyWindows,
    {
        if duration_millis(every) == 0 {
            let place = here("emit_early", None);
            self.wire
                .refuse(&place, "early results need at least one millisecond of event time between them");
        }
        self.firing.early_every = Some(every);
        self
    }
}

/// What has changed since the last early results: for each key, a point in time of every window or slice that did.
pub(super) struct Early<K> {
    every_millis: i64,
    notes: Panes<K, Vec<Timestamp>>,
    slots: Vec<Slot>,
}

impl<K: Key> Early<K> {
    /// Opens the notes, where early results are asked for.
    pub(super) fn open(
        firing: &Firing,
        opening: &NodeOpening<'_>,
    ) -> std::result::Result<Option<Self>, OpenError> {
        let Some(every) = firing.early_every else { return Ok(None) };
        let store = opening.store::<K, Vec<Timestamp>>(Some("early"), Family::Timers)?;
        let notes = Panes::open(store, opening.committed())?;
        Ok(Some(Early { every_millis: duration_millis(every), notes, slots: Vec::new() }))
    }

    /// When what changes at this watermark is emitted: at the first multiple after it. `None` at the end of time.
    pub(super) fn due(&self, watermark: Timestamp) -> Option<Timestamp> {
        multiple_after(self.every_millis, watermark)
    }

    /// Notes for records what they change, to be emitted at `due`; `None` where nothing is to be.
    pub(super) fn note(
        &mut self,
        due: Timestamp,
        keys: &[K],
        hashes: &[u64],
        changed: impl Fn(usize) -> Option<Timestamp>,
    ) -> Result<()> {
        let row = |index: usize| RowRef { hash: hashes[index], time: due, key: &keys[index] };
        self.notes.resolve(keys.len(), row, &mut self.slots)?;
        for (index, &slot) in self.slots.iter().enumerate() {
            let Some(changed) = changed(index) else { continue };
            let noted = self.notes.value(slot).map_or(&[][..], Vec::as_slice);
            if let Err(at) = noted.binary_search(&changed) {
                self.notes.value_mut(slot).get_or_insert_default().insert(at, changed);
            }
        }
        Ok(())
    }

    /// Whether there are notes that are due at this watermark.
    pub(super) fn is_due(&mut self, watermark: Timestamp) -> Result<bool> {
        Ok(self.notes.due(watermark)?.is_some())
    }

    /// Takes the notes of up to `most` keys that are due at this watermark; what a key notes is in order.
    pub(super) fn take(
        &mut self,
        watermark: Timestamp,
        most: usize,
        into: &mut Vec<(K, Vec<Timestamp>)>,
    ) -> Result<()> {
        if let Some(due) = self.notes.due(watermark)? {
            self.notes.take(due, most, into)?;
        }
        Ok(())
    }

    pub(super) fn begin_freeze(&mut self, epoch: Epoch, delta: &mut Delta) {
        self.notes.begin_freeze(epoch, delta);
    }

    pub(super) fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<()> {
        self.notes.write_frozen(piece)
    }

    pub(super) fn applied(&mut self, epoch: Epoch) {
        self.notes.applied(epoch);
    }
}

/// The first multiple of `every_millis` after a point in time, if time does not end before.
fn multiple_after(every_millis: i64, time: Timestamp) -> Option<Timestamp> {
    let millis = time.as_millis();
    let since = millis.rem_euclid(every_millis);
    millis.checked_add(every_millis - since).map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stream::Stream;
    use crate::testkit::{Harness, at};
    use crate::window::model::{Shape, early_are_parts, ids, not_early};
    use crate::window::replay::{Rec, Seen, in_batches, in_epochs, record_by_record, recs, sort};
    use crate::window::{Timing, tumbling};

    fn millis(millis: i64) -> Duration {
        Duration::from_millis(millis as u64)
    }

    fn chain(shape: Shape) -> impl Fn(Stream<Rec>) -> Stream<Seen> {
        move |stream| {
            let windows = stream.key_by(|record| record.key).window(tumbling(millis(shape.size)));
            let windows = windows.allow_late(millis(shape.lateness));
            ids(match shape.every {
                Some(every) => windows.emit_early(millis(every)),
                None => windows,
            })
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn early_results_hold_what_was_seen_so_far_and_change_nothing_else(
            size in 1i64..60,
            lateness in prop_oneof![Just(0), 0i64..40],
            every in 1i64..40,
            records in recs(-60..60, 0..30),
            lag in 0i64..40,
        ) {
            let shape = Shape { size, slide: size, offset: 0, lateness, every: Some(every) };
            let expected = sort(shape.expected(&records, lag));
            prop_assert_eq!(&sort(record_by_record(&records, lag, chain(shape))), &expected);
            let expected = not_early(expected);
            for seen in [in_batches(&records, lag, chain(shape)), in_epochs(&records, lag, chain(shape))] {
                prop_assert!(early_are_parts(&seen));
                prop_assert_eq!(&not_early(sort(seen)), &expected);
            }
            let without = Shape { every: None, ..shape };
            prop_assert_eq!(&sort(in_batches(&records, lag, chain(without))), &expected);
        }
    }

    #[test]
    fn a_window_is_emitted_at_a_multiple_if_it_has_changed_and_is_open() {
        let mut harness = Harness::new(|stream| {
            let windows = stream.key_by(|key: &char| *key).window(tumbling(millis(60)));
            windows.emit_early(millis(10)).count("counts").map(|c| (c.timing, c.key, c.value))
        });
        let mut emitted = |input: &[(char, i64)], watermark: i64| {
            input.iter().for_each(|&(key, time)| harness.record(key, at(time)));
            harness.watermark(at(watermark));
            let mut found: Vec<_> = harness.take().into_iter().map(|(counted, _)| counted).collect();
            found.sort();
            found
        };
        assert_eq!(emitted(&[], 1), []);
        assert_eq!(emitted(&[('a', 2), ('b', 3), ('a', 70)], 9), []);
        let (early, on_time) = (Timing::Early, Timing::OnTime);
        assert_eq!(emitted(&[], 10), [(early, 'a', 1), (early, 'a', 1), (early, 'b', 1)]);
        assert_eq!(emitted(&[('b', 12)], 19), []);
        assert_eq!(emitted(&[('b', 13)], 45), [(early, 'b', 3)], "once, and only what has changed");
        assert_eq!(
            emitted(&[('a', 50), ('b', 71)], 60),
            [(early, 'b', 1), (on_time, 'a', 2), (on_time, 'b', 3)]
        );
        assert_eq!(emitted(&[('b', 72)], i64::MAX), [(on_time, 'a', 1), (on_time, 'b', 2)]);
    }

    proptest! {
        #[test]
        fn the_next_multiple_lies_after_the_watermark_by_the_time_between_two_at_most(
            watermark in prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX)],
            every in prop_oneof![1i64..1000, 1..=i64::MAX],
        ) {
            let exact = (i128::from(watermark).div_euclid(i128::from(every)) + 1) * i128::from(every);
            let found = multiple_after(every, at(watermark));
            prop_assert_eq!(found, i64::try_from(exact).ok().map(at));
        }
    }
}
