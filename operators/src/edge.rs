//! Edges between operators of one worker, and what joins several of them in one input.
//!
//! An [`Inputs`] combines the signals of all edges that lead to an operator: watermarks by minimum, barriers by
//! alignment (an edge that has delivered the barrier is not read until all have), ends by all, and what is said of a
//! split by all edges that bring its records. Invariant HW-3: the combined watermark never falls. It does not know what
//! the batches hold.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::rc::Rc;

use highwater_state::{Epoch, Timestamp};

use crate::batch::SplitId;
use crate::signal::{Signal, SplitStatus};

/// The end of an edge that is read.
pub trait Receive<B> {
    /// The next signal, if there is one now.
    fn receive(&mut self) -> Option<Signal<B>>;
}

/// The end of an edge that is written.
pub trait Deliver<B> {
    /// Puts a signal on the edge; always possible, also where [`is_full`](Deliver::is_full) asks to stop.
    fn deliver(&mut self, signal: Signal<B>);

    /// Whether whoever writes should stop until the reader has caught up. Tries to pass on what waits.
    fn is_full(&mut self) -> bool;
}

/// A queue inside one worker.
pub struct LocalEdge<B> {
    queue: Rc<RefCell<VecDeque<Signal<B>>>>,
    limit: usize,
}

/// Makes an edge inside one worker that is full with `limit` signals.
pub fn local_edge<B>(limit: usize) -> (LocalEdge<B>, LocalEdge<B>) {
    let queue = Rc::new(RefCell::new(VecDeque::new()));
    (LocalEdge { queue: Rc::clone(&queue), limit }, LocalEdge { queue, limit })
}

impl<B> Receive<B> for LocalEdge<B> {
    #[inline]
    fn receive(&mut self) -> Option<Signal<B>> {
        self.queue.borrow_mut().pop_front()
    }
}

impl<B> Deliver<B> for LocalEdge<B> {
    #[inline]
    fn deliver(&mut self, signal: Signal<B>) {
        self.queue.borrow_mut().push_back(signal);
    }

    #[inline]
    fn is_full(&mut self) -> bool {
        self.queue.borrow().len() >= self.limit
    }
}

/// An edge whose batches become others: one of two types that a node takes.
pub(crate) struct MappedEdge<B, C> {
    pub(crate) edge: Box<dyn Receive<B>>,
    pub(crate) map: fn(B) -> C,
}

impl<B, C> Receive<C> for MappedEdge<B, C> {
    fn receive(&mut self) -> Option<Signal<C>> {
        Some(self.edge.receive()?.map(self.map))
    }
}

/// What is known of an edge.
struct Edge {
    side: usize,
    watermark: Timestamp,
    idle: bool,
    at_barrier: bool,
    ended: bool,
}

/// What the edges said of a split that several of them bring.
#[derive(Default)]
struct SharedSplit {
    /// By edge; `None` if it has said nothing yet.
    said: BTreeMap<usize, Option<SplitStatus>>,
    passed_on: Option<SplitStatus>,
}

impl SharedSplit {
    /// It is read while any edge says so, and has ended when all have: records may come over one edge that another
    /// has brought the end of already.
    fn combined(&self) -> Option<SplitStatus> {
        let said = |status| self.said.values().any(|said| *said == status);
        match () {
            () if said(Some(SplitStatus::Active)) => Some(SplitStatus::Active),
            () if said(None) => None,
            () if said(Some(SplitStatus::Idle)) => Some(SplitStatus::Idle),
            () => Some(SplitStatus::Finished),
        }
    }
}

/// All edges that lead to an operator.
///
/// An operator that joins has two sides, each with edges of its own. It evicts by the watermark of both, and judges
/// lateness by the side that a record came from: that one does not depend on how the two sides are read in turn.
pub struct Inputs<B> {
    edges: Vec<Box<dyn Receive<B>>>,
    joined: Joined,
}

impl<B> Inputs<B> {
    /// Joins the edges.
    pub fn new(edges: impl IntoIterator<Item = Box<dyn Receive<B>>>) -> Self {
        Inputs::with_sides(edges.into_iter().map(|edge| (0, edge)).collect())
    }

    /// Joins the edges, each of which belongs to a side.
    pub(crate) fn with_sides(edges: Vec<(usize, Box<dyn Receive<B>>)>) -> Self {
        let (sides, edges): (Vec<usize>, Vec<_>) = edges.into_iter().unzip();
        Inputs { edges, joined: Joined::with_sides(&sides) }
    }

    /// The watermark that the records of the last batch meet on their own side.
    pub(crate) fn batch_watermark(&self) -> Timestamp {
        self.joined.sides[self.joined.side]
    }

    /// The watermark of each side.
    pub(crate) fn side_watermarks(&self) -> &[Timestamp] {
        &self.joined.sides
    }

    /// What is known of the edges, to be told more before the first of them is read.
    pub(crate) fn joined(&mut self) -> &mut Joined {
        &mut self.joined
    }

    /// The next signal of the joined edges, if there is one now. Takes the edges in turn.
    pub fn receive(&mut self) -> Option<Signal<B>> {
        let mut silent = 0;
        while let Some(number) = self.joined.turn(&mut silent) {
            let Some(signal) = self.edges[number].receive() else {
                silent += 1;
                continue;
            };
            silent = 0;
            let Some(control) = signal.control() else {
                self.joined.brings_batch(number);
                return Some(signal);
            };
            if let Some(combined) = self.joined.combine(number, control) {
                return combined.control();
            }
        }
        None
    }
}

/// A signal that is no batch.
type Control = Signal<Infallible>;

/// What the edges of one input have said, without the type of what they bring: this is compiled once.
pub(crate) struct Joined {
    edges: Vec<Edge>,
    splits: BTreeMap<SplitId, SharedSplit>,
    /// The watermark of each side.
    sides: Vec<Timestamp>,
    /// The side that the last batch came from.
    side: usize,
    next: usize,
    watermark: Timestamp,
    idle: bool,
}

impl Joined {
    fn with_sides(sides: &[usize]) -> Joined {
        let edges = sides.iter().map(|&side| Edge {
            side,
            watermark: Timestamp::MIN,
            idle: false,
            at_barrier: false,
            ended: false,
        });
        let count = sides.iter().map(|side| side + 1).max().unwrap_or(1);
        Joined {
            edges: edges.collect(),
            splits: BTreeMap::new(),
            sides: vec![Timestamp::MIN; count],
            side: 0,
            next: 0,
            watermark: Timestamp::MIN,
            idle: false,
        }
    }

    /// A side without active edges goes with the others; so does one whose active edges have all ended, which says
    /// nothing of those that are idle. The watermark of a side never falls.
    fn raise_sides(&mut self) {
        if self.sides.len() == 1 {
            self.sides[0] = self.watermark;
            return;
        }
        for (side, kept) in self.sides.iter_mut().enumerate() {
            let of_side = self.edges.iter().filter(|edge| edge.side == side);
            let any_idle = of_side.clone().any(|edge| edge.idle);
            let own = of_side.filter(|edge| !edge.idle).map(|edge| edge.watermark).min();
            let own = own.filter(|&own| !(any_idle && own == Timestamp::MAX));
            *kept = own.unwrap_or(self.watermark).max(*kept);
        }
    }

    /// Says that the edge brings no records, ever: it does not hold back the watermark until it has said so
    /// itself. Without this a late record could come before the first signal of such an edge, and be on time.
    pub(crate) fn brings_nothing(&mut self, number: usize) {
        self.edges[number].watermark = Timestamp::MAX;
    }

    /// Says of which splits each edge, by its number, will say what becomes of them.
    pub(crate) fn share_splits(&mut self, brought: impl IntoIterator<Item = (usize, SplitId)>) {
        for (number, split) in brought {
            self.splits.entry(split).or_default().said.insert(number, None);
        }
        self.splits.retain(|_, shared| shared.said.len() > 1);
    }

    fn combine_split(&mut self, number: usize, split: SplitId, status: SplitStatus) -> Option<Control> {
        let Some(shared) = self.splits.get_mut(&split) else { return Some(Signal::Split(split, status)) };
        shared.said.insert(number, Some(status));
        let combined = shared.combined().filter(|status| shared.passed_on != Some(*status))?;
        shared.passed_on = Some(combined);
        Some(Signal::Split(split, combined))
    }

    /// The edge that is read next; none when all have been silent since the last signal.
    fn turn(&mut self, silent: &mut usize) -> Option<usize> {
        let count = self.edges.len();
        while *silent < count {
            let number = self.next;
            self.next = if number + 1 < count { number + 1 } else { 0 };
            let edge = &self.edges[number];
            if !(edge.at_barrier || edge.ended) {
                return Some(number);
            }
            *silent += 1;
        }
        None
    }

    /// A batch does not end idleness: only some of the workers get a part of it, and all must know alike.
    fn brings_batch(&mut self, number: usize) {
        self.side = self.edges[number].side;
    }

    fn combine(&mut self, number: usize, signal: Control) -> Option<Control> {
        let moves_time = matches!(signal, Signal::Watermark(_) | Signal::Idle | Signal::Active);
        let combined = self.combined(number, signal);
        if moves_time {
            self.raise_sides();
        }
        combined
    }

    fn combined(&mut self, number: usize, signal: Control) -> Option<Control> {
        let edge = &mut self.edges[number];
        match signal {
            Signal::Batch(none) => match none {},
            Signal::Split(split, status) => self.combine_split(number, split, status),
            Signal::Watermark(watermark) => {
                edge.watermark = watermark;
                edge.idle = false;
                self.combined_watermark()
            }
            Signal::Idle => {
                edge.idle = true;
                self.combined_watermark()
            }
            Signal::Active => {
                edge.idle = false;
                std::mem::take(&mut self.idle).then_some(Signal::Active)
            }
            Signal::Barrier(epoch) => {
                edge.at_barrier = true;
                self.aligned(epoch)
            }
            Signal::End => {
                edge.ended = true;
                self.edges.iter().all(|edge| edge.ended).then_some(Signal::End)
            }
        }
    }

    /// The minimum over the edges that are not idle. If only edges that have reached the end of time are left
    /// beside idle ones, the minimum says nothing about the idle ones: the input is idle then.
    fn combined_watermark(&mut self) -> Option<Control> {
        let any_idle = self.edges.iter().any(|edge| edge.idle);
        let active = self.edges.iter().filter(|edge| !edge.idle).map(|edge| edge.watermark);
        let minimum = active.min().filter(|&minimum| !(any_idle && minimum == Timestamp::MAX));
        match minimum {
            Some(minimum) => {
                self.idle = false;
                if minimum > self.watermark {
                    self.watermark = minimum;
                    return Some(Signal::Watermark(minimum));
                }
                None
            }
            None if !self.idle => {
                self.idle = true;
                Some(Signal::Idle)
            }
            None => None,
        }
    }

    fn aligned(&mut self, epoch: Epoch) -> Option<Control> {
        if !self.edges.iter().all(|edge| edge.at_barrier || edge.ended) {
            return None;
        }
        self.edges.iter_mut().for_each(|edge| edge.at_barrier = false);
        Some(Signal::Barrier(epoch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Ends = (Vec<LocalEdge<u8>>, Inputs<u8>);

    fn edges(count: usize) -> Ends {
        let (writers, readers): (Vec<_>, Vec<_>) = (0..count).map(|_| local_edge(4)).unzip();
        (writers, Inputs::new(readers.into_iter().map(|edge| Box::new(edge) as Box<dyn Receive<u8>>)))
    }

    fn at(millis: i64) -> Signal<u8> {
        Signal::Watermark(Timestamp::from_millis(millis))
    }

    #[test]
    fn the_watermark_is_the_minimum_and_never_falls() {
        let (mut edge, mut inputs) = edges(2);
        edge[0].deliver(at(10));
        assert_eq!(inputs.receive(), None);
        edge[1].deliver(at(5));
        assert_eq!(inputs.receive(), Some(at(5)));
        edge[1].deliver(at(20));
        assert_eq!(inputs.receive(), Some(at(10)));
    }

    #[test]
    fn each_side_has_a_watermark_of_its_own_and_an_idle_side_goes_with_the_other() {
        let (mut edge, inputs) = edges(2);
        let sided = inputs.edges.into_iter().enumerate();
        let mut inputs = Inputs::with_sides(sided.collect());
        edge[0].deliver(at(10));
        edge[0].deliver(Signal::Batch(1));
        assert_eq!(
            (inputs.receive(), inputs.batch_watermark()),
            (Some(Signal::Batch(1)), Timestamp::from_millis(10))
        );
        edge[1].deliver(Signal::Batch(2));
        assert_eq!((inputs.receive(), inputs.batch_watermark()), (Some(Signal::Batch(2)), Timestamp::MIN));
        edge[1].deliver(Signal::Idle);
        assert_eq!(inputs.receive(), Some(at(10)));
        edge[1].deliver(Signal::Active);
        edge[1].deliver(Signal::Batch(3));
        assert_eq!(
            (inputs.receive(), inputs.batch_watermark()),
            (Some(Signal::Batch(3)), Timestamp::from_millis(10))
        );
    }

    #[test]
    fn an_ended_edge_beside_an_idle_one_does_not_end_the_time_of_its_side() {
        let (mut edge, inputs) = edges(3);
        let sided = [0, 0, 1].into_iter().zip(inputs.edges);
        let mut inputs = Inputs::with_sides(sided.collect());
        edge[0].deliver(Signal::Watermark(Timestamp::MAX));
        edge[1].deliver(at(10));
        edge[2].deliver(at(10));
        edge[1].deliver(Signal::Idle);
        edge[1].deliver(Signal::Active);
        edge[1].deliver(Signal::Batch(1));
        let received: Vec<_> = std::iter::from_fn(|| inputs.receive()).collect();
        assert!(received.contains(&Signal::Batch(1)), "{received:?}");
        assert_eq!(inputs.batch_watermark(), Timestamp::from_millis(10));
    }

    #[test]
    fn an_idle_edge_leaves_the_minimum_and_comes_back_without_a_fall() {
        let (mut edge, mut inputs) = edges(2);
        edge[1].deliver(Signal::Idle);
        edge[0].deliver(at(10));
        assert_eq!(inputs.receive(), Some(at(10)));
        edge[1].deliver(Signal::Active);
        assert_eq!(inputs.receive(), None, "the input was not idle as a whole");
        edge[0].deliver(at(30));
        assert_eq!(
            inputs.receive(),
            None,
            "the edge that came back holds the minimum, also before it brings a record"
        );
        edge[1].deliver(at(12));
        assert_eq!(inputs.receive(), Some(at(12)));
    }

    #[test]
    fn an_edge_that_brings_nothing_does_not_hold_the_watermark_before_it_has_spoken() {
        let (mut edge, mut inputs) = edges(2);
        inputs.joined().brings_nothing(1);
        edge[0].deliver(at(10));
        assert_eq!(inputs.receive(), Some(at(10)));
        edge[1].deliver(Signal::Watermark(Timestamp::MAX));
        assert_eq!(inputs.receive(), None);
    }

    #[test]
    fn a_batch_alone_does_not_end_idleness_because_other_workers_would_not_know() {
        let (mut edge, mut inputs) = edges(2);
        edge[1].deliver(Signal::Idle);
        edge[1].deliver(Signal::Batch(1));
        edge[0].deliver(at(10));
        let received: Vec<_> = std::iter::from_fn(|| inputs.receive()).collect();
        assert!(received.contains(&at(10)) && received.contains(&Signal::Batch(1)), "{received:?}");
        edge[0].deliver(Signal::Idle);
        assert_eq!(inputs.receive(), Some(Signal::Idle));
        edge[1].deliver(Signal::Active);
        assert_eq!(inputs.receive(), Some(Signal::Active), "whoever follows must know too");
    }

    #[test]
    fn an_ended_edge_beside_an_idle_one_does_not_end_time() {
        let (mut edge, mut inputs) = edges(2);
        edge[1].deliver(Signal::Idle);
        edge[0].deliver(Signal::Watermark(Timestamp::MAX));
        assert_eq!(inputs.receive(), Some(Signal::Idle));
        edge[1].deliver(Signal::Watermark(Timestamp::MAX));
        assert_eq!(inputs.receive(), Some(Signal::Watermark(Timestamp::MAX)));
    }

    #[test]
    fn an_edge_is_not_read_between_its_barrier_and_that_of_the_others() {
        let (mut edge, mut inputs) = edges(2);
        edge[0].deliver(Signal::Barrier(Epoch(1)));
        edge[0].deliver(Signal::Batch(9));
        assert_eq!(inputs.receive(), None);
        edge[1].deliver(Signal::Batch(1));
        edge[1].deliver(Signal::Barrier(Epoch(1)));
        assert_eq!(inputs.receive(), Some(Signal::Batch(1)));
        assert_eq!(inputs.receive(), Some(Signal::Barrier(Epoch(1))));
        assert_eq!(inputs.receive(), Some(Signal::Batch(9)));
    }

    #[test]
    fn a_split_that_several_edges_bring_has_ended_when_all_of_them_say_so() {
        use SplitStatus::{Active, Finished, Idle};
        let (mut edge, mut inputs) = edges(3);
        let split = |index| SplitId { source: 0, index };
        inputs.joined().share_splits([(0, split(7)), (1, split(7)), (2, split(9))]);
        let mut say = |number: usize, index, status| {
            edge[number].deliver(Signal::Split(split(index), status));
            inputs.receive()
        };
        let passed_on = |index, status| Some(Signal::Split(split(index), status));
        assert_eq!(say(2, 9, Finished), passed_on(9, Finished), "nobody else brings it");
        assert_eq!(say(0, 7, Active), passed_on(7, Active));
        assert_eq!(say(0, 7, Finished), None, "the other has not spoken");
        assert_eq!(say(1, 7, Active), None, "that has been passed on");
        assert_eq!(say(1, 7, Idle), passed_on(7, Idle));
        assert_eq!(say(1, 7, Active), passed_on(7, Active));
        assert_eq!(say(1, 7, Finished), passed_on(7, Finished));
    }

    #[test]
    fn the_input_ends_when_all_edges_have() {
        let (mut edge, mut inputs) = edges(2);
        edge[0].deliver(Signal::End);
        edge[1].deliver(Signal::Barrier(Epoch(1)));
        assert_eq!(inputs.receive(), Some(Signal::Barrier(Epoch(1))));
        edge[1].deliver(Signal::End);
        assert_eq!(inputs.receive(), Some(Signal::End));
    }
}
