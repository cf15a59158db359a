//! What all kinds of cases but patterns have: records with times, and how far out of order they may come.

use serde::{Deserialize, Serialize};

/// A record of a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// Its place among the case's records.
    #[serde(default)]
    pub(super) place: usize,
    pub(super) id: i64,
    pub(super) key: String,
    pub(super) ts: i64,
    #[serde(default)]
    pub(super) value: f64,
    pub(super) side: Option<Side>,
}

/// Which input of a join a record belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Side {
    Left,
    Right,
}

/// The records of a case in the order in which they come, and their watermark.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Timeline {
    pub(super) records: Vec<Record>,
    #[serde(default)]
    pub(super) lag_ms: u64,
    #[serde(default)]
    pub(super) end: Option<End>,
}

/// What happens after the last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum End {
    /// Nothing; without this the watermark goes to the end of time.
    Stop,
}

impl Timeline {
    pub(super) fn stops(&self) -> bool {
        self.end == Some(End::Stop)
    }
}
