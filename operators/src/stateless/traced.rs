//! `traced`: says by `tracing` that a record passed, with the id by which it belongs to others.
//!
//! One id given at several places, also of several topologies that talk through topics, makes the way of what it stands
//! for one search in the logs. Invariant: where nobody listens, a batch pays for one question and a record for nothing.

use std::fmt::Display;
use std::sync::Arc;

use crate::batch::Batch;
use crate::data::Clock;
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::stream::{Stream, here};

impl<T: 'static, C: Clock> Stream<T, C> {
    /// Tells `tracing` of each record that passes: `at`, and the `correlation_id` that `id` takes out of it, such as
    /// that of an [`Envelope`](crate::sourcing::Envelope); and its event time in milliseconds since 1970, where it has
    /// one.
    ///
    /// The target is `highwater::record`, the level is debug, so `RUST_LOG=highwater::record=debug` shows it where the
    /// program has a subscriber that reads that. A line is in the span of its worker, which has the name of the
    /// topology. After a crash records pass again, and are told again.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let orders = [("c-7", 20), ("c-8", 30)];
    /// let traced = output_of(orders, |stream| stream.traced("paid", |order| order.0));
    /// assert_eq!(traced, orders);
    /// ```
    #[track_caller]
    pub fn traced<I: Display + 'static>(
        self,
        at: &str,
        id: impl Fn(&T) -> I + Send + Sync + 'static,
    ) -> Stream<T, C> {
        let (at, id): (Arc<str>, _) = (at.into(), Arc::new(id));
        Stream::at(self.wire.then::<Batch<T>, Outbox<Batch<T>>>(here("traced", None), move |_| {
            Ok(Box::new(Traced { at: Arc::clone(&at), id: Arc::clone(&id) }))
        }))
    }
}

struct Traced<F> {
    at: Arc<str>,
    id: Arc<F>,
}

impl<T: 'static, I: Display, F: Fn(&T) -> I> Operator<Batch<T>, Outbox<Batch<T>>> for Traced<F> {
    fn on_batch(&mut self, batch: &mut Batch<T>, out: &mut Outbox<Batch<T>>) -> Result<(), Fault> {
        if tracing::enabled!(target: "highwater::record", tracing::Level::DEBUG) {
            let mut times = batch.times.iter();
            for value in &batch.values {
                let event_time = times.next().map(|time| time.as_millis());
                let (at, correlation_id) = (&*self.at, (self.id)(value));
                tracing::debug!(target: "highwater::record", at, %correlation_id, event_time, "passes");
            }
        }
        out.send(std::mem::take(batch));
        Ok(())
    }
}
