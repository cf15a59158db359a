//! `latest` and `upsert`: tables whose rows are records.
//!
//! Memory: one row per key that has a value, in the shared table budget while it is in use and on disk otherwise.

use std::sync::Arc;

use highwater_state::delta::Family;
use highwater_state::table::{RowRef, Slot, Table as Rows};
use highwater_state::{Delta, Epoch, Key, Persist, Piece, Timestamp};

use crate::aggregate::update::Reducing;
use crate::batch::KeyedBatch;
use crate::data::Clock;
use crate::keyed::KeyedStream;
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::stream::here;
use crate::table::{Diff, Table};

impl<K, T: 'static, C: Clock> KeyedStream<K, T, C> {
    /// The table of the last record of each key, in order of arrival.
    ///
    /// A record that comes late is still the last: order the records with `sorted` before, where that matters. Kept:
    /// one row per key, for ever.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let latest = output_of([('a', 1), ('b', 2), ('a', 3)], |records| {
    ///     records.key_by(|record| record.0).latest("latest").map_values(|record| record.1).to_stream()
    /// });
    /// assert_eq!(latest, [('a', 1), ('b', 2), ('a', 3)]);
    /// ```
    #[track_caller]
    pub fn latest(self, name: &str) -> Table<K, T, C>
    where
        K: Key,
        T: Persist + Clone,
    {
        self.running(here("latest", Some(name)), Reducing(|_, later| later))
    }

    /// The table of the last value of each key in order of arrival: each record gives its key a new value, or takes
    /// it away.
    ///
    /// To take away a value that there is not is no change. A record that comes late is still the last: order the
    /// records with `sorted` before, where that matters. Kept: one row per key that has a value.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let records = [('a', Some(1)), ('b', None), ('a', Some(2)), ('a', None)];
    /// let changes = output_of(records, |records| {
    ///     let settings = records.key_by(|record| record.0).upsert("settings", |record| record.1);
    ///     settings.changes().map(|change| (change.key, change.old, change.new))
    /// });
    /// assert_eq!(changes, [('a', None, Some(1)), ('a', Some(1), Some(2)), ('a', Some(2), None)]);
    /// ```
    #[track_caller]
    pub fn upsert<V>(
        self,
        name: &str,
        value: impl Fn(T) -> Option<V> + Send + Sync + 'static,
    ) -> Table<K, V, C>
    where
        K: Key,
        V: Persist + Clone,
    {
        let value = Arc::new(value);
        let place = here("upsert", Some(name));
        let wire = self.wire.then::<KeyedBatch<K, T>, Out<K, V>>(place, move |opening| {
            let store = opening.store::<K, V>(None, Family::Values)?;
            let rows = Rows::open(store, opening.committed())?;
            Ok(Box::new(Upsert { rows, slots: Vec::new(), value: Arc::clone(&value) }))
        });
        Table::at(wire)
    }
}

type Out<K, V> = Outbox<KeyedBatch<K, Diff<V>>>;

struct Upsert<K, V, F> {
    rows: Rows<K, V>,
    slots: Vec<Slot>,
    value: Arc<F>,
}

impl<K, T, V, F> Operator<KeyedBatch<K, T>, Out<K, V>> for Upsert<K, V, F>
where
    K: Key,
    T: 'static,
    V: Persist + Clone,
    F: Fn(T) -> Option<V>,
{
    fn on_batch(&mut self, batch: &mut KeyedBatch<K, T>, out: &mut Out<K, V>) -> Result<(), Fault> {
        let batch = std::mem::take(batch);
        let (keys, hashes) = (&batch.keys, &batch.hashes);
        let row = |index: usize| RowRef { hash: hashes[index], time: Timestamp::MIN, key: &keys[index] };
        self.rows.resolve(keys.len(), row, &mut self.slots)?;
        let (rows, taken) = (&mut self.rows, out.is_taken());
        let mut slots = self.slots.iter();
        out.send(batch.filter_map(|_, record| {
            // Also of a key that has no value and gets none: a row that is dirty and absent is let go at the epoch's
            // end.
            let row = rows.value_mut(*slots.next()?);
            let old = std::mem::replace(row, (self.value)(record));
            if taken { Diff::between(old, row.clone()) } else { None }
        }));
        Ok(())
    }

    fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        self.rows.begin_freeze(epoch, delta);
        Ok(())
    }

    fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<(), Fault> {
        Ok(self.rows.write_frozen(piece)?)
    }

    fn applied(&mut self, epoch: Epoch) {
        self.rows.applied(epoch);
    }
}
