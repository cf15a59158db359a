//! Days and minutes of the calendar, in UTC, as the benchmark's reports name them.
//!
//! They are numbers until they are written: a report that changes with every bid makes no text that nobody
//! reads.

use chrono::{DateTime, Datelike};
use highwater::prelude::*;
use serde::{Deserialize, Serialize, Serializer};

const DAY_MILLIS: i64 = 24 * 60 * MINUTE_MILLIS;
const MINUTE_MILLIS: i64 = 60_000;

/// A day: how many there are between it and the first of 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Day(i64);

/// A minute of a day, counted from midnight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Minute(u16);

impl Day {
    /// The day of a time.
    pub(super) fn of(time: Timestamp) -> Day {
        Day(time.as_millis().div_euclid(DAY_MILLIS))
    }

    /// For a row: as `2015-07-15`; a day that no calendar has is the first of 1970.
    pub(super) fn as_text<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let day = DateTime::from_timestamp_millis(self.0.saturating_mul(DAY_MILLIS)).unwrap_or_default();
        serializer.collect_str(&format_args!("{:04}-{:02}-{:02}", day.year(), day.month(), day.day()))
    }
}

impl Minute {
    /// The minute of a time.
    pub(super) fn of(time: Timestamp) -> Minute {
        Minute((time.as_millis().rem_euclid(DAY_MILLIS) / MINUTE_MILLIS) as u16)
    }

    /// For a row: as `09:30`.
    pub(super) fn as_text<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:02}:{:02}", self.0 / 60, self.0 % 60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Named(
        #[serde(serialize_with = "Day::as_text")] Day,
        #[serde(serialize_with = "Minute::as_text")] Minute,
    );

    #[test]
    fn days_and_minutes_are_those_of_the_calendar() {
        let named = |millis| {
            let time = Timestamp::from_millis(millis);
            serde_json::to_string(&Named(Day::of(time), Minute::of(time))).expect("is written")
        };
        assert_eq!(named(1_436_918_400_000), r#"["2015-07-15","00:00"]"#);
        assert_eq!(named(1_437_004_799_999), r#"["2015-07-15","23:59"]"#);
        assert_eq!(named(-1), r#"["1969-12-31","23:59"]"#);
    }
}
