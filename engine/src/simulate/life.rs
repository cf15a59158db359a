//! The life of one simulated process: recovery, workers, coordinator, and attempts one after the other.
//!
//! What is stepped here is what a job runs: [`attempt::recover`], [`Working::turn`] and [`Coordinator::turn`]. Only the
//! threads are replaced, by dice. Invariant: an error that comes without anything having been done to the process is a
//! bug, and ends the simulation.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker as TaskWaker};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use highwater_operators::decide::Terms;
use highwater_operators::exchange::Transport;
use highwater_operators::executor::{Executor, Work};
use highwater_operators::graph::Graph;
use highwater_operators::limits::Limits;
use highwater_operators::task::FullSpeed;
use highwater_state::Timestamp;
use highwater_state::budget::TableBudget;

use super::dice::Dice;
use super::disk::OpenDisk;
use super::fault::Fault;
use super::outside::{Outside, Process};
use super::planted::{Bug, Overtaking};
use crate::attempt::{self, Recovered, Workers};
use crate::boundary::{Boundary, Plan};
use crate::channels::{Channels, Waker, WorkerChannels};
use crate::config::Config;
use crate::coordinator::{Coordinator, End, Outcome};
use crate::error::JobError;
use crate::pace::WithinMemory;
use crate::parts::Parts;
use crate::progress::Progress;
use crate::worker::{News, Order, Turn, Working};

/// The longest jump of the clock, in milliseconds: three hours.
const LONGEST_JUMP: usize = 3 * 3_600_000;

/// How a process ended.
pub(super) enum Ended {
    /// All input has been dealt with.
    Finished,
    /// It was asked to stop.
    Stopped,
    /// It was killed.
    Dead,
    /// Something outside failed.
    Failed,
    /// It says that something is wrong, and nothing was done to it.
    Broken(JobError),
}

/// One process.
pub(super) struct Life {
    pub(super) process: Process,
    parts: Arc<Parts>,
    requests: Arc<Unanswered>,
    attempt: Option<Running>,
    /// Milliseconds since 1970, by its own clock.
    now: i64,
    /// It has moved again after it stood still.
    pub(super) woken: bool,
}

/// The workers and the coordinator of one attempt.
struct Running {
    coordinator: Coordinator,
    workers: Vec<Option<Working>>,
    orders: Vec<Receiver<Order>>,
    news: Sender<News>,
    pace: WithinMemory,
    new_splits: Arc<AtomicBool>,
    began: i64,
    /// A worker that seldom gets its turn.
    slow: usize,
}

/// Futures that wait to be polled.
#[derive(Default)]
struct Unanswered(Mutex<Vec<Work>>);

impl Executor for Unanswered {
    fn spawn(&self, work: Work) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(work);
    }

    fn keeps_time(&self) -> bool {
        false
    }
}

impl Unanswered {
    /// Polls one of them.
    fn go_on(&self, dice: &mut Dice) -> bool {
        // Not held while the future runs: it may spawn another.
        let work = {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.is_empty() {
                return false;
            }
            let number = dice.roll(waiting.len());
            waiting.swap_remove(number)
        };
        let mut work = work;
        if work.as_mut().poll(&mut Context::from_waker(TaskWaker::noop())).is_pending() {
            self.spawn(work);
        }
        true
    }
}

impl Life {
    /// A process that has been started, and has done nothing yet.
    pub(super) fn start(process: Process, graph: Graph, idle_after: Duration, workers_max: usize) -> Life {
        let (config, table_bytes, now, mut random) = {
            let outside = &mut *process.lock();
            let config = roll_config(&mut outside.dice, idle_after, workers_max);
            // Half of the runs have tables that do not fit their budget.
            let table_bytes = if outside.dice.one_in(2) { usize::MAX } else { 500 + outside.dice.roll(3000) };
            (config, table_bytes, start_of_clock(outside), Dice::new(outside.dice.draw()))
        };
        let random = Mutex::new(move || u128::from(random.draw()) << 64 | u128::from(random.draw()));
        let graph = Arc::new(graph);
        let watched = process.clone();
        let parts = Arc::new(Parts {
            decider: graph.decider().cloned(),
            graph,
            backend: Arc::new(OpenDisk { process: process.clone() }),
            shared: false,
            terms: Terms { epoch_interval: config.epoch_interval, epoch_timeout: config.epoch_timeout },
            budget: Arc::new(TableBudget::new(table_bytes)),
            config,
            stop: Arc::new(AtomicBool::new(false)),
            watch: Arc::new(move |step, moment| watched.lock().passes(watched.number, step, moment)),
            random: Arc::new(move || random.lock().unwrap_or_else(PoisonError::into_inner)()),
            ended: AtomicU64::new(0),
            migrations: Vec::new(),
            progress: Progress::new(),
            boundary: Arc::new(Boundary::new("simulated", None, Plan::default())),
        });
        Life { process, parts, requests: Arc::default(), attempt: None, now, woken: false }
    }

    /// One move of one worker, of the coordinator or of a request; or the beginning of an attempt.
    pub(super) fn turn(&mut self) -> Option<Ended> {
        let mut dice = self.tick();
        if self.is_dead() {
            return Some(Ended::Dead);
        }
        let turned = match &mut self.attempt {
            None => self.recover(&mut dice),
            Some(running) => running.turn(&mut dice, self.now, &self.requests),
        };
        if self.is_dead() {
            return Some(Ended::Dead);
        }
        match turned {
            Ok(None) => None,
            Ok(Some(Outcome { end: End::Finished, .. })) => Some(Ended::Finished),
            Ok(Some(Outcome { end: End::Stopped, .. })) => Some(Ended::Stopped),
            Ok(Some(Outcome { end: End::Divided, .. })) => {
                self.attempt = None;
                None
            }
            Err(error) => self.bear(error, &mut dice),
        }
    }

    fn is_dead(&self) -> bool {
        self.process.lock().is_dead(self.process.number)
    }

    /// Time passes. The dice of this turn are of its own, so that nothing is locked while it is taken.
    fn tick(&mut self) -> Dice {
        let outside = &mut *self.process.lock();
        outside.moves(self.process.number);
        // Some moves a millisecond: a move of a worker takes microseconds, and what follows the clock would otherwise
        // have nothing else to do.
        self.now += i64::from(outside.dice.one_in(8));
        if outside.faults_left > 0 && outside.dice.one_in(2000) {
            outside.inject(Fault::ClockForward);
            // Requests that are on their way have no answer in time.
            outside.hurt(self.process.number);
            self.now += outside.dice.roll(LONGEST_JUMP) as i64;
        }
        outside.clock = outside.clock.max(Timestamp::from_millis(self.now));
        Dice::new(outside.dice.draw())
    }

    /// Begins an attempt as a job does.
    fn recover(&mut self, dice: &mut Dice) -> Result<Option<Outcome>, JobError> {
        let ground = match attempt::recover(&self.parts)? {
            Recovered::Ready(ground) => ground,
            Recovered::Over(outcome) => return Ok(Some(outcome)),
        };
        let number = self.process.number;
        if self.process.lock().owner == number {
            self.process.lock().heal(number);
        }
        let count = self.parts.config.workers;
        let wakers = vec![Waker::default(); count];
        let channels = Arc::new(Channels::new(self.parts.config.limits.channel_batches, wakers.clone()));
        let opening = Workers::on(&self.parts, &ground);
        let (news, heard) = unbounded();
        let (mut workers, mut senders, mut orders) = (Vec::new(), Vec::new(), Vec::new());
        self.requests = Arc::default();
        for (own, waker) in wakers.into_iter().enumerate() {
            let (sender, receiver) = unbounded();
            senders.push((sender, waker));
            orders.push(receiver);
            let transport = self.transport(WorkerChannels { own, channels: Arc::clone(&channels) });
            let executor: Arc<dyn Executor> = Arc::clone(&self.requests) as _;
            workers.push(Some(Working::new(own, opening.open(own, &*transport, executor)?)));
        }
        let new_splits = Arc::new(AtomicBool::new(false));
        let coordinator = ground.coordinator(&self.parts, Arc::clone(&new_splits), senders, heard);
        let pace = WithinMemory { pace: Arc::new(FullSpeed), budget: Arc::clone(&self.parts.budget) };
        let (began, slow) = (self.now, dice.roll(2 * count));
        self.attempt = Some(Running { coordinator, workers, orders, news, pace, new_splits, began, slow });
        Ok(None)
    }

    fn transport(&self, channels: WorkerChannels) -> Box<dyn Transport> {
        match self.process.lock().planted(Bug::BarrierOvertakes) {
            true => Box::new(Overtaking(channels)),
            false => Box::new(channels),
        }
    }

    /// What an error comes to: a bug, the end of the process, or another attempt.
    fn bear(&mut self, error: JobError, dice: &mut Dice) -> Option<Ended> {
        let hurt = self.process.lock().was_hurt(self.process.number);
        let never_right = matches!(
            error,
            JobError::Mismatch { .. }
                | JobError::InDoubt { .. }
                | JobError::Ended { .. }
                | JobError::Stuck { .. }
        );
        if !hurt || never_right {
            return Some(Ended::Broken(error));
        }
        self.process.lock().trace.event(format_args!("process {} met {error}", self.process.number));
        // The other workers go on for a moment before they hear of it.
        if let Some(running) = &mut self.attempt {
            (0..dice.roll(8)).for_each(|_| {
                let worker = dice.roll(running.workers.len());
                running.turn_worker(worker, self.now);
            });
        }
        self.attempt = None;
        if !error.may_pass() {
            return Some(Ended::Failed);
        }
        None
    }

    /// Asks the job to stop.
    pub(super) fn stop(&self) {
        self.parts.stop.store(true, Ordering::Relaxed);
    }

    /// Says that there are new splits; `false` if nobody listens.
    pub(super) fn divide(&self) -> bool {
        let Some(running) = &self.attempt else { return false };
        !running.new_splits.swap(true, Ordering::Relaxed)
    }
}

impl Running {
    fn turn(
        &mut self,
        dice: &mut Dice,
        now: i64,
        requests: &Unanswered,
    ) -> Result<Option<Outcome>, JobError> {
        let workers = self.workers.len();
        match dice.roll(workers + 2) {
            worker if worker < workers => {
                if worker != self.slow || dice.one_in(8) {
                    self.turn_worker(worker, now);
                }
                Ok(None)
            }
            number if number == workers && requests.go_on(dice) => Ok(None),
            _ => {
                let coordinator = &mut self.coordinator;
                let news = if coordinator.is_committing() { None } else { coordinator.news.try_recv().ok() };
                let since = Duration::from_millis(now.saturating_sub(self.began).unsigned_abs());
                coordinator.turn(news, since)
            }
        }
    }

    fn turn_worker(&mut self, number: usize, now: i64) {
        let Some(worker) = &mut self.workers[number] else { return };
        let now = Timestamp::from_millis(now);
        match worker.turn(&self.orders[number], &self.news, &self.pace, now) {
            Ok(Turn::Moved | Turn::Waits) => {}
            Ok(Turn::Over) => self.workers[number] = None,
            Err(error) => {
                self.workers[number] = None;
                let _ = self.news.send(News::Failed(JobError::Run(error)));
            }
        }
    }
}

/// The settings of one start.
fn roll_config(dice: &mut Dice, idle_after: Duration, workers_max: usize) -> Config {
    let limits = match dice.roll(3) {
        0 => Limits::default(),
        1 => Limits {
            batch_records: 1 + dice.roll(20),
            edge_batches: 1,
            channel_batches: 1 + dice.roll(2),
            piece_bytes: 1 + dice.roll(1000),
            ..Limits::default()
        },
        _ => Limits::tiny(),
    };
    Config {
        workers: 1 + dice.roll(workers_max),
        epoch_interval: Duration::from_millis(1 + dice.roll(25) as u64),
        // The clock jumps by hours.
        epoch_timeout: Duration::MAX,
        idle_after,
        limits,
        ..Config::default()
    }
}

/// Where the clock of a new process stands: mostly behind that of the last, sometimes set back.
fn start_of_clock(outside: &mut Outside) -> i64 {
    let mut now = outside.clock.as_millis() + outside.dice.roll(100) as i64;
    if outside.faults_left > 0 && outside.dice.one_in(6) {
        outside.coverage.count(Fault::ClockBack);
        now -= outside.dice.roll(LONGEST_JUMP) as i64;
    }
    now
}
