//! Cases of joins: interval, windowed and as-of joins of the records of two sides.

use highwater::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::case::{Record, Side, Timeline};
use super::run::{How, part, run as run_chain};

#[derive(Clone, Debug, Deserialize)]
struct Case {
    join: Shape,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Shape {
    Interval { lower_ms: i64, upper_ms: i64, mode: Mode },
    Tumbling { size_ms: u64, mode: Mode },
    AsOf { mode: Mode },
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Inner,
    Left,
    Right,
    Outer,
}

/// What a case tells: the ids of a row's records, or the id of a late record.
enum Told {
    Row(Option<i64>, Option<i64>),
    Late(i64),
}

/// Runs a case; gives `results` and `late`.
pub(super) fn run(case: &Value, how: How) -> Result<Map<String, Value>, Cause> {
    let timeline: Timeline = part(case)?;
    let case: Case = part(case)?;
    if matches!(case.join, Shape::AsOf { mode: Mode::Right | Mode::Outer }) {
        return Err("an as-of join keeps the left side only: its mode is inner or left".into());
    }
    if timeline.records.iter().any(|record| record.side.is_none()) {
        return Err("a record of a join does not say its side".into());
    }
    let (mut results, mut late) = (Vec::new(), Vec::new());
    for told in run_chain(timeline, how, |records| chain(&case.join, records))? {
        match told {
            Told::Row(left, right) => results.push(json!([left, right])),
            Told::Late(id) => late.push(json!(id)),
        }
    }
    Ok(Map::from_iter([("results".to_owned(), json!(results)), ("late".to_owned(), json!(late))]))
}

fn chain(join: &Shape, records: Stream<Record>) -> Stream<Told> {
    let (left, right) = records.branch(|record| record.side == Some(Side::Left));
    let left = left.key_by(|record| record.key.clone());
    let right = right.key_by(|record| record.key.clone());
    match *join {
        Shape::Interval { lower_ms, upper_ms, mode } => {
            joined(left.join(right, between_millis(lower_ms, upper_ms)), mode)
        }
        Shape::Tumbling { size_ms, mode } => {
            joined(left.join(right, tumbling(Duration::from_millis(size_ms))), mode)
        }
        Shape::AsOf { mode } => {
            let (joined, late_left, late_right) = left.join_as_of(right).with_late();
            let rows = match mode {
                Mode::Inner => {
                    joined.inner("join").values().map(|(left, right)| row(Some(left), Some(right)))
                }
                _ => joined.left("join").values().map(|(left, right)| row(Some(left), right)),
            };
            rows.merge(late_left.map(late)).merge(late_right.map(late))
        }
    }
}

fn joined(joined: JoinedStream<String, Record, Record>, mode: Mode) -> Stream<Told> {
    let (joined, late_left, late_right) = joined.with_late();
    let rows = match mode {
        Mode::Inner => joined.inner("join").values().map(|(left, right)| row(Some(left), Some(right))),
        Mode::Left => joined.left("join").values().map(|(left, right)| row(Some(left), right)),
        Mode::Right => joined.right("join").values().map(|(left, right)| row(left, Some(right))),
        Mode::Outer => joined.outer("join").values().map(|(left, right)| row(left, right)),
    };
    rows.merge(late_left.map(late)).merge(late_right.map(late))
}

fn row(left: Option<Record>, right: Option<Record>) -> Told {
    Told::Row(left.map(|record| record.id), right.map(|record| record.id))
}

fn late(record: Record) -> Told {
    Told::Late(record.id)
}
