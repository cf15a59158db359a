//! What the example `fraud` tells: one JSON object a line.

use serde::Serialize;

use super::{Alert, Event, Fraud};
use crate::live::{Board, Shown};

/// One line of the output.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// A rule has found something.
    Alert(Alert),
    /// The score of a user is too high.
    Fraud(Fraud),
    /// An event that came when later ones had been dealt with.
    Late {
        /// The event.
        event: Event,
    },
    /// A line that is no event.
    Bad {
        /// The line as it came; bytes that are not UTF-8 are U+FFFD.
        line: String,
        /// Why it is no event.
        reason: String,
    },
}

impl Outcome {
    /// From a late event.
    pub fn late(event: Event) -> Outcome {
        Outcome::Late { event }
    }

    /// From the bytes of a line that is no event.
    pub fn bad(raw: &[u8], reason: String) -> Outcome {
        let line = String::from_utf8_lossy(raw.strip_suffix(b"\r").unwrap_or(raw)).into_owned();
        Outcome::Bad { line, reason }
    }
}

impl Shown for Outcome {
    fn show(&self, board: &mut Board) {
        match self {
            Outcome::Alert(alert) => {
                board.add("alerts", 1);
                board.rank("alerts by rule", "", alert.rule.words(), 1);
            }
            Outcome::Fraud(_) => board.add("frauds", 1),
            Outcome::Late { .. } => board.add("late", 1),
            Outcome::Bad { .. } => board.add("bad", 1),
        }
    }
}
