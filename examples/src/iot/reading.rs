//! One reading of a sensor, and how it is read from a row of a CSV file.
//!
//! A row is a reading or bad: the time must be written `YYYY-MM-DD HH:MM:SS` and exist, the value must be a finite
//! number.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use highwater::prelude::*;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// What a sensor measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Kind {
    /// In degrees Celsius.
    Temperature,
    /// In percent.
    Humidity,
    /// In hectopascal.
    Pressure,
    /// The charge that is left, from 0 to 1.
    Battery,
}

/// One reading.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reading {
    /// The sensor's name.
    pub sensor: String,
    /// What it measures, if that is known.
    pub kind: Option<Kind>,
    /// When.
    pub at: Timestamp,
    /// How much.
    pub value: f64,
}

impl Reading {
    /// The reading in a row of a sensor's file.
    pub fn new(sensor: &str, kind: Option<Kind>, row: Row) -> Reading {
        Reading { sensor: sensor.to_owned(), kind, at: row.timestamp, value: row.value }
    }
}

/// A row of a CSV file.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Row {
    /// When, in UTC.
    #[serde(deserialize_with = "timestamp")]
    pub timestamp: Timestamp,
    /// How much.
    #[serde(deserialize_with = "finite")]
    pub value: f64,
}

fn timestamp<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = <&str>::deserialize(deserializer)?;
    calendar_time(text).map_err(D::Error::custom)
}

fn finite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    if value.is_finite() { Ok(value) } else { Err(D::Error::custom("the value is not a finite number")) }
}

/// `2013-07-04 00:00:00`
fn calendar_time(text: &str) -> Result<Timestamp, &'static str> {
    const FORM: &str = "the time is not written like 2013-07-04 00:00:00";
    let text: &[u8; 19] = text.as_bytes().try_into().map_err(|_| FORM)?;
    if [(4, b'-'), (7, b'-'), (10, b' '), (13, b':'), (16, b':')].iter().any(|&(at, mark)| text[at] != mark) {
        return Err(FORM);
    }
    let number = |from: usize, digits: usize| {
        text[from..from + digits].iter().try_fold(0u32, |number, digit| match digit {
            b'0'..=b'9' => Ok(number * 10 + u32::from(digit - b'0')),
            _ => Err(FORM),
        })
    };
    let date = NaiveDate::from_ymd_opt(number(0, 4)? as i32, number(5, 2)?, number(8, 2)?);
    let time =
        date.ok_or("there is no such day")?.and_hms_opt(number(11, 2)?, number(14, 2)?, number(17, 2)?);
    Ok(time.ok_or("there is no such time of day")?.and_utc().into())
}

/// The files of each sensor, which is called like its files without their endings; in the order in which the
/// sensors are named first.
pub fn by_sensor(files: &[PathBuf]) -> Vec<(String, Vec<PathBuf>)> {
    let mut sensors: Vec<(String, Vec<PathBuf>)> = Vec::new();
    for file in files {
        let stem = file.file_stem().unwrap_or(Path::new(file).as_os_str());
        let sensor = stem.to_string_lossy().into_owned();
        match sensors.iter_mut().find(|(name, _)| *name == sensor) {
            Some((_, files)) => files.push(file.clone()),
            None => sensors.push((sensor, vec![file.clone()])),
        }
    }
    sensors
}

/// What the source of a sensor's files is called: the sensor's name, with everything that a name of the library
/// cannot hold written as `.` and two hexadecimal digits.
pub fn source_name(sensor: &str) -> String {
    sensor.bytes().fold("sensor-".to_owned(), |mut name, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(name, ".{byte:02x}")),
        }
        name
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_exists_or_is_bad() {
        assert_eq!(calendar_time("1970-01-01 00:00:01"), Ok(Timestamp::from_millis(1000)));
        assert_eq!(
            calendar_time("2016-02-29 23:59:59").map(Timestamp::to_rfc3339_seconds),
            Ok("2016-02-29T23:59:59Z".into())
        );
        for bad in [
            "",
            "2015-02-29 00:00:00",
            "2015-02-28 24:00:00",
            "2015-02-28 00:60:00",
            "2015-02-28 00:00:60",
            "2015-02-28T00:00:00",
            "2015-02-28 00:00:00Z",
            "2015-2-28 00:00:00",
            "+015-02-28 00:00:00",
            "2015-02-28 00:00",
        ] {
            assert!(calendar_time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_of_one_name_are_one_sensor() {
        let files = ["a/x.csv", "y.csv", "b/x.csv"].map(PathBuf::from);
        let sensors = by_sensor(&files);
        assert_eq!(
            sensors.iter().map(|(name, files)| (name.as_str(), files.len())).collect::<Vec<_>>(),
            [("x", 2), ("y", 1)]
        );
    }

    #[test]
    fn any_file_gives_a_name_that_the_library_takes() {
        assert_eq!(source_name("room 1.b_ä"), "sensor-room.201.2eb_.c3.a4");
        assert_ne!(source_name("a b"), source_name("a.b"));
    }
}
