//! What is done between two epochs, when the state on disk is that of one epoch and nothing is being committed:
//! savepoints that somebody asked for, and once, when every operator has said what state it has, what becomes of
//! the rest.
//!
//! Invariant: it changes no state that the topology uses. It does not know when an epoch ends; the coordinator
//! calls it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crossbeam_channel::{Receiver, Sender, bounded};
use highwater_state::catalog::Catalog;
use highwater_state::{Backend, Epoch, Savepoint, StateError, Timestamp};

use crate::error::JobError;

/// What waits for the end of an epoch; shared by the coordinator and whoever holds the running job.
pub(crate) struct Boundary {
    topology: String,
    /// The state directory, if there is one.
    pub(crate) state: Option<PathBuf>,
    plan: Plan,
    inner: Mutex<Inner>,
}

/// What the job is set to do.
#[derive(Default)]
pub(crate) struct Plan {
    /// States that are to be dropped if the topology does not have them.
    pub(crate) drops: Vec<String>,
    /// What the savepoint is called that is made behind the last epoch.
    pub(crate) on_stop: Option<String>,
}

#[derive(Default)]
struct Inner {
    requests: Vec<Request>,
    /// Whether it is known which states the topology has.
    settled: bool,
    orphans: Vec<String>,
    last: Option<Savepoint>,
}

type Answer = Result<Savepoint, StateError>;

struct Request {
    path: PathBuf,
    answer: Sender<Answer>,
}

impl Boundary {
    pub(crate) fn new(topology: &str, state: Option<PathBuf>, plan: Plan) -> Boundary {
        Boundary { topology: topology.to_owned(), state, plan, inner: Mutex::default() }
    }

    /// Asks for a savepoint behind the next epoch that is committed; the answer comes when it has been made.
    pub(crate) fn ask(&self, path: PathBuf) -> Receiver<Answer> {
        let (answer, answers) = bounded(1);
        self.lock().requests.push(Request { path, answer });
        answers
    }

    /// Whether somebody waits for the end of an epoch.
    pub(crate) fn is_asked(&self) -> bool {
        !self.lock().requests.is_empty()
    }

    /// The states that nobody has in this topology; known behind the first epoch.
    pub(crate) fn orphans(&self) -> Vec<String> {
        self.lock().orphans.clone()
    }

    /// Where the savepoint is that was made behind the last epoch.
    pub(crate) fn last_savepoint(&self) -> Option<PathBuf> {
        self.lock().last.as_ref().map(|savepoint| savepoint.path().to_owned())
    }

    /// An epoch has been committed and published, and no other is being committed.
    pub(crate) fn passed(
        &self,
        backend: &dyn Backend,
        catalog: &Catalog,
        last: bool,
    ) -> Result<(), JobError> {
        let mut inner = self.lock();
        if !inner.settled {
            inner.orphans = self.settle(backend, catalog)?;
            inner.settled = true;
        }
        for Request { path, answer } in std::mem::take(&mut inner.requests) {
            let made = self.make(backend, &path);
            if let Err(error) = &made {
                tracing::warn!(path = %path.display(), %error, "no savepoint was made");
            }
            // Who asked may have gone since.
            let _ = answer.send(made);
        }
        if let (true, Some(name)) = (last, &self.plan.on_stop) {
            inner.last = Some(self.make_last(backend, name)?);
        }
        Ok(())
    }

    /// Tells what was migrated and what is left over, and drops what may go.
    fn settle(&self, backend: &dyn Backend, catalog: &Catalog) -> Result<Vec<String>, JobError> {
        for state in catalog.migrated() {
            tracing::info!(%state, "its rows have been migrated to the type that the program has now");
        }
        let dropped = catalog.drop_states(backend, &self.plan.drops)?;
        if !dropped.is_empty() {
            tracing::info!(states = ?dropped, "dropped, as the program asks for");
        }
        let orphans: Vec<String> = catalog.orphans().into_iter().map(|(name, ..)| name).collect();
        if !orphans.is_empty() {
            tracing::warn!(
                states = ?orphans,
                "kept for operators that the topology does not have any more; they are found again under the same \
                 name, or `Job::drop_state` lets them go"
            );
        }
        Ok(orphans)
    }

    fn make(&self, backend: &dyn Backend, path: &Path) -> Result<Savepoint, StateError> {
        let savepoint = Savepoint::make(backend, path, &self.topology, time_of_day())?;
        tracing::info!(path = %path.display(), epoch = savepoint.epoch().0, "made a savepoint");
        Ok(savepoint)
    }

    /// Called after the epoch, so that a program that ends in a savepoint each time can be started again and again.
    fn make_last(&self, backend: &dyn Backend, name: &str) -> Result<Savepoint, JobError> {
        let state = self.state.as_deref().ok_or(StateError::NoCheckpoint)?;
        let epoch = Savepoint::epoch_of(backend)?;
        let mut attempt = 1;
        loop {
            let made = self.make(backend, &Savepoint::path_of(state, &name_of(name, epoch, attempt))?);
            match made {
                // Nothing has happened since that one was made.
                Err(StateError::Exists(_)) => attempt += 1,
                made => return Ok(made?),
            }
        }
    }

    /// What a panicking thread left behind is whole: each change under the lock is one assignment.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name_of(name: &str, Epoch(epoch): Epoch, attempt: u32) -> String {
    if attempt == 1 { format!("{name}-{epoch}") } else { format!("{name}-{epoch}-{attempt}") }
}

fn time_of_day() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(0) + since_1970
}
