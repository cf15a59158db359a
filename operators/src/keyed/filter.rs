//! `filter` on a keyed stream: drops records, and leaves the grouping as it is.

use std::sync::Arc;

use crate::batch::{Batch, KeyedBatch};
use crate::data::{Clock, Data};
use crate::keyed::KeyedStream;
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::stream::here;

impl<K: Data, T: Data, C: Clock> KeyedStream<K, T, C> {
    /// Keeps the records for which `keep` says yes; they stay grouped by the same key.
    ///
    /// Where it can, stand a filter before `key_by`: what is dropped there does not move between workers.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let counts = output_of(["a", "b", "a"], |words| {
    ///     words.key_by(|word| word.to_string()).filter(|_, word| *word != "b").count("words").to_stream()
    /// });
    /// assert_eq!(counts, [("a".to_owned(), 1), ("a".to_owned(), 2)]);
    /// ```
    #[track_caller]
    pub fn filter(self, keep: impl Fn(&K, &T) -> bool + Send + Sync + 'static) -> KeyedStream<K, T, C> {
        let keep = Arc::new(keep);
        let place = here("filter", None);
        KeyedStream::at(self.wire.then::<KeyedBatch<K, T>, Outbox<KeyedBatch<K, T>>>(place, move |_| {
            Ok(Box::new(KeyedFilter { keep: Arc::clone(&keep) }))
        }))
    }
}

struct KeyedFilter<F> {
    keep: Arc<F>,
}

impl<K, T, F> Operator<KeyedBatch<K, T>, Outbox<KeyedBatch<K, T>>> for KeyedFilter<F>
where
    K: 'static,
    T: 'static,
    F: Fn(&K, &T) -> bool,
{
    fn on_batch(
        &mut self,
        batch: &mut KeyedBatch<K, T>,
        out: &mut Outbox<KeyedBatch<K, T>>,
    ) -> Result<(), Fault> {
        let KeyedBatch { keys, hashes, records } = std::mem::take(batch);
        let mut kept = KeyedBatch {
            keys: Vec::with_capacity(keys.len()),
            hashes: Vec::with_capacity(keys.len()),
            records: Batch {
                values: Vec::with_capacity(keys.len()),
                times: Vec::new(),
                split: records.split,
            },
        };
        let mut times = records.times.into_iter();
        for ((key, hash), value) in keys.into_iter().zip(hashes).zip(records.values) {
            let time = times.next();
            if (self.keep)(&key, &value) {
                kept.keys.push(key);
                kept.hashes.push(hash);
                kept.records.values.push(value);
                kept.records.times.extend(time);
            }
        }
        out.send(kept);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::{Harness, at};

    #[test]
    fn what_is_kept_keeps_its_key_and_time() {
        let mut harness = Harness::new(|stream| {
            let numbers = stream.key_by(|number: &i64| number % 3);
            numbers.filter(|key, number| *key != 1 && *number > 2).entries()
        });
        (0..7).for_each(|number| harness.record(number, at(10 * number)));
        assert_eq!(harness.take(), [((0, 3), at(30)), ((2, 5), at(50)), ((0, 6), at(60))]);
    }
}
