//! `flat_map`: any number of records for one.

use std::sync::Arc;

use crate::batch::Batch;
use crate::data::{Clock, Data};
use crate::operator::{Fault, Operator};
use crate::outbox::{Outbox, Outputs};
use crate::stream::{Stream, here};

impl<T: 'static, C: Clock> Stream<T, C> {
    /// Makes any number of records of each; all have its event time.
    ///
    /// Stops between two records when its output is full, so that memory is bounded by what one record gives.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let words = output_of(["a b".to_owned()], |lines| {
    ///     lines.flat_map(|line: String| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    /// });
    /// assert_eq!(words, ["a", "b"]);
    /// ```
    #[track_caller]
    pub fn flat_map<U, I>(self, f: impl Fn(T) -> I + Send + Sync + 'static) -> Stream<U, C>
    where
        U: Data,
        I: IntoIterator<Item = U>,
    {
        let f = Arc::new(f);
        Stream::at(self.wire.then::<Batch<T>, Outbox<Batch<U>>>(here("flat_map", None), move |_| {
            Ok(Box::new(FlatMap { f: Arc::clone(&f) }))
        }))
    }
}

struct FlatMap<F> {
    f: Arc<F>,
}

impl<T: 'static, U: 'static, I, F> Operator<Batch<T>, Outbox<Batch<U>>> for FlatMap<F>
where
    I: IntoIterator<Item = U>,
    F: Fn(T) -> I,
{
    fn on_batch(&mut self, batch: &mut Batch<T>, out: &mut Outbox<Batch<U>>) -> Result<(), Fault> {
        let mut values = std::mem::take(&mut batch.values).into_iter();
        let mut done = 0;
        // A handful of records between two looks at the room that is left.
        while values.len() > 0 && out.has_room() {
            for value in values.by_ref().take(16) {
                let time = batch.times.get(done).copied();
                (self.f)(value).into_iter().for_each(|made| out.push_like(made, time, batch.split));
                done += 1;
            }
        }
        batch.values = values.collect();
        batch.times.drain(..done.min(batch.times.len()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::{Harness, at};

    #[test]
    fn an_explosion_passes_through_the_smallest_output() {
        let mut harness = Harness::new(|stream| stream.flat_map(|number: i64| vec![number; number as usize]));
        harness.record(3, at(1));
        harness.record(0, at(2));
        harness.record(1, at(3));
        assert_eq!(harness.take(), [(3, at(1)), (3, at(1)), (3, at(1)), (1, at(3))]);
    }
}
