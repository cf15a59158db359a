//! Who decides when an epoch ends, and sees it through.
//!
//! One thread beside the workers. It orders the end of an epoch, gathers what every worker contributes, commits
//! and publishes, while the workers are already in the next epoch. One epoch is on its way at a time.
//!
//! [`Decision`] is a pure function of what is known; the thread around it does the waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use highwater_operators::graph::Graph;
use highwater_operators::task::Contribution;
use highwater_state::budget::TableBudget;
use highwater_state::catalog::Catalog;
use highwater_state::{Backend, Epoch};

use crate::boundary::Boundary;
use crate::channels::Waker;
use crate::commit::{self, Receipts};
use crate::error::JobError;
use crate::worker::{News, Order};

/// How often the coordinator looks whether it is to stop or memory is short.
const LOOK: Duration = Duration::from_millis(10);

/// What the coordinator does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Wait,
    EndEpoch { last: bool },
}

/// What the decision rests on.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// An epoch is on its way.
    ending: bool,
    /// The interval has passed.
    due: bool,
    /// Tables hold more than their budget, and only a commit lets them shrink.
    short_of_memory: bool,
    /// Somebody asked the job to stop.
    stopping: bool,
    /// All input has been read.
    exhausted: bool,
}

impl Known {
    fn decide(self) -> Decision {
        if self.ending {
            return Decision::Wait;
        }
        let last = self.stopping || self.exhausted;
        if last || self.due || self.short_of_memory { Decision::EndEpoch { last } } else { Decision::Wait }
    }
}

/// An epoch on its way.
#[derive(Clone, Copy, Debug)]
struct Ending {
    epoch: Epoch,
    last: bool,
    finished: bool,
    since: Instant,
}

/// The coordinator of one job.
pub(crate) struct Coordinator {
    pub(crate) graph: Arc<Graph>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) budget: Arc<TableBudget>,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) orders: Vec<(Sender<Order>, Waker)>,
    pub(crate) news: Receiver<News>,
    pub(crate) committed: Epoch,
    pub(crate) receipts: Receipts,
    pub(crate) boundary: Arc<Boundary>,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) committed: Epoch,
    /// All input has been dealt with, and the job was not asked to stop before that was clear.
    pub(crate) finished: bool,
}

impl Coordinator {
    /// Runs the job to its end; whatever happens, the workers are told to stop.
    pub(crate) fn run(mut self) -> Result<Outcome, JobError> {
        let outcome = self.coordinate();
        if outcome.is_err() {
            self.order(Order::Stop);
        }
        outcome
    }

    fn coordinate(&mut self) -> Result<Outcome, JobError> {
        let workers = self.orders.len();
        let mut exhausted = vec![false; workers];
        let mut contributions: Vec<Option<Contribution>> = (0..workers).map(|_| None).collect();
        let mut ending: Option<Ending> = None;
        let mut last_end = Instant::now();
        let mut making_way = false;
        loop {
            let known = self.known(ending.is_some(), last_end, &exhausted);
            // Before the last epoch: what the one that is on its way waits for may never come.
            if known.stopping && !making_way && !ending.is_some_and(|ending| ending.last) {
                making_way = true;
                self.order(Order::MakeWay);
            }
            if let Decision::EndEpoch { last } = known.decide() {
                let epoch = self.committed.next();
                last_end = Instant::now();
                ending =
                    Some(Ending { epoch, last, finished: known.exhausted && !making_way, since: last_end });
                self.order(Order::EndEpoch { epoch, last });
            }
            match self.news.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(News::Exhausted { worker }) => exhausted[worker] = true,
                Ok(News::Failed(error)) => return Err(error),
                Ok(News::Ended { worker, contribution }) => contributions[worker] = Some(contribution),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(JobError::Stuck { waited: last_end.elapsed() });
                }
            }
            let Some(now_ending) = ending else { continue };
            if contributions.iter().all(Option::is_some) {
                let all = contributions.iter_mut().filter_map(Option::take).collect();
                self.commit(now_ending, all)?;
                self.boundary.passed(&*self.backend, &self.catalog, now_ending.last)?;
                ending = None;
                if now_ending.last {
                    return Ok(Outcome { committed: self.committed, finished: now_ending.finished });
                }
            } else if now_ending.since.elapsed() > self.timeout {
                return Err(JobError::Stuck { waited: now_ending.since.elapsed() });
            }
        }
    }

    fn known(&self, ending: bool, last_end: Instant, exhausted: &[bool]) -> Known {
        let since = last_end.elapsed();
        Known {
            ending,
            due: since >= self.interval || self.boundary.is_asked(),
            // Not at once again: rows are let go when the workers hear of the commit, not by the commit itself.
            short_of_memory: self.budget.is_short() && since >= self.interval / 100,
            stopping: self.stop.load(Ordering::Relaxed),
            exhausted: exhausted.iter().all(|&exhausted| exhausted),
        }
    }

    fn commit(&mut self, ending: Ending, contributions: Vec<Contribution>) -> Result<(), JobError> {
        let Ending { epoch, finished, .. } = ending;
        let Coordinator { graph, backend, catalog, receipts, .. } = self;
        commit::commit(graph, backend, catalog, epoch, contributions, finished, receipts)?;
        self.committed = epoch;
        self.order(Order::Applied(epoch));
        Ok(())
    }

    fn order(&self, order: Order) {
        for (orders, waker) in &self.orders {
            // A worker that has gone has said why in its news.
            let _ = orders.send(order);
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Known =
        Known { ending: false, due: false, short_of_memory: false, stopping: false, exhausted: false };

    #[test]
    fn one_epoch_is_on_its_way_at_a_time() {
        let all = Known { ending: true, due: true, short_of_memory: true, stopping: true, exhausted: true };
        assert_eq!(all.decide(), Decision::Wait);
    }

    #[test]
    fn an_epoch_ends_when_it_is_due_or_memory_is_short_and_for_the_last_time_when_the_job_does() {
        assert_eq!(NOTHING.decide(), Decision::Wait);
        assert_eq!(Known { due: true, ..NOTHING }.decide(), Decision::EndEpoch { last: false });
        assert_eq!(Known { short_of_memory: true, ..NOTHING }.decide(), Decision::EndEpoch { last: false });
        assert_eq!(Known { stopping: true, ..NOTHING }.decide(), Decision::EndEpoch { last: true });
        assert_eq!(Known { exhausted: true, ..NOTHING }.decide(), Decision::EndEpoch { last: true });
    }
}
