//! `branch`: one stream into two.

use std::sync::Arc;

use crate::batch::Batch;
use crate::data::Clock;
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::stream::{Stream, here};

impl<T: 'static, C: Clock> Stream<T, C> {
    /// Sends each record one of two ways: to the first stream if `first` says yes, else to the second.
    ///
    /// To let two chains take every record, clone the stream.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let all = output_of([1, 2, 3], |numbers| {
    ///     let (even, odd) = numbers.branch(|number| number % 2 == 0);
    ///     even.map(|number| number * 100).merge(odd)
    /// });
    /// assert_eq!(all, [1, 200, 3]);
    /// ```
    #[track_caller]
    pub fn branch(self, first: impl Fn(&T) -> bool + Send + Sync + 'static) -> (Stream<T, C>, Stream<T, C>) {
        let first = Arc::new(first);
        let wire = self.wire.then::<Batch<T>, Out<T>>(here("branch", None), move |_| {
            Ok(Box::new(Branch { first: Arc::clone(&first) }))
        });
        let second = wire.output(1);
        (Stream::at(wire), Stream::at(second))
    }
}

type Out<T> = (Outbox<Batch<T>>, Outbox<Batch<T>>);

struct Branch<F> {
    first: Arc<F>,
}

impl<T: 'static, F: Fn(&T) -> bool> Operator<Batch<T>, Out<T>> for Branch<F> {
    fn on_batch(&mut self, batch: &mut Batch<T>, out: &mut Out<T>) -> Result<(), Fault> {
        let batch = std::mem::take(batch);
        let mut times = batch.times.into_iter();
        for value in batch.values {
            let time = times.next();
            let way = if (self.first)(&value) { &mut out.0 } else { &mut out.1 };
            way.push_like(value, time, batch.split);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::{Harness, at};

    #[test]
    fn every_record_goes_exactly_one_way() {
        let mut harness = Harness::new(|stream| {
            let (big, small) = stream.branch(|number: &i64| *number > 5);
            big.map(|number| ("big", number)).merge(small.map(|number| ("small", number)))
        });
        harness.record(9, at(1));
        harness.record(2, at(2));
        harness.watermark(at(3));
        let mut out = harness.take();
        out.sort();
        assert_eq!(out, [(("big", 9), at(1)), (("small", 2), at(2))]);
    }
}
