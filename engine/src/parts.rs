//! What a job is made of, for as long as it lives: shared by everything that starts, commits and recovers it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use highwater_operators::decide::{Decide, Terms};
use highwater_operators::error::Cause;
use highwater_operators::graph::Graph;
use highwater_state::Backend;
use highwater_state::budget::TableBudget;
use highwater_state::migration::Migration;

use crate::boundary::Boundary;
use crate::config::Config;
use crate::error::JobError;
use crate::progress::Progress;
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
    /// How many epochs have ended in this process, with or without anything in them.
    pub(crate) ended: AtomicU64,
    /// How states change their types, where the program has other ones than it had.
    pub(crate) migrations: Vec<Migration>,
    /// How far the job has come, for who asks.
    pub(crate) progress: Arc<Progress>,
    /// What waits for the end of an epoch.
    pub(crate) boundary: Arc<Boundary>,
}

impl Parts {
    /// The job has ended: nobody has to wait for what it had open.
    pub(crate) fn leave(&self) {
        if let Some(decider) = &self.decider {
            decider.leave();
        }
    }

    /// The error of a decider that failed.
    pub(crate) fn undecided(&self, cause: Cause) -> JobError {
        let decider = self.decider.as_ref().map(|decider| decider.describe()).unwrap_or_default();
        JobError::Undecided { decider, cause }
    }
}
