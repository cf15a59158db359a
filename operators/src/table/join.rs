//! Joins of two tables: the table of the pairs of their rows.
//!
//! The join keeps one row per key with the values of both sides, and tells the change from the old pair to the new one
//! whenever a side changes. Invariant: the row of a key holds what the last change of each side said, so that the old
//! value of every change is the new one of the change before it, whatever the changes that come in say of old values.
//! The sides meet in order of arrival: which pairs stand in between depends on how the two interleave, the last pair
//! of each key does not.
//!
//! Memory: one row per key that either side has, in the shared table budget while it is in use and on disk otherwise.

use std::marker::PhantomData;

use highwater_state::delta::Family;
use highwater_state::table::{RowRef, Slot, Table as Rows};
use highwater_state::{Delta, Epoch, Key, Persist, Piece, Timestamp};

use crate::batch::{Either, KeyedBatch};
use crate::data::{Clock, Data};
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::stream::{EventTime, Wire, here};
use crate::table::{Diff, Table};

/// Two tables with keys of one type that are to be joined; says which keys the joined table has.
#[must_use = "a join does nothing until `inner`, `left`, `right` or `outer` says which rows it has"]
pub struct TableJoin<K, L, R, C = EventTime> {
    left: Wire,
    right: Wire,
    marker: PhantomData<fn() -> (K, L, R, C)>,
}

impl<K: Key, L: Persist + Clone, C: Clock> Table<K, L, C> {
    /// Joins the rows of two tables that have the same key.
    ///
    /// The joined table changes whenever either side does, and is kept as the state of the join: one row per key that
    /// either side has, with the values of both. The sides meet in order of arrival: which pairs there are in between
    /// depends on how the two interleave, the last pair of each key does not.
    ///
    /// With event time a change has the time of the one that caused it, and the watermark is the smaller of the two
    /// sides: a side that changes rarely holds it back until it is idle (`Job::idle_after`) or has ended.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let records =
    ///     [("ann", "name", "Ann"), ("bob", "name", "Bob"), ("ann", "city", "Oslo"), ("ann", "name", "Anna")];
    /// let people = output_of(records, |records| {
    ///     let table = |field: &'static str, name: &str| {
    ///         let of_field = records.clone().filter(move |record| record.1 == field);
    ///         of_field.key_by(|record| record.0.to_owned()).upsert(name, |record| Some(record.2.to_owned()))
    ///     };
    ///     table("name", "names").join(table("city", "cities")).inner("people").to_stream().map(|(_, pair)| pair)
    /// });
    /// let pair = |name: &str, city: &str| (name.to_owned(), city.to_owned());
    /// assert_eq!(people, [pair("Ann", "Oslo"), pair("Anna", "Oslo")]);
    /// ```
    pub fn join<R: Persist + Clone>(self, right: Table<K, R, C>) -> TableJoin<K, L, R, C> {
        TableJoin { left: self.diffs, right: right.diffs, marker: PhantomData }
    }
}

impl<K: Key, L: Persist + Clone, R: Persist + Clone, C: Clock> TableJoin<K, L, R, C> {
    /// The keys that both tables have; a row is deleted when either side is.
    ///
    /// The name is what the rows of both sides are kept under.
    #[track_caller]
    pub fn inner(self, name: &str) -> Table<K, (L, R), C> {
        self.keep(name, |left, right| Some((left?.clone(), right?.clone())))
    }

    /// The keys that the left table has, with the right value where there is one.
    ///
    /// The name is what the rows of both sides are kept under, those that wait for a left one included.
    #[track_caller]
    pub fn left(self, name: &str) -> Table<K, (L, Option<R>), C> {
        self.keep(name, |left, right| Some((left?.clone(), right.cloned())))
    }

    /// The keys that the right table has, with the left value where there is one.
    ///
    /// The name is what the rows of both sides are kept under, those that wait for a right one included.
    #[track_caller]
    pub fn right(self, name: &str) -> Table<K, (Option<L>, R), C> {
        self.keep(name, |left, right| Some((left.cloned(), right?.clone())))
    }

    /// The keys that either table has; one of the two values is there.
    ///
    /// The name is what the rows of both sides are kept under.
    #[track_caller]
    pub fn outer(self, name: &str) -> Table<K, (Option<L>, Option<R>), C> {
        self.keep(name, |left, right| {
            (left.is_some() || right.is_some()).then(|| (left.cloned(), right.cloned()))
        })
    }

    #[track_caller]
    fn keep<P: Data>(self, name: &str, pair: Pair<L, R, P>) -> Table<K, P, C> {
        let place = here("join", Some(name));
        let wire =
            self.left.join::<In<K, L>, In<K, R>, Outbox<In<K, P>>>(&self.right, place, move |opening| {
                let store = opening.store::<K, (Option<L>, Option<R>)>(None, Family::Values)?;
                Ok(Box::new(Join { rows: Rows::open(store, opening.committed())?, slots: Vec::new(), pair }))
            });
        Table::at(wire)
    }
}

/// What a row is to the user, if it is one.
type Pair<L, R, P> = fn(Option<&L>, Option<&R>) -> Option<P>;

type In<K, V> = KeyedBatch<K, Diff<V>>;

/// The values of both sides.
type Both<L, R> = (Option<L>, Option<R>);

struct Join<K, L, R, P> {
    rows: Rows<K, Both<L, R>>,
    slots: Vec<Slot>,
    pair: Pair<L, R, P>,
}

impl<K: Key, L: Persist, R: Persist, P: Data> Join<K, L, R, P> {
    /// Lets every change set its side of its row.
    fn change<V>(
        &mut self,
        batch: KeyedBatch<K, Diff<V>>,
        set: impl Fn(&mut Both<L, R>, Option<V>),
        out: &mut Outbox<In<K, P>>,
    ) -> Result<(), Fault> {
        let (keys, hashes) = (&batch.keys, &batch.hashes);
        let row = |index: usize| RowRef { hash: hashes[index], time: Timestamp::MIN, key: &keys[index] };
        self.rows.resolve(keys.len(), row, &mut self.slots)?;
        let (rows, pair, taken) = (&mut self.rows, self.pair, out.is_taken());
        let pair = |(left, right): &Both<L, R>| pair(left.as_ref(), right.as_ref());
        let mut slots = self.slots.iter();
        out.send(batch.filter_map(|_, diff| {
            let row = rows.value_mut(*slots.next()?);
            let mut both = row.take().unwrap_or_default();
            let old = if taken { pair(&both) } else { None };
            set(&mut both, diff.new);
            let new = if taken { pair(&both) } else { None };
            *row = (both.0.is_some() || both.1.is_some()).then_some(both);
            Diff::between(old, new)
        }));
        Ok(())
    }
}

impl<K: Key, L: Persist, R: Persist, P: Data> Operator<Either<In<K, L>, In<K, R>>, Outbox<In<K, P>>>
    for Join<K, L, R, P>
{
    fn on_batch(
        &mut self,
        batch: &mut Either<In<K, L>, In<K, R>>,
        out: &mut Outbox<In<K, P>>,
    ) -> Result<(), Fault> {
        match std::mem::take(batch) {
            Either::Left(batch) => self.change(batch, |both, new| both.0 = new, out),
            Either::Right(batch) => self.change(batch, |both, new| both.1 = new, out),
        }
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
