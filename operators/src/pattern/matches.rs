//! The verb `pattern`, and what is made of its matches.

use std::sync::Arc;

use highwater_state::{Key, Persist};

use crate::batch::KeyedBatch;
use crate::data::{Data, HasEventTime};
use crate::keyed::KeyedStream;
use crate::keyed::sorted::set_sorted;
use crate::operator::Fault;
use crate::pattern::builder::Pattern;
use crate::pattern::capture::{Capture, Close};
use crate::pattern::check::check;
use crate::pattern::operator::{Matching, Out, TimedOut};
use crate::pattern::step::Machine;
use crate::stream::{Stream, Wire, add_node, here, set_operator};

impl<K, T: Data, C> KeyedStream<K, T, C> {
    /// Searches the records of each key for a pattern, in the order of their event times; records of one time stay in
    /// the order in which they came, unless the pattern orders them.
    ///
    /// A record is looked at when the watermark has passed its time, so results do not depend on the order of
    /// arrival. One that comes behind the watermark is late and is not looked at.
    ///
    /// Live runs, the records that they took and the records that wait for the watermark survive a restart under the
    /// name that [`select`](MatchStream::select) gives; a pattern with other stages under the same name is refused at
    /// the start. Memory: per key its live runs, some 100 bytes each, and every record once that one of them took; in
    /// the shared table budget, on disk beyond it. A key without live runs keeps nothing, and the watermark drops
    /// runs whose time is over.
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater_operators::pattern::Pattern;
    /// # use highwater_operators::testkit::timed_output_of;
    /// let prices = [(1, 10), (2, 12), (3, 15), (4, 11), (5, 19)];
    /// let rises = timed_output_of(prices, |prices| {
    ///     let rising = Pattern::begin("low", |_: &i32| true)
    ///         .next("up", |_| true)
    ///         .when(|price, (low,)| price > low)
    ///         .next("high", |_| true)
    ///         .when(|price, (_, up)| price > up)
    ///         .within(Duration::from_secs(1));
    ///     let rises = prices.key_by(|_| "share".to_owned()).pattern(rising);
    ///     rises.select("rises", |share, (low, _, high)| format!("{share}: {low} to {high}")).values()
    /// });
    /// assert_eq!(rises, [(3, "share: 10 to 15".to_owned())]);
    /// ```
    #[track_caller]
    pub fn pattern<P, S>(self, pattern: Pattern<T, P, S>) -> MatchStream<K, T, S::Closed>
    where
        K: Key,
        T: Persist,
        S: Close<P>,
        S::Closed: Capture<T>,
        C: HasEventTime,
    {
        let place = here("pattern", None);
        let sorting = add_node(&self.wire.graph, here("sorted", None), vec![self.wire.port]);
        let sorted = self.wire.output_of(sorting, 0);
        set_sorted::<K, T>(&sorted, pattern.ties.clone());
        let matching = add_node(&sorted.graph, place, vec![sorted.port]);
        let wire = sorted.output_of(matching, 0);
        MatchStream { sorted, wire, pattern: pattern.with_types(), timed_out: None }
    }
}

/// The matches of a pattern; [`select`](MatchStream::select) makes a stream of them.
#[must_use = "a pattern does nothing until its matches are selected"]
pub struct MatchStream<K, T: 'static, P: Capture<T>, O = ()> {
    sorted: Wire,
    wire: Wire,
    pattern: Pattern<T, (), P>,
    timed_out: Option<Arc<TimedOut<K, T, P, O>>>,
}

impl<K: Key, T: Data, P: Capture<T>> MatchStream<K, T, P> {
    /// What `f` makes of every run that ran out of time before it was a match: of a key, and of what the stages had
    /// taken. It has the time at which the run's time was over.
    pub fn with_timed_out<Q: Data>(
        self,
        f: impl for<'a> Fn(&'a K, P::Partial<'a>) -> Q + Send + Sync + 'static,
    ) -> (MatchStream<K, T, P, Q>, KeyedStream<K, Q>) {
        let MatchStream { sorted, wire, pattern, .. } = self;
        let timed_out = KeyedStream::at(wire.output(1));
        (MatchStream { sorted, wire, pattern, timed_out: Some(Arc::new(f)) }, timed_out)
    }
}

impl<K: Key, T: Data, P: Capture<T>, O: Data> MatchStream<K, T, P, O> {
    /// The stream of the late records; without this they are counted and dropped.
    pub fn with_late(self) -> (Self, Stream<T>) {
        let late = Stream::at(self.sorted.output(1));
        (self, late)
    }

    /// What `f` makes of every match: of its key, and of what the stages took.
    ///
    /// A result has the time of the record that made the match known: its last one; for a match that waited, because of
    /// `not_followed_by` at the end or of an earlier run, the time at which there was nothing to wait for.
    #[track_caller]
    pub fn select<M: Data>(
        self,
        name: &str,
        f: impl for<'a> Fn(&'a K, P::Match<'a>) -> M + Send + Sync + 'static,
    ) -> KeyedStream<K, M>
    where
        T: Persist,
    {
        let MatchStream { sorted, wire, pattern, timed_out } = self;
        let place = here("pattern", Some(name));
        let sorting = here("sorted", Some(&format!("{name}.sorted")));
        {
            let mut graph = wire.graph.borrow_mut();
            graph.nodes[sorted.port.node].place = sorting;
            graph.nodes[wire.port.node].place = place.clone();
        }
        let select = Arc::new(f);
        let machine = check(&pattern.plan).and_then(|()| Machine::of(pattern.plan));
        if let Err(reason) = &machine {
            wire.refuse(&place, reason);
        }
        let machine = machine.map(|(machine, text)| (Arc::new(machine), text));
        set_operator::<KeyedBatch<K, T>, Out<K, M, O>>(&wire.graph, wire.port.node, move |opening| {
            let (machine, text) = machine.clone().map_err(|reason| Fault::Failed(reason.into()))?;
            let matching = Matching::<K, T, P, M, O, _>::open(machine, &text, &select, &timed_out, opening)?;
            Ok(Box::new(matching))
        });
        KeyedStream::at(wire)
    }
}
