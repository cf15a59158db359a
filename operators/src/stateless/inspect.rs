//! `inspect`: looks at records as they pass.

use std::sync::Arc;

use crate::batch::Batch;
use crate::data::Clock;
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::stream::{Stream, here};

impl<T: 'static, C: Clock> Stream<T, C> {
    /// Calls `look` with each record as it passes.
    ///
    /// After a crash records pass again, and so does what `look` does: it is for logs and progress, not for
    /// results.
    #[track_caller]
    pub fn inspect(self, look: impl Fn(&T) + Send + Sync + 'static) -> Stream<T, C> {
        let look = Arc::new(look);
        Stream::at(self.wire.then::<Batch<T>, Outbox<Batch<T>>>(here("inspect", None), move |_| {
            Ok(Box::new(Inspect { look: Arc::clone(&look) }))
        }))
    }
}

struct Inspect<F> {
    look: Arc<F>,
}

impl<T: 'static, F: Fn(&T)> Operator<Batch<T>, Outbox<Batch<T>>> for Inspect<F> {
    fn on_batch(&mut self, batch: &mut Batch<T>, out: &mut Outbox<Batch<T>>) -> Result<(), Fault> {
        batch.values.iter().for_each(|value| (self.look)(value));
        out.send(std::mem::take(batch));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use crate::testkit::{Harness, at};

    #[test]
    fn every_record_is_seen_and_passes() {
        let sum = Arc::new(AtomicI64::new(0));
        let seen = Arc::clone(&sum);
        let mut harness = Harness::new(move |stream| {
            stream.inspect(move |number: &i64| {
                seen.fetch_add(*number, Ordering::Relaxed);
            })
        });
        harness.record(3, at(1));
        harness.record(4, at(2));
        assert_eq!(harness.take().len(), 2);
        assert_eq!(sum.load(Ordering::Relaxed), 7);
    }
}
