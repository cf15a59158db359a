//! Cases of windows: tumbling, sliding and session windows, with five aggregates.

use highwater::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::case::{Record, Timeline};
use super::run::{How, part, run as run_chain};

#[derive(Clone, Debug, Deserialize)]
struct Case {
    window: Shape,
    aggregate: Figure,
    #[serde(default)]
    allowed_lateness_ms: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Shape {
    Tumbling {
        size_ms: u64,
        #[serde(default)]
        offset_ms: i64,
    },
    Sliding {
        size_ms: u64,
        slide_ms: u64,
        #[serde(default)]
        offset_ms: i64,
    },
    Session {
        gap_ms: u64,
    },
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Figure {
    Count,
    Sum,
    Min,
    Max,
    Mean,
}

/// What a case tells: a window's result, or the id of a late record.
enum Told {
    Window(Value),
    Late(i64),
}

/// Runs a case; gives `results` and `late`.
pub(super) fn run(case: &Value, how: How) -> Result<Map<String, Value>, Cause> {
    let timeline: Timeline = part(case)?;
    let case: Case = part(case)?;
    let (mut results, mut late) = (Vec::new(), Vec::new());
    for told in run_chain(timeline, how, |records| chain(&case, records))? {
        match told {
            Told::Window(result) => results.push(result),
            Told::Late(id) => late.push(json!(id)),
        }
    }
    Ok(Map::from_iter([("results".to_owned(), json!(results)), ("late".to_owned(), json!(late))]))
}

fn chain(case: &Case, records: Stream<Record>) -> Stream<Told> {
    let by_key = records.key_by(|record| record.key.clone());
    let lateness = Duration::from_millis(case.allowed_lateness_ms);
    let millis = Duration::from_millis;
    match case.window {
        Shape::Tumbling { size_ms, offset_ms } => {
            let windows = tumbling(millis(size_ms));
            let offset = millis(offset_ms.unsigned_abs());
            let windows = if offset_ms < 0 { windows.offset_back(offset) } else { windows.offset(offset) };
            aggregated(by_key.window(windows).allow_late(lateness), case.aggregate)
        }
        Shape::Sliding { size_ms, slide_ms, offset_ms } => {
            let windows = sliding(millis(size_ms), millis(slide_ms));
            let offset = millis(offset_ms.unsigned_abs());
            let windows = if offset_ms < 0 { windows.offset_back(offset) } else { windows.offset(offset) };
            aggregated(by_key.window(windows).allow_late(lateness), case.aggregate)
        }
        Shape::Session { gap_ms } => aggregated(by_key.window(session(millis(gap_ms))), case.aggregate),
    }
}

fn aggregated<W: Windows>(windows: WindowedStream<String, Record, W>, figure: Figure) -> Stream<Told> {
    let (windows, late) = windows.with_late();
    let results = match figure {
        Figure::Count => windows.count("windows").map(told),
        Figure::Sum => windows.aggregate("windows", |a| a.sum(|record: &Record| record.value)).map(told),
        Figure::Min => windows.aggregate("windows", |a| a.min(|record: &Record| record.value)).map(told),
        Figure::Max => windows.aggregate("windows", |a| a.max(|record: &Record| record.value)).map(told),
        Figure::Mean => windows.aggregate("windows", |a| a.mean(|record: &Record| record.value)).map(told),
    };
    results.merge(late.map(|record| Told::Late(record.id)))
}

fn told<V: serde::Serialize>(result: Windowed<String, V>) -> Told {
    let Windowed { key, window, value, .. } = result;
    Told::Window(json!({
        "key": key,
        "start": window.start.as_millis(),
        "end": window.end.as_millis(),
        "value": value,
    }))
}
