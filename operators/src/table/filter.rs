//! `filter` of a table: the rows that pass a test, without any state.

use std::sync::Arc;

use crate::batch::KeyedBatch;
use crate::data::{Clock, Data};
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::stream::here;
use crate::table::{Diff, Table};

impl<K: Data, V: Data, C: Clock> Table<K, V, C> {
    /// The table of the rows that pass.
    ///
    /// A row that stops passing is deleted, one that begins to is inserted; a change of a row that passes neither
    /// before nor after is no change. Keeps nothing: the test is made of the old value and of the new, and must give
    /// the same for the same row whenever it is asked.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let low = output_of([2, 3, -4, 5], |numbers| {
    ///     let sums = numbers.key_by(|_| ()).aggregate("sum", |a| a.sum(|n: &i32| *n));
    ///     sums.filter(|_, sum| *sum < 5).changes().map(|change| (change.old, change.new))
    /// });
    /// assert_eq!(low, [(None, Some(2)), (Some(2), None), (None, Some(1)), (Some(1), None)]);
    /// ```
    #[track_caller]
    pub fn filter(self, keep: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Table<K, V, C> {
        let keep = Arc::new(keep);
        let wire = self.diffs.then::<KeyedBatch<K, Diff<V>>, Outbox<KeyedBatch<K, Diff<V>>>>(
            here("filter", None),
            move |_| Ok(Box::new(Filter { keep: Arc::clone(&keep) })),
        );
        Table::at(wire)
    }
}

struct Filter<F> {
    keep: Arc<F>,
}

impl<K: 'static, V: 'static, F> Operator<KeyedBatch<K, Diff<V>>, Outbox<KeyedBatch<K, Diff<V>>>> for Filter<F>
where
    F: Fn(&K, &V) -> bool,
{
    fn on_batch(
        &mut self,
        batch: &mut KeyedBatch<K, Diff<V>>,
        out: &mut Outbox<KeyedBatch<K, Diff<V>>>,
    ) -> Result<(), Fault> {
        let batch = std::mem::take(batch);
        out.send(
            batch.filter_map(|key, diff| diff.filter_map(|value| (self.keep)(key, &value).then_some(value))),
        );
        Ok(())
    }
}
