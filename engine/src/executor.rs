//! The runtime that drives the futures of `map_async`: one for a job, beside its workers, and none for a job that
//! uses no such verb.
//!
//! A future that comes to its end wakes the worker that waits for it. The runtime ends with the job: what still runs
//! then is dropped.

use std::sync::Arc;
use std::time::Duration;

use highwater_operators::executor::{Executor, InPlace, Work};
use highwater_operators::graph::Graph;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::channels::Waker;
use crate::error::JobError;

/// The runtime of one job, if it needs one.
pub(crate) struct Requesting(Option<Runtime>);

impl Requesting {
    /// Starts a runtime with timers and sockets if the topology has futures to drive. It has as many threads as
    /// there are workers: requests wait more than they compute, and what they compute grows with what workers read.
    pub(crate) fn start(graph: &Graph, workers: usize) -> Result<Requesting, JobError> {
        if !graph.is_asynchronous() {
            return Ok(Requesting(None));
        }
        let mut builder = Builder::new_multi_thread();
        let built = builder.worker_threads(workers).thread_name("requests").enable_all().build();
        let failed = |source| JobError::System { doing: "start the runtime of `map_async`", source };
        Ok(Requesting(Some(built.map_err(failed)?)))
    }

    /// What one worker hands its futures to.
    pub(crate) fn executor(&self, worker: Waker) -> Arc<dyn Executor> {
        match &self.0 {
            Some(runtime) => Arc::new(OnRuntime { runtime: runtime.handle().clone(), worker }),
            None => Arc::new(InPlace),
        }
    }

    /// Ends the runtime. Waits so long at most for futures that do not let go of their thread.
    pub(crate) fn end(mut self, patience: Duration) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(patience);
        }
    }
}

impl Drop for Requesting {
    /// Where a job could not be started: its caller may stand on a runtime itself, and must not wait.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

struct OnRuntime {
    runtime: Handle,
    worker: Waker,
}

impl Executor for OnRuntime {
    fn spawn(&self, work: Work) {
        let worker = self.worker.clone();
        drop(self.runtime.spawn(async move {
            work.await;
            worker.wake();
        }));
    }
}
