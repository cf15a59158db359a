//! `filter`: keeps the records that a closure says yes to.

use crate::batch::Batch;
use crate::data::Clock;
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::stream::{Stream, here};
use std::sync::Arc;

impl<T: 'static, C: Clock> Stream<T, C> {
    /// Keeps the records for which `keep` says yes. Works in place; moves nothing between workers.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let kept = output_of([1, 2, 3, 4], |numbers| numbers.filter(|number| number % 2 == 0));
    /// assert_eq!(kept, [2, 4]);
    /// ```
    #[track_caller]
    pub fn filter(self, keep: impl Fn(&T) -> bool + Send + Sync + 'static) -> Stream<T, C> {
        let keep = Arc::new(keep);
        Stream::at(self.wire.then::<Batch<T>, Outbox<Batch<T>>>(here("filter", None), move |_| {
            Ok(Box::new(Filter { keep: Arc::clone(&keep) }))
        }))
    }
}

struct Filter<F> {
    keep: Arc<F>,
}

impl<T: 'static, F: Fn(&T) -> bool> Operator<Batch<T>, Outbox<Batch<T>>> for Filter<F> {
    fn on_batch(&mut self, batch: &mut Batch<T>, out: &mut Outbox<Batch<T>>) -> Result<(), Fault> {
        let mut batch = std::mem::take(batch);
        if batch.times.is_empty() {
            batch.values.retain(|value| (self.keep)(value));
        } else {
            let (mut at, mut kept) = (0, 0);
            let times = &mut batch.times;
            batch.values.retain(|value| {
                let keep = (self.keep)(value);
                times[kept] = times[at];
                kept += usize::from(keep);
                at += 1;
                keep
            });
            batch.times.truncate(kept);
        }
        out.send(batch);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::{Harness, at};

    #[test]
    fn times_stay_with_the_records_that_are_kept() {
        let mut harness = Harness::new(|stream| stream.filter(|number: &i64| number % 3 != 0));
        (1..=7).for_each(|number| harness.record(number, at(number * 10)));
        harness.watermark(at(100));
        assert_eq!(harness.take(), [(1, at(10)), (2, at(20)), (4, at(40)), (5, at(50)), (7, at(70))]);
    }
}
