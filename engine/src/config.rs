//! Every setting of a job, with its unit, default, bounds and reason.

use std::path::PathBuf;
use std::time::Duration;

use highwater_operators::limits::Limits;
use highwater_state::KEY_GROUPS;
use highwater_state::budget::MemoryBudget;

use crate::error::JobError;

/// The settings of one job.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Threads that run the topology. Default 1: no record crosses a thread, which is the fastest per core. At
    /// most the number of key groups.
    pub(crate) workers: usize,
    /// Where state lives; in memory if there is none, and then nothing survives.
    pub(crate) state: Option<PathBuf>,
    /// Whether rows are kept where they can be read while the job runs, also without a state directory. Default no:
    /// they are encoded and kept a second time, which takes as much memory again, and half of the speed where many
    /// change.
    pub(crate) queryable: bool,
    /// Time between two barriers. Default 1 s: measured to cost 2 to 4 % of throughput; 100 ms costs 10 to 25 %.
    /// At least 10 ms.
    pub(crate) epoch_interval: Duration,
    /// Bytes of memory for the job; `highwater_state::budget` splits them. Default 512 MiB.
    pub(crate) memory: usize,
    /// How long a split may deliver nothing before it stops holding back the watermark. Default 1 min: longer
    /// than a broker's leader election, short enough that an empty partition does not stop results for long.
    pub(crate) idle_after: Duration,
    /// Records a second over all sources; no limit by default.
    pub(crate) rate: Option<u64>,
    /// How long the end of one epoch may take before the job says that it is stuck. 5 min: longer than a slow
    /// disk or broker takes, and better than to wait for ever.
    pub(crate) epoch_timeout: Duration,
    /// How often sources are asked for new splits. 1 min: partitions are added by hand, and rarely. At least 100 ms.
    pub(crate) split_interval: Duration,
    /// Whether a job whose input has ended in an earlier run goes on with what there is by now. Default no: it has told
    /// its last results, and what comes later would be late for them.
    pub(crate) again: bool,
    pub(crate) limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            workers: 1,
            state: None,
            queryable: false,
            epoch_interval: Duration::from_secs(1),
            memory: 512 << 20,
            idle_after: Duration::from_secs(60),
            rate: None,
            epoch_timeout: Duration::from_secs(300),
            split_interval: Duration::from_secs(60),
            again: false,
            limits: Limits::default(),
        }
    }
}

/// The longest interval that makes sense.
const DAY: Duration = Duration::from_secs(86_400);

impl Config {
    pub(crate) fn check(&self) -> Result<MemoryBudget, JobError> {
        if self.workers == 0 || self.workers > usize::from(KEY_GROUPS) {
            return Err(refused("workers", self.workers.to_string(), "1 to 128"));
        }
        if self.epoch_interval < Duration::from_millis(10) || self.epoch_interval > DAY {
            let allowed = "at least 10 ms, and at most a day";
            return Err(refused("epoch_interval", format!("{:?}", self.epoch_interval), allowed));
        }
        if self.split_interval < Duration::from_millis(100) || self.split_interval > DAY {
            let allowed = "at least 100 ms, and at most a day";
            return Err(refused("split_interval", format!("{:?}", self.split_interval), allowed));
        }
        if self.rate == Some(0) {
            return Err(refused("rate", "0".to_owned(), "at least one record a second"));
        }
        Ok(MemoryBudget::of(self.memory)?)
    }
}

fn refused(setting: &'static str, found: String, allowed: &'static str) -> JobError {
    JobError::Setting { setting, found, allowed }
}
