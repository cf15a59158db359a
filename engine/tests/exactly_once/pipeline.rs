//! The topology under test, its input, and what it means.

use std::path::Path;

use highwater::operators::interpret::interpret;
use highwater::operators::source::Source;
use highwater::prelude::*;
use serde::{Deserialize, Serialize};

/// One record of the input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reading {
    pub key: u32,
    pub at: i64,
    pub value: i64,
}

/// How many records there are in all.
pub const RECORDS: usize = 8_000;
/// How far records are out of order, in milliseconds; the watermark waits longer.
const DISORDER: i64 = 400;

/// The same input for everyone who asks: so many splits.
pub fn input(splits: usize) -> Vec<Vec<Reading>> {
    let mut input = vec![Vec::new(); splits];
    let mut state = 12_345u64;
    let mut roll = |sides: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % sides
    };
    for number in 0..RECORDS {
        let at = number as i64 * 10 - roll(DISORDER as u64) as i64;
        let reading = Reading { key: roll(50) as u32, at, value: roll(1000) as i64 };
        input[roll(splits as u64) as usize].push(reading);
    }
    input
}

/// Windowed counts and sums to one sink, and every key's count of windows so far to the other.
pub fn topology(
    readings: impl Source<Item = Reading>,
    out: impl highwater::operators::sink::Sink<String>,
    file: impl highwater::operators::sink::Sink<String>,
) -> Topology {
    let topology = Topology::new("readings");
    let wait = Duration::from_millis(2 * DISORDER as u64);
    let timed = topology
        .source("readings", readings)
        .event_time(|reading| Timestamp::from_millis(reading.at), wait)
        .filter(|reading| reading.value % 10 != 0);
    let by_key = timed.key_by(|reading| reading.key).window(tumbling(Duration::from_secs(2)));
    let windows = by_key.aggregate("sums", |agg| (agg.count(), agg.sum(|reading| reading.value)));
    let lines = windows.map(|sums| {
        let (count, sum) = sums.value;
        format!("{} {} {count} {sum}", sums.key, sums.window.start.as_millis())
    });
    let sessions = lines.clone().key_by(|line| line.split(' ').next().unwrap_or_default().to_owned());
    let running = sessions.count("windows").to_stream();
    running.map(|(key, windows)| format!("{key} has {windows}")).sink("file", file);
    lines.sink("out", out);
    topology
}

/// Each reading as a line; keeps nothing.
pub fn stateless(
    readings: impl Source<Item = Reading>,
    out: impl highwater::operators::sink::Sink<String>,
) -> Topology {
    let topology = Topology::new("lines");
    let readings = topology.source("readings", readings).filter(|reading| reading.value % 10 != 0);
    readings.map(|reading| format!("{} {} {}", reading.key, reading.at, reading.value)).sink("out", out);
    topology
}

/// What the stateless topology means, sorted.
pub fn stateless_meaning(splits: usize) -> Vec<String> {
    let out = Memory::sink();
    interpret(stateless(Memory::splits(input(splits)), out.clone())).expect("it runs");
    sorted(out.take())
}

/// What the topology means: what reaches the one sink, and the other, sorted.
pub fn meaning(splits: usize) -> (Vec<String>, Vec<String>) {
    let (out, file) = (Memory::sink(), Memory::sink());
    interpret(topology(Memory::splits(input(splits)), out.clone(), file.clone())).expect("it runs");
    (sorted(out.take()), sorted(file.take()))
}

/// The lines of a file, sorted; none if there is no file.
pub fn lines_of(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    sorted(text.lines().map(str::to_owned).collect())
}

pub fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}
