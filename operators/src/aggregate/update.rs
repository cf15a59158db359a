//! What `count`, `fold`, `reduce` and `aggregate` do with records: the same for running values and for windows of
//! every kind. `None` is a key or window that has not seen a record.

use std::marker::PhantomData;

use highwater_state::{Persist, Timestamp};

use crate::aggregate::Aggregate;
use crate::data::Data;

/// How many partial results may be kept of values that are merged over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partials {
    /// All: what is kept stays small however many records there are.
    All,
    /// The square root of their number: what is kept grows, and less than the work of making it anew.
    Few,
    /// None: what is kept are the records themselves.
    None,
}

/// How records change what is kept of them, and what that is to the user.
pub trait Update<T>: Send + Sync + 'static {
    /// What is kept.
    type Kept: Persist + Clone;
    /// What it gives.
    type Value: Data;

    /// Adds a record.
    fn add(&self, kept: &mut Option<Self::Kept>, record: T, time: Timestamp);

    /// Adds a record that goes to other windows too.
    ///
    /// # Panics
    /// For `fold` over records that cannot be cloned; verbs refuse it by type where a record is in several windows.
    fn add_shared(&self, kept: &mut Option<Self::Kept>, record: &T, time: Timestamp);

    /// Adds what was kept of other records, later ones where the order is known.
    ///
    /// # Panics
    /// For `fold`, which has no way to; verbs refuse it by type where parts are merged.
    fn merge(&self, kept: &mut Self::Kept, later: Self::Kept);

    /// What is given for what is kept.
    fn value(&self, kept: &Self::Kept) -> Self::Value;

    /// As [`value`](Update::value), of what is not kept any longer.
    #[inline]
    fn last_value(&self, kept: Self::Kept) -> Self::Value {
        self.value(&kept)
    }

    /// How many of the values that are merged on the way to a result may be kept as well.
    fn partials(&self) -> Partials {
        Partials::All
    }

    /// Why it cannot be, if it cannot.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// `count`.
pub struct Counting;

impl<T: 'static> Update<T> for Counting {
    type Kept = u64;
    type Value = u64;
    #[inline]
    fn add(&self, kept: &mut Option<u64>, _: T, _: Timestamp) {
        *kept = Some(kept.unwrap_or(0) + 1);
    }
    #[inline]
    fn add_shared(&self, kept: &mut Option<u64>, _: &T, _: Timestamp) {
        *kept = Some(kept.unwrap_or(0) + 1);
    }
    fn merge(&self, kept: &mut u64, later: u64) {
        *kept += later;
    }
    #[inline]
    fn value(&self, kept: &u64) -> u64 {
        *kept
    }
}

/// `fold`: begins with what `initial` gives, and changes it with every record.
pub struct Folding<T, A, I, F> {
    initial: I,
    f: F,
    copy: Option<fn(&T) -> T>,
    marker: PhantomData<fn() -> A>,
}

impl<T, A, I, F> Folding<T, A, I, F> {
    pub(crate) fn new(initial: I, f: F) -> Self {
        Folding { initial, f, copy: None, marker: PhantomData }
    }

    /// Copies records with `copy` where they are in several windows.
    pub(crate) fn copying(mut self, copy: Option<fn(&T) -> T>) -> Self {
        self.copy = copy;
        self
    }
}

impl<T, A, I, F> Update<T> for Folding<T, A, I, F>
where
    T: 'static,
    A: Persist + Clone,
    I: Fn() -> A + Send + Sync + 'static,
    F: Fn(&mut A, T) + Send + Sync + 'static,
{
    type Kept = A;
    type Value = A;
    #[inline]
    fn add(&self, kept: &mut Option<A>, record: T, _: Timestamp) {
        (self.f)(kept.get_or_insert_with(&self.initial), record);
    }
    fn add_shared(&self, kept: &mut Option<A>, record: &T, time: Timestamp) {
        let copy = self.copy.expect("windows that share records with a fold copy them");
        self.add(kept, copy(record), time);
    }
    fn merge(&self, _: &mut A, _: A) {
        unreachable!("a fold cannot be merged, and no verb that merges takes one");
    }
    fn value(&self, kept: &A) -> A {
        kept.clone()
    }
    fn last_value(&self, kept: A) -> A {
        kept
    }
}

/// `reduce`: begins with the first record, and combines it with every other.
pub struct Reducing<F>(pub(crate) F);

impl<T, F> Update<T> for Reducing<F>
where
    T: Persist + Clone,
    F: Fn(T, T) -> T + Send + Sync + 'static,
{
    type Kept = T;
    type Value = T;
    #[inline]
    fn add(&self, kept: &mut Option<T>, record: T, _: Timestamp) {
        *kept = Some(match kept.take() {
            Some(before) => (self.0)(before, record),
            None => record,
        });
    }
    #[inline]
    fn add_shared(&self, kept: &mut Option<T>, record: &T, time: Timestamp) {
        self.add(kept, record.clone(), time);
    }
    fn merge(&self, kept: &mut T, later: T) {
        *kept = (self.0)(kept.clone(), later);
    }
    fn value(&self, kept: &T) -> T {
        kept.clone()
    }
    fn last_value(&self, kept: T) -> T {
        kept
    }
}

/// `aggregate`.
pub struct Aggregating<A>(pub(crate) A);

impl<T: 'static, A: Aggregate<T>> Update<T> for Aggregating<A> {
    type Kept = A::Acc;
    type Value = A::Out;
    #[inline]
    fn add(&self, kept: &mut Option<A::Acc>, record: T, time: Timestamp) {
        self.0.add(kept.get_or_insert_with(|| self.0.start()), &record, time);
    }
    #[inline]
    fn add_shared(&self, kept: &mut Option<A::Acc>, record: &T, time: Timestamp) {
        self.0.add(kept.get_or_insert_with(|| self.0.start()), record, time);
    }
    fn merge(&self, kept: &mut A::Acc, later: A::Acc) {
        self.0.merge(kept, later);
    }
    fn value(&self, kept: &A::Acc) -> A::Out {
        self.0.finish(kept)
    }
    fn partials(&self) -> Partials {
        if self.0.is_bounded() { Partials::All } else { Partials::Few }
    }
    fn check(&self) -> Result<(), String> {
        self.0.check()
    }
}
