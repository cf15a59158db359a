//! Aggregates: what can be kept of many records in a value of bounded size.
//!
//! Each is a mergeable monoid: [`Aggregate::start`] is neutral, [`Aggregate::merge`] is associative, and adding
//! records one by one gives the same as merging parts of them. That is what two-stage aggregation, session
//! windows and sliding windows rest on.

mod builtin;
mod tuple;
pub(crate) mod update;

use std::marker::PhantomData;

use highwater_state::{Persist, Timestamp};

use crate::data::Data;

pub use builtin::{Count, Max, Mean, Min, Number, Sum};

/// How records become one value.
pub trait Aggregate<T>: Send + Sync + 'static {
    /// What is kept while records are added; survives a restart. Cloned where windows share parts of it.
    type Acc: Persist + Clone;
    /// What it gives.
    type Out: Data;

    /// What is kept before the first record.
    fn start(&self) -> Self::Acc;

    /// Adds a record with this event time, which is [`Timestamp::MIN`] on a stream without event time.
    fn add(&self, kept: &mut Self::Acc, record: &T, time: Timestamp);

    /// Adds what was kept of other records, of later slices or sessions where those are merged.
    fn merge(&self, kept: &mut Self::Acc, later: Self::Acc);

    /// The value of the records so far; called with at least one record added.
    fn finish(&self, kept: &Self::Acc) -> Self::Out;
}

/// Makes aggregates over records of one type; what the closure of `aggregate` is given, so that the closures in
/// it need no types.
pub struct Agg<T>(PhantomData<fn(T)>);

impl<T> Default for Agg<T> {
    fn default() -> Self {
        Agg(PhantomData)
    }
}

impl<T: Data> Agg<T> {
    /// How many records there are.
    pub fn count(&self) -> Count {
        Count
    }

    /// The sum; integers stop at the bounds of their type.
    pub fn sum<N: Number, F: Fn(&T) -> N + Send + Sync + 'static>(&self, of: F) -> Sum<F> {
        Sum(of)
    }

    /// The smallest value; NaN only if there is nothing else.
    pub fn min<N, F: Fn(&T) -> N + Send + Sync + 'static>(&self, of: F) -> Min<F>
    where
        N: PartialOrd + Clone + Persist,
    {
        Min(of)
    }

    /// The largest value; NaN only if there is nothing else.
    pub fn max<N, F: Fn(&T) -> N + Send + Sync + 'static>(&self, of: F) -> Max<F>
    where
        N: PartialOrd + Clone + Persist,
    {
        Max(of)
    }

    /// The arithmetic mean, as a 64-bit floating point number.
    pub fn mean<N: Number, F: Fn(&T) -> N + Send + Sync + 'static>(&self, of: F) -> Mean<F> {
        Mean(of)
    }
}
