//! What a job says of itself: how it ended, and what its operators counted (HW-6).

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use highwater_operators::graph::Graph;
use highwater_state::Epoch;

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The last epoch that ended; one in which nothing happened leaves no trace on disk.
    pub epoch: Epoch,
    /// Whether all input has been dealt with; if not, the job was asked to stop, and a restart on the same state
    /// directory continues.
    pub finished: bool,
    /// What each operator counted in this run, over all workers.
    pub nodes: Vec<NodeReport>,
    /// The states that are kept for operators which the topology does not have any more; see
    /// [`RunningJob::orphans`](crate::job::RunningJob::orphans).
    pub orphans: Vec<String>,
    /// The savepoint that was made at the end; see [`Job::savepoint_on_stop`](crate::job::Job::savepoint_on_stop).
    pub savepoint: Option<PathBuf>,
}

/// What one operator counted, over all workers, since the job was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// The verb: `filter`, `window`.
    pub verb: &'static str,
    /// The user's name for it, where the verb has one.
    pub name: Option<String>,
    /// The user's line, `file:line`.
    pub location: String,
    /// Records that went in.
    pub records_in: u64,
    /// Records that came out.
    pub records_out: u64,
    /// Records that went to the outputs after the first: late ones, bad ones, those of the other branch, which are
    /// counted also where nobody takes them; and the changes of a running aggregate that are told with old values.
    pub records_aside: u64,
    /// Bad records that were skipped.
    pub skipped: u64,
    /// Runs of a pattern that were dropped because their key had more than
    /// [`runs_per_key`](highwater_operators::pattern::Pattern::runs_per_key).
    pub runs_dropped: u64,
}

impl NodeReport {
    pub(crate) fn of(graph: &Graph) -> Vec<NodeReport> {
        let nodes = graph.nodes().map(|(place, counters)| NodeReport {
            verb: place.verb,
            name: place.name.clone(),
            location: format!("{}:{}", place.location.file(), place.location.line()),
            records_in: counters.records_in.load(Ordering::Relaxed),
            records_out: counters.records_out[0].load(Ordering::Relaxed),
            records_aside: counters.records_out[1..].iter().map(|out| out.load(Ordering::Relaxed)).sum(),
            skipped: counters.skipped.load(Ordering::Relaxed),
            runs_dropped: counters.runs_dropped.load(Ordering::Relaxed),
        });
        nodes.collect()
    }
}
