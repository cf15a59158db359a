//! A job: a topology, how it is to run, and its life from start to end.

mod change;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use highwater_operators::decide::Terms;
use highwater_operators::error::TopologyError;
use highwater_operators::graph::Graph;
use highwater_operators::topology::Topology;
use highwater_state::Backend;
use highwater_state::backend::memory::MemoryBackend;
use highwater_state::backend::rocksdb::{RocksDbBackend, open_to_others};
use highwater_state::backend::volatile::VolatileBackend;
use highwater_state::budget::{MemoryBudget, TableBudget};

use self::change::Change;
use crate::allocator::Giving;
use crate::attempt::{self, Begun, PATIENCE};
use crate::boundary::Boundary;
use crate::config::Config;
use crate::coordinator::{End, Outcome};
use crate::error::JobError;
use crate::executor::Requesting;
use crate::parts::Parts;
use crate::progress::Progress;
use crate::query::Queries;
use crate::recovery;
use crate::report::{NodeReport, Report};
use crate::shutdown::Signals;
use crate::step::{Moment, Step, Watch, unwatched};

/// A topology and how it is to run.
///
/// ```
/// use highwater::prelude::*;
///
/// let topology = Topology::new("words");
/// let counts = Memory::sink();
/// topology
///     .source("words", Memory::source(["a", "b", "a"]))
///     .key_by(|word| word.to_string())
///     .count("counts")
///     .to_stream()
///     .sink("out", counts.clone());
/// Job::new(topology).workers(2).run()?;
/// let mut counted = counts.take();
/// counted.sort();
/// assert_eq!(counted, [("a".to_string(), 1), ("a".to_string(), 2), ("b".to_string(), 1)]);
/// # Ok::<(), JobError>(())
/// ```
#[must_use = "a job does nothing until it is run or started"]
pub struct Job {
    graph: Result<Graph, Vec<TopologyError>>,
    config: Config,
    change: Change,
    watch: Watch,
}

impl Job {
    /// A job of one worker that keeps its state in memory.
    pub fn new(topology: Topology) -> Job {
        let (graph, config) = (topology.finish(), Config::default());
        Job { graph, config, change: Change::default(), watch: unwatched() }
    }

    /// How many threads run the topology, 1 to 128; 1 unless said. Results do not depend on it, and it may
    /// change from one run to the next.
    pub fn workers(mut self, workers: usize) -> Job {
        self.config.workers = workers;
        self
    }

    /// Keeps state in this directory, which is created if need be and belongs to one process at a time. A job
    /// that is started again on it continues from the last committed epoch; one whose input had ended has nothing
    /// to do, and takes no new input. Without it state is in memory,
    /// bounded by nothing but what the machine has, and lost with the process.
    ///
    /// A directory that is created is its owner's only (mode 0700). One that is there keeps its mode, and a warning is
    /// logged if others may read, enter or write to it; the data in it is its owner's only in any case.
    pub fn state(mut self, directory: impl Into<PathBuf>) -> Job {
        self.config.state = Some(directory.into());
        self
    }

    /// Keeps the rows of tables where [`RunningJob::queries`] can read them, if there is no state directory; with one
    /// they can be read in any case. They are kept encoded beside what the operators work on: as much memory again, and
    /// where most of the work is changes of tables, up to half of the speed.
    pub fn queryable(mut self) -> Job {
        self.config.queryable = true;
        self
    }

    /// Time between two epochs, at least 10 ms; 1 s unless said. Results are published once per epoch, and a
    /// crash repeats at most the work of two: the one that is being committed and the one begun since.
    pub fn epoch_interval(mut self, interval: Duration) -> Job {
        self.config.epoch_interval = interval;
        self
    }

    /// Bytes of memory for the whole job, where there is a state directory: what the operators keep, RocksDB's cache
    /// and write buffers, what an epoch changed on its way to the disk, the records in queues, and what the process
    /// has besides; 512 MiB unless said, at least 32 MiB. [`MemoryBudget`](highwater_state::budget) says who gets how
    /// much. What one epoch may change is about a tenth of it: epochs end early at half of that, and sources wait
    /// while it is exceeded.
    ///
    /// With glibc its allocator is told to give back what is freed, unless `GLIBC_TUNABLES` or `MALLOC_ARENA_MAX`,
    /// `MALLOC_MMAP_THRESHOLD_` or `MALLOC_TRIM_THRESHOLD_` are set.
    pub fn memory(mut self, bytes: usize) -> Job {
        self.config.memory = bytes;
        self
    }

    /// How long a split of a source may deliver nothing before it stops holding back the watermark; 1 min unless
    /// said. What it delivers later and behind the watermark is late.
    pub fn idle_after(mut self, silence: Duration) -> Job {
        self.config.idle_after = silence;
        self
    }

    /// How long an epoch may take from its barrier to its commit before the job ends with
    /// [`JobError::Stuck`]; 5 min unless said. A sink that does not come back holds a job that is asked to stop
    /// for as long. The time that sinks take to publish what is committed does not count.
    pub fn epoch_timeout(mut self, timeout: Duration) -> Job {
        self.config.epoch_timeout = timeout;
        self
    }

    /// Reads at most this many records a second, over all sources; as fast as possible unless said.
    pub fn rate(mut self, records_per_second: u64) -> Job {
        self.config.rate = Some(records_per_second);
        self
    }

    /// How often sources are asked whether they have new splits, such as partitions that were added to a topic; 1 min
    /// unless said, at least 100 ms. They are read from the next epoch on, from their beginning or where the
    /// source says.
    pub fn split_interval(mut self, interval: Duration) -> Job {
        self.config.split_interval = interval;
        self
    }

    /// Goes on with what the sources have by now where an earlier run has dealt with all that they had then: for jobs
    /// that are run from time to time, over topics that are read until their end. Without it such a job has nothing to
    /// do. A topology with event time is refused: the end of its input was the end of time.
    pub fn again(mut self) -> Job {
        self.config.again = true;
        self
    }

    /// Calls `watch` before and after every step of a start and of a commit, in the thread that does it: for logs of
    /// one's own, and for tests that end the process there. It holds up the commit for as long as it takes.
    pub fn watch_steps(mut self, watch: impl Fn(Step, Moment) + Send + Sync + 'static) -> Job {
        self.watch = Arc::new(watch);
        self
    }

    /// Runs the job in this thread until its input ends, it fails, or the process gets SIGINT or SIGTERM, upon
    /// which it ends in a committed epoch. A second signal ends the process at once.
    ///
    /// # Errors
    /// See [`JobError`]. Nothing is lost: a job with a state directory continues from the last committed epoch.
    pub fn run(self) -> Result<Report, JobError> {
        let running = self.start()?;
        let signals = Signals::watch(Arc::clone(&running.stop))?;
        let report = running.wait();
        drop(signals);
        report
    }

    /// Starts the job and returns.
    ///
    /// # Errors
    /// What can be seen to be wrong at once: the topology, a setting, the state directory, a sink that cannot be
    /// recovered, a source whose splits cannot be listed. Everything else comes from [`RunningJob::wait`].
    pub fn start(mut self) -> Result<RunningJob, JobError> {
        let graph = Arc::new(self.graph.map_err(JobError::Topology)?);
        let memory = self.config.check()?;
        if self.config.again {
            refuse_time(&graph)?;
        }
        let batches = graph.batches_in_queues(&self.config.limits, self.config.workers);
        self.config.limits.batch_bytes = memory.queue_bytes() / batches.max(1);
        let stop = Arc::new(AtomicBool::new(false));
        let shared = is_shared(&graph, &self.config)?;
        let boundary = self.change.begin(&self.config, graph.name())?;
        let (backend, budget) = open_state(&self.config, &memory)?;
        let (progress, place) = (Progress::new(), self.config.state.clone());
        let queries = Queries::new(&graph, &backend, &progress, &budget, self.config.workers, place);
        let parts = Arc::new(Parts {
            graph: Arc::clone(&graph),
            backend,
            decider: graph.decider().cloned(),
            shared,
            terms: Terms {
                epoch_interval: self.config.epoch_interval,
                epoch_timeout: self.config.epoch_timeout,
            },
            budget,
            config: self.config,
            stop: Arc::clone(&stop),
            watch: self.watch,
            random: recovery::random(),
            ended: AtomicU64::new(0),
            migrations: self.change.into_migrations(),
            progress: Arc::clone(&progress),
            boundary: Arc::clone(&boundary),
        });
        let asked = Asked { queries, progress, backend: Some(Arc::clone(&parts.backend)) };
        let requesting = Requesting::start(&graph, parts.config.workers)?;
        // Who shares the input may have to wait for a share of it, and must be able to be stopped meanwhile.
        let attempt = match shared {
            true => None,
            false => match attempt::begin(&parts, &requesting).inspect_err(|_| parts.leave())? {
                Begun::Running(attempt) => Some(attempt),
                Begun::Over(outcome) => {
                    parts.leave();
                    let outcome = Ok(outcome);
                    asked.progress.over(&outcome);
                    return Ok(RunningJob {
                        graph,
                        stop,
                        boundary,
                        asked,
                        coordinator: None,
                        outcome: outcome.ok(),
                    });
                }
            },
        };
        let coordinator = attempt::spawn("coordinator".to_owned(), move || {
            let outcome = attempt::run_all(&parts, &requesting, attempt);
            requesting.end(PATIENCE);
            parts.progress.over(&outcome);
            outcome
        })?;
        Ok(RunningJob { graph, stop, boundary, asked, coordinator: Some(coordinator), outcome: None })
    }
}

/// A job that has been started.
pub struct RunningJob {
    graph: Arc<Graph>,
    stop: Arc<AtomicBool>,
    boundary: Arc<Boundary>,
    asked: Asked,
    coordinator: Option<JoinHandle<Result<Outcome, JobError>>>,
    outcome: Option<Outcome>,
}

/// What questions to a job need of it.
struct Asked {
    queries: Queries,
    progress: Arc<Progress>,
    /// Held until the job is waited for, so that it can be asked when it has ended.
    backend: Option<Arc<dyn Backend>>,
}

impl Asked {
    /// Ends the answers. The state directory is free when this returns, unless somebody holds on to a view.
    fn end(&mut self) {
        let Some(backend) = self.backend.take() else { return };
        let (left, since) = (Arc::downgrade(&backend), Instant::now());
        drop(backend);
        while left.strong_count() > 0 && since.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl RunningJob {
    /// Asks what the job's tables hold, from any thread, and how it is. Answers are given until the job is waited for
    /// or dropped, also when it has ended by itself; the state directory is in use for as long.
    pub fn queries(&self) -> Queries {
        self.asked.queries.clone()
    }

    /// Asks the job to end in a committed epoch; returns at once.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether the job has ended; [`wait`](RunningJob::wait) returns at once then.
    pub fn is_finished(&self) -> bool {
        self.coordinator.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// What each operator has counted since the job was started.
    pub fn counters(&self) -> Vec<NodeReport> {
        NodeReport::of(&self.graph)
    }

    /// Waits until the job has ended.
    ///
    /// # Errors
    /// See [`JobError`].
    pub fn wait(mut self) -> Result<Report, JobError> {
        let outcome = match self.coordinator.take() {
            None => {
                Ok(self.outcome.take().expect("a job without a coordinator had ended before it was started"))
            }
            Some(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        };
        self.asked.end();
        let outcome = outcome?;
        let epoch = outcome.committed;
        let finished = outcome.end == End::Finished;
        let (orphans, savepoint) = (self.boundary.orphans(), self.boundary.last_savepoint());
        let nodes = NodeReport::of(&self.graph);
        Ok(Report { epoch, finished, nodes, orphans, savepoint })
    }
}

impl Drop for RunningJob {
    /// A job that nobody waits for is stopped, and has ended when this returns.
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.coordinator.take() {
            let _ = thread.join();
        }
        self.asked.end();
    }
}

/// A job that is run again has no event time.
fn refuse_time(graph: &Graph) -> Result<(), JobError> {
    let timed = graph.nodes().find(|(place, _)| place.verb.ends_with("_time"));
    timed.map_or(Ok(()), |(place, _)| Err(JobError::TimeHasEnded { place: place.clone() }))
}

fn open_state(
    config: &Config,
    memory: &MemoryBudget,
) -> Result<(Arc<dyn Backend>, Arc<TableBudget>), JobError> {
    let giving = if config.state.is_some() { Giving::at_once(config.workers) } else { Giving::late() };
    giving.set();
    Ok(match &config.state {
        Some(directory) => {
            let backend = RocksDbBackend::open(directory, memory)?;
            warn_of_others(directory);
            (Arc::new(backend), memory.tables())
        }
        // Nothing can be let go to a disk that there is not.
        None if config.queryable => (Arc::new(MemoryBackend::new()), Arc::new(TableBudget::new(usize::MAX))),
        None => (Arc::new(VolatileBackend::new()), Arc::new(TableBudget::new(usize::MAX))),
    })
}

/// A directory that was there may be meant for several users, or have the mode that a volume comes with: that is said,
/// and not refused.
fn warn_of_others(directory: &Path) {
    if let Ok(Some(mode)) = open_to_others(directory) {
        let directory = directory.display();
        let may = if mode & 0o022 != 0 { "may replace the state" } else { "may see that there is state" };
        tracing::warn!(
            %directory,
            mode = format_args!("{mode:03o}"),
            "users other than the owner of the state directory {may}: make it its owner's only (chmod 700), or \
             name one inside it that is not there yet"
        );
    }
}

/// Whether the job has no state of its own and shares its input with other instances.
fn is_shared(graph: &Graph, config: &Config) -> Result<bool, JobError> {
    let Some(decider) = graph.decider() else { return Ok(false) };
    if config.state.is_some() {
        return Ok(false);
    }
    let decided_by = decider.describe();
    if let Some(place) = graph.first_with_state().or(graph.first_beside_the_decider()) {
        return Err(JobError::NeedsState { decider: decided_by, place: place.clone() });
    }
    decider.share().map_err(|cause| JobError::Undecided { decider: decided_by, cause })?;
    Ok(true)
}
