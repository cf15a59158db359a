//! Sliding windows: windows of one size that begin at every slide and overlap.
//!
//! Event time is cut at every start and every end of a window into slices, at most two for each slide; a record is
//! added to its slice, and windows are put together from slices. So a record costs the same whatever size divided by
//! slide is (Carbone et al., Cutty, 2016; Traub et al., Scotty, 2019).
//!
//! What a window is, to the millisecond, is said here, where it is nothing but arithmetic; [`slices`] keeps a key's
//! slices and [`operator`] fires windows.

mod operator;
mod slices;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use highwater_state::time::duration_millis;
use highwater_state::{Key, TimeRange, Timestamp};

use crate::aggregate::update::Update;
use crate::data::Data;
use crate::opening::{NodeOpening, OpenError};
use crate::window::{AlignedWindows, Combinable, EarlyWindows, Firing, Piece, WindowOperator, Windows};

/// Windows of one size, of which one begins at every slide.
///
/// They are half-open, `[start, start + size)`; a start is a multiple of the slide plus the offset, before 1970 too.
/// The size need not be a multiple of the slide. Where the slide is larger than the size, records between two windows
/// belong to none: they are neither in a result nor late.
///
/// A window that holds a record fires when the watermark reaches its end. A record is late when all its windows are
/// dropped. Windows that would end after the end of time are one, which ends there.
///
/// Memory: one row per key, which holds its slices, and one timer per key; a slice is dropped when the last of its
/// windows is. Partial results of slices are held beside them in memory, as many again.
///
/// ```
/// # use highwater_operators::testkit::timed_output_of;
/// # use highwater_operators::window::sliding;
/// # use std::time::Duration;
/// let windows = sliding(Duration::from_millis(20), Duration::from_millis(10));
/// let counts = timed_output_of([(1, 'a'), (12, 'a'), (13, 'a')], move |letters| {
///     let windows = letters.key_by(|letter| *letter).window(windows);
///     windows.count("letters").map(|counted| (counted.window.start.as_millis(), counted.value))
/// });
/// assert_eq!(counts, [(9, (-10, 1)), (19, (0, 3)), (29, (10, 2))]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    size_millis: i64,
    slide_millis: i64,
    offset_millis: i64,
}

/// Windows of `size`, one at every `slide`, in whole milliseconds.
pub fn sliding(size: Duration, slide: Duration) -> Sliding {
    Sliding { size_millis: duration_millis(size), slide_millis: duration_millis(slide), offset_millis: 0 }
}

impl Sliding {
    /// Moves the windows by `offset` to later times.
    pub fn offset(mut self, offset: Duration) -> Sliding {
        self.offset_millis = duration_millis(offset);
        self
    }

    /// Moves the windows by `offset` to earlier times.
    pub fn offset_back(mut self, offset: Duration) -> Sliding {
        self.offset_millis = -duration_millis(offset);
        self
    }

    /// The slice of a record with this event time; `None` if the record belongs to no window.
    fn slice_of(&self, time: Timestamp) -> Option<Slice> {
        let (size, slide) = (i128::from(self.size_millis), i128::from(self.slide_millis));
        let time = i128::from(time.as_millis());
        let into = (time - i128::from(self.offset_millis)).rem_euclid(slide);
        if into >= size {
            return None;
        }
        let last_start = time - into;
        let rest = size % slide;
        let (start, end) = if into < rest || size < slide {
            (last_start, last_start + rest)
        } else {
            (last_start + rest, last_start + slide)
        };
        let last_end = last_start + size;
        let earlier = (size - into - 1) / slide;
        Some(Slice {
            start: clamped(start),
            end: clamped(end),
            first_end: clamped(last_end - earlier * slide),
            last_end: clamped(last_end),
        })
    }

    /// The window that ends at `end`; `None` if none does.
    fn window_ending(&self, end: Timestamp) -> Option<TimeRange> {
        let (size, slide) = (i128::from(self.size_millis), i128::from(self.slide_millis));
        let start = i128::from(end.as_millis()) - size;
        let into = (start - i128::from(self.offset_millis)).rem_euclid(slide);
        match into {
            0 => Some(TimeRange { start: clamped(start), end }),
            // The first of those that would end later.
            _ if end == Timestamp::MAX => Some(TimeRange { start: clamped(start + slide - into), end }),
            _ => None,
        }
    }

    /// The first end of a window that holds the slice and ends after `after`; `None` if all of them end before.
    fn next_end(&self, slice: &Slice, after: Timestamp) -> Option<Timestamp> {
        if slice.first_end > after {
            return Some(slice.first_end);
        }
        if slice.last_end <= after {
            return None;
        }
        // No end before the end of time has been cut off: the first is not.
        let slide = i128::from(self.slide_millis);
        let first = i128::from(slice.first_end.as_millis());
        let steps = (i128::from(after.as_millis()) - first) / slide + 1;
        Some(clamped(first + steps * slide))
    }
}

/// A piece of event time whose records belong to the same windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slice {
    start: Timestamp,
    end: Timestamp,
    /// The end of the first of its windows.
    first_end: Timestamp,
    /// The end of the last of its windows.
    last_end: Timestamp,
}

impl Slice {
    fn contains(&self, time: Timestamp) -> bool {
        self.start <= time && time < self.end
    }
}

fn clamped(millis: i128) -> Timestamp {
    let millis = millis.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    Timestamp::from_millis(millis as i64)
}

impl Windows for Sliding {
    fn check(&self) -> Result<(), String> {
        if self.size_millis == 0 {
            return Err("a sliding window needs a size of at least one millisecond".to_owned());
        }
        if self.slide_millis == 0 {
            return Err("a sliding window needs a slide of at least one millisecond".to_owned());
        }
        Ok(())
    }

    fn open<K: Key, T: Data, U: Update<T>>(
        &self,
        update: &Arc<U>,
        firing: &Firing,
        opening: &mut NodeOpening<'_>,
    ) -> Result<WindowOperator<K, T, U::Value>, OpenError> {
        operator::open(*self, update, firing, opening)
    }
}

impl AlignedWindows for Sliding {}

impl Combinable for Sliding {
    fn piece_of(&self, time: Timestamp) -> Piece {
        match self.slice_of(time) {
            Some(slice) => {
                let range = TimeRange { start: slice.start, end: slice.end };
                Piece { range, first_end: slice.first_end }
            }
            // Records that belong to no window are not combined.
            None => Piece { range: TimeRange { start: time, end: time }, first_end: Timestamp::MIN },
        }
    }
}

impl EarlyWindows for Sliding {}
