//! The program `fraud` against what was planted in the events that it makes up, and against a naive search for what the
//! rules mean, which also shows that nothing is in the events that was not planted.

#[path = "fraud/oracle.rs"]
mod oracle;
mod program;
#[path = "../fraud/rules.rs"]
mod rules;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use highwater::prelude::Topology;
use highwater::simulate::Simulation;
use highwater_examples::fraud::{Event, Noted, Outcome, SCENE_EVENTS, Scene};
use program::{Program, json, lines_of, same, terminate, wait_for_lines};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rules::watch;
use tempfile::tempdir;

/// How much events are out of order where the program is not told.
const DISORDER: Duration = Duration::from_secs(60);

/// So many scenes: their events as lines in the order in which they come, and what must be told, sorted.
fn scenes(seed: u64, count: u64, disorder: Duration) -> (Vec<String>, Vec<String>) {
    let random = ChaCha8Rng::seed_from_u64(seed);
    let (mut events, mut planted) = (Vec::new(), Vec::new());
    for number in 0..count {
        let scene = Scene::new(&random, number, disorder);
        assert_eq!(scene.events.len() as u64, SCENE_EVENTS);
        events.extend(scene.events.iter().map(json));
        planted.extend(scene.alerts.into_iter().map(|alert| json(Outcome::Alert(alert))));
        planted.extend(scene.frauds.into_iter().map(|fraud| json(Outcome::Fraud(fraud))));
    }
    planted.sort();
    (events, planted)
}

/// How many lines tell of a rule, or of fraud.
fn tells(lines: &[String], what: &str) -> usize {
    let what = format!(r#""{what}""#);
    lines.iter().filter(|line| line.split(',').take(2).any(|field| field.ends_with(&what))).count()
}

#[test]
fn what_is_planted_is_all_there_is_to_find() {
    for seed in 1..=8 {
        let (events, planted) = scenes(seed, 6, DISORDER);
        same(&planted, &oracle::expected(&events), &format!("seed {seed}"));
        // Of each scene.
        let counts = [
            ("large_transactions", 10),
            ("three_countries", 4),
            ("far_apart", 4),
            ("unusual_amount", 5),
            ("abandoned_cart", 6),
            ("failed_calls", 3),
            ("slow_responses", 4),
            ("stolen_account", 15),
            ("rising_price", 2),
            ("rising_errors", 2),
            ("server_down", 3),
            ("fraud", 7),
        ];
        assert_eq!(counts.map(|(what, _)| (what, tells(&planted, what) / 6)), counts, "seed {seed}");
    }
}

/// The program over events that it makes up; `scenes` of them.
fn made_up(seed: u64, scenes: u64, output: &Path) -> Program {
    let events = (scenes * SCENE_EVENTS).to_string();
    Program::new("fraud").path("--output", output).with(["--events", &events, "--seed", &seed.to_string()])
}

/// The program over files.
fn over(files: &[&Path], output: &Path) -> Program {
    let program = Program::new("fraud").path("--output", output);
    files.iter().fold(program, |program, file| program.path("--input", file))
}

/// With 1 and 2 workers, with and without a state directory, the output is what is expected.
#[track_caller]
fn agrees(program: impl Fn(&Path) -> Program, expected: &[String]) {
    let directory = tempdir().expect("there is room");
    for workers in ["1", "2"] {
        for kept in [false, true] {
            let output = directory.path().join(format!("{workers}-{kept}.jsonl"));
            let mut program = program(&output).with(["--workers", workers]);
            if kept {
                let state = directory.path().join(workers);
                program = program.path("--state-dir", &state).with(["--epoch", "50ms"]);
            }
            program.succeeds();
            same(&lines_of(&output), expected, &format!("{workers} workers, state kept: {kept}"));
        }
    }
}

fn write(directory: &Path, name: &str, lines: &[String]) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, lines.join("\n") + "\n").expect("there is room");
    path
}

#[test]
fn the_program_finds_what_is_planted() {
    for seed in [1, 2, 3] {
        let (_, planted) = scenes(seed, 10, DISORDER);
        agrees(|output| made_up(seed, 10, output), &planted);
    }
    // A part of a scene is the whole of it.
    let (_, planted) = scenes(4, 2, DISORDER);
    let directory = tempdir().expect("there is room");
    let output = directory.path().join("output.jsonl");
    Program::new("fraud").path("--output", &output).with(["--events", "2001", "--seed", "4"]).succeeds();
    same(&lines_of(&output), &planted, "2001 events");
}

#[test]
fn the_order_of_arrival_does_not_count() {
    for (disorder, lateness, minutes) in [("0s", "0s", 0), ("45m", "45m", 45), ("10m", "365days", 10)] {
        let (_, planted) = scenes(5, 5, Duration::from_secs(60 * minutes));
        let program =
            |output: &Path| made_up(5, 5, output).with(["--disorder", disorder, "--lateness", lateness]);
        agrees(program, &planted);
    }
}

#[test]
fn the_same_events_from_files() {
    let directory = tempdir().expect("there is room");
    let (events, planted) = scenes(6, 5, DISORDER);
    let file = write(directory.path(), "events.jsonl", &events);
    agrees(|output| over(&[&file], output), &planted);
    // Each kind in a file of its own; one may be read long before another.
    let kinds = ["transaction", "login", "cart", "call", "response", "price", "error_rate", "server"];
    let files = kinds.map(|kind| {
        let of_kind = |line: &&String| line.starts_with(&format!(r#"{{"type":"{kind}","#));
        let lines: Vec<String> = events.iter().filter(of_kind).cloned().collect();
        write(directory.path(), kind, &lines)
    });
    let files = files.each_ref().map(PathBuf::as_path);
    agrees(|output| over(&files, output), &planted);
}

#[test]
fn lines_that_are_no_events_are_told() {
    let directory = tempdir().expect("there is room");
    let (mut events, planted) = scenes(7, 2, DISORDER);
    let odd = ["", "{}", "no JSON", r#"{"type":"gift"}"#, "\u{fffd}", &events[0][..40]].map(str::to_owned);
    for (number, line) in odd.iter().enumerate() {
        events.insert(number * 600, line.clone());
    }
    let file = write(directory.path(), "events.jsonl", &events);
    let bad = odd.iter().map(|line| format!(r#"{{"kind":"bad","line":{}}}"#, json(line)));
    let mut expected: Vec<String> = planted.into_iter().chain(bad).collect();
    expected.sort();
    agrees(|output| over(&[&file], output), &expected);
}

#[test]
fn an_event_that_is_late_is_told_once_and_left_out() {
    let directory = tempdir().expect("there is room");
    let (events, _) = scenes(8, 3, Duration::from_secs(1_200));
    let (mut in_time, mut expected, mut latest) = (Vec::new(), Vec::new(), i64::MIN);
    for line in &events {
        let fields: serde_json::Value = serde_json::from_str(line).expect("an event is JSON");
        let time = chrono::DateTime::parse_from_rfc3339(fields["time"].as_str().expect("is text"));
        let time = time.expect("is a time").timestamp_millis();
        if time < latest.saturating_sub(300_000) {
            expected.push(format!(r#"{{"kind":"late","event":{line}}}"#));
        } else {
            in_time.push(line.clone());
        }
        latest = latest.max(time);
    }
    assert!(expected.len() > 1_000, "{} are late", expected.len());
    expected.extend(oracle::expected(&in_time));
    expected.sort();
    let file = write(directory.path(), "events.jsonl", &events);
    agrees(|output| over(&[&file], output).with(["--lateness", "5m"]), &expected);
}

#[test]
fn stopped_and_started_again() {
    let directory = tempdir().expect("there is room");
    let (_, planted) = scenes(9, 10, DISORDER);
    let (output, state) = (directory.path().join("output.jsonl"), directory.path().join("state"));
    let program = |workers: &str| {
        let program = made_up(9, 10, &output).path("--state-dir", &state);
        program.with(["--epoch", "50ms", "--workers", workers])
    };
    for workers in ["2", "1", "2"] {
        let before = fs::read_to_string(&output).map_or(0, |text| text.lines().count());
        let mut child = program(workers).with(["--rate", "8000"]).start();
        assert!(wait_for_lines(&mut child, &output, before + 100), "it ended before it was stopped");
        terminate(child);
    }
    program("1").succeeds();
    same(&lines_of(&output), &planted, "after stops");
}

#[test]
fn the_rules_survive_everything() {
    let (_, planted) = scenes(10, 1, DISORDER);
    let simulation = Simulation::new(|world| {
        let scene = Scene::new(&ChaCha8Rng::seed_from_u64(10), 0, DISORDER);
        let topology = Topology::new("fraud");
        let events = topology.source("events", world.topic("events", [scene.events]));
        let outcomes = watch(events.event_time(Event::time, 2 * DISORDER));
        outcomes.map(json).sink("outcomes", world.transactional_sink("outcomes"));
        topology
    });
    let mut found = simulation.run(1).expect("clean").output::<String>("outcomes");
    found.sort();
    same(&found, &planted, "the simulation");
    assert!(simulation.check(20).expect("clean").runs() > 0);
}

#[test]
fn what_it_cannot_do_is_refused() {
    let directory = tempdir().expect("there is room");
    let output = directory.path().join("output.jsonl");
    let told = over(&[&directory.path().join("missing.jsonl")], &output).fails(1);
    assert!(told.starts_with("fraud: ") && told.contains("missing.jsonl: No such file"), "{told}");
    let file = write(directory.path(), "events.jsonl", &[]);
    assert!(over(&[&file], &file).fails(1).contains("the output is also an input"));
    Program::new("fraud").with(["--topic", "events"]).fails(2);
    Program::new("fraud").with(["--disorder", "much"]).fails(2);
    let help = Program::new("fraud").with(["--help"]).succeeds();
    assert!(program::text(&help.stdout).contains(r#"{"type":"error_rate","id":7,"#));
}
