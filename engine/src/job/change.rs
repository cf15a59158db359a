//! Savepoints, and what becomes of state when a program changes: the settings of a [`Job`] and what a
//! [`RunningJob`] can be asked for.
//!
//! State belongs to names. What the topology has under a name that is kept goes on with it, if its type is the
//! same; if it is another, a migration is declared or the job refuses to start (HW-9); what it no longer has is
//! kept and told. It does not know how any of this is stored; that is in the state crate.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use highwater_state::id::is_name;
use highwater_state::migration::Migration;
use highwater_state::{Persist, Savepoint, StateError};

use super::{Job, RunningJob};
use crate::boundary::{Boundary, Plan};
use crate::config::Config;
use crate::error::JobError;

/// How often it is looked whether a job that is to make a savepoint still runs.
const LOOK: Duration = Duration::from_millis(10);

/// What a job is to do with the state that it finds.
#[derive(Default)]
pub(super) struct Change {
    from: Option<PathBuf>,
    migrations: Vec<Migration>,
    plan: Plan,
}

impl Job {
    /// Begins with the state and the positions of a savepoint, in a state directory that has no state yet, see
    /// [`state`](Job::state). The savepoint stays as it is. There may be another number of workers than before,
    /// and other operators: what has the same name and type goes on with its state.
    ///
    /// Sources are read from where they were. What sinks wrote after the savepoint is written again: a file sink
    /// refuses a file that holds more than the savepoint knows of, and needs another one, which will hold what
    /// comes after it; into Kafka it is a second time. A directory in which an epoch has been committed since is
    /// refused: a job that was started so is started again without this.
    ///
    /// ```no_run
    /// # use highwater::prelude::*;
    /// # let topology = Topology::new("views");
    /// let savepoint = "/var/lib/views/savepoints/before-upgrade";
    /// Job::new(topology).state("/var/lib/views-2").from_savepoint(savepoint).run()?;
    /// # Ok::<(), JobError>(())
    /// ```
    pub fn from_savepoint(mut self, savepoint: impl Into<PathBuf>) -> Job {
        self.change.from = Some(savepoint.into());
        self
    }

    /// Makes a savepoint when the job ends in a committed epoch: because its input has ended, it was asked to
    /// [stop](RunningJob::stop), or the process got SIGINT or SIGTERM. It is called `<name>-<number of the
    /// epoch>` (and `-2` and so on behind it, if there is one already) and lies in `savepoints` in the state
    /// directory; [`Report::savepoint`](crate::report::Report::savepoint) says where. If it cannot be made, the
    /// job ends with an error, and its state is that of the last epoch nevertheless.
    pub fn savepoint_on_stop(mut self, name: &str) -> Job {
        self.change.plan.on_stop = Some(name.to_owned());
        self
    }

    /// Declares how a state changes its type: every value of type `Old` in it becomes what `f` makes of it.
    /// `state` is the name of the operator, with the name of a handle behind a slash for those of `process`:
    /// `"visits/last"`.
    ///
    /// It is run once, before the first record, when the state was kept as the old type; where it was not,
    /// because it is new or has been migrated, nothing is done, so the line may stay. Several for one state are
    /// run one after the other, so that state which missed a version is brought up to date. A crash in the middle
    /// leaves the old state.
    ///
    /// `Old` is the type of what is kept for a key: the accumulator of `fold`, the record of `reduce` and
    /// `latest`, `V` of a `Value<V>`, `Vec<V>` of a `List<V>`. If it is a struct or an enum, it is also found
    /// inside what an operator keeps of its own: in sessions, sliding windows, lists, joins. What cannot be
    /// migrated: keys, because they say where a row is filed; numbers and tuples inside of something larger,
    /// which have no name; types that look the same before and after.
    ///
    /// Costs a read and a write of all rows of the state, in chunks of some MiB of memory.
    ///
    /// ```
    /// # use highwater::prelude::*;
    /// # use serde::{Deserialize, Serialize};
    /// #[derive(Clone, Serialize, Deserialize)]
    /// struct Visits {
    ///     count: u64,
    ///     last: Option<String>, // new in this version
    /// }
    ///
    /// let topology = Topology::new("visits");
    /// let pages = topology.source("pages", Memory::source([(1, "/"), (1, "/about")]));
    /// let visits = pages.key_by(|(user, _)| *user).fold(
    ///     "visits",
    ///     || Visits { count: 0, last: None },
    ///     |visits, (_, page)| *visits = Visits { count: visits.count + 1, last: Some(page.to_string()) },
    /// );
    /// visits.keep();
    /// let job = Job::new(topology).migrate("visits", |count: u64| Visits { count, last: None });
    /// job.run()?;
    /// # Ok::<(), JobError>(())
    /// ```
    pub fn migrate<Old: Persist, New: Persist>(
        mut self,
        state: &str,
        f: impl Fn(Old) -> New + Send + Sync + 'static,
    ) -> Job {
        self.change.migrations.push(Migration::new(state, f));
        self
    }

    /// Deletes a state that the topology no longer has, behind the first epoch. [`RunningJob::orphans`] and the
    /// warning of a start say which there are. One that is not there is no error, so the line may stay.
    ///
    /// One that the topology has ends the job with an error, and nothing is deleted.
    pub fn drop_state(mut self, state: &str) -> Job {
        self.change.plan.drops.push(state.to_owned());
        self
    }
}

impl RunningJob {
    /// Makes a savepoint of this name, `savepoints/<name>` in the state directory: ends an epoch, and keeps the
    /// state as it is then, by hard links. Waits until it is there; the workers go on meanwhile.
    ///
    /// It holds what the sinks have published up to then, not more and not less. It shares its files with the
    /// running state, and costs room only for what changes from then on. To be rid of it, delete its directory.
    ///
    /// # Errors
    /// [`JobError::State`] if it cannot be made: it has no name that can be one, is there already, there is no
    /// room, or the job has no state directory; [`JobError::NotRunning`] if the job ends before. The job goes on.
    pub fn savepoint(&self, name: &str) -> Result<Savepoint, JobError> {
        let state = self.boundary.state.as_deref().ok_or(StateError::NoCheckpoint)?;
        self.savepoint_at(Savepoint::path_of(state, name)?)
    }

    /// Makes a savepoint at a path, where nothing is yet; see [`savepoint`](RunningJob::savepoint). On another
    /// file system than the state all data is copied.
    ///
    /// # Errors
    /// As for `savepoint`.
    pub fn savepoint_at(&self, path: impl AsRef<Path>) -> Result<Savepoint, JobError> {
        if self.boundary.state.is_none() {
            return Err(StateError::NoCheckpoint.into());
        }
        let answers = self.boundary.ask(path.as_ref().to_owned());
        loop {
            match answers.recv_timeout(LOOK) {
                Ok(made) => return Ok(made?),
                Err(RecvTimeoutError::Timeout) if !self.is_finished() => {}
                // It may have been made between the two looks.
                Err(_) => return Ok(answers.try_recv().map_err(|_| JobError::NotRunning)??),
            }
        }
    }

    /// The states that are kept for operators which the topology does not have any more; empty until the first
    /// epoch has ended. They are kept until [`Job::drop_state`] or `highwater-state drop` lets them go.
    pub fn orphans(&self) -> Vec<String> {
        self.boundary.orphans()
    }
}

impl Change {
    /// Checks what can be checked at once, and brings the savepoint to begin with into the state directory.
    pub(super) fn begin(&mut self, config: &Config, topology: &str) -> Result<Arc<Boundary>, JobError> {
        if let Some(name) = &self.plan.on_stop {
            if config.state.is_none() {
                return Err(JobError::NoState { setting: "savepoint_on_stop" });
            }
            if !is_name(name) {
                return Err(StateError::Name { name: name.clone() }.into());
            }
        }
        if let Some(path) = &self.from {
            let Some(state) = &config.state else {
                return Err(JobError::NoState { setting: "from_savepoint" });
            };
            let savepoint = Savepoint::open(path)?;
            savepoint.restore_into(state)?;
            let (from, epoch) = (savepoint.path().display(), savepoint.epoch().0);
            tracing::info!(%from, epoch, "begins with a savepoint");
            if savepoint.topology() != topology {
                let of = savepoint.topology();
                tracing::warn!(%from, of, is = topology, "the savepoint is of a topology with another name");
            }
        }
        let plan = std::mem::take(&mut self.plan);
        Ok(Arc::new(Boundary::new(topology, config.state.clone(), plan)))
    }

    /// The migrations that are declared.
    pub(super) fn into_migrations(self) -> Vec<Migration> {
        self.migrations
    }
}
