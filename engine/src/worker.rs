//! One worker: a thread that steps a flow, and tells the coordinator what came of it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use highwater_operators::error::RunError;
use highwater_operators::flow::Flow;
use highwater_operators::task::{Contribution, Pace};
use highwater_state::{Epoch, Timestamp};

use crate::error::JobError;

/// How long a worker that has nothing to do sleeps before it looks again: sources cannot wake it.
const NAP: Duration = Duration::from_millis(1);

/// What the coordinator asks of a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// End the epoch; if it is the last, end.
    EndEpoch { epoch: Epoch, last: bool },
    /// The job is to stop: read nothing more, and wait for nothing outside.
    MakeWay,
    /// The epoch is committed.
    Applied(Epoch),
    /// Stop at once: another worker has failed.
    Stop,
}

/// What a worker tells the coordinator.
pub(crate) enum News {
    /// The barrier has passed every task.
    Ended { worker: usize, contribution: Contribution },
    /// All splits of all sources have ended.
    Exhausted { worker: usize },
    /// The worker cannot go on.
    Failed(JobError),
}

/// Runs one worker until it has ended, is stopped or fails.
pub(crate) fn run(
    worker: usize,
    open: impl FnOnce() -> Result<Flow, RunError>,
    pace: &dyn Pace,
    orders: &Receiver<Order>,
    news: &Sender<News>,
) {
    let ran = catch_unwind(AssertUnwindSafe(|| -> Result<(), RunError> {
        let flow = open()?;
        work(worker, flow, pace, orders, news)
    }));
    let failed = match ran {
        Ok(Ok(())) => return,
        Ok(Err(error)) => JobError::Run(error),
        Err(panic) => JobError::Panicked { worker, message: message_of(&*panic) },
    };
    // If the coordinator has gone, there is nobody left to tell.
    let _ = news.send(News::Failed(failed));
}

fn work(
    worker: usize,
    flow: Flow,
    pace: &dyn Pace,
    orders: &Receiver<Order>,
    news: &Sender<News>,
) -> Result<(), RunError> {
    // The time of day is read once: it can jump, and make every split idle at once.
    let (start, started_at) = (Instant::now(), time_of_day());
    let mut working = Working::new(worker, flow);
    loop {
        match working.turn(orders, news, pace, started_at + start.elapsed())? {
            Turn::Moved => {}
            Turn::Waits if orders.is_empty() => std::thread::park_timeout(NAP),
            Turn::Waits => {}
            Turn::Over => return Ok(()),
        }
    }
}

/// A worker that runs: a value that is stepped, by its thread or by a simulation.
pub(crate) struct Working {
    worker: usize,
    flow: Flow,
    /// The coordinator knows that all input has ended.
    exhausted: bool,
    /// The epoch that is ending is the last.
    last: bool,
}

/// What came of one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Something moved.
    Moved,
    /// There was nothing to do.
    Waits,
    /// The worker has ended.
    Over,
}

impl Working {
    pub(crate) fn new(worker: usize, flow: Flow) -> Working {
        Working { worker, flow, exhausted: false, last: false }
    }

    /// Takes one order, if there is one, steps the flow once, and tells the coordinator what came of it.
    pub(crate) fn turn(
        &mut self,
        orders: &Receiver<Order>,
        news: &Sender<News>,
        pace: &dyn Pace,
        now: Timestamp,
    ) -> Result<Turn, RunError> {
        match orders.try_recv() {
            Ok(Order::EndEpoch { epoch, last }) => {
                self.last = last;
                self.flow.end_epoch(epoch, last);
            }
            Ok(Order::MakeWay) => self.flow.make_way(),
            Ok(Order::Applied(epoch)) => {
                self.flow.applied(epoch);
                if self.last {
                    return Ok(Turn::Over);
                }
            }
            Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return Ok(Turn::Over),
            Err(TryRecvError::Empty) => {}
        }
        let moved = self.flow.step(now, pace)?;
        let worker = self.worker;
        if let Some((_, contribution)) = self.flow.take_contribution() {
            let _ = news.send(News::Ended { worker, contribution });
        }
        if !self.exhausted && self.flow.is_exhausted() {
            self.exhausted = true;
            let _ = news.send(News::Exhausted { worker });
        }
        Ok(if moved { Turn::Moved } else { Turn::Waits })
    }
}

fn time_of_day() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(0) + since_1970
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
