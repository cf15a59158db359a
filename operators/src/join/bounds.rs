//! Which times of the other side belong to a record's own: an interval around it, or its window.
//!
//! A [`Reach`] is what one side of a join sees of that, and how its rows are filed: by buckets of time that are
//! about as wide as what a record reaches, so that a record looks into one to three of them, and so that rows are
//! dropped bucket by bucket. It does not overflow: bounds are computed with 128 bits and cut off at the ends of time.

use std::time::Duration;

use highwater_state::Timestamp;
use highwater_state::time::duration_millis;

use crate::window::{Tumbling, Windows};

/// How much later than the left record the right one may be, in milliseconds; both bounds belong to it.
///
/// Made by [`within`], [`following`], [`preceding`] or [`between_millis`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    lower_millis: i64,
    upper_millis: i64,
}

/// Records whose times are at most `distance` apart, in whole milliseconds.
pub fn within(distance: Duration) -> Interval {
    let millis = duration_millis(distance);
    between_millis(-millis, millis)
}

/// Right records at the time of the left one, or at most `distance` later, in whole milliseconds.
pub fn following(distance: Duration) -> Interval {
    between_millis(0, duration_millis(distance))
}

/// Right records at the time of the left one, or at most `distance` earlier, in whole milliseconds.
pub fn preceding(distance: Duration) -> Interval {
    between_millis(-duration_millis(distance), 0)
}

/// Right records that are at least `lower` and at most `upper` milliseconds later than the left one; negative
/// numbers say that they are earlier.
///
/// A topology with a join whose `lower` is above its `upper` is refused.
pub fn between_millis(lower: i64, upper: i64) -> Interval {
    Interval { lower_millis: lower, upper_millis: upper }
}

/// What [`join`](crate::keyed::KeyedStream::join) takes: an [`Interval`] or [`tumbling`](crate::window::tumbling)
/// windows.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which records of two streams belong together",
    label = "an interval is made by `within(..)`, `following(..)`, `preceding(..)` or `between_millis(..)`, windows by \
        `tumbling(..)`"
)]
pub trait JoinBounds: sealed::Bounds {}

impl JoinBounds for Interval {}
impl JoinBounds for Tumbling {}

pub(super) mod sealed {
    /// Behind [`JoinBounds`](super::JoinBounds), which nobody else implements.
    pub trait Bounds {
        /// What the left side reaches, or why the bounds cannot be.
        fn reach(&self) -> Result<super::Reach, String>;
    }
}

impl sealed::Bounds for Interval {
    fn reach(&self) -> Result<Reach, String> {
        let (lower, upper) = (i128::from(self.lower_millis), i128::from(self.upper_millis));
        if lower > upper {
            return Err(format!(
                "the interval's lower bound, {lower} ms, is above its upper bound, {upper} ms; give the smaller one \
                    first"
            ));
        }
        let width = i64::try_from(upper - lower + 1).unwrap_or(i64::MAX);
        Ok(Reach::Interval { lower, upper, width })
    }
}

impl sealed::Bounds for Tumbling {
    fn reach(&self) -> Result<Reach, String> {
        self.check()?;
        Ok(Reach::Window(*self))
    }
}

/// What the records of one side reach on the other, and how their own rows are filed.
#[derive(Clone, Copy, Debug)]
pub enum Reach {
    /// From `lower` to `upper` milliseconds later, both included; rows in buckets of `width` milliseconds.
    Interval {
        /// The first time that is reached, relative to the record's own.
        lower: i128,
        /// The last one.
        upper: i128,
        /// The width of a bucket.
        width: i64,
    },
    /// The record's window; a bucket is a window.
    Window(Tumbling),
}

impl Reach {
    /// The same join, as the other side sees it.
    pub(super) fn mirrored(self) -> Reach {
        match self {
            Reach::Interval { lower, upper, width } => {
                Reach::Interval { lower: -upper, upper: -lower, width }
            }
            windows => windows,
        }
    }

    /// The first and the last time that a record of time `time` reaches; `None` if they lie outside of time.
    #[inline]
    pub(super) fn partners(&self, time: Timestamp) -> Option<(Timestamp, Timestamp)> {
        match *self {
            Reach::Interval { lower, upper, .. } => {
                let (first, last) = (millis(time) + lower, millis(time) + upper);
                (last >= MIN && first <= MAX).then(|| (cut_off(first), cut_off(last)))
            }
            Reach::Window(windows) => Some(windows.first_and_last(time)),
        }
    }

    /// The last time that a record of time `time` reaches, at the latest the end of time; `None` if it lies before
    /// the beginning of time.
    #[inline]
    pub(super) fn last_partner(&self, time: Timestamp) -> Option<Timestamp> {
        match *self {
            Reach::Interval { upper, .. } => {
                let last = millis(time) + upper;
                (last >= MIN).then(|| cut_off(last))
            }
            Reach::Window(windows) => Some(windows.first_and_last(time).1),
        }
    }

    /// The bucket that holds the rows of time `time`: named by its last time.
    #[inline]
    pub(super) fn bucket(&self, time: Timestamp) -> Timestamp {
        match *self {
            Reach::Interval { width, .. } => {
                let into = time.as_millis().rem_euclid(width);
                Timestamp::from_millis(time.as_millis().saturating_add(width - 1 - into))
            }
            Reach::Window(windows) => windows.first_and_last(time).1,
        }
    }

    /// Calls `each` with every bucket that holds times from `first` to `last`.
    #[inline]
    pub(super) fn buckets(&self, first: Timestamp, last: Timestamp, mut each: impl FnMut(Timestamp)) {
        let mut bucket = self.bucket(first);
        each(bucket);
        while bucket < last {
            bucket = self.bucket(Timestamp::from_millis(bucket.as_millis() + 1));
            each(bucket);
        }
    }

    /// The last bucket all of whose rows reach no time after `passed`; `None` if there is none.
    pub(super) fn dropped_through(&self, passed: Timestamp) -> Option<Timestamp> {
        match *self {
            Reach::Interval { upper, .. } if passed < Timestamp::MAX => {
                let through = millis(passed) - upper;
                (through >= MIN).then(|| cut_off(through))
            }
            _ => Some(passed),
        }
    }

    /// The event time of a record of time `time` that is emitted without a partner.
    pub(super) fn emitted_at(&self, time: Timestamp) -> Timestamp {
        match *self {
            Reach::Interval { .. } => time,
            Reach::Window(windows) => windows.first_and_last(time).1,
        }
    }

    /// How far behind the watermark a record may be that is emitted without a partner, in milliseconds.
    pub(super) fn hold(&self) -> i128 {
        match *self {
            Reach::Interval { upper, .. } => upper.max(0),
            Reach::Window(_) => 0,
        }
    }

    /// How rows are filed, for the shape of the state: it cannot be read with other bounds.
    pub(super) fn filed(&self) -> String {
        match *self {
            Reach::Interval { lower, upper, .. } => format!(" joined from {lower} to {upper} ms"),
            Reach::Window(windows) => {
                let (first, last) = windows.first_and_last(Timestamp::from_millis(0));
                format!(" joined in windows like {} to {} ms", first.as_millis(), last.as_millis())
            }
        }
    }
}

/// The last time that a watermark has passed: nothing on time will come at or before it.
#[inline]
pub(super) fn passed(watermark: Timestamp) -> Option<Timestamp> {
    match watermark {
        Timestamp::MAX => Some(Timestamp::MAX),
        _ => watermark.as_millis().checked_sub(1).map(Timestamp::from_millis),
    }
}

/// The watermark of the output, of which results are up to `hold` milliseconds behind that of the input.
pub(super) fn held_back(watermark: Timestamp, hold: i128) -> Timestamp {
    if watermark == Timestamp::MAX { watermark } else { cut_off(millis(watermark) - hold) }
}

const MIN: i128 = i64::MIN as i128;
const MAX: i128 = i64::MAX as i128;

#[inline]
fn millis(time: Timestamp) -> i128 {
    i128::from(time.as_millis())
}

#[inline]
fn cut_off(millis: i128) -> Timestamp {
    Timestamp::from_millis(millis.clamp(MIN, MAX) as i64)
}

#[cfg(test)]
mod tests {
    use super::sealed::Bounds;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_partner_lies_in_a_bucket_that_is_looked_into(
            time in any::<i64>(),
            bounds in (any::<i64>(), any::<i64>()),
            into in 0.0..=1.0f64,
        ) {
            let interval = between_millis(bounds.0.min(bounds.1), bounds.0.max(bounds.1));
            let reach = interval.reach().expect("the bounds are in order");
            let Some((first, last)) = reach.partners(Timestamp::from_millis(time)) else { return Ok(()) };
            let mut buckets = Vec::new();
            reach.buckets(first, last, |bucket| buckets.push(bucket));
            prop_assert!((1..=4).contains(&buckets.len()), "{buckets:?}");
            prop_assert!(buckets.is_sorted_by(|a, b| a < b));
            let length = (millis(last) - millis(first)) as f64;
            let partner = cut_off((millis(first) + (length * into) as i128).min(millis(last)));
            prop_assert!(buckets.contains(&reach.bucket(partner)));
            prop_assert!(reach.bucket(partner) >= partner);
            prop_assert_eq!(reach.bucket(reach.bucket(partner)), reach.bucket(partner));
            let back = reach.mirrored().partners(partner).expect("the record itself is a partner of its partner");
            prop_assert!(back.0.as_millis() <= time && time <= back.1.as_millis());
        }

        #[test]
        fn a_bucket_is_dropped_only_when_nothing_in_it_reaches_further(
            time in any::<i64>(),
            passed in any::<i64>(),
            bounds in (any::<i64>(), any::<i64>()),
        ) {
            let reach = between_millis(bounds.0.min(bounds.1), bounds.0.max(bounds.1)).reach().expect("in order");
            let (time, passed) = (Timestamp::from_millis(time), Timestamp::from_millis(passed));
            let dropped = reach.dropped_through(passed).is_some_and(|through| reach.bucket(time) <= through);
            prop_assert!(!dropped || reach.last_partner(time) <= Some(passed));
        }
    }

    #[test]
    fn the_constructors_say_how_much_later_the_right_record_is() {
        let minute = Duration::from_mins(1);
        assert_eq!(within(minute), between_millis(-60_000, 60_000));
        assert_eq!(following(minute), between_millis(0, 60_000));
        assert_eq!(preceding(minute), between_millis(-60_000, 0));
        assert_eq!(within(Duration::MAX), between_millis(-i64::MAX, i64::MAX));
    }

    #[test]
    fn other_bounds_are_told_apart_in_the_shape_of_the_state() {
        let millis = Duration::from_millis;
        let windows = crate::window::tumbling(millis(10));
        let filed = [
            between_millis(0, 5).reach(),
            between_millis(0, 6).reach(),
            between_millis(-1, 4).reach(),
            windows.reach(),
            windows.offset(millis(3)).reach(),
            crate::window::tumbling(millis(20)).reach(),
        ]
        .map(|reach| reach.expect("the bounds are in order").filed());
        let distinct: std::collections::BTreeSet<_> = filed.iter().collect();
        assert_eq!(distinct.len(), filed.len(), "{filed:?}");
        assert_eq!(filed[3], windows.offset(millis(30)).reach().expect("in order").filed());
    }

    #[test]
    fn bounds_that_cannot_be_are_refused() {
        assert!(between_millis(1, 0).reach().is_err());
        assert!(crate::window::tumbling(Duration::ZERO).reach().is_err());
    }
}
