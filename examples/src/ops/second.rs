//! What is told of an endpoint for a second, and when that is a reason for an alert.

use highwater::alert::Verdict;
use highwater::prelude::*;
use serde::{Deserialize, Serialize};

/// The part of an endpoint's requests that may fail.
pub const ERRORS_MAX: f64 = 0.05;

/// The rule, as alerts name it.
pub const RULE: &str = "error_rate > 5%";

/// A second of an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// The endpoint.
    pub endpoint: String,
    /// When the second begins.
    pub at: Timestamp,
    /// How many requests were answered in it.
    pub requests: u64,
    /// How long that took on average.
    pub mean_millis: f64,
    /// How many of them failed.
    pub errors: u64,
    /// How many users asked.
    pub users: u64,
}

impl Second {
    /// The part of the requests that failed.
    pub fn error_rate(&self) -> f64 {
        self.errors as f64 / self.requests as f64
    }

    /// What the rule says of it.
    pub fn verdict(&self) -> Verdict {
        let value = self.error_rate();
        Verdict {
            rule: RULE.to_owned(),
            of: self.endpoint.clone(),
            broken: value > ERRORS_MAX,
            value,
            at: self.at,
        }
    }
}
