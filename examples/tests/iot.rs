//! The program `iot` against a naive count: every reading kept, sorted, looked at again.

mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use program::{Program, json, lines_of, recorded, rfc3339, same, terminate, wait_for_lines};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tempfile::tempdir;

const HOUR: i64 = 3600;

// --- the oracle --------------------------------------------------------------------------------------------------

/// The time and the value in a row, if it is a reading.
fn reading(row: &str) -> Option<(i64, f64)> {
    let (time, value) = row.split_once(',')?;
    let form = "%Y-%m-%d %H:%M:%S";
    let exact = chrono::NaiveDateTime::parse_from_str(time, form).ok()?;
    if exact.format(form).to_string() != time || time.ends_with(":60") {
        return None;
    }
    let value: f64 = value.parse().ok()?;
    value.is_finite().then(|| (exact.and_utc().timestamp(), value))
}

fn told(kind: &str, sensor: &str, seconds: i64, value: f64, more: &str) -> String {
    let (sensor, time) = (json(sensor), rfc3339(seconds));
    format!(r#"{{"kind":"{kind}","sensor":{sensor},"timestamp":"{time}","value":{}{more}}}"#, json(value))
}

/// What the output must hold of one file.
fn expected_of(file: &Path, lateness: i64, kind: Option<&str>) -> Vec<String> {
    let sensor = file.file_stem().expect("is a file").to_string_lossy().into_owned();
    let (mut out, mut order, mut watermark) = (Vec::new(), Vec::new(), i64::MIN);
    let mut hours: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    let bytes = fs::read(file).expect("the input is there");
    let rows = String::from_utf8_lossy(&bytes).into_owned();
    for row in rows.lines().skip(1).filter(|row| !row.is_empty()) {
        let Some((seconds, value)) = reading(row) else {
            out.push(format!(r#"{{"kind":"bad","line":{}}}"#, json(row)));
            continue;
        };
        let limits = match kind {
            Some("temperature") => Some((10.0, 40.0)),
            Some("humidity") => Some((20.0, 90.0)),
            Some("pressure") => Some((990.0, 1030.0)),
            _ => None,
        };
        if let Some((low, high)) = limits.filter(|(low, high)| value < *low || value > *high) {
            let more = format!(r#","low":{},"high":{}"#, json(low), json(high));
            out.push(told("threshold", &sensor, seconds, value, &more));
        }
        if kind == Some("battery") && value < 0.2 {
            out.push(told("low_battery", &sensor, seconds, value, ""));
        }
        let start = seconds.div_euclid(HOUR) * HOUR;
        if start + HOUR > watermark {
            hours.entry(start).or_default().push(value);
        }
        if seconds < watermark {
            out.push(told("late", &sensor, seconds, value, ""));
        } else {
            order.push((seconds, value));
        }
        watermark = watermark.max(seconds.saturating_sub(lateness));
    }
    order.sort_by_key(|(seconds, _)| *seconds);
    out.extend(anomalies(&sensor, &order));
    out.extend(hours.iter().map(|(start, values)| hourly(&sensor, *start, values)));
    out
}

fn anomalies(sensor: &str, order: &[(i64, f64)]) -> Vec<String> {
    let mut found = Vec::new();
    for last in 9..order.len() {
        let recent = &order[(last + 1).saturating_sub(20)..=last];
        let count = recent.len() as f64;
        let mean = recent.iter().map(|(_, value)| value).sum::<f64>() / count;
        let variance = recent.iter().map(|(_, value)| (value - mean) * (value - mean)).sum::<f64>() / count;
        let (seconds, value) = order[last];
        if (value - mean).abs() > 2.0 * variance.sqrt() {
            let more = format!(r#","mean":{},"stddev":{}"#, json(mean), json(variance.sqrt()));
            found.push(told("anomaly", sensor, seconds, value, &more));
        }
    }
    found
}

fn hourly(sensor: &str, start: i64, values: &[f64]) -> String {
    let (min, max) = values.iter().fold((f64::MAX, f64::MIN), |(min, max), v| (min.min(*v), max.max(*v)));
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let sensor = json(sensor);
    let bounds = format!(r#""window_start":"{}","window_end":"{}""#, rfc3339(start), rfc3339(start + HOUR));
    let figures = format!(r#""min":{},"max":{},"mean":{}"#, json(min), json(max), json(mean));
    format!(r#"{{"kind":"hourly","sensor":{sensor},{bounds},"count":{},{figures}}}"#, values.len())
}

fn expected(files: &[&Path], lateness: i64, kind: Option<&str>) -> Vec<String> {
    let mut all: Vec<String> = files.iter().flat_map(|file| expected_of(file, lateness, kind)).collect();
    all.sort();
    all
}

// --- files -------------------------------------------------------------------------------------------------------

const ODD: [&str; 10] = [
    "2024-02-30 10:00:00,1",
    "2024-02-28 25:00:00,1",
    "2024-02-28 10:00:60,1",
    "2024-02-28T10:00:00,1",
    "2024-02-28 10:00:00",
    "2024-02-28 10:00:00,",
    "2024-02-28 10:00:00,warm",
    "2024-02-28 10:00:00,NaN",
    "2024-02-28 10:00:00,1,2",
    "garbage",
];

/// A file with a reading every five minutes; some up to `disorder` seconds behind, some times twice.
fn made_file(directory: &Path, name: &str, count: i64, disorder: i64) -> PathBuf {
    let mut random = ChaCha8Rng::seed_from_u64(name.len() as u64);
    let mut rows = "timestamp,value\n".to_owned();
    for number in 0..count {
        if random.random_bool(0.02) {
            rows += ODD[random.random_range(0..ODD.len())];
            rows += "\n";
        }
        let behind = if random.random_bool(0.2) { random.random_range(0..=disorder) } else { 0 };
        let repeated = i64::from(random.random_bool(0.05));
        let seconds = 1_709_100_000 + (number - repeated) * 300 - behind;
        let spike = if random.random_bool(0.03) { 50.0 } else { 0.0 };
        let value = random.random_range(0.0..20.0) + spike;
        let time = chrono::DateTime::from_timestamp(seconds, 0).expect("is a time");
        rows += &format!("{},{value}\n", time.format("%Y-%m-%d %H:%M:%S"));
    }
    let path = directory.join(format!("{name}.csv"));
    fs::write(&path, rows).expect("there is room");
    path
}

fn program(files: &[&Path], output: &Path) -> Program {
    let program = Program::new("iot").path("--output", output);
    files.iter().fold(program, |program, file| program.path("--input", file))
}

/// With 1 and 2 workers, with and without a state directory, the output is what is expected.
#[track_caller]
fn agrees(files: &[&Path], arguments: &[&str], expected: &[String]) {
    let directory = tempdir().expect("there is room");
    for workers in ["1", "2"] {
        for kept in [false, true] {
            let output = directory.path().join(format!("{workers}-{kept}.jsonl"));
            let mut program =
                program(files, &output).with(["--workers", workers]).with(arguments.iter().copied());
            if kept {
                program = program.path("--state-dir", &directory.path().join(workers));
            }
            program.succeeds();
            same(&lines_of(&output), expected, &format!("{workers} workers, state kept: {kept}"));
        }
    }
}

fn kinds(lines: &[String], kind: &str) -> usize {
    let start = format!(r#"{{"kind":"{kind}""#);
    lines.iter().filter(|line| line.starts_with(&start)).count()
}

// --- the tests ---------------------------------------------------------------------------------------------------

#[test]
fn the_recorded_sensors_one_by_one() {
    let names = ["machine_temperature_system_failure", "ambient_temperature_system_failure", "nyc_taxi"];
    // Hours, anomalies, late ones with a lateness of 30 seconds.
    let totals = [[1891, 2027, 11], [7267, 619, 0], [5160, 1924, 0]];
    for (name, totals) in names.into_iter().zip(totals) {
        let Some(file) = recorded(&format!("iot/{name}.csv")) else { return };
        let all = expected(&[&file], 30, None);
        let found = ["hourly", "anomaly", "late"].map(|kind| kinds(&all, kind));
        assert_eq!(found, totals, "{name}");
        agrees(&[&file], &["--lateness", "30s"], &all);
        let roomy = expected(&[&file], HOUR, None);
        assert_eq!(kinds(&roomy, "late"), 0);
        agrees(&[&file], &[], &roomy);
    }
}

#[test]
fn the_recorded_sensors_together() {
    let names = ["machine_temperature_system_failure", "ambient_temperature_system_failure", "nyc_taxi"];
    let Some(files) =
        names.iter().map(|name| recorded(&format!("iot/{name}.csv"))).collect::<Option<Vec<_>>>()
    else {
        return;
    };
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    // Which readings would be late depends on which file is read first; within an hour none is.
    agrees(&files, &["--lateness", "1h"], &expected(&files, HOUR, None));
}

#[test]
fn made_files_of_every_type() {
    let directory = tempdir().expect("there is room");
    for kind in ["temperature", "humidity", "pressure", "battery"] {
        let file = made_file(directory.path(), kind, 2_000, 3 * HOUR);
        let all = expected(&[&file], 1_800, Some(kind));
        assert!(kinds(&all, "late") > 50 && kinds(&all, "bad") > 10, "the file shows little");
        let alert = if kind == "battery" { "low_battery" } else { "threshold" };
        assert!(kinds(&all, alert) > 0 && kinds(&all, "anomaly") > 10, "the file shows little");
        agrees(&[&file], &["--sensor-type", kind, "--lateness", "30m", "--epoch", "50ms"], &all);
    }
}

#[test]
fn several_files_and_odd_names() {
    let directory = tempdir().expect("there is room");
    let files = ["room 1", "röom.2", "x"].map(|name| made_file(directory.path(), name, 1_500, 3 * HOUR));
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    agrees(&files, &["--lateness", "3650days"], &expected(&files, 3650 * 24 * HOUR, None));
}

#[test]
fn stopped_and_started_again() {
    let directory = tempdir().expect("there is room");
    let file = made_file(directory.path(), "room", 6_000, 3 * HOUR);
    let (output, state) = (directory.path().join("out.jsonl"), directory.path().join("state"));
    let program = || {
        let program = program(&[&file], &output).path("--state-dir", &state);
        program.with([
            "--epoch",
            "100ms",
            "--workers",
            "2",
            "--lateness",
            "10m",
            "--sensor-type",
            "temperature",
        ])
    };
    for _ in 0..2 {
        let before = fs::read_to_string(&output).map_or(0, |text| text.lines().count());
        let mut child = program().with(["--rate", "3000"]).start();
        assert!(wait_for_lines(&mut child, &output, before + 20), "it ended before it was stopped");
        terminate(child);
    }
    program().succeeds();
    same(&lines_of(&output), &expected(&[&file], 600, Some("temperature")), "after stops");
}

#[test]
fn inputs_that_are_none() {
    let directory = tempdir().expect("there is room");
    let output = directory.path().join("out.jsonl");
    let told = program(&[&directory.path().join("missing.csv")], &output).fails(1);
    assert!(told.starts_with("iot: ") && told.contains("missing.csv: No such file"), "{told}");
    let told = program(&[directory.path()], &output).fails(1);
    assert!(told.contains("not a regular file"), "{told}");
    for text in ["", "timestamp,value\n"] {
        let empty = directory.path().join("empty.csv");
        fs::write(&empty, text).expect("there is room");
        program(&[&empty], &output).succeeds();
        assert!(lines_of(&output).is_empty());
    }
    Program::new("iot").with(["--sensor-type", "smell", "--input", "x.csv"]).fails(2);
}

#[test]
fn the_generator_shows_everything() {
    let directory = tempdir().expect("there is room");
    let run = |workers: &str| {
        let output = directory.path().join(workers);
        let program = Program::new("iot").path("--output", &output);
        program.with(["--events", "500000", "--workers", workers]).succeeds();
        lines_of(&output)
    };
    let one = run("1");
    let all = ["hourly", "anomaly", "threshold", "low_battery", "late"];
    assert!(all.iter().all(|kind| kinds(&one, kind) > 0), "{:?}", all.map(|kind| kinds(&one, kind)));
    same(&run("2"), &one, "2 workers");
}
