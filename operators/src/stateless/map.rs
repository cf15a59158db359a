//! `map`: one record for one.

use std::sync::Arc;

use crate::batch::Batch;
use crate::data::{Clock, Data};
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::stream::{Stream, here};

impl<T: 'static, C: Clock> Stream<T, C> {
    /// Makes one record of each; the event time stays.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// assert_eq!(output_of([1, 2], |numbers| numbers.map(|number| number * 10)), [10, 20]);
    /// ```
    #[track_caller]
    pub fn map<U: Data>(self, f: impl Fn(T) -> U + Send + Sync + 'static) -> Stream<U, C> {
        let f = Arc::new(f);
        Stream::at(self.wire.then::<Batch<T>, Outbox<Batch<U>>>(here("map", None), move |_| {
            Ok(Box::new(Map { f: Arc::clone(&f) }))
        }))
    }
}

struct Map<F> {
    f: Arc<F>,
}

impl<T: 'static, U: 'static, F: Fn(T) -> U> Operator<Batch<T>, Outbox<Batch<U>>> for Map<F> {
    fn on_batch(&mut self, batch: &mut Batch<T>, out: &mut Outbox<Batch<U>>) -> Result<(), Fault> {
        let values = std::mem::take(&mut batch.values);
        let mapped = batch.with_values(values.into_iter().map(|value| (self.f)(value)).collect());
        out.send(mapped);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::{Harness, at};

    #[test]
    fn the_event_time_stays() {
        let mut harness = Harness::new(|stream| stream.map(|number: i64| number.to_string()));
        harness.record(7, at(70));
        assert_eq!(harness.take(), [("7".to_owned(), at(70))]);
    }
}
