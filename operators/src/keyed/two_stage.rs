//! `two_stage`: combines the records of a key before they cross to the worker that owns it.
//!
//! A key that holds most of the records loads one worker with them. Here the worker that reads them adds them up, batch
//! by batch: what crosses is one part per key, window and batch. It keeps nothing from one batch to the next, so that
//! there is no second state, nothing to restore, and no delay. `Combine` does it, in front of the same operators that
//! aggregate without it; they then add parts as well as records (`Merging`).
//!
//! The exchange stands on the output of the combining node instead of that of `key_by`. Where nothing crosses, on one
//! worker, records are passed on as they come.

mod combine;
mod fence;
mod windows;

use std::marker::PhantomData;
use std::sync::Arc;

use highwater_state::{Key, Persist, TimeRange, Timestamp};

use crate::aggregate::update::{Aggregating, Counting, Reducing, Update};
use crate::aggregate::{Agg, Aggregate};
use crate::batch::KeyedBatch;
use crate::data::{Clock, Data, HasEventTime};
use crate::error::Place;
use crate::exchange::Exchange;
use crate::keyed::KeyedStream;
use crate::lateness::WatermarkOf;
use crate::outbox::Outbox;
use crate::stream::{EventTime, Wire, add_node, here, set_operator};
use crate::table::Table;
use crate::window::{Combinable, Piece};
use combine::{Combine, Combined, Merging, PieceOf};
use fence::Fence;
pub use windows::TwoStageWindows;

/// Records grouped by key, to be aggregated in two stages: first where they are read, then where their key is kept.
#[must_use = "a stream does nothing until it reaches a sink"]
pub struct TwoStage<K, T, C = EventTime> {
    /// The output that is combined.
    wire: Wire,
    place: Place,
    /// Whether it is here that records cross from worker to worker.
    moves: bool,
    marker: PhantomData<fn() -> (K, T, C)>,
}

impl<K: Key, T: Data, C: Clock> KeyedStream<K, T, C> {
    /// Aggregates in two stages, for keys that hold a large part of the records: the worker that reads the records of a
    /// batch combines those of one key (and one window) into one part, and only the part moves to the worker that keeps
    /// the key.
    ///
    /// The results of windows are the same as without it, late records included, but for the last digits of floating
    /// point sums; a function given to `reduce` must be associative. A running aggregate tells one change for each part
    /// and not for each record; the last change of each key is the same. With one worker there is nothing to combine
    /// for, and every change is told.
    ///
    /// It helps where batches hold several records of one key: it costs a lookup per record, and pays with every record
    /// that does not cross. Keeps nothing over batches or restarts, so it can be put in and taken out between two runs
    /// on the same state; takes the memory of one batch.
    ///
    /// ```
    /// # use highwater_operators::testkit::timed_output_of;
    /// # use highwater_operators::window::tumbling;
    /// # use std::time::Duration;
    /// let counts = timed_output_of([(1, 'a'), (2, 'a'), (11, 'a')], |letters| {
    ///     let letters = letters.key_by(|letter| *letter).two_stage();
    ///     let counts = letters.window(tumbling(Duration::from_millis(10))).count("letters");
    ///     counts.map(|counted| (counted.key, counted.value))
    /// });
    /// assert_eq!(counts, [(9, ('a', 2)), (19, ('a', 1))]);
    /// ```
    ///
    /// The combining stands right behind `key_by`; behind a verb in between, such as `sorted`, the records have crossed
    /// already, and nothing is combined.
    #[track_caller]
    pub fn two_stage(self) -> TwoStage<K, T, C> {
        let place = here("two_stage", None);
        let port = self.wire.port;
        let mut graph = self.wire.graph.borrow_mut();
        let is_shared = !graph.consumers(port).is_empty();
        let plan = graph.ports.entry(port).or_default();
        let is_shared = is_shared || plan.copy.is_some();
        let moves = !is_shared && plan.exchange.take().is_some();
        drop(graph);
        if is_shared {
            let reason = "the keyed stream is used elsewhere, too, where its records must cross one by one; \
                          clone the stream before `key_by`, and give each clone a `key_by` of its own";
            self.wire.refuse(&place, reason);
        }
        TwoStage { wire: self.wire, place, moves, marker: PhantomData }
    }
}

impl<K: Key, T: Data, C: Clock> TwoStage<K, T, C> {
    /// Counts the records of each key.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let counts = output_of(["a", "b", "a"], |words| {
    ///     words.map(str::to_owned).key_by(|word| word.clone()).two_stage().count("words").to_stream()
    /// });
    /// assert_eq!(counts.last(), Some(&("a".to_owned(), 2)));
    /// ```
    #[track_caller]
    pub fn count(self, name: &str) -> Table<K, u64, C> {
        self.running(here("count", Some(name)), Counting)
    }

    /// Keeps aggregates per key, as [`KeyedStream::aggregate`] does.
    #[track_caller]
    pub fn aggregate<A: Aggregate<T>>(self, name: &str, of: impl FnOnce(Agg<T>) -> A) -> Table<K, A::Out, C> {
        self.running(here("aggregate", Some(name)), Aggregating(of(Agg::default())))
    }

    /// Keeps one record per key: the first, combined by `f` with each that follows. `f` must be associative: what it
    /// makes of some records is combined with what it makes of others.
    #[track_caller]
    pub fn reduce(self, name: &str, f: impl Fn(T, T) -> T + Send + Sync + 'static) -> Table<K, T, C>
    where
        T: Persist + Clone,
    {
        self.running(here("reduce", Some(name)), Reducing(f))
    }

    /// Puts the records of each key into windows.
    #[track_caller]
    pub fn window<W: Combinable>(self, windows: W) -> TwoStageWindows<K, T, W>
    where
        C: HasEventTime,
    {
        let combine = CombineNode::add(self.wire, self.place, self.moves);
        TwoStageWindows::new(combine, here("window", None), windows)
    }

    fn running<U: Update<T>>(self, place: Place, update: U) -> Table<K, U::Value, C> {
        if let Err(reason) = update.check() {
            self.wire.refuse(&place, reason);
        }
        let update = Arc::new(update);
        let combine = CombineNode::add(self.wire, self.place, self.moves);
        combine.open::<K, T, U>(&update, Arc::new(all_time), None);
        KeyedStream::<K, Combined<T, U::Kept>, C>::at(combine.out).running(place, Merging(update))
    }
}

/// What is kept for ever is not cut into pieces.
fn all_time(_: Timestamp) -> Piece {
    Piece { range: TimeRange { start: Timestamp::MIN, end: Timestamp::MAX }, first_end: Timestamp::MAX }
}

/// The node that combines; what it combines for is known later than where it stands.
struct CombineNode {
    out: Wire,
    moves: bool,
}

impl CombineNode {
    fn add(wire: Wire, place: Place, moves: bool) -> Self {
        let node = add_node(&wire.graph, place, vec![wire.port]);
        CombineNode { out: wire.output_of(node, 0), moves }
    }

    /// Says what the records are combined for: the windows of the operator of that name, if any.
    fn open<K: Key, T: Data, U: Update<T>>(
        &self,
        update: &Arc<U>,
        piece_of: Arc<PieceOf>,
        windows: Option<String>,
    ) {
        let (graph, moves, update) = (&self.out.graph, self.moves, Arc::clone(update));
        type Parts<K, T, U> = KeyedBatch<K, Combined<T, <U as Update<T>>::Kept>>;
        set_operator::<KeyedBatch<K, T>, Outbox<Parts<K, T, U>>>(graph, self.out.port.node, move |opening| {
            let combines = moves && opening.worker.workers > 1;
            let fence = match &windows {
                Some(name) => Fence::before(WatermarkOf::new(name, &opening.worker.backend))?,
                None => Fence::none(),
            };
            Ok(Box::new(Combine::new(Arc::clone(&update), Arc::clone(&piece_of), fence, combines)))
        });
        if moves {
            let exchange = Exchange::<Parts<K, T, U>>::by_key_group();
            graph.borrow_mut().ports.entry(self.out.port).or_default().exchange = Some(Box::new(exchange));
        }
    }
}

#[cfg(test)]
mod tests;
