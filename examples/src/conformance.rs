//! The conformance runner's parts: cases as they are written down, and a topology for each kind of case.
//!
//! A case says what an operator is given; the runner tells what it gave, and compares nothing. Invariant: what a
//! case expects is never looked at.

mod case;
mod cep;
mod dedup;
mod joins;
mod run;
mod windows;

use highwater::prelude::Cause;
use serde_json::{Map, Value, json};

pub use run::How;

/// Runs one case and tells what came of it: its `id` and the fields that its kind has, or its `id` and an `error`.
pub fn told(case: &Value, how: How) -> Value {
    let mut told = Map::new();
    told.insert("id".to_owned(), case.get("id").cloned().unwrap_or(Value::Null));
    let fields = match case.get("kind").and_then(Value::as_str) {
        Some("window") => windows::run(case, how),
        Some("join") => joins::run(case, how),
        Some("dedup") => dedup::run(case, how),
        Some("cep") => cep::run(case, how),
        Some(kind) => Err(format!("there is no kind of case called `{kind}`").into()),
        None => Err("the case does not say its kind".into()),
    };
    with_fields(told, fields)
}

/// As [`told`], of a case of a pattern: event by event, with a restart after each.
///
/// # Panics
/// If the pattern fails while it runs.
pub fn told_restarting(case: &Value) -> Value {
    let id = case.get("id").cloned().unwrap_or(Value::Null);
    with_fields(Map::from_iter([("id".to_owned(), id)]), cep::run_restarting(case))
}

fn with_fields(mut told: Map<String, Value>, fields: Result<Map<String, Value>, Cause>) -> Value {
    match fields {
        Ok(fields) => told.extend(fields),
        Err(error) => drop(told.insert("error".to_owned(), json!(error.to_string()))),
    }
    Value::Object(told)
}
