//! A job: a topology, how it is to run, and its life from start to end.

mod change;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use highwater_operators::error::{RunError, TopologyError};
use highwater_operators::executor::Executor;
use highwater_operators::flow::Flow;
use highwater_operators::graph::Graph;
use highwater_operators::opening::WorkerOpening;
use highwater_operators::task::{FullSpeed, Pace};
use highwater_operators::topology::Topology;
use highwater_state::backend::memory::MemoryBackend;
use highwater_state::backend::rocksdb::RocksDbBackend;
use highwater_state::budget::{MemoryBudget, TableBudget};
use highwater_state::catalog::Catalog;
use highwater_state::{Backend, Epoch};

use self::change::Change;
use crate::boundary::Boundary;
use crate::channels::{Channels, Waker, WorkerChannels};
use crate::commit;
use crate::config::Config;
use crate::coordinator::{Coordinator, Outcome};
use crate::error::JobError;
use crate::executor::Requesting;
use crate::pace::{Bucket, WithinMemory};
use crate::report::{NodeReport, Report};
use crate::shutdown::Signals;
use crate::worker::{self, News, Order};

/// How long a job that is stuck waits for its workers before it leaves them behind, and every job for futures that do
/// not let go of their thread.
const PATIENCE: Duration = Duration::from_secs(2);

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
}

impl Job {
    /// A job of one worker that keeps its state in memory.
    pub fn new(topology: Topology) -> Job {
        Job { graph: topology.finish(), config: Config::default(), change: Change::default() }
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
    pub fn state(mut self, directory: impl Into<PathBuf>) -> Job {
        self.config.state = Some(directory.into());
        self
    }

    /// Time between two epochs, at least 10 ms; 1 s unless said. Results are published once per epoch, and a
    /// crash repeats at most the work of two: the one that is being committed and the one begun since.
    pub fn epoch_interval(mut self, interval: Duration) -> Job {
        self.config.epoch_interval = interval;
        self
    }

    /// Bytes of memory for state, cache and write buffers of all workers together, where there is a state
    /// directory; 512 MiB unless said, at least 32 MiB. What one epoch may change is an eighth of it: sources wait
    /// while it is exceeded.
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
        let boundary = self.change.begin(&self.config, graph.name())?;
        let (backend, budget) = open_state(&self.config, &memory)?;
        let catalog = self.change.catalog(&backend)?;
        // Before the sinks begin: a source that is not there must not cost an output that is.
        let splits = list_splits(&graph)?;
        let found = commit::recover(&graph, &*backend)?;
        let stop = Arc::new(AtomicBool::new(false));
        if found.finished {
            commit::refuse_new_splits(&graph, &*backend, &splits)?;
            tracing::warn!(
                topology = graph.name(),
                "all input was dealt with in an earlier run; nothing to do"
            );
            let outcome = Outcome { committed: found.committed, finished: true };
            return Ok(RunningJob { graph, stop, boundary, coordinator: None, outcome: Some(outcome) });
        }
        commit::warn_of_missing_splits(&graph, &*backend, &splits)?;
        let requesting = Requesting::start(&graph, self.config.workers)?;
        let workers = Workers {
            splits,
            graph: Arc::clone(&graph),
            backend: Arc::clone(&backend),
            catalog: Arc::clone(&catalog),
            budget: Arc::clone(&budget),
            committed: found.committed,
            config: self.config.clone(),
        };
        let (orders, news, threads) = workers.start(&requesting)?;
        let coordinator = Coordinator {
            graph: Arc::clone(&graph),
            backend,
            catalog,
            budget,
            interval: self.config.epoch_interval,
            timeout: self.config.epoch_timeout,
            stop: Arc::clone(&stop),
            orders,
            news,
            committed: found.committed,
            receipts: found.receipts,
            boundary: Arc::clone(&boundary),
        };
        let coordinator = spawn("coordinator".to_owned(), move || {
            let outcome = coordinator.run();
            // The directory's lock is let go only when no worker reads the state any more. A worker that does not
            // come back keeps it, and is left behind.
            let patience = Instant::now() + PATIENCE;
            let stuck = matches!(outcome, Err(JobError::Stuck { .. }));
            for thread in threads {
                while stuck && !thread.is_finished() && Instant::now() < patience {
                    std::thread::sleep(Duration::from_millis(10));
                }
                if !stuck || thread.is_finished() {
                    let _ = thread.join();
                }
            }
            requesting.end(PATIENCE);
            outcome
        })?;
        Ok(RunningJob { graph, stop, boundary, coordinator: Some(coordinator), outcome: None })
    }
}

/// A job that has been started.
pub struct RunningJob {
    graph: Arc<Graph>,
    stop: Arc<AtomicBool>,
    boundary: Arc<Boundary>,
    coordinator: Option<JoinHandle<Result<Outcome, JobError>>>,
    outcome: Option<Outcome>,
}

impl RunningJob {
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
            None => self.outcome.take().expect("a job without a coordinator had ended before it was started"),
            Some(thread) => match thread.join() {
                Ok(outcome) => outcome?,
                Err(panic) => std::panic::resume_unwind(panic),
            },
        };
        let epoch = outcome.committed;
        let (orphans, savepoint) = (self.boundary.orphans(), self.boundary.last_savepoint());
        let nodes = NodeReport::of(&self.graph);
        Ok(Report { epoch, finished: outcome.finished, nodes, orphans, savepoint })
    }
}

impl Drop for RunningJob {
    /// A job that nobody waits for is stopped, and has ended when this returns.
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.coordinator.take() {
            let _ = thread.join();
        }
    }
}

fn open_state(
    config: &Config,
    memory: &MemoryBudget,
) -> Result<(Arc<dyn Backend>, Arc<TableBudget>), JobError> {
    Ok(match &config.state {
        Some(directory) => (Arc::new(RocksDbBackend::open(directory, memory)?), memory.tables()),
        // Nothing can be let go to a disk that there is not.
        None => (Arc::new(MemoryBackend::new()), Arc::new(TableBudget::new(usize::MAX))),
    })
}

fn list_splits(graph: &Graph) -> Result<BTreeMap<usize, Vec<String>>, JobError> {
    let mut splits = BTreeMap::new();
    for (number, place, list) in graph.sources() {
        let listed = list().map_err(|cause| RunError::Source { place: place.clone(), cause })?;
        splits.insert(number, listed);
    }
    Ok(splits)
}

/// What every worker is started with.
struct Workers {
    graph: Arc<Graph>,
    backend: Arc<dyn Backend>,
    catalog: Arc<Catalog>,
    budget: Arc<TableBudget>,
    splits: BTreeMap<usize, Vec<String>>,
    committed: Epoch,
    config: Config,
}

type Started = (Vec<(Sender<Order>, Waker)>, Receiver<News>, Vec<JoinHandle<()>>);

impl Workers {
    fn start(self, requesting: &Requesting) -> Result<Started, JobError> {
        let count = self.config.workers;
        let wakers: Vec<Waker> = (0..count).map(|_| Waker::default()).collect();
        let channels = Arc::new(Channels::new(self.config.limits.channel_batches, wakers.clone()));
        let pace: Arc<dyn Pace + Send + Sync> = match self.config.rate {
            Some(rate) => Arc::new(Bucket::new(rate)),
            None => Arc::new(FullSpeed),
        };
        let pace = Arc::new(WithinMemory { pace, budget: Arc::clone(&self.budget) });
        let (news_sender, news) = unbounded();
        let shared = Arc::new(self);
        let mut orders = Vec::with_capacity(count);
        let mut threads = Vec::with_capacity(count);
        for (number, waker) in wakers.into_iter().enumerate() {
            let (order_sender, order_receiver) = unbounded();
            let (shared, channels, pace) = (Arc::clone(&shared), Arc::clone(&channels), Arc::clone(&pace));
            let (news_sender, own_waker) = (news_sender.clone(), waker.clone());
            let executor = requesting.executor(waker.clone());
            orders.push((order_sender, waker));
            threads.push(spawn(format!("worker-{number}"), move || {
                own_waker.is_me();
                let transport = WorkerChannels { own: number, channels };
                worker::run(
                    number,
                    || shared.open(number, &transport, executor),
                    &*pace,
                    &order_receiver,
                    &news_sender,
                );
            })?);
        }
        Ok((orders, news, threads))
    }

    fn open(
        &self,
        worker: usize,
        transport: &WorkerChannels,
        executor: Arc<dyn Executor>,
    ) -> Result<Flow, RunError> {
        let opening = WorkerOpening {
            worker,
            workers: self.config.workers,
            backend: Arc::clone(&self.backend),
            catalog: Arc::clone(&self.catalog),
            budget: Arc::clone(&self.budget),
            committed: self.committed,
            limits: self.config.limits.clone(),
            transport,
            splits: &self.splits,
            idle_after: self.config.idle_after,
            executor,
        };
        Flow::open(&self.graph, &opening)
    }
}

fn spawn<T: Send + 'static>(
    name: String,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, JobError> {
    let thread = std::thread::Builder::new().name(name).spawn(run);
    thread.map_err(|source| JobError::System { doing: "start a thread", source })
}
