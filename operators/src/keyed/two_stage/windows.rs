//! Windows that are computed in two stages.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use highwater_state::{Key, Persist};

use super::CombineNode;
use super::combine::{Combined, Merging};
use crate::aggregate::update::{Aggregating, Counting, Reducing, Update};
use crate::aggregate::{Agg, Aggregate};
use crate::batch::{Batch, KeyedBatch};
use crate::data::{Data, HasEventTime};
use crate::error::Place;
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::stream::{EventTime, Stream, Wire, add_node, here, set_operator};
use crate::window::{Combinable, Firing, Out, Windowed};

/// Records grouped by key and window, to be aggregated in two stages.
#[must_use = "a window does nothing until it is aggregated"]
pub struct TwoStageWindows<K, T, W, C = EventTime> {
    combine: CombineNode,
    window: Wire,
    /// The node that takes late records out of what is combined, where someone wants them.
    late: Option<Wire>,
    windows: W,
    firing: Firing,
    marker: PhantomData<fn() -> (K, T, C)>,
}

impl<K: Key, T: Data, W: Combinable, C: HasEventTime> TwoStageWindows<K, T, W, C> {
    pub(super) fn new(combine: CombineNode, place: Place, windows: W) -> Self {
        if let Err(reason) = windows.check() {
            combine.out.refuse(&place, reason);
        }
        let node = add_node(&combine.out.graph, place, vec![combine.out.port]);
        let window = combine.out.output_of(node, 0);
        TwoStageWindows {
            combine,
            window,
            late: None,
            windows,
            firing: Firing::default(),
            marker: PhantomData,
        }
    }

    /// Keeps a window for `lateness` after the watermark has reached its end, as
    /// [`WindowedStream::allow_late`](crate::window::WindowedStream::allow_late) does.
    pub fn allow_late(mut self, lateness: Duration) -> Self {
        self.firing.allowed_lateness = lateness;
        self
    }

    /// The stream of the records that come too late for their window; without this they are counted and dropped.
    #[track_caller]
    pub fn with_late(mut self) -> (Self, Stream<T, C>) {
        let graph = &self.window.graph;
        let node = add_node(graph, here("with_late", None), vec![self.window.output(1).port]);
        let late = self.window.output_of(node, 0);
        self.late = Some(late.clone());
        (self, Stream::at(late))
    }

    /// Counts the records of each key and window.
    #[track_caller]
    pub fn count(self, name: &str) -> Stream<Windowed<K, u64>, C> {
        self.apply(here("window", Some(name)), name, Counting)
    }

    /// Aggregates the records of each key and window, as
    /// [`WindowedStream::aggregate`](crate::window::WindowedStream::aggregate) does.
    #[track_caller]
    pub fn aggregate<A: Aggregate<T>>(
        self,
        name: &str,
        of: impl FnOnce(Agg<T>) -> A,
    ) -> Stream<Windowed<K, A::Out>, C> {
        self.apply(here("window", Some(name)), name, Aggregating(of(Agg::default())))
    }

    /// Combines the records of each key and window two by two. `f` must be associative: what it makes of some records
    /// is combined with what it makes of others.
    #[track_caller]
    pub fn reduce(
        self,
        name: &str,
        f: impl Fn(T, T) -> T + Send + Sync + 'static,
    ) -> Stream<Windowed<K, T>, C>
    where
        T: Persist + Clone,
    {
        self.apply(here("window", Some(name)), name, Reducing(f))
    }

    fn apply<U: Update<T>>(self, place: Place, name: &str, update: U) -> Stream<Windowed<K, U::Value>, C> {
        if let Err(reason) = update.check() {
            self.window.refuse(&place, reason);
        }
        let (windows, firing, update) = (self.windows, self.firing, Arc::new(update));
        let pieces = windows.clone();
        let piece_of = Arc::new(move |time| pieces.piece_of(time));
        self.combine.open::<K, T, U>(&update, piece_of, Some(name.to_owned()));

        let (graph, node) = (&self.window.graph, self.window.port.node);
        graph.borrow_mut().nodes[node].place = place;
        let merging = Arc::new(Merging(update));
        type In<T, A> = Combined<T, A>;
        set_operator::<KeyedBatch<K, In<T, U::Kept>>, Out<K, In<T, U::Kept>, U::Value>>(
            graph,
            node,
            move |opening| windows.open(&merging, &firing, opening),
        );
        if let Some(late) = self.late {
            set_operator::<Batch<In<T, U::Kept>>, Outbox<Batch<T>>>(graph, late.port.node, |_| {
                Ok(Box::new(Late))
            });
        }
        Stream::at(self.window)
    }
}

/// Late records are never combined; this takes them as they are.
struct Late;

impl<T: Data, A: Persist> Operator<Batch<Combined<T, A>>, Outbox<Batch<T>>> for Late {
    fn on_batch(
        &mut self,
        batch: &mut Batch<Combined<T, A>>,
        out: &mut Outbox<Batch<T>>,
    ) -> Result<(), Fault> {
        let values = std::mem::take(&mut batch.values);
        let records = batch.with_values(values.into_iter().map(Combined::record).collect());
        out.send(records);
        Ok(())
    }
}
