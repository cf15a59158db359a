//! `map_values` of a table: another value of each row, without any state.

use std::sync::Arc;

use crate::batch::KeyedBatch;
use crate::data::{Clock, Data};
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::stream::here;
use crate::table::{Diff, Table};

impl<K: Data, V: Data, C: Clock> Table<K, V, C> {
    /// The table with a value made of each.
    ///
    /// Keeps nothing: `f` is called for the old value of a change and for the new, and must give the same for the
    /// same value whenever it is called.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let counts = output_of(["a", "b"], |words| {
    ///     let counts = words.key_by(|_| ()).count("words");
    ///     counts.map_values(|count| format!("{count} words")).changes().map(|change| (change.old, change.new))
    /// });
    /// let words = |count| Some(format!("{count} words"));
    /// assert_eq!(counts, [(None, words(1)), (words(1), words(2))]);
    /// ```
    #[track_caller]
    pub fn map_values<U: Data>(self, f: impl Fn(V) -> U + Send + Sync + 'static) -> Table<K, U, C> {
        let f = Arc::new(f);
        let place = here("map_values", None);
        let wire =
            self.diffs.then::<KeyedBatch<K, Diff<V>>, Outbox<KeyedBatch<K, Diff<U>>>>(place, move |_| {
                Ok(Box::new(MapValues { f: Arc::clone(&f) }))
            });
        Table::at(wire)
    }
}

struct MapValues<F> {
    f: Arc<F>,
}

impl<K: 'static, V: 'static, U: 'static, F> Operator<KeyedBatch<K, Diff<V>>, Outbox<KeyedBatch<K, Diff<U>>>>
    for MapValues<F>
where
    F: Fn(V) -> U,
{
    fn on_batch(
        &mut self,
        batch: &mut KeyedBatch<K, Diff<V>>,
        out: &mut Outbox<KeyedBatch<K, Diff<U>>>,
    ) -> Result<(), Fault> {
        let batch = std::mem::take(batch);
        out.send(batch.filter_map(|_, diff| diff.filter_map(|value| Some((self.f)(value)))));
        Ok(())
    }
}
