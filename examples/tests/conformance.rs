//! The program `conformance`: what it prints for cases, good and bad ones, and the recorded cases where they are there.

mod program;

use std::fs;
use std::path::Path;

use highwater_examples::conformance::told_restarting;
use program::{Program, text};
use serde_json::{Value, json};
use tempfile::tempdir;

/// What the program prints for the cases, with the interpreter and with 1, 2 and 4 workers.
fn told(cases: &Value) -> Vec<Vec<Value>> {
    let directory = tempdir().expect("there is room");
    let file = directory.path().join("cases.json");
    fs::write(&file, cases.to_string()).expect("there is room");
    told_of(&file)
}

fn told_of(file: &Path) -> Vec<Vec<Value>> {
    let program = || Program::new("conformance").with([file.as_os_str()]);
    let runs = [None, Some("1"), Some("2"), Some("4")].map(|workers| match workers {
        Some(workers) => program().with(["--workers", workers]).succeeds(),
        None => program().succeeds(),
    });
    let lines =
        |out: &[u8]| text(out).lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect();
    runs.iter().map(|run| lines(&run.stdout)).collect()
}

fn sorted(list: &Value) -> Vec<String> {
    let mut rows: Vec<String> = list.as_array().expect("is a list").iter().map(Value::to_string).collect();
    rows.sort();
    rows
}

#[test]
fn each_kind_tells_its_fields_and_a_case_that_cannot_be_run_its_reason() {
    let record =
        |id: i64, ts: i64, side: &str| json!({"id": id, "key": "a", "ts": ts, "value": 1, "side": side});
    let records = json!([record(7, 1, "left"), record(3, 4, "right"), record(9, -30, "left")]);
    let case = |id: &str, kind: &str| json!({"id": id, "kind": kind, "records": records, "lag_ms": 5});
    let with = |mut case: Value, field: &str, value: Value| {
        case[field] = value;
        case
    };
    let window = with(case("w", "window"), "aggregate", json!("count"));
    let cases = json!([
        with(window.clone(), "window", json!({"type": "tumbling", "size_ms": 10, "offset_ms": -3})),
        with(window.clone(), "window", json!({"type": "session", "gap_ms": 0})),
        with(
            case("j", "join"),
            "join",
            json!({"type": "interval", "lower_ms": 0, "upper_ms": 5, "mode": "outer"})
        ),
        with(case("d", "dedup"), "ttl_ms", json!(3)),
        case("x", "unknown"),
        with(case("broken", "dedup"), "ttl_ms", json!("long")),
    ]);
    for told in told(&cases) {
        assert_eq!(told[0]["results"], json!([{"key": "a", "start": -3, "end": 7, "value": 2}]));
        assert_eq!(told[0]["late"], json!([9]));
        let refused = told[1]["error"].as_str().expect("is refused");
        assert!(refused.contains("gap") && told[1].get("results").is_none(), "{refused}");
        assert_eq!((&told[2]["results"], &told[2]["late"]), (&json!([[7, 3]]), &json!([9])));
        assert_eq!(told[3], json!({"id": "d", "results": [7, 9]}));
        assert!(told[4]["error"].as_str().is_some_and(|error| error.contains("unknown")));
        assert!(told[5]["error"].as_str().is_some_and(|error| error.contains("cannot be read")));
        assert_eq!(told.len(), 6);
    }
}

#[test]
fn a_case_that_stops_leaves_time_where_it_is() {
    let record = |id: i64, ts: i64| json!({"id": id, "key": "a", "ts": ts, "value": 2.5});
    let case = json!({
        "id": "s", "kind": "window", "lag_ms": 0, "end": "stop", "aggregate": "sum",
        "window": {"type": "sliding", "size_ms": 10, "slide_ms": 5}, "records": [record(1, 0), record(2, 6)],
    });
    for told in told(&json!([case])) {
        assert_eq!(told[0]["results"], json!([{"key": "a", "start": -5, "end": 5, "value": 2.5}]));
    }
}

#[test]
fn the_recorded_cases_give_what_they_expect() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance");
    for name in ["windows.json", "joins.json", "dedup.json"] {
        let file = folder.join(name);
        let Ok(cases) = fs::read_to_string(&file) else {
            println!("skipped: {} is not there", file.display());
            continue;
        };
        let cases: Vec<Value> = serde_json::from_str(&cases).expect("the cases can be read");
        for told in told_of(&file) {
            assert_eq!(told.len(), cases.len());
            for (told, case) in told.iter().zip(&cases) {
                let expected = &case["expected"];
                assert_eq!(told["id"], case["id"]);
                if expected.get("late").is_some() {
                    assert_eq!(sorted(&told["late"]), sorted(&expected["late"]), "{}", case["id"]);
                }
                same_results(&told["results"], &expected["results"], &case["id"]);
            }
        }
    }
}

#[test]
fn the_recorded_patterns_match_what_they_expect() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance/cep.json");
    let Ok(cases) = fs::read_to_string(&file) else {
        println!("skipped: {} is not there", file.display());
        return;
    };
    let cases: Vec<Value> = serde_json::from_str(&cases).expect("the cases can be read");
    for told in told_of(&file) {
        assert_eq!(told.len(), cases.len());
        told.iter().zip(&cases).for_each(|(told, case)| same_matches(told, case));
    }
    for case in cases.iter().filter(|case| case.get("expect_error").is_none()) {
        same_matches(&told_restarting(case), case);
    }
}

/// The same matches, each as often, and the same partial matches whose time was over; or the same kind of error.
fn same_matches(told: &Value, case: &Value) {
    let id = &case["id"];
    assert_eq!(&told["id"], id);
    if let Some(expected) = case.get("expect_error") {
        let (found, expected) = (told["error"].as_str(), expected.as_str().expect("is a word"));
        assert!(found.is_some_and(|found| found.starts_with(expected)), "{id}: {told}");
        return;
    }
    assert!(told.get("error").is_none(), "{id}: {told}");
    assert_eq!(sorted(&told["matches"]), sorted(&case["expected"]), "{id}");
    if let Some(expected) = case.get("expected_by_stage") {
        assert_eq!(sorted(&told["by_stage"]), sorted(expected), "{id}");
    }
    let Some(expected) = case.get("expected_timeouts").and_then(Value::as_array) else { return };
    let found = told["timeouts"].as_array().expect("is a list");
    let fits = |one: &Value, other: &Value| {
        one["events"] == other["events"] && (one["ts"].is_null() || one["ts"] == other["ts"])
    };
    assert!(expected.iter().all(|one| found.iter().any(|other| fits(one, other))), "{id}: {told}");
    assert!(found.iter().all(|other| expected.iter().any(|one| fits(one, other))), "{id}: {told}");
}

/// The same rows in any order; the numbers of windows to nine digits.
fn same_results(found: &Value, expected: &Value, id: &Value) {
    let rounded = |rows: &Value| {
        let rows = rows.as_array().expect("is a list").iter().cloned().map(|mut row| {
            if let Some(value) = row.get("value").and_then(Value::as_f64) {
                row["value"] = json!(format!("{value:.8e}"));
            }
            row
        });
        sorted(&Value::Array(rows.collect()))
    };
    assert_eq!(rounded(found), rounded(expected), "{id}");
}

#[test]
fn a_file_that_is_none_is_said_so() {
    let directory = tempdir().expect("there is room");
    let missing = directory.path().join("missing.json");
    let told = Program::new("conformance").with([missing.as_os_str()]).fails(1);
    assert!(told.contains("missing.json") && told.contains("No such file"), "{told}");
    fs::write(&missing, "{}").expect("there is room");
    let told = Program::new("conformance").with([missing.as_os_str()]).fails(1);
    assert!(told.contains("no array of cases"), "{told}");
}
