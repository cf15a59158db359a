//! Event time: milliseconds since 1970-01-01T00:00:00Z, negative before it.
//!
//! Invariant: arithmetic saturates. A lateness subtracted near the beginning of time, or a window that ends
//! after the end of it, gives [`Timestamp::MIN`] or [`Timestamp::MAX`] and never wraps around.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// A point in event time, in milliseconds since 1970 (UTC).
///
/// ```
/// use highwater_state::Timestamp;
/// use std::time::Duration;
///
/// let at = Timestamp::from_millis(1_500);
/// assert_eq!(at + Duration::from_secs(1), Timestamp::from_millis(2_500));
/// assert_eq!(Timestamp::MIN - Duration::from_secs(1), Timestamp::MIN);
/// assert_eq!(at.to_string(), "1970-01-01T00:00:01.500Z");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Before every record: the watermark of a stream that has seen nothing.
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    /// After every record: the watermark of an input that has ended.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// The time `millis` milliseconds after 1970.
    pub const fn from_millis(millis: i64) -> Self {
        Timestamp(millis)
    }

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// RFC 3339 in UTC with whole seconds (`2015-05-17T10:05:00Z`); the milliseconds if the year is outside
    /// what the calendar of `chrono` can name.
    pub fn to_rfc3339_seconds(self) -> String {
        match DateTime::<Utc>::from_timestamp_millis(self.0) {
            Some(time) => time.to_rfc3339_opts(SecondsFormat::Secs, true),
            None => self.0.to_string(),
        }
    }
}

/// A duration in whole milliseconds, at most `i64::MAX`; parts of a millisecond are dropped.
pub fn duration_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(duration_millis(duration)))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Timestamp;
    fn sub(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(duration_millis(duration)))
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Timestamp(time.timestamp_millis())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Timestamp::MIN => f.write_str("the beginning of time"),
            Timestamp::MAX => f.write_str("the end of time"),
            Timestamp(millis) => match DateTime::<Utc>::from_timestamp_millis(millis) {
                Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
                None => write!(f, "{millis} ms"),
            },
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Timestamp::MIN => f.write_str("MIN"),
            Timestamp::MAX => f.write_str("MAX"),
            Timestamp(millis) => write!(f, "{millis}ms"),
        }
    }
}

/// A half-open range of event time, `[start, end)`: the bounds of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TimeRange {
    /// The first point in time inside the range.
    pub start: Timestamp,
    /// The first point in time after the range.
    pub end: Timestamp,
}

impl TimeRange {
    /// Whether `at` lies in `[start, end)`.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    /// The last point in time inside the range: the event time of what a window emits.
    pub fn last(&self) -> Timestamp {
        Timestamp(self.end.0.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends_of_time() {
        assert_eq!(Timestamp::MAX + Duration::MAX, Timestamp::MAX);
        assert_eq!(Timestamp::MIN - Duration::from_millis(1), Timestamp::MIN);
        assert_eq!(Timestamp::from_millis(-5) + Duration::from_millis(7), Timestamp::from_millis(2));
    }

    #[test]
    fn a_range_holds_its_start_and_not_its_end() {
        let range = TimeRange { start: Timestamp::from_millis(-10), end: Timestamp::from_millis(0) };
        assert!(range.contains(Timestamp::from_millis(-10)));
        assert!(!range.contains(Timestamp::from_millis(0)));
        assert_eq!(range.last(), Timestamp::from_millis(-1));
    }
}
