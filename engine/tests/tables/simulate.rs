//! Runs the workers of a topology in one thread: which of them steps next, when epochs end, what a channel
//! holds and when the process dies is decided by dice, so that a run can be repeated.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use highwater::operators::exchange::{Channel, ChannelEnd, EdgeId, Erased, Transport};
use highwater::operators::executor::InPlace;
use highwater::operators::flow::Flow;
use highwater::operators::graph::Graph;
use highwater::operators::limits::Limits;
use highwater::operators::opening::WorkerOpening;
use highwater::operators::task::{Contribution, FullSpeed};
use highwater::state::backend::memory::MemoryBackend;
use highwater::state::budget::TableBudget;
use highwater::state::catalog::Catalog;
use highwater::state::{Backend, Delta, Epoch, Timestamp};

/// Steps after which a run that has not ended never will.
const MOST_STEPS: usize = 2_000_000;

/// A generator of numbers that depend on the seed only.
pub struct Dice(pub u64);

impl Dice {
    /// A number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }
}

type Queue = Rc<RefCell<VecDeque<Erased>>>;

/// The channels between the workers.
struct Pipes {
    capacity: usize,
    queues: RefCell<HashMap<(EdgeId, usize, usize), Queue>>,
}

struct PipesOf {
    own: usize,
    pipes: Rc<Pipes>,
}

impl PipesOf {
    fn queue(&self, edge: EdgeId, from: usize, to: usize) -> Pipe {
        let mut queues = self.pipes.queues.borrow_mut();
        let queue = queues.entry((edge, from, to)).or_default();
        Pipe { queue: Rc::clone(queue), capacity: self.pipes.capacity }
    }
}

impl Transport for PipesOf {
    fn sender(&self, edge: EdgeId, to: usize) -> Box<dyn Channel> {
        Box::new(self.queue(edge, self.own, to))
    }

    fn receiver(&self, edge: EdgeId, from: usize) -> Box<dyn ChannelEnd> {
        Box::new(self.queue(edge, from, self.own))
    }
}

struct Pipe {
    queue: Queue,
    capacity: usize,
}

impl Channel for Pipe {
    fn try_send(&mut self, signal: Erased) -> Result<(), Erased> {
        let mut queue = self.queue.borrow_mut();
        if queue.len() >= self.capacity {
            return Err(signal);
        }
        queue.push_back(signal);
        Ok(())
    }
}

impl ChannelEnd for Pipe {
    fn try_receive(&mut self) -> Option<Erased> {
        self.queue.borrow_mut().pop_front()
    }
}

/// What survives a process.
pub struct Disk {
    backend: Arc<dyn Backend>,
    committed: Epoch,
}

impl Disk {
    pub fn new() -> Self {
        Disk { backend: Arc::new(MemoryBackend::new()), committed: Epoch(0) }
    }
}

#[derive(Clone, Copy)]
enum Order {
    EndEpoch(Epoch, bool),
    Applied(Epoch),
}

/// One process.
struct Life<'a> {
    graph: &'a Graph,
    disk: &'a mut Disk,
    catalog: Arc<Catalog>,
    flows: Vec<Flow>,
    orders: Vec<VecDeque<Order>>,
    contributions: Vec<Option<Contribution>>,
    ending: Option<(Epoch, bool)>,
}

/// Runs a topology to its end (`true`), or to its death after `steps` steps (`false`).
pub fn live(graph: &Graph, disk: &mut Disk, workers: usize, steps: Option<usize>, dice: &mut Dice) -> bool {
    for (_, sink) in graph.sinks() {
        sink.recover(disk.committed, &[]).expect("a sink in memory recovers");
    }
    let mut life = Life::begin(graph, disk, workers, dice);
    for step in 0.. {
        if steps == Some(step) {
            return false;
        }
        assert!(step < MOST_STEPS, "the workers do not come to an end");
        if life.step(dice) {
            return true;
        }
    }
    unreachable!("the steps are endless")
}

impl<'a> Life<'a> {
    fn begin(graph: &'a Graph, disk: &'a mut Disk, workers: usize, dice: &mut Dice) -> Self {
        let catalog = Arc::new(Catalog::open(&*disk.backend).expect("a catalog in memory opens"));
        let sources = graph.sources().map(|(number, _, list)| (number, list().expect("splits are listed")));
        let splits: BTreeMap<usize, Vec<String>> = sources.collect();
        let limits = match dice.roll(3) {
            0 => Limits::default(),
            1 => Limits {
                batch_records: 1 + dice.roll(20),
                edge_batches: 1,
                channel_batches: 1,
                piece_bytes: 1 + dice.roll(500),
                ..Limits::default()
            },
            _ => Limits::tiny(),
        };
        let table_bytes = if dice.one_in(2) { usize::MAX } else { dice.roll(2000) };
        let pipes = Rc::new(Pipes { capacity: limits.channel_batches, queues: RefCell::default() });
        let flows = (0..workers).map(|worker| {
            let opening = WorkerOpening {
                worker,
                workers,
                backend: Arc::clone(&disk.backend),
                catalog: Arc::clone(&catalog),
                budget: Arc::new(TableBudget::new(table_bytes)),
                committed: disk.committed,
                limits: limits.clone(),
                transport: &PipesOf { own: worker, pipes: Rc::clone(&pipes) },
                splits: &splits,
                idle_after: Duration::MAX,
                executor: Arc::new(InPlace),
            };
            Flow::open(graph, &opening).expect("the flow opens")
        });
        let flows = flows.collect();
        Life {
            graph,
            disk,
            catalog,
            flows,
            orders: vec![VecDeque::new(); workers],
            contributions: (0..workers).map(|_| None).collect(),
            ending: None,
        }
    }

    /// One move of one worker or of the coordinator; says whether the run has ended.
    fn step(&mut self, dice: &mut Dice) -> bool {
        let worker = dice.roll(self.flows.len());
        if dice.one_in(3)
            && let Some(order) = self.orders[worker].pop_front()
        {
            match order {
                Order::EndEpoch(epoch, last) => self.flows[worker].end_epoch(epoch, last),
                Order::Applied(epoch) => self.flows[worker].applied(epoch),
            }
        }
        self.flows[worker].step(Timestamp::MIN, &FullSpeed).expect("the flow runs");
        if let Some((_, contribution)) = self.flows[worker].take_contribution() {
            self.contributions[worker] = Some(contribution);
        }
        let exhausted = self.flows.iter().all(Flow::is_exhausted);
        match self.ending {
            None if exhausted || dice.one_in(20) => {
                let epoch = self.disk.committed.next();
                self.ending = Some((epoch, exhausted));
                self.orders.iter_mut().for_each(|orders| orders.push_back(Order::EndEpoch(epoch, exhausted)));
                false
            }
            Some((epoch, last)) if self.contributions.iter().all(Option::is_some) && dice.one_in(3) => {
                self.commit(epoch);
                last
            }
            _ => false,
        }
    }

    fn commit(&mut self, epoch: Epoch) {
        self.ending = None;
        let mut delta = Delta::default();
        for contribution in self.contributions.iter_mut().filter_map(Option::take) {
            delta.append(contribution.delta);
        }
        self.catalog.take_changes(&mut delta);
        self.disk.backend.commit(&delta).expect("a backend in memory commits");
        self.disk.committed = epoch;
        for (_, sink) in self.graph.sinks() {
            sink.publish(epoch, &[]).expect("a sink in memory publishes");
        }
        self.orders.iter_mut().for_each(|orders| orders.push_back(Order::Applied(epoch)));
    }
}
