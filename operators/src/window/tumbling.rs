//! Tumbling windows: event time cut into pieces of one size, each record in exactly one.

use std::sync::Arc;
use std::time::Duration;

use highwater_state::time::duration_millis;
use highwater_state::{Key, TimeRange, Timestamp};

use crate::aggregate::update::Update;
use crate::data::Data;
use crate::opening::{NodeOpening, OpenError};
use crate::window::aligned::{self, Pieces};
use crate::window::{
    AlignedWindows, Combinable, EarlyWindows, Firing, Piece, WholeWindows, WindowOperator, Windows,
};

/// Windows of one size, one after the other.
///
/// They are half-open, `[start, start + size)`, and aligned to 1970 plus the offset, not to the first record;
/// before 1970 too. The last one that can be named holds the end of time as well.
///
/// ```
/// # use highwater_operators::testkit::timed_output_of;
/// # use highwater_operators::window::tumbling;
/// # use std::time::Duration;
/// let starts = timed_output_of([(-1, 'a'), (0, 'a')], |letters| {
///     let windows = letters.key_by(|letter| *letter).window(tumbling(Duration::from_millis(10)));
///     windows.count("letters").map(|counted| counted.window.start.as_millis())
/// });
/// assert_eq!(starts, [(-1, -10), (9, 0)]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tumbling {
    size_millis: i64,
    offset_millis: i64,
}

/// Windows of `size`, in whole milliseconds.
pub fn tumbling(size: Duration) -> Tumbling {
    Tumbling { size_millis: duration_millis(size), offset_millis: 0 }
}

impl Tumbling {
    /// Moves the windows by `offset` to later times.
    pub fn offset(mut self, offset: Duration) -> Tumbling {
        self.offset_millis = duration_millis(offset);
        self
    }

    /// Moves the windows by `offset` to earlier times.
    pub fn offset_back(mut self, offset: Duration) -> Tumbling {
        self.offset_millis = -duration_millis(offset);
        self
    }
}

impl Tumbling {
    /// How far behind the start of its window a point in time lies.
    #[inline]
    fn since_start(&self, millis: i64) -> i64 {
        match millis.checked_sub(self.offset_millis) {
            Some(shifted) => shifted.rem_euclid(self.size_millis),
            None => (i128::from(millis) - i128::from(self.offset_millis))
                .rem_euclid(i128::from(self.size_millis)) as i64,
        }
    }

    /// The first and the last point in time of the window that `time` lies in; also at the end of time, where the
    /// end of a window cannot be named.
    #[inline]
    pub(crate) fn first_and_last(&self, time: Timestamp) -> (Timestamp, Timestamp) {
        let millis = time.as_millis();
        let into = self.since_start(millis);
        let last = millis.saturating_add(self.size_millis - 1 - into);
        (Timestamp::from_millis(millis.saturating_sub(into)), Timestamp::from_millis(last))
    }
}

impl Pieces for Tumbling {
    #[inline]
    fn window_of(&self, time: Timestamp) -> TimeRange {
        // A window that starts with the last point in time could not be told from the one that ends there: it is a
        // part of that.
        let millis = time.as_millis().min(i64::MAX - 1);
        let into = self.since_start(millis);
        let start = millis.saturating_sub(into);
        // From `millis`, because a start that has been cut off at the beginning of time must not move the end.
        let end = millis.saturating_add(self.size_millis - into);
        TimeRange { start: Timestamp::from_millis(start), end: Timestamp::from_millis(end) }
    }

    fn window_ending(&self, end: Timestamp) -> TimeRange {
        if end == Timestamp::MAX {
            return TimeRange { start: self.window_of(end).start, end };
        }
        TimeRange { start: Timestamp::from_millis(end.as_millis().saturating_sub(self.size_millis)), end }
    }
}

impl Windows for Tumbling {
    fn check(&self) -> Result<(), String> {
        if self.size_millis == 0 {
            return Err("a tumbling window needs a size of at least one millisecond".to_owned());
        }
        Ok(())
    }

    fn open<K: Key, T: Data, U: Update<T>>(
        &self,
        update: &Arc<U>,
        firing: &Firing,
        opening: &mut NodeOpening<'_>,
    ) -> Result<WindowOperator<K, T, U::Value>, OpenError> {
        aligned::open(self, update, firing, opening)
    }
}

impl AlignedWindows for Tumbling {}
impl EarlyWindows for Tumbling {}
impl<T> WholeWindows<T> for Tumbling {}

impl Combinable for Tumbling {
    fn piece_of(&self, time: Timestamp) -> Piece {
        let window = self.window_of(time);
        Piece { range: window, first_end: window.end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_time_lies_in_its_window(time in any::<i64>(), size in 1u64..1 << 40, offset in 0u64..1 << 41) {
            let windows = tumbling(Duration::from_millis(size)).offset(Duration::from_millis(offset));
            let time = Timestamp::from_millis(time);
            let window = windows.window_of(time);
            prop_assert!(window.start <= time);
            prop_assert!(time < window.end || window.end == Timestamp::MAX);
            prop_assert_eq!(windows.window_ending(window.end).end, window.end);
            if window.start > Timestamp::MIN && window.end < Timestamp::MAX {
                prop_assert_eq!(windows.window_ending(window.end), window);
                prop_assert_eq!((window.start.as_millis() as i128 - offset as i128).rem_euclid(size as i128), 0);
                prop_assert_eq!(window.end.as_millis() - window.start.as_millis(), size as i64);
            }
        }
    }

    #[test]
    fn the_last_window_that_can_be_named_holds_the_end_of_time() {
        let windows = tumbling(Duration::from_millis(10)).offset(Duration::from_millis(7));
        let last = TimeRange { start: Timestamp::from_millis(i64::MAX - 10), end: Timestamp::MAX };
        for time in [i64::MAX - 10, i64::MAX - 1, i64::MAX] {
            assert_eq!(windows.window_of(Timestamp::from_millis(time)), last, "{time}");
        }
        assert_eq!(windows.window_ending(Timestamp::MAX), last);
    }

    #[test]
    fn a_size_of_zero_is_refused() {
        assert!(tumbling(Duration::ZERO).check().is_err());
        assert!(tumbling(Duration::from_micros(999)).check().is_err());
    }
}
