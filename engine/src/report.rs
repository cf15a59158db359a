//! What a job says of itself: how it ended, and what its operators counted (HW-6).

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use highwater_operators::graph::Graph;
use highwater_operators::measure::Latencies;
use highwater_state::backend::FamilySize;
use highwater_state::{Epoch, Timestamp};

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

/// What the further outputs of an operator are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// Records that cannot be decoded or dealt with: dead letters.
    Refused,
    /// Records that came too late.
    Late,
    /// Anything else: those of the other branch, changes with their old values.
    Other,
}

impl Aside {
    /// In a word: `refused`, `late`, `other`.
    pub fn name(self) -> &'static str {
        match self {
            Aside::Refused => "refused",
            Aside::Late => "late",
            Aside::Other => "other",
        }
    }
}

impl NodeReport {
    /// What [`records_aside`](Self::records_aside) are.
    pub fn aside(&self) -> Aside {
        match self.verb {
            "source" | "try_map" | "map_async" => Aside::Refused,
            "window" | "sorted" | "join" | "join_as_of" => Aside::Late,
            _ => Aside::Other,
        }
    }

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

/// What a running job takes, and what waits in it, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// How many threads run the topology.
    pub workers: usize,
    /// Bytes of the rows that operators have in memory.
    pub table_bytes: u64,
    /// How many rows of state operators have asked for since the start.
    pub rows_asked: u64,
    /// How many of them were not in memory, and were looked for on disk; the others are hits.
    pub rows_read: u64,
    /// About how large the committed state is; empty when the job has ended.
    pub families: Vec<FamilySize>,
    /// The batches that wait between workers, by the number of the operator that takes them.
    pub queues: Vec<(usize, u64)>,
    /// How far event time has come at each operator, on the worker that is furthest behind; `None` where it has not
    /// begun.
    pub watermarks: Vec<Option<Timestamp>>,
    /// How many records are still to be read, about, by source and split, at the end of the last epoch; of sources that
    /// know.
    pub lags: Vec<(String, String, u64)>,
    /// How old records were when they reached each operator, by their event times: of sinks.
    pub latencies: Vec<Latencies>,
}
