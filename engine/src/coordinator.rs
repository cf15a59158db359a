//! Who decides when an epoch ends, and sees it through.
//!
//! One thread beside the workers. It orders the end of an epoch, gathers what every worker contributes, commits
//! and publishes, while the workers are already in the next epoch. One epoch is on its way at a time. It sees one
//! attempt to its end; what follows an attempt is [`attempt`](crate::attempt)'s business.
//!
//! [`Decision`] is a pure function of what is known; [`Coordinator::turn`] is one look at the news and what follows
//! from it; the thread around it does the waiting, and a simulation takes the turns itself.

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

/// What counts of one look at most: if it took longer, the process did not run.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

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
    /// For how long, without the time in which the whole process was held.
    waited: Duration,
}

/// Where an attempt stands. Times are since its beginning.
pub(crate) struct Course {
    exhausted: Vec<bool>,
    contributions: Vec<Option<Contribution>>,
    ending: Option<Ending>,
    committing: Option<Committing>,
    last_end: Duration,
    looked: Duration,
    making_way: bool,
}

impl Course {
    /// The beginning of an attempt with so many workers.
    pub(crate) fn of(workers: usize) -> Course {
        Course {
            exhausted: vec![false; workers],
            contributions: (0..workers).map(|_| None).collect(),
            ending: None,
            committing: None,
            last_end: Duration::ZERO,
            looked: Duration::ZERO,
            making_way: false,
        }
    }
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
    pub(crate) course: Course,
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
        let start = Instant::now();
        loop {
            let news = if self.is_committing() { Ok(None) } else { self.await_news() };
            let now = start.elapsed();
            let news =
                news.map_err(|_| JobError::Stuck { waited: now.saturating_sub(self.course.last_end) })?;
            if let Some(outcome) = self.turn(news, now)? {
                return Ok(outcome);
            }
        }
    }

    fn await_news(&self) -> Result<Option<News>, RecvTimeoutError> {
        match self.news.recv_timeout(LOOK) {
            Ok(news) => Ok(Some(news)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(disconnected) => Err(disconnected),
        }
    }

    /// Whether the next turn goes on with a commit; it takes no news then.
    pub(crate) fn is_committing(&self) -> bool {
        self.course.committing.is_some()
    }

    /// One look at what is new, or one step of a commit; says how the attempt has ended when it has.
    pub(crate) fn turn(&mut self, news: Option<News>, now: Duration) -> Result<Option<Outcome>, JobError> {
        if self.is_committing() {
            return self.go_on();
        }
        match news {
            None => {}
            Some(News::Exhausted { worker }) => self.course.exhausted[worker] = true,
            Some(News::Failed(error)) => return Err(error),
            Some(News::Ended { worker, contribution }) => {
                self.course.contributions[worker] = Some(contribution);
            }
        }
        let passed = now.saturating_sub(std::mem::replace(&mut self.course.looked, now));
        if let Some(ending) = &mut self.course.ending {
            ending.waited += passed.min(LONGEST_LOOK);
        }
        self.end_if_due(now);
        let Some(ending) = self.course.ending else { return Ok(None) };
        if self.course.contributions.iter().all(Option::is_some) {
            self.gather(ending)?;
        } else if ending.waited > self.parts.terms.epoch_timeout {
            return Err(JobError::Stuck { waited: ending.waited });
        }
        Ok(None)
    }

    fn end_if_due(&mut self, now: Duration) {
        let known = self.known(now);
        // Before the last epoch: what the one that is on its way waits for may never come.
        if known.stopping && !self.course.making_way && !self.course.ending.is_some_and(|ending| ending.last)
        {
            self.course.making_way = true;
            self.order(Order::MakeWay);
        }
        if let Decision::EndEpoch { last } = known.decide() {
            let epoch = self.marker.epoch.next();
            self.course.last_end = now;
            let end = self.end(known, self.course.making_way);
            self.course.ending = Some(Ending { epoch, last, end, waited: Duration::ZERO });
            self.parts.progress.ends();
            self.order_end(epoch, last);
        }
    }

    fn known(&self, now: Duration) -> Known {
        let since = now.saturating_sub(self.course.last_end);
        let interval = self.parts.terms.epoch_interval;
        Known {
            ending: self.course.ending.is_some(),
            due: since >= interval || self.parts.boundary.is_asked(),
            // Not at once again: rows are let go when the workers hear of the commit, not by the commit itself.
            short_of_memory: self.parts.budget.is_short() && since >= interval / 100,
            stopping: self.is_asked_to_stop() || self.is_to_be_divided(),
            exhausted: self.course.exhausted.iter().all(|&exhausted| exhausted),
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

    fn gather(&mut self, ending: Ending) -> Result<(), JobError> {
        let parts = &self.parts;
        self.marker.epoch = ending.epoch;
        let finished = ending.end == End::Finished;
        let contributions = self.course.contributions.iter_mut().filter_map(Option::take).collect();
        self.course.committing = Some(watched(&parts.watch, Step::Gather, || {
            Committing::gather(parts, &self.catalog, self.marker, contributions, finished, &mut self.receipts)
        })?);
        Ok(())
    }

    /// The next step of the commit; after the last one the workers are told.
    fn go_on(&mut self) -> Result<Option<Outcome>, JobError> {
        if let Some(committing) = self.course.committing.as_mut().filter(|committing| !committing.is_done()) {
            committing.step(&self.parts)?;
            return Ok(None);
        }
        self.course.committing = None;
        let Some(ended) = self.course.ending.take() else { return Ok(None) };
        self.parts.ended.fetch_add(1, Ordering::Relaxed);
        self.parts.progress.passed(ended.epoch);
        watched(&self.parts.watch, Step::Tell, || {
            self.order(Order::Applied(ended.epoch));
            Ok::<(), JobError>(())
        })?;
        let is_last = ended.last && ended.end != End::Divided;
        self.parts.boundary.passed(&*self.parts.backend, &self.catalog, is_last)?;
        Ok(ended.last.then_some(Outcome { committed: self.marker.epoch, end: ended.end }))
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
