//! A topology on one worker: a value that is stepped.
//!
//! Threads step flows in production, the interpreter and the harness step one in the caller's thread. A step is
//! one pass over the tasks in the order of the plan, so that a batch read from a source passes through the whole
//! chain while it is in the cache. It never blocks: a task whose output is full is passed over, and with it, in
//! turn, those that feed it (HW-5).

use highwater_state::{Epoch, Timestamp};

use crate::error::RunError;
use crate::graph::Graph;
use crate::opening::{WorkerOpening, open_tasks};
use crate::task::{Contribution, Halted, Pace, StepContext, Task};

/// A topology on one worker.
pub struct Flow {
    tasks: Vec<Box<dyn Task>>,
    ending: Option<Epoch>,
    last: bool,
    making_way: bool,
    contribution: Contribution,
}

impl Flow {
    /// Opens the plan on one worker, where the last committed epoch left it.
    ///
    /// # Errors
    /// If a source, a sink or the state cannot be opened.
    pub fn open(graph: &Graph, worker: &WorkerOpening<'_>) -> Result<Flow, RunError> {
        let tasks = open_tasks(graph, worker)?;
        Ok(Flow {
            tasks,
            ending: None,
            last: false,
            making_way: false,
            contribution: Contribution::default(),
        })
    }

    /// Does a bounded amount of work; says whether it did any. `now` is in milliseconds since
    /// 1970, from a clock that only rises.
    ///
    /// # Errors
    /// Those of operators, sources and sinks; the flow is of no more use then.
    pub fn step(&mut self, now: Timestamp, pace: &dyn Pace) -> Result<bool, RunError> {
        let mut context = StepContext {
            now,
            ending: self.ending,
            last: self.last,
            finishing: self.last && !self.making_way && self.is_exhausted(),
            making_way: self.making_way,
            pace: if self.making_way { &Halted } else { pace },
            contribution: &mut self.contribution,
        };
        let mut moved = false;
        for task in &mut self.tasks {
            moved |= task.step(&mut context)?;
        }
        Ok(moved)
    }

    /// Asks the sources to end the epoch; if it is the last, the end follows.
    ///
    /// # Panics
    /// If an epoch is already ending.
    pub fn end_epoch(&mut self, epoch: Epoch, last: bool) {
        assert!(self.ending.is_none(), "{:?} is still ending", self.ending);
        self.ending = Some(epoch);
        self.last = last;
    }

    /// The job is to stop: from here on nothing is read, and what is on its way to something that waits is kept for
    /// the next start, so that the epochs that are still to end do so soon.
    pub fn make_way(&mut self) {
        self.making_way = true;
    }

    /// What the worker contributes to the epoch that is ending, once its barrier has passed every task.
    pub fn take_contribution(&mut self) -> Option<(Epoch, Contribution)> {
        if self.contribution.passed < self.tasks.len() {
            return None;
        }
        let epoch = self.ending.take()?;
        Some((epoch, std::mem::take(&mut self.contribution)))
    }

    /// Tells every task that the backend has applied the epoch.
    pub fn applied(&mut self, epoch: Epoch) {
        self.tasks.iter_mut().for_each(|task| task.applied(epoch));
    }

    /// Whether all splits of all sources have ended; their records may still be on the way.
    pub fn is_exhausted(&self) -> bool {
        self.tasks.iter().all(|task| task.is_exhausted())
    }

    /// Whether the end has passed every task.
    pub fn has_ended(&self) -> bool {
        self.tasks.iter().all(|task| task.has_ended())
    }
}
