//! Which of several jobs answers: a projection is built anew beside the one that is asked, and takes its place.
//!
//! Invariant: who reads through one [`Live`] never sees a source's position fall, also over a switch. It does not
//! know jobs, and neither starts nor stops them.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::{AtLeast, Health, Queries, QueryError, Result, View};

/// For how long a wait for the next epoch of one job looks away from a switch to another.
const LOOK: Duration = Duration::from_millis(20);

/// Asks the job that is live; clones share which one that is.
///
/// Two jobs read the same sources by the same names, each with state of its own. The new version starts from the
/// beginning and catches up while the old one answers; then the two change places:
///
/// ```
/// use highwater::prelude::*;
/// use highwater::query::{AtLeast, Live};
///
/// let summary = |name: &str, factor: u64| {
///     let topology = Topology::new(name);
///     let sums = topology.source("sales", Memory::source([2u64, 3]).unending()).key_by(|_| 0u8);
///     sums.fold("sums", || 0u64, move |sum, sale| *sum += sale * factor).keep();
///     Job::new(topology).queryable().epoch_interval(Duration::from_millis(10)).start()
/// };
/// let (old, patience) = (summary("sales-v1", 1)?, Duration::from_secs(10));
/// let live = Live::new(old.queries());
/// let all = AtLeast::nothing().position("sales", "0", 2u64);
/// assert_eq!(live.at_least(&all, patience).expect("reads").get("sums", &0u8).expect("is a sum"), Some(5u64));
///
/// let new = summary("sales-v2", 100)?;
/// live.switch_to(new.queries(), patience).expect("it catches up");
/// old.stop();
/// assert_eq!(live.view().expect("reads").get("sums", &0u8).expect("is a sum"), Some(500u64));
/// # Ok::<(), JobError>(())
/// ```
#[derive(Clone)]
pub struct Live {
    current: Arc<RwLock<Queries>>,
}

impl From<Queries> for Live {
    fn from(queries: Queries) -> Live {
        Live::new(queries)
    }
}

impl Live {
    /// Asks this job until another one takes its place.
    pub fn new(queries: Queries) -> Live {
        Live { current: Arc::new(RwLock::new(queries)) }
    }

    /// The job that is live now.
    pub fn current(&self) -> Queries {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes another job the one that is asked, however far it has read; returns the one that was. For when the live
    /// job has failed; [`switch_to`](Self::switch_to) is for when it runs.
    pub fn replace(&self, next: Queries) -> Queries {
        std::mem::replace(&mut *self.current.write().unwrap_or_else(PoisonError::into_inner), next)
    }

    /// A view of the job that is live; see [`Queries::view`].
    ///
    /// # Errors
    /// As there.
    pub fn view(&self) -> Result<View> {
        // Under the lock: a switch that follows compares with what this view shows, or with something later.
        self.current.read().unwrap_or_else(PoisonError::into_inner).view()
    }

    /// A view that covers `least` of the job that is live then; see [`Queries::at_least`].
    ///
    /// # Errors
    /// As there.
    pub fn at_least(&self, least: &AtLeast, timeout: Duration) -> Result<View> {
        let start = Instant::now();
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            match self.current().at_least(least, left.min(LOOK)) {
                Ok(_) => {}
                // It may have been another one that was live.
                Err(QueryError::TimedOut { .. }) if !left.is_zero() => continue,
                Err(QueryError::TimedOut { asked, reached, .. }) => {
                    return Err(QueryError::TimedOut { asked, reached, waited: timeout });
                }
                Err(error) => return Err(error),
            }
            if let Some(view) = self.now_at_least(least)? {
                return Ok(view);
            }
        }
    }

    /// A view that covers `least` of the job that is live, if there is one now; see [`Queries::now_at_least`].
    ///
    /// # Errors
    /// As there.
    pub fn now_at_least(&self, least: &AtLeast) -> Result<Option<View>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).now_at_least(least)
    }

    /// Waits until `next` has read at least as far as the job that is live, and makes it the one that is asked;
    /// returns the one that was. Views that are held stay as they are. If it comes to nothing, the live job stays.
    ///
    /// Where input comes in all the time, the two end their epochs in turn, and the switch is made right behind an
    /// epoch of `next`: it must be able to keep up.
    ///
    /// # Errors
    /// [`QueryError::TimedOut`] or [`QueryError::NeverReached`] if it does not come so far;
    /// [`QueryError::UnknownSource`] or [`QueryError::Position`] if it does not read the same sources.
    pub fn switch_to(&self, next: Queries, timeout: Duration) -> Result<Queries> {
        let start = Instant::now();
        loop {
            let turns = next.turns();
            let reached = AtLeast::nothing().positions(self.view()?.positions());
            next.at_least(&reached, timeout.saturating_sub(start.elapsed()))?;
            {
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                // Nobody makes a view meanwhile, so that this is what was seen at most.
                let seen = AtLeast::nothing().positions(current.view()?.positions());
                if next.now_at_least(&seen)?.is_some() {
                    return Ok(std::mem::replace(&mut *current, next));
                }
            }
            if next.health() == Health::Running {
                next.shared.progress.wait(turns, Instant::now() + LOOK);
            }
        }
    }
}
