//! Who decides when an epoch ends, and sees it through.
//!
//! One thread beside the workers. It orders the end of an epoch, gathers what every worker contributes, commits
//! and publishes, while the workers are already in the next epoch. One epoch is on its way at a time. It sees one
//! attempt to its end; what follows an attempt is [`attempt`](crate::attempt)'s business.
//!
//! [`Decision`] is a pure function of what is known; the thread around it does the waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use highwater_operators::decide::Marker;
use highwater_operators::task::Contribution;
use highwater_state::Epoch;
use highwater_state::catalog::Catalog;

use crate::channels::Waker;
use crate::commit::Committing;
use crate::error::JobError;
use crate::parts::Parts;
use crate::recovery::Receipts;
use crate::step::{Moment, Step, watched};
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
    /// Somebody asked the job to stop, or the input is to be divided anew.
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
    end: End,
    since: Instant,
}

/// The coordinator of one attempt.
pub(crate) struct Coordinator {
    pub(crate) parts: Arc<Parts>,
    pub(crate) catalog: Arc<Catalog>,
    /// Set when a source has splits that this attempt does not read.
    pub(crate) new_splits: Arc<AtomicBool>,
    pub(crate) orders: Vec<(Sender<Order>, Waker)>,
    pub(crate) news: Receiver<News>,
    pub(crate) receipts: Receipts,
    /// What decisions are signed with; its epoch is the last committed one.
    pub(crate) marker: Marker,
}

/// Why the last epoch of an attempt was the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All input has been dealt with.
    Finished,
    /// The job was asked to stop before that was clear.
    Stopped,
    /// The input is to be divided anew: the next attempt follows at once.
    Divided,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) committed: Epoch,
    pub(crate) end: End,
}

impl Coordinator {
    /// Runs the attempt to its end; whatever happens, the workers are told to stop.
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
                let epoch = self.marker.epoch.next();
                last_end = Instant::now();
                ending = Some(Ending { epoch, last, end: self.end(known, making_way), since: last_end });
                self.order_end(epoch, last);
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
                let is_last = now_ending.last && now_ending.end != End::Divided;
                self.parts.boundary.passed(&*self.parts.backend, &self.catalog, is_last)?;
                ending = None;
                if now_ending.last {
                    return Ok(Outcome { committed: self.marker.epoch, end: now_ending.end });
                }
            } else if now_ending.since.elapsed() > self.parts.terms.epoch_timeout {
                return Err(JobError::Stuck { waited: now_ending.since.elapsed() });
            }
        }
    }

    fn known(&self, ending: bool, last_end: Instant, exhausted: &[bool]) -> Known {
        let since = last_end.elapsed();
        let interval = self.parts.terms.epoch_interval;
        Known {
            ending,
            due: since >= interval || self.parts.boundary.is_asked(),
            // Not at once again: rows are let go when the workers hear of the commit, not by the commit itself.
            short_of_memory: self.parts.budget.is_short() && since >= interval / 100,
            stopping: self.is_asked_to_stop() || self.is_to_be_divided(),
            exhausted: exhausted.iter().all(|&exhausted| exhausted),
        }
    }

    fn is_asked_to_stop(&self) -> bool {
        self.parts.stop.load(Ordering::Relaxed)
    }

    fn is_to_be_divided(&self) -> bool {
        let called_back =
            self.parts.shared && self.parts.decider.as_ref().is_some_and(|it| it.is_called_back());
        called_back || self.new_splits.load(Ordering::Relaxed)
    }

    /// Why an epoch that ends now is the last one, if it is.
    fn end(&self, known: Known, making_way: bool) -> End {
        if self.is_asked_to_stop() {
            End::Stopped
        } else if known.exhausted && !making_way {
            End::Finished
        } else {
            End::Divided
        }
    }

    fn commit(&mut self, ending: Ending, contributions: Vec<Contribution>) -> Result<(), JobError> {
        let parts = &self.parts;
        self.marker.epoch = ending.epoch;
        let finished = ending.end == End::Finished;
        let mut committing = watched(&parts.watch, Step::Gather, || {
            Committing::gather(parts, &self.catalog, self.marker, contributions, finished, &mut self.receipts)
        })?;
        while !committing.is_done() {
            committing.step(parts)?;
        }
        parts.ended.fetch_add(1, Ordering::Relaxed);
        watched(&parts.watch, Step::Tell, || {
            self.order(Order::Applied(ending.epoch));
            Ok(())
        })
    }

    fn order_end(&self, epoch: Epoch, last: bool) {
        (self.parts.watch)(Step::Order, Moment::Before);
        self.order(Order::EndEpoch { epoch, last });
        (self.parts.watch)(Step::Order, Moment::After);
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
