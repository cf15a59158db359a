//! Readings made up by chance: three rooms with a thermometer, a hygrometer, a barometer and a battery each.
//!
//! A reading depends on the seed and its number only. One split, because with several the lateness of a reading
//! would depend on how far the others have been read.

use std::f64::consts::TAU;

use highwater::connectors::generator::{ChaCha8Rng, RngExt};
use highwater::prelude::*;

use super::{Kind, Reading};

/// How many splits the generator has.
pub const READING_SPLITS: u32 = 1;

/// 2025-01-01T00:00:00Z
const START_MILLIS: i64 = 1_735_689_600_000;
/// Every sensor reads once in this time.
const INTERVAL_MILLIS: i64 = 60_000;
/// A battery lasts this many days.
const BATTERY_DAYS: f64 = 30.0;

const ROOMS: [&str; 3] = ["attic", "cellar", "kitchen"];
const SENSORS: [(Kind, &str); 4] = [
    (Kind::Temperature, "temperature"),
    (Kind::Humidity, "humidity"),
    (Kind::Pressure, "pressure"),
    (Kind::Battery, "battery"),
];

/// The reading of this number. One in 200 sticks out, one in 5000 is many minutes late.
pub fn reading(random: &mut ChaCha8Rng, number: u64) -> Reading {
    let sensors = (ROOMS.len() * SENSORS.len()) as u64;
    let (round, sensor) = ((number / sensors) as i64, (number % sensors) as usize);
    let room = ROOMS[sensor / SENSORS.len()];
    let (kind, name) = SENSORS[sensor % SENSORS.len()];
    let behind_millis = match random.random_range(0..5000) {
        0 => random.random_range(600_000..7_200_000),
        1..500 => random.random_range(0..20_000),
        _ => 0,
    };
    let millis = START_MILLIS + round * INTERVAL_MILLIS - behind_millis;
    let days = round as f64 * INTERVAL_MILLIS as f64 / 86_400_000.0;
    let (usual, noise) = match kind {
        Kind::Temperature => (22.0 + 4.0 * (TAU * days).sin(), 0.3),
        Kind::Humidity => (55.0 - 10.0 * (TAU * days).sin(), 1.0),
        Kind::Pressure => (1010.0 + 8.0 * (TAU * days / 9.0).sin(), 0.2),
        Kind::Battery => (1.0 - days.rem_euclid(BATTERY_DAYS) / BATTERY_DAYS, 0.0),
    };
    let spike = if noise > 0.0 && random.random_range(0..200) == 0 { 100.0 * noise } else { 0.0 };
    let value = usual + noise * random.random_range(-1.0..1.0) + spike;
    Reading { sensor: format!("{room}-{name}"), kind: Some(kind), at: Timestamp::from_millis(millis), value }
}
