//! Joins as jobs: what of a join cannot be changed under its name, what cannot be joined at all, and what a join keeps.
//! If a test fails here, rows are read as what they are not, a mistake ends in a panic, or memory grows for ever.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use highwater::operators::exchange::{Channel, ChannelEnd, EdgeId, Transport};
use highwater::operators::executor::InPlace;
use highwater::operators::flow::Flow;
use highwater::operators::join::JoinBounds;
use highwater::operators::limits::Limits;
use highwater::operators::opening::WorkerOpening;
use highwater::operators::task::{FullSpeed, Pace};
use highwater::prelude::*;
use highwater::state::backend::memory::MemoryBackend;
use highwater::state::budget::TableBudget;
use highwater::state::catalog::Catalog;
use highwater::state::{Backend, Epoch};

type Side = KeyedStream<u8, (char, i64)>;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// Starts a job with a join on a state directory, and stops it; gives what was said against it.
fn run(directory: &Path, workers: usize, join: impl FnOnce(Side, Side) -> Stream<()>) -> Option<String> {
    let topology = Topology::new("joins");
    let records = topology.source("records", Memory::source([('l', 5), ('r', 6), ('l', 20)]).unending());
    let (left, right) = records.event_time(|record| at(record.1), Duration::ZERO).branch(|rec| rec.0 == 'l');
    join(left.key_by(|_| 0), right.key_by(|_| 0)).sink("out", Memory::sink());
    let job = Job::new(topology).workers(workers).state(directory).memory(64 << 20);
    let running = job.epoch_interval(Duration::from_millis(10)).start().expect("starts");
    running.stop();
    running.wait().err().map(|error| error.to_string())
}

fn inner(bounds: impl JoinBounds) -> impl FnOnce(Side, Side) -> Stream<()> {
    |left, right| left.join(right, bounds).inner("joined").values().map(|_| ())
}

#[test]
fn a_join_that_was_changed_is_refused_until_it_has_a_new_name() {
    for workers in [1, 3] {
        let directory = tempfile::tempdir().expect("a directory");
        let run = |join: Box<dyn FnOnce(Side, Side) -> Stream<()>>| run(directory.path(), workers, join);
        assert_eq!(run(Box::new(inner(between_millis(-10, 10)))), None);
        let changed: [Box<dyn FnOnce(Side, Side) -> Stream<()>>; 4] = [
            Box::new(inner(between_millis(-10, 11))),
            Box::new(inner(tumbling(Duration::from_millis(21)))),
            Box::new(|left, right| {
                left.join(right, between_millis(-10, 10)).left("joined").values().map(|_| ())
            }),
            Box::new(|left, right| left.join_as_of(right).inner("joined").values().map(|_| ())),
        ];
        for (number, changed) in changed.into_iter().enumerate() {
            let said = run(changed).unwrap_or_else(|| panic!("change {number} is not refused"));
            assert!(said.contains(" `joined` (") && said.contains("cannot be read as"), "{said}");
            assert!(said.contains("joins.rs:") && said.contains("rename the operator"), "{said}");
        }
        assert_eq!(run(Box::new(inner(between_millis(-10, 10)))), None, "nothing was lost by trying");
    }
}

#[test]
fn what_belongs_to_another_topology_is_refused_however_often_it_is_joined() {
    let (own, other) = (Topology::new("own"), Topology::new("other"));
    let left = own.source("left", Memory::source([1])).key_by(|_| ()).latest("left-rows");
    let far = (0..9).fold(other.source("right", Memory::source([1])), |stream, _| stream.map(|n| n));
    let right = far.key_by(|_| ()).latest("right-rows");
    left.clone().join(right.clone()).inner("first").keep();
    left.join(right).inner("second").keep();
    let said = Job::new(own).run().expect_err("refused").to_string();
    for name in ["first", "second"] {
        assert!(said.contains(&format!("join `{name}`")) && said.contains("different topologies"), "{said}");
    }
}

/// A worker without others.
struct Alone;

impl Transport for Alone {
    fn sender(&self, _: EdgeId, _: usize) -> Box<dyn Channel> {
        unreachable!("there is nobody to send to")
    }

    fn receiver(&self, _: EdgeId, _: usize) -> Box<dyn ChannelEnd> {
        unreachable!("there is nobody to receive from")
    }
}

/// Reads nothing.
struct Nothing;

impl Pace for Nothing {
    fn take(&self, _: usize) -> usize {
        0
    }

    fn give_back(&self, _: usize) {}
}

/// Runs the topology over some epochs with its state in memory only, and gives what its tables hold at the end of each.
fn bytes_held(topology: Topology) -> Vec<usize> {
    let graph = topology.finish().expect("a topology");
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::default());
    let catalog = Arc::new(Catalog::open(&*backend).expect("opens"));
    let budget = Arc::new(TableBudget::new(usize::MAX));
    let listed = graph.sources().map(|(number, _, list)| (number, list().expect("lists")));
    let splits: BTreeMap<usize, Vec<String>> = listed.collect();
    let opening = WorkerOpening {
        worker: 0,
        workers: 1,
        backend: Arc::clone(&backend),
        catalog: Arc::clone(&catalog),
        budget: Arc::clone(&budget),
        committed: Epoch(0),
        limits: Limits::default(),
        transport: &Alone,
        splits: &splits,
        idle_after: Duration::MAX,
        executor: Arc::new(InPlace),
    };
    let mut flow = Flow::open(&graph, &opening).expect("opens");
    let epochs = (1..=4).map(|epoch| {
        for _ in 0..5 {
            flow.step(at(0), &FullSpeed).expect("runs");
        }
        flow.end_epoch(Epoch(epoch), false);
        // Nothing is read meanwhile: what is held then is what was held at the barrier.
        let mut delta = loop {
            flow.step(at(0), &Nothing).expect("runs");
            if let Some((_, contribution)) = flow.take_contribution() {
                break contribution.delta;
            }
        };
        catalog.take_changes(&mut delta);
        backend.commit(&delta).expect("commits");
        flow.applied(Epoch(epoch));
        budget.used()
    });
    epochs.collect()
}

#[test]
fn keys_without_a_version_are_not_held_after_they_were_answered() {
    let topology = Topology::new("keys");
    let numbers = topology.source("numbers", Memory::source(0..20_000i64).unending());
    let (left, right) = numbers.event_time(|number| at(*number), Duration::ZERO).branch(|_| true);
    let joined = left.key_by(|number| *number).join_as_of(right.key_by(|number| *number));
    joined.left("joined").values().sink("out", Memory::sink());
    let held = bytes_held(topology);
    assert!(held.iter().all(|&bytes| bytes < 10_000), "{held:?}");
}
