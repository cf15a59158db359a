//! Alerts on a running job, as an ordinary topology: a source of what it measures, and rules over that.
//!
//! [`Measures`] is a source that looks at a job now and then, each look a record for each measure. A [`Rule`] judges
//! one. [`Firing`] tells when a rule begins and ceases to be broken, once for each. Invariant: a look costs the job
//! that is looked at nothing but reads of its counters. It does not know who is to be told; that is a sink's business.
//!
//! ```
//! use highwater::alert::{Firing, Measures, Rule, Verdict};
//! use highwater::prelude::*;
//!
//! # let watched = Topology::new("watched");
//! # watched.source("numbers", Memory::source([1]).unending()).sink("out", Blackhole::new());
//! # let running = Job::new(watched).start()?;
//! let rules: Vec<Rule> =
//!     ["consumer_lag > 10000", "error_rate > 1%", "up < 1"].map(|rule| rule.parse().expect("is a rule")).to_vec();
//! let topology = Topology::new("alerts");
//! topology
//!     .source("measures", Measures::of(running.queries(), Duration::from_secs(1)))
//!     .event_time(|measure| measure.at, Duration::ZERO)
//!     .flat_map(move |measure| rules.iter().filter_map(|rule| rule.judge(&measure)).collect::<Vec<_>>())
//!     .key_by(Verdict::key)
//!     .process("firing", Firing::new)
//!     .values()
//!     .sink("alerts", Blackhole::new());
//! let alerts = Job::new(topology).start()?;
//! # drop(alerts);
//! # Ok::<(), JobError>(())
//! ```

mod measures;
mod rule;

use highwater_operators::error::Cause;
use highwater_operators::keyed::process::{Context, KeyedOperator, States, Value};
use highwater_state::Timestamp;
use serde::{Deserialize, Serialize};

pub use measures::{Measure, Measures};
pub use rule::{Rule, RuleError, Verdict};

/// A rule has begun or ceased to be broken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The rule, as it was written.
    pub rule: String,
    /// Of what: `clicks/0`, the split of a source; `enrich`, an operator.
    pub of: String,
    /// Whether it is broken now.
    pub firing: bool,
    /// What was measured.
    pub value: f64,
    /// When.
    pub at: Timestamp,
}

/// Makes alerts of verdicts: the first of each rule and thing that is broken, and every one that differs from the one
/// before it. Goes behind `key_by(Verdict::key)`, with `process`.
pub struct Firing {
    last: Value<bool>,
}

impl Firing {
    /// Declares what is kept of each rule and thing: whether it is broken.
    pub fn new(states: &mut States<'_, (String, String)>) -> Firing {
        Firing { last: states.value("firing") }
    }
}

impl KeyedOperator<(String, String), Verdict> for Firing {
    type Out = Alert;

    fn on_record(
        &mut self,
        verdict: Verdict,
        context: &mut Context<'_, (String, String), Alert>,
    ) -> Result<(), Cause> {
        let was = self.last.get(context)?.copied().unwrap_or(false);
        if was == verdict.broken {
            return Ok(());
        }
        self.last.set(context, verdict.broken)?;
        let Verdict { rule, of, broken, value, at } = verdict;
        context.emit(Alert { rule, of, firing: broken, value, at });
        Ok(())
    }
}
