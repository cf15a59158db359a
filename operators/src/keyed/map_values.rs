//! `map_values` on a keyed stream: makes one record of each, and leaves the grouping as it is.

use std::sync::Arc;

use crate::batch::KeyedBatch;
use crate::data::{Clock, Data};
use crate::keyed::KeyedStream;
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::stream::here;

impl<K: Data, T: Data, C: Clock> KeyedStream<K, T, C> {
    /// Makes one record of each; it stays grouped by the same key, which `f` cannot change.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let lengths = output_of(["a b", "c"], |lines| {
    ///     lines.key_by(|_| ()).map_values(|line| line.len()).reduce("longest", |a, b| a.max(b)).to_stream()
    /// });
    /// assert_eq!(lengths, [((), 3), ((), 3)]);
    /// ```
    #[track_caller]
    pub fn map_values<U: Data>(self, f: impl Fn(T) -> U + Send + Sync + 'static) -> KeyedStream<K, U, C> {
        let f = Arc::new(f);
        let place = here("map_values", None);
        KeyedStream::at(self.wire.then::<KeyedBatch<K, T>, Outbox<KeyedBatch<K, U>>>(place, move |_| {
            Ok(Box::new(MapValues { f: Arc::clone(&f) }))
        }))
    }
}

struct MapValues<F> {
    f: Arc<F>,
}

impl<K: 'static, T: 'static, U: 'static, F> Operator<KeyedBatch<K, T>, Outbox<KeyedBatch<K, U>>>
    for MapValues<F>
where
    F: Fn(T) -> U,
{
    fn on_batch(
        &mut self,
        batch: &mut KeyedBatch<K, T>,
        out: &mut Outbox<KeyedBatch<K, U>>,
    ) -> Result<(), Fault> {
        let KeyedBatch { keys, hashes, mut records } = std::mem::take(batch);
        let values = std::mem::take(&mut records.values).into_iter().map(|value| (self.f)(value)).collect();
        out.send(KeyedBatch { keys, hashes, records: records.with_values(values) });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::{Harness, at};

    #[test]
    fn the_key_and_the_time_stay() {
        let mut harness = Harness::new(|stream| {
            stream.key_by(|number: &i64| number % 2).map_values(|number| number * 10).entries()
        });
        (1..4).for_each(|number| harness.record(number, at(number)));
        assert_eq!(harness.take(), [((1, 10), at(1)), ((0, 20), at(2)), ((1, 30), at(3))]);
    }
}
