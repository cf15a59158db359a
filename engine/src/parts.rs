//! What a job is made of, for as long as it lives: shared by everything that starts, commits and recovers it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use highwater_operators::decide::{Decide, Terms};
use highwater_operators::error::Cause;
use highwater_operators::graph::Graph;
use highwater_state::Backend;
use highwater_state::budget::TableBudget;

use crate::config::Config;
use crate::error::JobError;
use crate::recovery::Random;
use crate::step::Watch;

/// The parts of one job.
pub(crate) struct Parts {
    pub(crate) graph: Arc<Graph>,
    pub(crate) backend: Arc<dyn Backend>,
    /// Who decides epochs, if it is not the backend.
    pub(crate) decider: Option<Arc<dyn Decide>>,
    /// Whether the input is shared with other instances; then there is no state that survives.
    pub(crate) shared: bool,
    pub(crate) terms: Terms,
    pub(crate) budget: Arc<TableBudget>,
    pub(crate) config: Config,
    /// Set when the job is asked to stop.
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) watch: Watch,
    pub(crate) random: Random,
}

impl Parts {
    /// The error of a decider that failed.
    pub(crate) fn undecided(&self, cause: Cause) -> JobError {
        let decider = self.decider.as_ref().map(|decider| decider.describe()).unwrap_or_default();
        JobError::Undecided { decider, cause }
    }
}
