//! What the example `iot` tells: one JSON object a line.

use highwater::prelude::*;
use serde::Serialize;

use super::{Kind, Reading};
use crate::live::{Board, Shown};

/// A battery with less is low.
const LOW_BATTERY: f64 = 0.2;

/// One line of the output.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// The figures of a sensor in a window.
    Hourly {
        /// The sensor.
        sensor: String,
        /// The first moment of the window.
        window_start: String,
        /// The first moment after the window.
        window_end: String,
        /// The number of readings.
        count: u64,
        /// The smallest value.
        min: f64,
        /// The largest value.
        max: f64,
        /// The arithmetic mean.
        mean: f64,
    },
    /// A reading that sticks out from its sensor's recent ones.
    Anomaly {
        /// The reading.
        #[serde(flatten)]
        reading: Told,
        /// The mean of the recent readings, this one included.
        mean: f64,
        /// Their population standard deviation.
        stddev: f64,
    },
    /// A reading out of its limits.
    Threshold {
        /// The reading.
        #[serde(flatten)]
        reading: Told,
        /// The smallest value within the limits.
        low: f64,
        /// The largest value within the limits.
        high: f64,
    },
    /// A battery that is nearly empty.
    LowBattery(Told),
    /// A reading that came when later ones had been dealt with.
    Late(Told),
    /// A row that is no reading.
    Bad {
        /// The row as it came; bytes that are not UTF-8 are U+FFFD.
        line: String,
        /// Why it is no reading.
        reason: String,
    },
}

/// A reading as it is told.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    sensor: String,
    timestamp: String,
    value: f64,
}

impl Told {
    fn of(reading: &Reading) -> Told {
        let (sensor, timestamp) = (reading.sensor.clone(), reading.at.to_rfc3339_seconds());
        Told { sensor, timestamp, value: reading.value }
    }
}

impl Outcome {
    /// From the figures of a window: count, smallest, largest, mean.
    pub fn hourly(figures: Windowed<String, (u64, f64, f64, f64)>) -> Outcome {
        let Windowed { key: sensor, window, value: (count, min, max, mean), .. } = figures;
        let (window_start, window_end) = (window.start.to_rfc3339_seconds(), window.end.to_rfc3339_seconds());
        Outcome::Hourly { sensor, window_start, window_end, count, min, max, mean }
    }

    /// What a reading says by itself: that it is out of its limits, or that the battery is low.
    pub fn of_limits(reading: &Reading) -> Option<Outcome> {
        let (low, high) = match reading.kind? {
            Kind::Temperature => (10.0, 40.0),
            Kind::Humidity => (20.0, 90.0),
            Kind::Pressure => (990.0, 1030.0),
            Kind::Battery => {
                return (reading.value < LOW_BATTERY).then(|| Outcome::LowBattery(Told::of(reading)));
            }
        };
        let outside = reading.value < low || reading.value > high;
        outside.then(|| Outcome::Threshold { reading: Told::of(reading), low, high })
    }

    /// From a reading that sticks out.
    pub fn anomaly(reading: &Reading, mean: f64, stddev: f64) -> Outcome {
        Outcome::Anomaly { reading: Told::of(reading), mean, stddev }
    }

    /// From a late reading.
    pub fn late(reading: Reading) -> Outcome {
        Outcome::Late(Told::of(&reading))
    }

    /// From a row that is no reading.
    pub fn bad(bad: BadRecord) -> Outcome {
        Outcome::Bad { line: String::from_utf8_lossy(&bad.raw).into_owned(), reason: bad.reason }
    }
}

impl Shown for Outcome {
    fn show(&self, board: &mut Board) {
        let (total, reading) = match self {
            Outcome::Hourly { .. } => return board.add("hours", 1),
            Outcome::Bad { .. } => return board.add("bad", 1),
            Outcome::Late(_) => return board.add("late", 1),
            Outcome::Anomaly { reading, .. } => ("anomalies", reading),
            Outcome::Threshold { reading, .. } => ("out of limits", reading),
            Outcome::LowBattery(reading) => ("low batteries", reading),
        };
        board.add(total, 1);
        board.rank("alerts by sensor", "", &reading.sensor, 1);
    }
}
