//! How far a job has come: for who waits for an epoch, and for who asks how the job is.
//!
//! Written by the thread that commits, read by anybody. Invariant: an epoch is noted as passed when everything in it
//! can be read and has been published. It decides nothing.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use highwater_state::Epoch;

use crate::channels::Channels;
use crate::coordinator::{End, Outcome};
use crate::error::JobError;

/// How a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It runs, or is about to.
    Running,
    /// It has ended.
    Ended {
        /// Whether all input has been dealt with; if not, it was asked to stop.
        finished: bool,
    },
    /// It has failed.
    Failed {
        /// What [`RunningJob::wait`](crate::job::RunningJob::wait) says of it.
        reason: String,
    },
}

/// What is known of the epochs of a job since it was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epochs {
    /// The last epoch that ended, with or without anything in it; 0 before the first.
    pub last: Epoch,
    /// How long ago that was, or the start of the job if there was none.
    pub age: Duration,
    /// How many have ended.
    pub count: u64,
    /// How long the last one took, from the order to end it until it was published.
    pub last_took: Duration,
    /// How long all of them took.
    pub all_took: Duration,
}

/// Where a job stands.
pub(crate) struct Progress {
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    health: Health,
    last: Epoch,
    count: u64,
    /// When the last epoch ended, or the job was started.
    since: Instant,
    ending_since: Option<Instant>,
    last_took: Duration,
    all_took: Duration,
    /// Counts whatever somebody may wait for.
    turns: u64,
    /// How many attempts have begun: where input is shared, each numbers its epochs anew.
    attempts: u64,
    channels: Weak<Channels>,
}

impl Progress {
    pub(crate) fn new() -> Arc<Progress> {
        let inner = Inner {
            health: Health::Running,
            last: Epoch(0),
            count: 0,
            since: Instant::now(),
            ending_since: None,
            last_took: Duration::ZERO,
            all_took: Duration::ZERO,
            turns: 0,
            attempts: 0,
            channels: Weak::new(),
        };
        Arc::new(Progress { inner: Mutex::new(inner), changed: Condvar::new() })
    }

    /// An attempt begins with these channels behind this epoch. What was passed before without anything in it is
    /// numbered anew.
    pub(crate) fn begins(&self, committed: Epoch, channels: &Arc<Channels>) {
        let mut inner = self.lock();
        inner.channels = Arc::downgrade(channels);
        inner.ending_since = None;
        inner.last = committed;
        inner.attempts += 1;
        self.tell(inner);
    }

    /// The workers have been told to end the epoch.
    pub(crate) fn ends(&self) {
        self.lock().ending_since = Some(Instant::now());
    }

    /// The epoch is committed and published.
    pub(crate) fn passed(&self, epoch: Epoch) {
        let mut inner = self.lock();
        let now = Instant::now();
        let took = inner.ending_since.take().map_or(Duration::ZERO, |since| now - since);
        inner.last_took = took;
        inner.all_took += took;
        (inner.last, inner.since) = (epoch, now);
        inner.count += 1;
        self.tell(inner);
    }

    /// The job is over.
    pub(crate) fn over(&self, outcome: &Result<Outcome, JobError>) {
        let mut inner = self.lock();
        inner.health = match outcome {
            Ok(outcome) => Health::Ended { finished: outcome.end == End::Finished },
            Err(error) => Health::Failed { reason: error.to_string() },
        };
        self.tell(inner);
    }

    pub(crate) fn health(&self) -> Health {
        self.lock().health.clone()
    }

    pub(crate) fn epochs(&self) -> Epochs {
        let inner = self.lock();
        let (last, age, count) = (inner.last, inner.since.elapsed(), inner.count);
        Epochs { last, age, count, last_took: inner.last_took, all_took: inner.all_took }
    }

    /// The last epoch that passed.
    pub(crate) fn last(&self) -> Epoch {
        self.lock().last
    }

    /// How many attempts have begun.
    pub(crate) fn attempts(&self) -> u64 {
        self.lock().attempts
    }

    /// What tells two moments apart between which something has changed.
    pub(crate) fn turns(&self) -> u64 {
        self.lock().turns
    }

    /// Waits until something has changed since `turns`, or it is `until`.
    pub(crate) fn wait(&self, turns: u64, until: Instant) {
        let mut inner = self.lock();
        while inner.turns == turns {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner);
            inner = waited.0;
        }
    }

    /// The channels between the workers, while there are any.
    pub(crate) fn channels(&self) -> Option<Arc<Channels>> {
        self.lock().channels.upgrade()
    }

    fn tell(&self, mut inner: MutexGuard<'_, Inner>) {
        inner.turns += 1;
        drop(inner);
        self.changed.notify_all();
    }

    /// What a panicking thread left behind is whole: nothing under the lock calls anything that is not of here.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
