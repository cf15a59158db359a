//! The fourth noun, [`Table`]: one value per key, and the stream of its changes.

use std::marker::PhantomData;

use crate::batch::{Batch, KeyedBatch};
use crate::data::{Clock, Data};
use crate::keyed::KeyedStream;
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::stream::{EventTime, Stream, Wire, here};

/// One value per key, kept as state under the name of the verb that made it.
#[must_use = "a table's changes go nowhere until they reach a sink"]
pub struct Table<K, V, C = EventTime> {
    wire: Wire,
    marker: PhantomData<fn() -> (K, V, C)>,
}

impl<K: Data, V: Data, C: Clock> Table<K, V, C> {
    pub(crate) fn at(wire: Wire) -> Self {
        Table { wire, marker: PhantomData }
    }

    /// Every change of the table: the key and its new value, one for each record that changed it.
    ///
    /// A table whose changes nobody takes costs nothing to tell.
    #[track_caller]
    pub fn changes(self) -> Stream<(K, V), C> {
        self.into_keyed().entries()
    }

    /// The new values, still grouped by key.
    pub fn into_keyed(self) -> KeyedStream<K, V, C> {
        KeyedStream::at(self.wire)
    }

    /// Keeps the table without telling its changes to anyone.
    pub fn keep(self) {}
}

impl<K: Data, T: Data, C: Clock> KeyedStream<K, T, C> {
    /// The records with their keys, no longer grouped.
    #[track_caller]
    pub fn entries(self) -> Stream<(K, T), C> {
        let place = here("entries", None);
        Stream::at(
            self.wire.then::<KeyedBatch<K, T>, Outbox<Batch<(K, T)>>>(place, |_| Ok(Box::new(Entries))),
        )
    }

    /// The records without their keys.
    #[track_caller]
    pub fn values(self) -> Stream<T, C> {
        let place = here("values", None);
        Stream::at(self.wire.then::<KeyedBatch<K, T>, Outbox<Batch<T>>>(place, |_| Ok(Box::new(Values))))
    }
}

struct Entries;

impl<K: 'static, T: 'static> Operator<KeyedBatch<K, T>, Outbox<Batch<(K, T)>>> for Entries {
    fn on_batch(
        &mut self,
        batch: &mut KeyedBatch<K, T>,
        out: &mut Outbox<Batch<(K, T)>>,
    ) -> Result<(), Fault> {
        let KeyedBatch { keys, mut records, .. } = std::mem::take(batch);
        let values = std::mem::take(&mut records.values);
        out.send(records.with_values(keys.into_iter().zip(values).collect()));
        Ok(())
    }
}

struct Values;

impl<K: 'static, T: 'static> Operator<KeyedBatch<K, T>, Outbox<Batch<T>>> for Values {
    fn on_batch(&mut self, batch: &mut KeyedBatch<K, T>, out: &mut Outbox<Batch<T>>) -> Result<(), Fault> {
        out.send(std::mem::take(batch).records);
        Ok(())
    }
}
