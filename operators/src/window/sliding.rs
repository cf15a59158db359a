//! Sliding windows: windows of one size, a new one with every slide, so that a record is in several of them.
//!
//! A record is kept once, in its slice: event time is cut wherever a window starts or ends, at two edges per slide at
//! most, and what a window gives is merged from its slices when it fires. So neither the work for a record nor the
//! memory for it grows with the number of windows that it is in; what grows with it is the number of results.
//!
//! Here is the geometry; [`slices`] is what is kept of a key, [`queue`] how it is merged, [`operator`] when.

mod operator;
mod queue;
mod slices;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use highwater_state::time::duration_millis;
use highwater_state::{Key, TimeRange, Timestamp};

use crate::aggregate::update::Update;
use crate::data::Data;
use crate::limits::WINDOWS_PER_RECORD;
use crate::opening::{NodeOpening, OpenError};
use crate::window::early::EarlyWindows;
use crate::window::{AlignedWindows, Combinable, Firing, Piece, WindowOperator, Windows};

/// Windows of one size, one starting with every slide.
///
/// They are half-open, `[start, start + size)`, and their starts are aligned to 1970 plus the offset, not to the first
/// record; before 1970 too. The size need not be a multiple of the slide. A slide that is larger than the size leaves
/// gaps: a record in a gap is in no window, it is neither counted nor late.
///
/// A record is late for a window as in any other; it is added to those of its windows for which it is not late, and
/// is returned by [`with_late`](super::WindowedStream::with_late) if it is late for all of them.
///
/// Windows are merged from slices, in the order of time: records of one slice are added in the order in which they
/// come. Hence there is no [`fold`](super::WindowedStream::fold).
///
/// Memory: a value for each key and slice that holds records and that an open window needs, two slices per slide at
/// most; and as much again for partial results while the key is in memory. Of values that grow with their records,
/// such as those of [`distinct`](crate::aggregate::Agg::distinct), few partial results are kept, as many as the square
/// root of the number of slices, and of [`apply`](super::WindowedStream::apply) none; an
/// [`Aggregate`](crate::aggregate::Aggregate) of your own says with
/// [`is_bounded`](crate::aggregate::Aggregate::is_bounded) whether it keeps such a value. In every epoch all slices of
/// the keys that got a record or fired a window are written.
///
/// A result costs a bounded number of merges, whatever the size; of values that grow, about as many as the square root
/// of the number of slices, and of `apply` one for each. Only where a record comes behind the watermark, for
/// windows that are still open, its key's next window is merged from all of its slices; and a late record that is
/// allowed updates every window that has fired and holds it.
///
/// ```
/// # use highwater_operators::testkit::timed_output_of;
/// # use highwater_operators::window::sliding;
/// # use std::time::Duration;
/// let counts = timed_output_of([(1, 'a'), (6, 'a'), (12, 'a')], |letters| {
///     let windows = sliding(Duration::from_millis(10), Duration::from_millis(5));
///     let counts = letters.key_by(|letter| *letter).window(windows).count("letters");
///     counts.map(|counted| (counted.window.start.as_millis(), counted.value))
/// });
/// assert_eq!(counts, [(4, (-5, 1)), (9, (0, 2)), (14, (5, 2)), (19, (10, 1))]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    size_millis: i64,
    slide_millis: i64,
    offset_millis: i64,
}

/// Windows of `size`, one starting with every `slide`; both in whole milliseconds.
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

    /// The edges of these windows, whose slide is not zero.
    fn grid(&self) -> Grid {
        let [size, slide, offset] = [self.size_millis, self.slide_millis, self.offset_millis].map(i128::from);
        let first = |edge: i128| edge.rem_euclid(slide) as i64;
        Grid { size, slide: self.slide_millis, starts: first(offset), ends: first(offset + size) }
    }
}

impl Windows for Sliding {
    fn check(&self) -> Result<(), String> {
        for (millis, what) in [(self.size_millis, "size"), (self.slide_millis, "slide")] {
            if millis == 0 {
                return Err(format!("a sliding window needs a {what} of at least one millisecond"));
            }
        }
        let windows = self.size_millis.div_euclid(self.slide_millis);
        if windows > WINDOWS_PER_RECORD {
            return Err(format!(
                "each record would be in {windows} sliding windows, and in each result of them; at most \
                    {WINDOWS_PER_RECORD} are possible: choose a larger slide or a smaller size"
            ));
        }
        Ok(())
    }

    fn open<K: Key, T: Data, U: Update<T>>(
        &self,
        update: &Arc<U>,
        firing: &Firing,
        opening: &mut NodeOpening<'_>,
    ) -> Result<WindowOperator<K, T, U::Value>, OpenError> {
        operator::open(self.grid(), update, firing, opening)
    }
}

impl AlignedWindows for Sliding {}

impl Combinable for Sliding {
    /// A slice; records that belong to no window are not combined.
    fn piece_of(&self, time: Timestamp) -> Piece {
        let span = self.grid().span(time);
        if span.is_in_no_window() {
            return Piece { range: TimeRange { start: time, end: time }, first_end: Timestamp::MIN };
        }
        let end = timestamp(i128::from(span.last.as_millis()) + 1);
        Piece { range: TimeRange { start: span.start, end }, first_end: timestamp(span.first_end) }
    }
}

impl EarlyWindows for Sliding {}

/// Where windows start and end. Their bounds may lie outside what a [`Timestamp`] can say, and are not cut off here.
#[derive(Clone, Copy, Debug)]
struct Grid {
    size: i128,
    slide: i64,
    /// The first start at or after 1970.
    starts: i64,
    /// The first end at or after 1970.
    ends: i64,
}

/// A slice, and the windows that hold it: one for every slide from the first to the last.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// The first point in time of the slice, by which it is known.
    start: Timestamp,
    /// The last point in time of the slice.
    last: Timestamp,
    /// The end of the first window that ends after the slice begins.
    first_end: i128,
    /// The end of the last window that starts before the slice ends.
    last_end: i128,
}

impl Grid {
    /// The slice of a point in time.
    fn span(&self, time: Timestamp) -> Span {
        let millis = time.as_millis();
        let (since_start, since_end) = (self.since(millis, self.starts), self.since(millis, self.ends));
        let (millis, slide) = (i128::from(millis), i128::from(self.slide));
        Span {
            start: timestamp(millis - i128::from(since_start.min(since_end))),
            last: timestamp(millis - i128::from(since_start.max(since_end)) + slide - 1),
            first_end: millis - i128::from(since_end) + slide,
            last_end: millis - i128::from(since_start) + self.size,
        }
    }

    /// The end of the first window that ends after `time`.
    fn end_after(&self, time: Timestamp) -> i128 {
        let millis = time.as_millis();
        i128::from(millis) - i128::from(self.since(millis, self.ends)) + i128::from(self.slide)
    }

    /// How long before `millis` the last edge lies of those a slide apart of which `edge` is one.
    #[inline]
    fn since(&self, millis: i64, edge: i64) -> i64 {
        match millis.checked_sub(edge) {
            Some(behind) => behind.rem_euclid(self.slide),
            None => (i128::from(millis) - i128::from(edge)).rem_euclid(i128::from(self.slide)) as i64,
        }
    }
}

impl Span {
    #[inline]
    fn contains(&self, time: Timestamp) -> bool {
        self.start <= time && time <= self.last
    }

    /// Whether no window holds the slice: it lies in a gap between two.
    fn is_in_no_window(&self) -> bool {
        self.last_end < self.first_end
    }
}

/// The nearest point in time that there is.
fn timestamp(millis: i128) -> Timestamp {
    Timestamp::from_millis(millis.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
}
