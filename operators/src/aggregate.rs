//! Aggregates: what can be kept of many records in a value of bounded size.
//!
//! Each is a mergeable monoid: [`Aggregate::start`] is neutral, [`Aggregate::merge`] is associative, and adding
//! records one by one gives the same as merging parts of them. That is what two-stage aggregation, session
//! windows and sliding windows rest on.

mod builtin;
mod collect;
mod distinct;
mod distinct_approx;
mod first_last;
#[cfg(test)]
mod laws;
mod quantiles;
mod top;
mod tuple;
pub(crate) mod update;
mod variance;

use std::marker::PhantomData;

use highwater_state::{Persist, Timestamp};
use serde::Serialize;

use crate::data::Data;

pub use builtin::{Count, Max, Mean, Min, Number, Sum};
pub use collect::{Collect, Collected};
pub use distinct::Distinct;
pub use distinct_approx::{DistinctApprox, Distincts};
pub use first_last::{First, Last};
pub use quantiles::{Quantiles, Ranks};
pub use top::{Top, TopBy};
pub use variance::{Moments, SampleVariance, Variance};

/// How records become one value.
///
/// [`start`](Aggregate::start) must be neutral and [`merge`](Aggregate::merge) associative, and merging what was
/// kept of some records with what was kept of others that came later must keep what adding them one by one does.
/// Then the aggregate can be used running, in windows of every kind, and behind
/// [`two_stage`](crate::keyed::KeyedStream::two_stage).
///
/// ```
/// # use highwater_operators::aggregate::Aggregate;
/// # use highwater_operators::testkit::{output_of, timed_output_of};
/// # use highwater_operators::window::tumbling;
/// # use highwater_state::Timestamp;
/// # use std::time::Duration;
/// /// The share of the requests that failed.
/// struct Failures;
///
/// impl Aggregate<u16> for Failures {
///     type Acc = (u64, u64);
///     type Out = f64;
///     fn start(&self) -> (u64, u64) {
///         (0, 0)
///     }
///     fn add(&self, kept: &mut (u64, u64), status: &u16, _: Timestamp) {
///         kept.0 += u64::from(*status >= 500);
///         kept.1 += 1;
///     }
///     fn merge(&self, kept: &mut (u64, u64), later: (u64, u64)) {
///         kept.0 += later.0;
///         kept.1 += later.1;
///     }
///     fn finish(&self, kept: &(u64, u64)) -> f64 {
///         kept.0 as f64 / kept.1 as f64
///     }
/// }
///
/// let windowed = timed_output_of([(1, 200), (2, 500), (11, 200)], |requests| {
///     let windows = requests.key_by(|_| ()).window(tumbling(Duration::from_millis(10)));
///     windows.aggregate("failures", |a| (Failures, a.count())).map(|result| result.value)
/// });
/// assert_eq!(windowed, [(9, (0.5, 2)), (19, (0.0, 1))]);
///
/// let running = output_of([200, 500], |requests| {
///     requests.key_by(|_| ()).aggregate("failures", |_| Failures).to_stream().map(|(_, share)| share)
/// });
/// assert_eq!(running, [0.0, 0.5]);
/// ```
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

    /// Whether what is kept stays small however many records there are. Where it does not, sliding windows keep few
    /// partial results, and merge more slices for each result instead: together, a partial result for each slice would
    /// be many times as large as what is kept of the records.
    fn is_bounded(&self) -> bool {
        true
    }

    /// Why this aggregate cannot be, if it cannot; said when the topology is built.
    ///
    /// # Errors
    /// What is wrong with its arguments, and what would be right.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
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

    /// The variance of the values, taken for all there are; [`sample`](Variance::sample) takes them for a sample of
    /// others. 0 for one record; NaN if any value is not a finite number.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let variances = output_of([2, 4], |numbers| {
    ///     let numbers = numbers.key_by(|_| ());
    ///     let both = numbers.aggregate("both", |a| (a.variance(|n: &i32| *n), a.variance(|n| *n).sample()));
    ///     both.to_stream().map(|(_, variances)| variances)
    /// });
    /// assert_eq!(variances, [(0.0, None), (1.0, Some(2.0))]);
    /// ```
    pub fn variance<N: Number, F: Fn(&T) -> N + Send + Sync + 'static>(&self, of: F) -> Variance<F> {
        Variance::new(of, false)
    }

    /// The standard deviation: the root of the [`variance`](Agg::variance).
    pub fn stddev<N: Number, F: Fn(&T) -> N + Send + Sync + 'static>(&self, of: F) -> Variance<F> {
        Variance::new(of, true)
    }

    /// What `of` reads from the record with the smallest event time; from the one that came first among equal times
    /// and on a stream without event time.
    ///
    /// ```
    /// # use highwater_operators::testkit::timed_output_of;
    /// # use highwater_operators::window::tumbling;
    /// # use std::time::Duration;
    /// let ends = timed_output_of([(3, 'b'), (1, 'a'), (3, 'c')], |letters| {
    ///     let windows = letters.key_by(|_| ()).window(tumbling(Duration::from_millis(10)));
    ///     windows.aggregate("ends", |a| (a.first(|c| *c), a.last(|c| *c))).map(|ends| ends.value)
    /// });
    /// assert_eq!(ends, [(9, ('a', 'c'))]);
    /// ```
    pub fn first<V: Clone + Persist, F: Fn(&T) -> V + Send + Sync + 'static>(&self, of: F) -> First<F> {
        First(of)
    }

    /// What `of` reads from the record with the largest event time; from the one that came last among equal times
    /// and on a stream without event time.
    pub fn last<V: Clone + Persist, F: Fn(&T) -> V + Send + Sync + 'static>(&self, of: F) -> Last<F> {
        Last(of)
    }

    /// The `most` largest values, from the largest down; equal ones as often as they come. NaN is smaller than
    /// everything else. Costs the memory of `most` values; 0 is refused.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let top = output_of([2, 7, 4], |numbers| {
    ///     let top = numbers.key_by(|_| ()).aggregate("top", |a| a.top(2, |n: &i32| *n));
    ///     top.to_stream().map(|(_, top)| top)
    /// });
    /// assert_eq!(top, [vec![2], vec![7, 2], vec![7, 4]]);
    /// ```
    pub fn top<N, F: Fn(&T) -> N + Send + Sync + 'static>(&self, most: usize, of: F) -> Top<F>
    where
        N: PartialOrd + Clone + Persist,
    {
        Top::new(most, of)
    }

    /// Of the `most` records for which `by` is largest, from the largest down: what `by` and `of` read. Of equal ones
    /// the record with the smallest event time comes first, and then the one that came first. NaN is smaller than
    /// everything else. Costs the memory of `most` such pairs; 0 is refused.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let slowest = output_of([("/a", 30), ("/b", 90), ("/c", 90)], |requests| {
    ///     let requests = requests.map(|(url, millis)| (url.to_owned(), millis)).key_by(|_| ());
    ///     let slowest = requests.aggregate("slowest", |a| a.top_by(1, |r| r.1, |r| r.0.clone()));
    ///     slowest.to_stream().map(|(_, slowest)| slowest[0].1.clone())
    /// });
    /// assert_eq!(slowest, ["/a", "/b", "/b"]);
    /// ```
    pub fn top_by<N, V, B, F>(&self, most: usize, by: B, of: F) -> TopBy<B, F>
    where
        N: PartialOrd + Clone + Persist,
        V: Clone + Persist,
        B: Fn(&T) -> N + Send + Sync + 'static,
        F: Fn(&T) -> V + Send + Sync + 'static,
    {
        TopBy::new(most, by, of)
    }

    /// How many different values there are. Costs the memory of all of them, in every window and for every key:
    /// [`distinct_approx`](Agg::distinct_approx) is for many. Floating point numbers have no order of all values;
    /// `to_bits` gives one.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let counts = output_of(["a", "b", "a"], |words| {
    ///     let words = words.map(str::to_owned).key_by(|_| ());
    ///     let both = words.aggregate("words", |a| (a.distinct(String::clone), a.distinct_approx(String::clone)));
    ///     both.to_stream().map(|(_, counts)| counts)
    /// });
    /// assert_eq!(counts, [(1, 1), (2, 2), (2, 2)]);
    /// ```
    pub fn distinct<V: Ord + Clone + Persist, F: Fn(&T) -> V + Send + Sync + 'static>(
        &self,
        of: F,
    ) -> Distinct<F> {
        Distinct(of)
    }

    /// About how many different values there are: exactly up to 1024, and beyond with a standard error of 0.81 %, which
    /// two thirds of all results are within, and 99.7 % within three times that. Costs at most about 16 KiB, in every
    /// window and for every key.
    ///
    /// Values are the same if they serialise to the same: floating point numbers by their bits, so that 0 and -0 are
    /// two.
    ///
    /// # Panics
    /// When records are added whose value refuses to serialise itself; derived implementations never do.
    pub fn distinct_approx<V: Serialize, F: Fn(&T) -> V + Send + Sync + 'static>(
        &self,
        of: F,
    ) -> DistinctApprox<F> {
        DistinctApprox(of)
    }

    /// The values below which these parts of all values lie, within 0.8 %: `[0.5, 0.99]` gives the median and what one
    /// in a hundred exceeds. Quantile q of n values is the one with floor(q (n - 1)) values before it in order.
    /// Quantiles outside 0 to 1 are refused.
    ///
    /// Infinities are the largest and the smallest values; NaN has no place among the others and is left out, and is
    /// the result if there is nothing else. Costs a few hundred counts of some bytes, in every window and for every
    /// key, at most 8192, where the values are spread over 19 orders of magnitude; if they are spread further, the
    /// smallest lose their precision.
    ///
    /// ```
    /// # use highwater_operators::testkit::timed_output_of;
    /// # use highwater_operators::window::tumbling;
    /// # use std::time::Duration;
    /// let millis = (1..=100).map(|millis| (0, millis));
    /// let quantiles = timed_output_of(millis, |requests| {
    ///     let windows = requests.key_by(|_| ()).window(tumbling(Duration::from_secs(60)));
    ///     windows.aggregate("latency", |a| a.quantiles([0.5, 0.99], |millis: &u32| *millis))
    /// });
    /// let [median, p99] = quantiles[0].1.value;
    /// assert!((median / 50.0 - 1.0).abs() < 0.008);
    /// assert!((p99 / 99.0 - 1.0).abs() < 0.008);
    /// ```
    pub fn quantiles<const N: usize, V, F>(&self, quantiles: [f64; N], of: F) -> Quantiles<N, F>
    where
        V: Number,
        F: Fn(&T) -> V + Send + Sync + 'static,
    {
        Quantiles::new(quantiles, of)
    }

    /// The first `limit` values in the order in which they came, and how many were left out after them. In windows that
    /// are put together from parts, the values of an earlier part stand before those of a later one. Costs the memory
    /// of `limit` values; 0 is refused.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let collected = output_of(['a', 'b', 'c'], |letters| {
    ///     let letters = letters.key_by(|_| ()).aggregate("letters", |a| a.collect(2, |c: &char| *c));
    ///     letters.to_stream().map(|(_, letters)| (letters.values.len(), letters.left_out))
    /// });
    /// assert_eq!(collected, [(1, 0), (2, 0), (2, 1)]);
    /// ```
    pub fn collect<V: Clone + Persist, F: Fn(&T) -> V + Send + Sync + 'static>(
        &self,
        limit: usize,
        of: F,
    ) -> Collect<F> {
        Collect::new(limit, of)
    }
}
