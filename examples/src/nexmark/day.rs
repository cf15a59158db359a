//! Days and minutes of the calendar, in UTC, as the benchmark's reports name them.

use chrono::DateTime;
use highwater::prelude::*;
use serde::{Deserialize, Serialize};

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

    /// As `2015-07-15`; a day that no calendar has is the first of 1970.
    pub(super) fn text(self) -> String {
        DateTime::from_timestamp_millis(self.0 * DAY_MILLIS)
            .unwrap_or_default()
            .format("%Y-%m-%d")
            .to_string()
    }
}

impl Minute {
    /// The minute of a time.
    pub(super) fn of(time: Timestamp) -> Minute {
        Minute((time.as_millis().rem_euclid(DAY_MILLIS) / MINUTE_MILLIS) as u16)
    }

    /// As `09:30`.
    pub(super) fn text(self) -> String {
        format!("{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_minutes_are_those_of_the_calendar() {
        let named = |millis| {
            let time = Timestamp::from_millis(millis);
            (Day::of(time).text(), Minute::of(time).text())
        };
        let expected = |day: &str, minute: &str| (day.to_owned(), minute.to_owned());
        assert_eq!(named(1_436_918_400_000), expected("2015-07-15", "00:00"));
        assert_eq!(named(1_437_004_799_999), expected("2015-07-15", "23:59"));
        assert_eq!(named(-1), expected("1969-12-31", "23:59"));
    }
}
