//! Runs records through a chain in three ways, for tests that compare windows with brute force: record by record with
//! a restart after each, in large batches, and in short epochs with no memory for state.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use highwater_state::backend::memory::MemoryBackend;
use highwater_state::budget::TableBudget;
use highwater_state::catalog::Catalog;
use highwater_state::{Backend, Epoch, Timestamp};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::aggregate::Aggregate;
use crate::flow::Flow;
use crate::graph::Graph;
use crate::interpret::{Alone, end_epoch, publish};
use crate::limits::Limits;
use crate::memory::Memory;
use crate::opening::WorkerOpening;
use crate::stream::Stream;
use crate::task::FullSpeed;
use crate::testkit::{Harness, at};
use crate::topology::Topology;
use crate::window::{Timing, Windowed};

/// A record of a few keys, told apart by its number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Rec {
    pub(super) key: u8,
    pub(super) time: i64,
    pub(super) id: u64,
}

/// What comes out of a chain with windows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seen {
    Window { key: u8, start: i64, end: i64, ids: Vec<u64>, timing: Timing },
    Late(u64),
}

impl From<Windowed<u8, Vec<u64>>> for Seen {
    fn from(of: Windowed<u8, Vec<u64>>) -> Self {
        let (start, end) = (of.window.start.as_millis(), of.window.end.as_millis());
        Seen::Window { key: of.key, start, end, ids: of.value, timing: of.timing }
    }
}

/// Keeps the numbers of the records, in the order in which they are added and merged.
pub(super) struct Ids;

impl Aggregate<Rec> for Ids {
    type Acc = Vec<u64>;
    type Out = Vec<u64>;
    fn start(&self) -> Vec<u64> {
        Vec::new()
    }
    fn add(&self, kept: &mut Vec<u64>, record: &Rec, _: Timestamp) {
        kept.push(record.id);
    }
    fn merge(&self, kept: &mut Vec<u64>, mut later: Vec<u64>) {
        kept.append(&mut later);
    }
    fn finish(&self, kept: &Vec<u64>) -> Vec<u64> {
        kept.clone()
    }
}

/// Records of two keys with times in a range, in no order, some of one time.
pub(super) fn recs(times: Range<i64>, count: Range<usize>) -> impl Strategy<Value = Vec<Rec>> {
    prop::collection::vec((0u8..2, times), count).prop_map(|records| {
        let numbered = records.into_iter().zip(0..);
        numbered.map(|((key, time), id)| Rec { key, time, id }).collect()
    })
}

/// As a multiset.
pub(super) fn sort(mut seen: Vec<Seen>) -> Vec<Seen> {
    seen.sort();
    seen
}

/// With a restart after every record and every watermark, and room for one record at the outputs.
pub(super) fn record_by_record(
    records: &[Rec],
    lag: i64,
    chain: impl FnOnce(Stream<Rec>) -> Stream<Seen>,
) -> Vec<Seen> {
    let mut harness = Harness::new(chain);
    let mut largest = i64::MIN;
    for record in records {
        harness.record(*record, at(record.time));
        if record.time > largest {
            largest = record.time;
            harness.watermark(at(largest.saturating_sub(lag)));
        }
    }
    harness.watermark(Timestamp::MAX);
    harness.take().into_iter().map(|(seen, _)| seen).collect()
}

/// All in one go, in large batches.
pub(super) fn in_batches(
    records: &[Rec],
    lag: i64,
    chain: impl FnOnce(Stream<Rec>) -> Stream<Seen>,
) -> Vec<Seen> {
    run(records, lag, chain, &Way { batch_records: 1024, table_bytes: usize::MAX, steps: usize::MAX })
}

/// In small batches and short epochs, each applied when the next is committed, and with no memory for rows that the
/// backend holds.
pub(super) fn in_epochs(
    records: &[Rec],
    lag: i64,
    chain: impl FnOnce(Stream<Rec>) -> Stream<Seen>,
) -> Vec<Seen> {
    run(records, lag, chain, &Way { batch_records: 4, table_bytes: 0, steps: 2 })
}

/// How a flow runs: the size of its batches, the memory of its tables, and how many steps make an epoch.
struct Way {
    batch_records: usize,
    table_bytes: usize,
    steps: usize,
}

fn run(records: &[Rec], lag: i64, chain: impl FnOnce(Stream<Rec>) -> Stream<Seen>, way: &Way) -> Vec<Seen> {
    let topology = Topology::new("replay");
    let sink = Memory::sink();
    let lag = Duration::from_millis(lag as u64);
    let source = topology.source("records", Memory::source(records.to_vec()));
    chain(source.event_time(|record| at(record.time), lag)).sink("sink", sink.clone());
    let graph = topology.finish().expect("a topology");
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::default());
    let mut flow = open(&graph, &backend, way);
    let mut epoch = Epoch(0);
    loop {
        let exhausted = (0..way.steps).any(|_| {
            flow.step(Timestamp::MIN, &FullSpeed).expect("runs");
            flow.is_exhausted()
        });
        epoch = epoch.next();
        let contribution = end_epoch(&mut flow, epoch, exhausted).expect("ends");
        backend.commit(&contribution.delta).expect("commits");
        publish(&graph, epoch, &contribution).expect("publishes");
        if exhausted {
            return sink.take();
        }
        flow.applied(Epoch(epoch.0 - 1));
    }
}

fn open(graph: &Graph, backend: &Arc<dyn Backend>, way: &Way) -> Flow {
    let sources = graph.sources().map(|(number, _, list)| (number, list().expect("lists its splits")));
    let opening = WorkerOpening {
        worker: 0,
        workers: 1,
        backend: Arc::clone(backend),
        catalog: Arc::new(Catalog::open(&**backend).expect("opens")),
        budget: Arc::new(TableBudget::new(way.table_bytes)),
        committed: Epoch(0),
        limits: Limits { batch_records: way.batch_records, edge_batches: 1, ..Limits::default() },
        transport: &Alone,
        splits: &sources.collect(),
        idle_after: Duration::MAX,
        executor: Arc::new(crate::executor::InPlace),
    };
    Flow::open(graph, &opening).expect("opens")
}
