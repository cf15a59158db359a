//! One attempt at running the topology: from a recovery to its last epoch, or to the first error.
//!
//! A job is a sequence of attempts. Most have one; another follows where the epoch was aborted and can be done again
//! (a transaction that the brokers gave up, a rebalance in the middle), or where the input is divided anew (more
//! partitions, other instances). Each begins with the same recovery as a start of the program, so that what an abort
//! leaves is what a crash leaves; only fewer things are lost, and nobody has to start anything.
//!
//! Invariant: when an attempt has ended, nothing of it runs any more and nothing of its undecided epoch is left, but
//! for a worker that does not come back, which ends the job.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use highwater_operators::error::RunError;
use highwater_operators::exchange::Transport;
use highwater_operators::executor::Executor;
use highwater_operators::flow::Flow;
use highwater_operators::graph::Graph;
use highwater_operators::opening::WorkerOpening;
use highwater_operators::task::{FullSpeed, Pace};
use highwater_state::catalog::Catalog;
use highwater_state::delta::Family;
use highwater_state::{Delta, Epoch};

use crate::channels::{Channels, Waker, WorkerChannels};
use crate::coordinator::{Coordinator, Course, End, Outcome};
use crate::error::JobError;
use crate::executor::Requesting;
use crate::pace::{Bucket, WithinMemory};
use crate::parts::Parts;
use crate::recovery::{self, Found};
use crate::worker::{self, News, Order};

/// How long a job that is stuck waits for its workers before it leaves them behind, and every job for futures that do
/// not let go of their thread.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// For how long attempts may fail one after the other, without an epoch in between, before the job ends with the error
/// of the last: 15 minutes, longer than a cluster takes to restart, and than a transaction may stay open that somebody
/// left behind.
const FAILING_MAX: Duration = Duration::from_secs(900);

/// The pause after the first failed attempt; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// How long one wait for a share of the input takes before it is looked whether the job is to stop.
const JOIN_LOOK: Duration = Duration::from_millis(100);

pub(crate) type Splits = BTreeMap<usize, Vec<String>>;

/// What the beginning of an attempt comes to.
pub(crate) enum Begun {
    /// It runs.
    Running(Box<Attempt>),
    /// There is nothing to do.
    Over(Outcome),
}

/// An attempt that runs.
pub(crate) struct Attempt {
    coordinator: Coordinator,
    threads: Vec<JoinHandle<()>>,
    watching: Watching,
    parts: Arc<Parts>,
}

/// What a recovery comes to.
pub(crate) enum Recovered {
    /// An attempt can begin.
    Ready(Ground),
    /// There is nothing to do.
    Over(Outcome),
}

/// What an attempt stands on: everything outside is at one epoch.
pub(crate) struct Ground {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) splits: Splits,
    pub(crate) found: Found,
}

/// Brings everything outside to one epoch.
pub(crate) fn recover(parts: &Parts) -> Result<Recovered, JobError> {
    if parts.shared {
        forget_everything(parts)?;
        if !join(parts)? {
            return Ok(Recovered::Over(Outcome { committed: Epoch(0), end: End::Stopped }));
        }
    }
    // Before the sinks begin: a source that is not there must not cost an output that is.
    let splits = list_splits(&parts.graph)?;
    let found = recovery::recover(parts)?;
    if found.finished && !parts.config.again {
        recovery::refuse_new_splits(&parts.graph, &*parts.backend, &splits)?;
        tracing::warn!(
            topology = parts.graph.name(),
            "all input was dealt with in an earlier run; nothing to do"
        );
        return Ok(Recovered::Over(Outcome { committed: found.committed, end: End::Finished }));
    }
    recovery::warn_of_missing_splits(&parts.graph, &*parts.backend, &splits)?;
    // Behind the recovery: an epoch that is rolled forward may bring names.
    let catalog = Catalog::with_migrations(Arc::clone(&parts.backend), parts.migrations.clone())?;
    let catalog = Arc::new(catalog);
    Ok(Recovered::Ready(Ground { catalog, splits, found }))
}

/// Recovers, and starts the workers.
pub(crate) fn begin(parts: &Arc<Parts>, requesting: &Requesting) -> Result<Begun, JobError> {
    let begun = begin_with_share(parts, requesting);
    if begun.is_err() {
        let_go(parts);
    }
    begun
}

fn begin_with_share(parts: &Arc<Parts>, requesting: &Requesting) -> Result<Begun, JobError> {
    let ground = match recover(parts)? {
        Recovered::Ready(ground) => ground,
        Recovered::Over(outcome) => return Ok(Begun::Over(outcome)),
    };
    let watching = Watching::start(parts, ground.splits.clone())?;
    let workers = Arc::new(Workers::on(parts, &ground));
    let (orders, news, threads) = workers.start(requesting)?;
    let coordinator = ground.coordinator(parts, Arc::clone(&watching.new), orders, news);
    let parts = Arc::clone(parts);
    Ok(Begun::Running(Box::new(Attempt { coordinator, threads, watching, parts })))
}

impl Ground {
    /// The coordinator of the attempt.
    pub(crate) fn coordinator(
        self,
        parts: &Arc<Parts>,
        new_splits: Arc<AtomicBool>,
        orders: Vec<(Sender<Order>, Waker)>,
        news: Receiver<News>,
    ) -> Coordinator {
        let Found { receipts, marker, .. } = self.found;
        let course = Course::of(orders.len());
        let parts = Arc::clone(parts);
        Coordinator { parts, catalog: self.catalog, new_splits, orders, news, receipts, marker, course }
    }
}

/// Runs an attempt, if one has begun, and all that have to follow it.
pub(crate) fn run_all(
    parts: &Arc<Parts>,
    requesting: &Requesting,
    first: Option<Box<Attempt>>,
) -> Result<Outcome, JobError> {
    let outcome = run_each(parts, requesting, first);
    parts.leave();
    outcome
}

fn run_each(
    parts: &Arc<Parts>,
    requesting: &Requesting,
    mut attempt: Option<Box<Attempt>>,
) -> Result<Outcome, JobError> {
    let mut failures = Failures::default();
    loop {
        let ended = match attempt.take() {
            Some(attempt) => attempt.run(),
            None => match begin(parts, requesting) {
                Ok(Begun::Running(next)) => next.run(),
                Ok(Begun::Over(outcome)) => return Ok(outcome),
                Err(error) => Err(error),
            },
        };
        match ended {
            Ok(Outcome { end: End::Divided, .. }) => {
                tracing::info!(topology = parts.graph.name(), "the input is divided anew");
                failures = Failures::default();
            }
            Ok(outcome) => return Ok(outcome),
            Err(error) => failures.bear(error, parts)?,
        }
    }
}

/// Since when attempts have failed one after the other.
#[derive(Default)]
struct Failures {
    count: u32,
    /// When the first of them failed, and how many epochs had ended by then.
    since: Option<(Instant, u64)>,
}

impl Failures {
    /// Waits before the next attempt, if the error may pass.
    fn bear(&mut self, error: JobError, parts: &Parts) -> Result<(), JobError> {
        if !error.may_pass() {
            return Err(error);
        }
        let ended = parts.ended.load(Ordering::Relaxed);
        let since = match self.since {
            Some((since, before)) if before == ended => since,
            _ => {
                (self.count, self.since) = (0, Some((Instant::now(), ended)));
                Instant::now()
            }
        };
        if since.elapsed() > FAILING_MAX {
            tracing::error!(attempts = self.count, "gives up: no epoch has ended for {FAILING_MAX:?}");
            return Err(error);
        }
        let pause = LONGEST_PAUSE.min(FIRST_PAUSE * 2u32.saturating_pow(self.count));
        self.count += 1;
        tracing::warn!(
            attempt = self.count,
            ?pause,
            "the epoch is done again from the last committed one: {error}"
        );
        let end = Instant::now() + pause;
        while Instant::now() < end {
            if parts.stop.load(Ordering::Relaxed) {
                return Err(error);
            }
            std::thread::sleep(pause.min(Duration::from_millis(20)));
        }
        Ok(())
    }
}

impl Attempt {
    /// Sees the attempt to its end; nothing of it runs when this returns.
    fn run(self) -> Result<Outcome, JobError> {
        let outcome = self.coordinator.run();
        self.watching.end();
        // The directory's lock is let go only when no worker reads the state any more. A worker that does not
        // come back keeps it, and is left behind; nothing can be tried again beside it.
        let patience = match &outcome {
            Ok(_) => None,
            Err(JobError::Stuck { .. }) => Some(PATIENCE),
            Err(_) => Some(self.parts.terms.epoch_timeout),
        };
        let since = Instant::now();
        let mut outcome = outcome;
        for thread in self.threads {
            while !thread.is_finished() && patience.is_some_and(|patience| since.elapsed() < patience) {
                std::thread::sleep(Duration::from_millis(1));
            }
            if patience.is_none() || thread.is_finished() {
                let _ = thread.join();
            } else if outcome.as_ref().is_err_and(JobError::may_pass) {
                outcome = Err(JobError::Stuck { waited: since.elapsed() });
            }
        }
        let_go(&self.parts);
        outcome
    }
}

/// Gives back what share of the input there is.
fn let_go(parts: &Parts) {
    if let Some(decider) = parts.decider.as_ref().filter(|_| parts.shared) {
        decider.let_go();
    }
}

/// Where input is shared nothing is known from before: what this instance had may have been another's since.
fn forget_everything(parts: &Parts) -> Result<(), JobError> {
    let mut delta = Delta::default();
    Family::ALL.iter().for_each(|family| delta.delete_range(*family, &[], &[u8::MAX; 8]));
    Ok(parts.backend.commit(&delta)?)
}

/// Waits for a share of the input; `false` if the job is asked to stop before there is one.
fn join(parts: &Parts) -> Result<bool, JobError> {
    let Some(decider) = &parts.decider else { return Ok(true) };
    while !parts.stop.load(Ordering::Relaxed) {
        if decider.join(JOIN_LOOK).map_err(|cause| parts.undecided(cause))? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn list_splits(graph: &Graph) -> Result<Splits, JobError> {
    let mut splits = BTreeMap::new();
    for (number, place, list) in graph.sources() {
        let listed = list().map_err(|cause| RunError::Source { place: place.clone(), cause })?;
        splits.insert(number, listed);
    }
    Ok(splits)
}

/// A thread that looks for splits that were not there when the attempt began.
struct Watching {
    new: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watching {
    fn start(parts: &Arc<Parts>, known: Splits) -> Result<Watching, JobError> {
        let (new, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let mut watching = Watching { new: Arc::clone(&new), ended: Arc::clone(&ended), thread: None };
        // Who shares its input is told of what is new by being called back.
        if parts.shared {
            return Ok(watching);
        }
        let graph = Arc::clone(&parts.graph);
        let interval = parts.config.split_interval;
        watching.thread = Some(spawn("splits".to_owned(), move || {
            loop {
                let end = Instant::now() + interval;
                while Instant::now() < end {
                    std::thread::park_timeout(end.saturating_duration_since(Instant::now()));
                    if ended.load(Ordering::Relaxed) {
                        return;
                    }
                }
                match list_splits(&graph) {
                    Ok(listed) if has_more(&listed, &known) => {
                        tracing::info!(topology = graph.name(), "a source has splits that are not read yet");
                        new.store(true, Ordering::Relaxed);
                        return;
                    }
                    Ok(_) => {}
                    Err(error) => tracing::warn!("splits could not be listed again: {error}"),
                }
            }
        })?);
        Ok(watching)
    }

    /// Tells the thread to end; it does when a question that it is asking is answered.
    fn end(self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread {
            thread.thread().unpark();
        }
    }
}

/// Whether any source has a split that is not known.
fn has_more(listed: &Splits, known: &Splits) -> bool {
    listed.iter().any(|(source, splits)| {
        let known = known.get(source).map(Vec::as_slice).unwrap_or_default();
        splits.iter().any(|split| !known.contains(split))
    })
}

/// What every worker is started with.
pub(crate) struct Workers {
    parts: Arc<Parts>,
    catalog: Arc<Catalog>,
    splits: Splits,
    committed: Epoch,
}

type Started = (Vec<(Sender<Order>, Waker)>, Receiver<News>, Vec<JoinHandle<()>>);

impl Workers {
    pub(crate) fn on(parts: &Arc<Parts>, ground: &Ground) -> Workers {
        Workers {
            parts: Arc::clone(parts),
            catalog: Arc::clone(&ground.catalog),
            committed: ground.found.committed,
            splits: ground.splits.clone(),
        }
    }

    fn start(self: Arc<Self>, requesting: &Requesting) -> Result<Started, JobError> {
        let config = &self.parts.config;
        let count = config.workers;
        let wakers: Vec<Waker> = (0..count).map(|_| Waker::default()).collect();
        let channels = Arc::new(Channels::new(config.limits.channel_batches, wakers.clone()));
        self.parts.progress.begins(self.committed, &channels);
        let pace: Arc<dyn Pace + Send + Sync> = match config.rate {
            Some(rate) => Arc::new(Bucket::new(rate)),
            None => Arc::new(FullSpeed),
        };
        let pace = Arc::new(WithinMemory { pace, budget: Arc::clone(&self.parts.budget) });
        let (news_sender, news) = unbounded();
        let shared = self;
        let mut orders = Vec::with_capacity(count);
        let mut threads = Vec::with_capacity(count);
        for (number, waker) in wakers.into_iter().enumerate() {
            let (order_sender, order_receiver) = unbounded();
            let (shared, channels, pace) = (Arc::clone(&shared), Arc::clone(&channels), Arc::clone(&pace));
            let (news_sender, own_waker) = (news_sender.clone(), waker.clone());
            let executor = requesting.executor(waker.clone());
            orders.push((order_sender, waker));
            let span = tracing::info_span!("worker", topology = shared.parts.graph.name(), number);
            threads.push(spawn(format!("worker-{number}"), move || {
                let _entered = span.entered();
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

    /// Opens the topology on one worker.
    pub(crate) fn open(
        &self,
        worker: usize,
        transport: &dyn Transport,
        executor: Arc<dyn Executor>,
    ) -> Result<Flow, RunError> {
        let opening = WorkerOpening {
            worker,
            workers: self.parts.config.workers,
            backend: Arc::clone(&self.parts.backend),
            catalog: Arc::clone(&self.catalog),
            budget: Arc::clone(&self.parts.budget),
            committed: self.committed,
            limits: self.parts.config.limits.clone(),
            transport,
            splits: &self.splits,
            idle_after: self.parts.config.idle_after,
            executor,
        };
        Flow::open(&self.parts.graph, &opening)
    }
}

/// Starts a thread with a name.
pub(crate) fn spawn<T: Send + 'static>(
    name: String,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, JobError> {
    let thread = std::thread::Builder::new().name(name).spawn(run);
    thread.map_err(|source| JobError::System { doing: "start a thread", source })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use highwater_operators::decide::{Decide, Marker, Terms};
    use highwater_operators::error::Cause;
    use highwater_operators::memory::Memory;
    use highwater_operators::topology::Topology;
    use highwater_state::backend::memory::MemoryBackend;
    use highwater_state::budget::TableBudget;
    use highwater_state::{Backend, StoreId, layout, persist, redo};

    use super::*;
    use crate::boundary::{Boundary, Plan};
    use crate::config::Config;
    use crate::progress::Progress;
    use crate::recovery::random;
    use crate::step::unwatched;

    const STATE: u128 = 7;

    /// Says that the first epoch was decided.
    struct Decided;

    impl Decide for Decided {
        fn describe(&self) -> String {
            "a test".to_owned()
        }

        fn look(&self, terms: &Terms) -> Result<Option<Marker>, Cause> {
            self.take_over(terms)
        }

        fn take_over(&self, _: &Terms) -> Result<Option<Marker>, Cause> {
            Ok(Some(Marker { epoch: Epoch(1), state: STATE, instance: 1 }))
        }

        fn stage(&self, _: &Marker) -> Result<(), Cause> {
            Ok(())
        }

        fn decide(&self, _: Epoch) -> Result<(), Cause> {
            Ok(())
        }

        fn pass_over(&self, _: Epoch) {}
    }

    fn row(delta: &mut Delta, key: &[u8], value: &impl highwater_state::Persist) {
        let mut bytes = Vec::new();
        persist::encode("value", value, &mut bytes).expect("encodes");
        delta.put(Family::Meta, key, &bytes);
    }

    /// The first epoch brings the names of all states. Where only its redo was written, the catalog must be read when
    /// it has been applied: or a state that is new takes the number of one that is there.
    #[test]
    fn names_that_an_epoch_brings_which_is_rolled_forward_keep_their_numbers() {
        let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
        let (mut identity, mut first) = (Delta::default(), Delta::default());
        row(&mut identity, layout::IDENTITY_KEY, &STATE);
        backend.commit(&identity).expect("commits");
        let catalog = Catalog::open(&*backend).expect("opens");
        assert_eq!(catalog.store("kept", Family::Values, "u64").expect("is new"), StoreId(1));
        catalog.take_changes(&mut first);
        row(&mut first, layout::EPOCH_KEY, &Epoch(1));
        redo::prepare(&*backend, Epoch(1), 1, &first).expect("is kept");

        let topology = Topology::new("test");
        topology.source("numbers", Memory::source([1])).sink("out", Memory::sink());
        let config = Config::default();
        let parts = Parts {
            graph: Arc::new(topology.finish().expect("a topology")),
            backend,
            decider: Some(Arc::new(Decided)),
            shared: false,
            terms: Terms { epoch_interval: config.epoch_interval, epoch_timeout: config.epoch_timeout },
            budget: Arc::new(TableBudget::new(usize::MAX)),
            config,
            stop: Arc::default(),
            watch: unwatched(),
            random: random(),
            ended: AtomicU64::new(0),
            migrations: Vec::new(),
            progress: Progress::new(),
            boundary: Arc::new(Boundary::new("test", None, Plan::default())),
        };
        let Ok(Recovered::Ready(ground)) = recover(&parts) else { panic!("an attempt can begin") };
        assert_eq!(ground.found.committed, Epoch(1));
        assert_eq!(ground.catalog.store("new", Family::Values, "u64").expect("is new"), StoreId(2));
    }
}
