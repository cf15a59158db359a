//! `join`: two streams with one key, by an interval of time or in windows; and its modes, which say what becomes of
//! records without a partner.

use std::marker::PhantomData;

use highwater_state::{Key, Persist};

use crate::batch::KeyedBatch;
use crate::data::{Data, HasEventTime};
use crate::join::bounds::{JoinBounds, Reach};
use crate::join::timed::{Mode, Out, TimedJoin};
use crate::keyed::KeyedStream;
use crate::stream::{Stream, Wire, add_join, here, set_join};

/// Two streams that are joined in time; a mode makes a stream of it: [`inner`](JoinedStream::inner),
/// [`left`](JoinedStream::left), [`right`](JoinedStream::right), [`outer`](JoinedStream::outer).
#[must_use = "a join does nothing until it is ended with `inner`, `left`, `right` or `outer`"]
pub struct JoinedStream<K, L, R> {
    wire: Wire,
    reach: Result<Reach, String>,
    marker: PhantomData<fn() -> (K, L, R)>,
}

impl<K, L: Data, C> KeyedStream<K, L, C> {
    /// Joins each record of this stream, the left one, with each of the other, the right one, that has the same key
    /// and belongs to it in time: by an interval around it ([`within`](crate::join::within),
    /// [`following`](crate::join::following), [`preceding`](crate::join::preceding),
    /// [`between_millis`](crate::join::between_millis)), or because both lie in the same
    /// [`tumbling`](crate::window::tumbling) window.
    ///
    /// A pair is emitted as soon as both its records are there, exactly once, with the later time of the two. A record
    /// that is behind the watermark when it comes is late and joins nothing.
    ///
    /// What may still find a partner survives a restart under the name that the mode is given. With other bounds or in
    /// another mode it cannot be read: a join that was changed is refused at the start until it has a new name.
    ///
    /// Memory: with an interval a left record is kept until the watermark has passed `upper` after it, a right one
    /// until it has passed `-lower` after it, and up to the length of the interval longer, because records are dropped
    /// together; in windows, until the window has closed. All of it is in the shared table budget, and on disk beyond
    /// it. With each epoch a key writes anew the records that lie as near as that to those that came.
    ///
    /// ```
    /// # use highwater_operators::testkit::timed_output_of;
    /// use highwater_operators::join::following;
    /// use std::time::Duration;
    ///
    /// let events = [(1_000, ('o', 1)), (2_000, ('o', 2)), (9_000, ('p', 1))]; // orders and payments of a number
    /// let paid = timed_output_of(events, |events| {
    ///     let (orders, payments) = events.branch(|event| event.0 == 'o');
    ///     let payments = payments.key_by(|payment| payment.1);
    ///     let joined = orders.key_by(|order| order.1).join(payments, following(Duration::from_mins(5)));
    ///     joined.left("paid").entries().map(|(order, (_, payment))| (order, payment.is_some()))
    /// });
    /// assert_eq!(paid, [(9_000, (1, true)), (2_000, (2, false))]);
    /// ```
    #[track_caller]
    pub fn join<R: Persist + Clone, D>(
        self,
        other: KeyedStream<K, R, D>,
        bounds: impl JoinBounds,
    ) -> JoinedStream<K, L, R>
    where
        K: Key,
        L: Persist + Clone,
        C: HasEventTime,
        D: HasEventTime,
    {
        let wire = add_join(&self.wire, &other.wire, here("join", None));
        JoinedStream { wire, reach: bounds.reach(), marker: PhantomData }
    }
}

impl<K: Key, L: Persist + Clone, R: Persist + Clone> JoinedStream<K, L, R> {
    /// The streams of the late left and the late right records; without this they are counted and dropped.
    pub fn with_late(self) -> (Self, Stream<L>, Stream<R>) {
        let (left, right) = (Stream::at(self.wire.output(1)), Stream::at(self.wire.output(2)));
        (self, left, right)
    }

    /// Only the pairs.
    #[track_caller]
    pub fn inner(self, name: &str) -> KeyedStream<K, (L, R)> {
        self.ended(name, Mode { pair: |left, right| (left, right), left: None, right: None })
    }

    /// The pairs, and every left record that has no partner, once none can come any more.
    ///
    /// Such a record has its own event time where an interval joins, and the last of its window where windows do.
    /// With an interval the watermark behind the join is `upper` behind the one before it, so that none of them is
    /// late there: what follows waits for them.
    #[track_caller]
    pub fn left(self, name: &str) -> KeyedStream<K, (L, Option<R>)> {
        let pair = |left, right| (left, Some(right));
        self.ended(name, Mode { pair, left: Some(|left| (left, None)), right: None })
    }

    /// The pairs, and every right record that has no partner, once none can come any more.
    ///
    /// As [`left`](JoinedStream::left); the watermark behind the join is `-lower` behind the one before it.
    #[track_caller]
    pub fn right(self, name: &str) -> KeyedStream<K, (Option<L>, R)> {
        let pair = |left, right| (Some(left), right);
        self.ended(name, Mode { pair, left: None, right: Some(|right| (None, right)) })
    }

    /// The pairs, and every record of either side that has no partner, once none can come any more.
    ///
    /// As [`left`](JoinedStream::left); the watermark behind the join is behind by the greater of `upper` and `-lower`.
    #[track_caller]
    pub fn outer(self, name: &str) -> KeyedStream<K, (Option<L>, Option<R>)> {
        let pair = |left, right| (Some(left), Some(right));
        let (left, right): (fn(L) -> _, fn(R) -> _) =
            (|left| (Some(left), None), |right| (None, Some(right)));
        self.ended(name, Mode { pair, left: Some(left), right: Some(right) })
    }

    #[track_caller]
    fn ended<O: Data>(self, name: &str, mode: Mode<L, R, O>) -> KeyedStream<K, O> {
        let place = here("join", Some(name));
        let reach = match self.reach {
            Ok(reach) => Some(reach),
            Err(reason) => {
                self.wire.refuse(&place, reason);
                None
            }
        };
        let node = self.wire.port.node;
        self.wire.graph.borrow_mut().nodes[node].place = place;
        set_join::<KeyedBatch<K, L>, KeyedBatch<K, R>, Out<K, L, R, O>>(
            &self.wire.graph,
            node,
            move |opening| {
                let reach = reach.expect("a topology that was refused is not opened");
                Ok(Box::new(TimedJoin::open(reach, mode, opening)?))
            },
        );
        KeyedStream::at(self.wire)
    }
}
