//! Cases of deduplication: which records are passed on.

use highwater::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::case::Timeline;
use super::run::{How, part, run as run_chain};

#[derive(Clone, Debug, Deserialize)]
struct Case {
    ttl_ms: u64,
}

/// Runs a case; gives `results`, in the order of the case's records: those of one key come in it, and where there are
/// several workers nothing orders one key against another.
pub(super) fn run(case: &Value, how: How) -> Result<Map<String, Value>, Cause> {
    let timeline: Timeline = part(case)?;
    let case: Case = part(case)?;
    let ttl = Duration::from_millis(case.ttl_ms);
    let mut passed = run_chain(timeline, how, |records| {
        records.key_by(|record| record.key.clone()).dedup("seen", ttl).values()
    })?;
    passed.sort_by_key(|record| record.place);
    let ids: Vec<i64> = passed.into_iter().map(|record| record.id).collect();
    Ok(Map::from_iter([("results".to_owned(), json!(ids))]))
}
