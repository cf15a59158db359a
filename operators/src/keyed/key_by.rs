//! `key_by`: the only verb that moves records between workers.

use std::sync::Arc;

use highwater_state::Key;
use highwater_state::hash::key_hash;

use crate::batch::{Batch, KeyedBatch};
use crate::data::{Clock, Data};
use crate::exchange::Exchange;
use crate::keyed::KeyedStream;
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::stream::{Stream, here};

impl<T: 'static, C: Clock> Stream<T, C> {
    /// Groups the records by a key.
    ///
    /// The key is hashed once, here; with several workers each record moves to the worker that owns its key's
    /// group, with one worker nothing moves.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let counts = output_of(["a", "b", "a"].map(str::to_owned), |words| {
    ///     words.key_by(|word| word.clone()).count("words").to_stream()
    /// });
    /// assert_eq!(counts, [("a".to_owned(), 1), ("b".to_owned(), 1), ("a".to_owned(), 2)]);
    /// ```
    #[track_caller]
    pub fn key_by<K: Key>(self, key: impl Fn(&T) -> K + Send + Sync + 'static) -> KeyedStream<K, T, C>
    where
        T: Data,
    {
        let key = Arc::new(key);
        let wire = self.wire.then::<Batch<T>, Outbox<KeyedBatch<K, T>>>(here("key_by", None), move |_| {
            Ok(Box::new(KeyBy { key: Arc::clone(&key) }))
        });
        let exchange = Exchange::<KeyedBatch<K, T>>::by_key_group();
        wire.graph.borrow_mut().ports.entry(wire.port).or_default().exchange = Some(Box::new(exchange));
        KeyedStream::at(wire)
    }
}

struct KeyBy<F> {
    key: Arc<F>,
}

impl<K: Key, T: 'static, F: Fn(&T) -> K> Operator<Batch<T>, Outbox<KeyedBatch<K, T>>> for KeyBy<F> {
    fn on_batch(&mut self, batch: &mut Batch<T>, out: &mut Outbox<KeyedBatch<K, T>>) -> Result<(), Fault> {
        let records = std::mem::take(batch);
        let keys: Vec<K> = records.values.iter().map(|value| (self.key)(value)).collect();
        let hashes = keys.iter().map(key_hash).collect();
        out.send(KeyedBatch { keys, hashes, records });
        Ok(())
    }
}
