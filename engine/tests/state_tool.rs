//! `highwater-state`, run as a process on the state of real jobs. If a test fails here, it shows what is not
//! there, changes what it only looks at, or says nothing of why it could not.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use highwater::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Click {
    user: String,
    kind: Kind,
    price: Option<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Kind {
    View,
    Buy { items: Vec<u32> },
}

fn clicks(until: i64) -> Vec<(i64, Click)> {
    let click = |n: i64| {
        let items = || (0..n as u32 % 3).collect();
        let kind = if n % 2 == 0 { Kind::View } else { Kind::Buy { items: items() } };
        Click { user: format!("user \"{}\"", n % 30), kind, price: (n % 5 == 0).then_some(n as f64 / 4.0) }
    };
    (0..until).map(|n| (n * 1000, click(n))).collect()
}

fn topology(with_last: bool) -> Topology {
    let topology = Topology::new("clicks");
    let source = topology.source("clicks", Memory::source(clicks(300)).unending());
    let timed =
        source.event_time(|click| Timestamp::from_millis(click.0), Duration::ZERO).map(|click| click.1);
    let keyed = timed.key_by(|click| click.user.clone());
    if with_last {
        keyed.clone().latest("last-click").keep();
    }
    let hours = keyed.clone().window(tumbling(Duration::from_secs(3600)));
    hours.count("per-hour").sink("hours", Blackhole::new());
    keyed.window(session(Duration::from_secs(3600))).count("sessions").sink("sessions-out", Blackhole::new());
    topology
}

fn run(topology: Topology, state: &Path, reads: u64) -> Report {
    let job =
        Job::new(topology).state(state).memory(64 << 20).workers(2).epoch_interval(Duration::from_millis(10));
    let running = job.savepoint_on_stop("end").start().expect("starts");
    let has_read = |node: &NodeReport| node.verb == "source" && node.records_out >= reads;
    while !running.is_finished() && !running.counters().iter().any(has_read) {
        std::thread::sleep(Duration::from_millis(1));
    }
    running.stop();
    running.wait().expect("runs")
}

fn tool(arguments: &[&str]) -> Output {
    let tool = Command::new(env!("CARGO_BIN_EXE_highwater-state")).args(arguments).output();
    tool.expect("the tool was built")
}

#[track_caller]
fn says(arguments: &[&str]) -> String {
    let output = tool(arguments);
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {error}");
    out.into_owned()
}

#[track_caller]
fn refuses(arguments: &[&str]) -> String {
    let output = tool(arguments);
    assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}");
    String::from_utf8(output.stderr).expect("it is text")
}

fn files(directory: &Path) -> BTreeSet<(String, u64, std::time::SystemTime)> {
    let files =
        fs::read_dir(directory.join("db")).expect("it is there").map(|file| file.expect("it is there"));
    files
        .map(|file| {
            let about = file.metadata().expect("it is there");
            let changed = about.modified().expect("the system knows");
            (file.file_name().to_string_lossy().into_owned(), about.len(), changed)
        })
        .collect()
}

#[test]
fn it_lists_reads_and_exports_what_a_job_has_kept_and_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let report = run(topology(true), directory.path(), 300);
    let savepoint = report.savepoint.expect("it was made");
    for path in [directory.path(), &savepoint] {
        let before = files(path);
        let at = path.to_str().expect("it is text");
        let listed = says(&["list", at]);
        assert_eq!(listed.contains("savepoint of the topology `clicks`"), path == savepoint, "{listed}");
        assert!(
            listed.contains(&format!("epoch {}\n", report.epoch.0)) || listed.contains("epoch "),
            "{listed}"
        );
        let has = |name: &str, parts: &[&str]| {
            let line =
                listed.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{listed}"));
            assert!(parts.iter().all(|part| line.contains(part)), "{line}");
            assert!(!line.contains("orphan"), "{line}");
        };
        has(
            "last-click",
            &[
                "values",
                " 30 ",
                "str -> Click{user:str,kind:Kind[View|Buy{items:list<u32>}],price:option<f64>}",
            ],
        );
        has("per-hour", &["windows", " 30 ", "str -> u64"]);
        has("sessions/timers", &["timers", " 30 ", "str -> ()"]);

        // By the key as JSON, and as it is.
        let last = r#"{"key":"user \"5\"","value":{"user":"user \"5\"","kind":{"Buy":{"items":[0,1]}},"price":68.75}}"#;
        assert_eq!(says(&["read", at, "last-click", r#""user \"5\"""#]), format!("{last}\n"));
        assert_eq!(says(&["read", at, "last-click", r#"user "5""#]), format!("{last}\n"));
        let hour = r#"{"time":"1970-01-01T01:00:00Z","key":"user \"5\"","value":10}"#;
        assert_eq!(says(&["read", at, "per-hour", r#"user "5""#]), format!("{hour}\n"));
        assert_eq!(says(&["read", at, "per-hour"]).lines().count(), 20);

        let exported = says(&["export", at, "last-click"]);
        assert_eq!(exported.lines().count(), 30);
        let mut users = BTreeSet::new();
        for line in exported.lines() {
            let row: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
            let click: Click = serde_json::from_value(row["value"].clone()).expect("as serde writes it");
            assert_eq!(row["key"], click.user.as_str());
            users.insert(click.user);
        }
        assert_eq!(users.len(), 30);
        let sessions = says(&["export", at, "sessions"]);
        assert!(sessions.lines().count() == 30 && sessions.contains(":10"), "{sessions}");
        assert_eq!(says(&["orphans", at]), "");
        assert_eq!(files(path), before, "nothing is changed");
    }
}

#[test]
fn it_names_orphans_and_drops_them_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path().to_str().expect("it is text");
    run(topology(true), directory.path(), 300);
    assert!(refuses(&["drop", at, "last-click"]).contains("uses it"));
    let report = run(topology(false), directory.path(), 0);
    assert_eq!(report.orphans, ["last-click"]);
    assert_eq!(says(&["orphans", at]), "last-click\n");
    assert!(
        says(&["list", at]).lines().any(|line| line.starts_with("last-click") && line.ends_with("(orphan)"))
    );
    assert!(refuses(&["drop", at, "last-click", "per-hour"]).contains("`per-hour`"));
    assert!(refuses(&["drop", at, "last-click", "per-our"]).contains("per-our"));
    let savepoint = report.savepoint.expect("it was made");
    assert!(refuses(&["drop", savepoint.to_str().expect("it is text"), "last-click"]).contains("savepoint"));
    assert_eq!(says(&["read", at, "last-click", "user \"5\""]).lines().count(), 1, "it is still there");
    assert_eq!(says(&["drop", at, "last-click"]), "dropped last-click\n");
    assert_eq!(says(&["orphans", at]), "");
    assert!(refuses(&["read", at, "last-click"]).contains("there are: per-hour, sessions"));
    assert_eq!(run(topology(false), directory.path(), 0).orphans, Vec::<String>::new());
}

#[test]
fn it_says_why_it_cannot() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path().to_str().expect("it is text");
    for arguments in [&[][..], &["lost"], &["list"], &["read", at], &["drop", at], &["export", at, "a", "b"]]
    {
        let output = tool(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("Usage:"), "{arguments:?}");
    }
    assert!(says(&["--help"]).contains("Usage:"));
    assert!(refuses(&["list", at]).contains("no state"));
    assert!(refuses(&["drop", at, "x"]).contains("no state"));
    assert_eq!(fs::read_dir(directory.path()).expect("it is there").count(), 0, "nothing was made");

    let state = directory.path().join("state");
    let running = Job::new(topology(true)).state(&state).start().expect("starts");
    let state = state.to_str().expect("it is text");
    for command in ["list", "orphans"] {
        assert!(refuses(&[command, state]).contains("in use by another process"));
    }
    assert!(refuses(&["drop", state, "last-click"]).contains("in use by another process"));
    drop(running);
    let missing = refuses(&["read", state, "last-click", "nobody"]);
    assert!(missing.contains("last-click") && missing.contains("nobody"), "{missing}");
}
