//! A topology on one worker: a value that is stepped.
//!
//! Threads step flows in production, the interpreter and the harness step one in the caller's thread. A step is
//! one pass over the tasks in the order of the plan, so that a batch read from a source passes through the whole
//! chain while it is in the cache. It never blocks: a task whose output is full is passed over, and with it, in
//! turn, those that feed it (HW-5).

use highwater_state::{Epoch, Piece, Timestamp};

use crate::error::RunError;
use crate::graph::Graph;
use crate::opening::{WorkerOpening, open_tasks};
use crate::task::{Contribution, Halted, Pace, StepContext, Task};

/// Which part of a piece is written in a step that also had records: a tenth of the time that a step over many keys
/// takes, so that what comes in while an epoch is written does not pile up.
const BUSY_PART: usize = 4;

/// A topology on one worker.
pub struct Flow {
    tasks: Vec<Box<dyn Task>>,
    ending: Option<Epoch>,
    last: bool,
    making_way: bool,
    contribution: Contribution,
    piece_bytes: usize,
}

impl Flow {
    /// Opens the plan on one worker, where the last committed epoch left it.
    ///
    /// # Errors
    /// If a source, a sink or the state cannot be opened.
    pub fn open(graph: &Graph, worker: &WorkerOpening<'_>) -> Result<Flow, RunError> {
        let tasks = open_tasks(graph, worker)?;
        Ok(Flow {
            tasks,
            ending: None,
            last: false,
            making_way: false,
            contribution: Contribution::default(),
            piece_bytes: worker.limits.piece_bytes,
        })
    }

    /// Does a bounded amount of work; says whether it did any. `now` is in milliseconds since
    /// 1970, from a clock that only rises.
    ///
    /// # Errors
    /// Those of operators, sources and sinks; the flow is of no more use then.
    pub fn step(&mut self, now: Timestamp, pace: &dyn Pace) -> Result<bool, RunError> {
        let mut context = StepContext {
            now,
            ending: self.ending,
            last: self.last,
            finishing: self.last && !self.making_way && self.is_exhausted(),
            making_way: self.making_way,
            pace: if self.making_way { &Halted } else { pace },
            contribution: &mut self.contribution,
        };
        let mut moved = false;
        for task in &mut self.tasks {
            moved |= task.step(&mut context)?;
        }
        Ok(self.write_frozen(moved)? || moved)
    }

    /// Writes a piece of the epoch whose barrier is passing, a smaller one where records wait; says whether there was
    /// one.
    fn write_frozen(&mut self, is_busy: bool) -> Result<bool, RunError> {
        if !self.contribution.delta.is_awaited() {
            return Ok(false);
        }
        let room = if is_busy { self.piece_bytes / BUSY_PART } else { self.piece_bytes };
        let mut piece = Piece::of(room.max(1), &mut self.contribution.delta);
        for task in &mut self.tasks {
            task.write_frozen(&mut piece)?;
        }
        let all = !piece.is_full();
        assert!(!all || !self.contribution.delta.is_awaited(), "an operator does not write what it froze");
        Ok(true)
    }

    /// Asks the sources to end the epoch; if it is the last, the end follows.
    ///
    /// # Panics
    /// If an epoch is already ending.
    pub fn end_epoch(&mut self, epoch: Epoch, last: bool) {
        assert!(self.ending.is_none(), "{:?} is still ending", self.ending);
        self.ending = Some(epoch);
        self.last = last;
    }

    /// The job is to stop: from here on nothing is read, and what is on its way to something that waits is kept for
    /// the next start, so that the epochs that are still to end do so soon.
    pub fn make_way(&mut self) {
        self.making_way = true;
    }

    /// What the worker contributes to the epoch that is ending, once its barrier has passed every task and all that was
    /// frozen is written. The worker may be far into the next epoch then.
    pub fn take_contribution(&mut self) -> Option<(Epoch, Contribution)> {
        if self.contribution.passed < self.tasks.len() || self.contribution.delta.is_awaited() {
            return None;
        }
        let epoch = self.ending.take()?;
        Some((epoch, std::mem::take(&mut self.contribution)))
    }

    /// Tells every task that the backend has applied the epoch.
    pub fn applied(&mut self, epoch: Epoch) {
        self.tasks.iter_mut().for_each(|task| task.applied(epoch));
    }

    /// Whether all splits of all sources have ended; their records may still be on the way.
    pub fn is_exhausted(&self) -> bool {
        self.tasks.iter().all(|task| task.is_exhausted())
    }

    /// Whether the end has passed every task.
    pub fn has_ended(&self) -> bool {
        self.tasks.iter().all(|task| task.has_ended())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use highwater_state::backend::memory::MemoryBackend;
    use highwater_state::budget::TableBudget;
    use highwater_state::delta::Family;
    use highwater_state::table::{Place, RowRef, Table};
    use highwater_state::{Backend, Delta, KeyGroup, StoreId};

    use super::*;
    use crate::batch::Batch;
    use crate::interpret::{end_epoch, open, publish, recover_sinks};
    use crate::limits::Limits;
    use crate::memory::{Memory, MemorySink};
    use crate::operator::{Fault, Operator};
    use crate::outbox::Outbox;
    use crate::stream::{Stream, Untimed, here};
    use crate::task::FullSpeed;
    use crate::topology::Topology;

    const START: Timestamp = Timestamp::from_millis(0);

    type Counts = (Graph, Flow, MemorySink<(u64, u64)>);

    /// Counts the numbers below 300 modulo 100, where an epoch left it.
    fn counts(backend: &Arc<dyn Backend>, committed: Epoch) -> Counts {
        let (topology, sink) = (Topology::new("counts"), Memory::sink());
        let numbers = topology.source("numbers", Memory::source(0..300u64));
        numbers.key_by(|number| number % 100).count("counts").to_stream().sink("out", sink.clone());
        let graph = topology.finish().expect("a topology");
        recover_sinks(&graph, committed).expect("recovers");
        let limits = Limits { batch_records: 10, piece_bytes: 1, ..Limits::default() };
        let flow = open(&graph, backend, committed, limits).expect("opens");
        (graph, flow, sink)
    }

    #[test]
    fn records_go_on_while_an_epoch_is_written_and_it_holds_none_of_them() {
        let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::default());
        let (graph, mut flow, sink) = counts(&backend, Epoch(0));
        (0..12).for_each(|_| assert!(flow.step(START, &FullSpeed).expect("runs")));
        flow.end_epoch(Epoch(1), false);
        let mut steps = 0;
        let contribution = loop {
            flow.step(START, &FullSpeed).expect("runs");
            steps += 1;
            if let Some((_, contribution)) = flow.take_contribution() {
                break contribution;
            }
        };
        assert!(steps >= 15 && flow.is_exhausted(), "what follows was read meanwhile, in {steps} steps");
        backend.commit(&contribution.delta).expect("commits");
        publish(&graph, Epoch(1), &contribution).expect("publishes");
        let before = sink.take();
        assert_eq!(before.len(), 120, "what was read before the barrier");
        drop(flow);

        let (graph, mut flow, sink) = counts(&backend, Epoch(1));
        while flow.step(START, &FullSpeed).expect("runs") || !flow.is_exhausted() {}
        let contribution = end_epoch(&mut flow, Epoch(2), true).expect("ends");
        publish(&graph, Epoch(2), &contribution).expect("publishes");
        let mut all = [before, sink.take()].concat();
        all.sort_unstable();
        let expected: Vec<_> = (0..100).flat_map(|key| [1, 2, 3].map(|count| (key, count))).collect();
        assert_eq!(all, expected);
    }

    /// Freezes a table and never writes it.
    struct Forgetful(Table<u64, u64>);

    impl Operator<Batch<u64>, Outbox<Batch<u64>>> for Forgetful {
        fn on_batch(&mut self, batch: &mut Batch<u64>, _: &mut Outbox<Batch<u64>>) -> Result<(), Fault> {
            for key in batch.values.drain(..) {
                let slot = self.0.resolve_one(&RowRef { hash: key, time: Timestamp::MIN, key: &key })?;
                *self.0.value_mut(slot) = Some(key);
            }
            Ok(())
        }

        fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<(), Fault> {
            self.0.begin_freeze(epoch, delta);
            Ok(())
        }
    }

    #[test]
    #[should_panic(expected = "does not write what it froze")]
    fn an_operator_that_forgets_to_write_what_it_froze_stops_its_flow() {
        let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::default());
        let place = Place {
            name: "forgotten".to_owned(),
            store: StoreId(1),
            family: Family::Values,
            backend: Arc::clone(&backend),
            budget: Arc::new(TableBudget::new(usize::MAX)),
            groups: KeyGroup::range(0, 1),
        };
        let topology = Topology::new("forgetful");
        let numbers = topology.source("numbers", Memory::source(0..10u64));
        let wire = numbers.wire.then::<Batch<u64>, Outbox<Batch<u64>>>(here("forget", None), move |_| {
            Ok(Box::new(Forgetful(Table::open(place.clone(), Epoch(0)).expect("opens"))))
        });
        Stream::<u64, Untimed>::at(wire).sink("out", Memory::sink());
        let graph = topology.finish().expect("a topology");
        let mut flow = open(&graph, &backend, Epoch(0), Limits::default()).expect("opens");
        while flow.step(START, &FullSpeed).expect("runs") {}
        let _ = end_epoch(&mut flow, Epoch(1), true);
    }
}
