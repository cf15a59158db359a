//! `variance` and `stddev`: how far values lie from their mean.
//!
//! Kept are the number of values, their mean and the sum of their squared distances from it, updated as by Welford
//! (1962) and merged as by Chan, Golub and LeVeque (1979): unlike the sum of squares, this does not lose all its
//! digits where values are large and close together. Memory: three numbers.

use highwater_state::Timestamp;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Number};
use crate::data::Data;

/// What is kept of numbers to tell their variance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    count: u64,
    mean: f64,
    /// The sum of the squared distances from the mean.
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1;
        let distance = value - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (value - self.mean);
    }

    fn merge(&mut self, later: Moments) {
        if self.count == 0 || later.count == 0 {
            *self = if self.count == 0 { later } else { *self };
            return;
        }
        let count = self.count + later.count;
        let (mine, share) = (self.count as f64, later.count as f64 / count as f64);
        let distance = later.mean - self.mean;
        self.mean += distance * share;
        self.squares += later.squares + distance * distance * mine * share;
        self.count = count;
    }
}

/// The variance of what the closure reads from each record, taking the records for all there are; or its root, the
/// standard deviation.
pub struct Variance<F> {
    of: F,
    root: bool,
}

/// The variance of what the closure reads, or its root, taking the records for a sample of others: the sum of
/// squared distances is divided by one less than their number. `None` for one record.
pub struct SampleVariance<F>(Variance<F>);

impl<F> Variance<F> {
    pub(super) fn new(of: F, root: bool) -> Self {
        Variance { of, root }
    }

    /// Takes the records for a sample of others: divides by one less than their number. A single record then has
    /// no variance: `None`.
    pub fn sample(self) -> SampleVariance<F> {
        SampleVariance(self)
    }

    fn of(&self, squares: f64, divisor: u64) -> f64 {
        let variance = squares / divisor as f64;
        if self.root { variance.sqrt() } else { variance }
    }
}

impl<T: Data, N: Number, F: Fn(&T) -> N + Send + Sync + 'static> Aggregate<T> for Variance<F> {
    type Acc = Moments;
    type Out = f64;
    fn start(&self) -> Moments {
        Moments::default()
    }
    fn add(&self, kept: &mut Moments, record: &T, _: Timestamp) {
        kept.add((self.of)(record).to_f64());
    }
    fn merge(&self, kept: &mut Moments, later: Moments) {
        kept.merge(later);
    }
    fn finish(&self, kept: &Moments) -> f64 {
        self.of(kept.squares, kept.count)
    }
}

impl<T: Data, N: Number, F: Fn(&T) -> N + Send + Sync + 'static> Aggregate<T> for SampleVariance<F> {
    type Acc = Moments;
    type Out = Option<f64>;
    fn start(&self) -> Moments {
        Moments::default()
    }
    fn add(&self, kept: &mut Moments, record: &T, _: Timestamp) {
        kept.add((self.0.of)(record).to_f64());
    }
    fn merge(&self, kept: &mut Moments, later: Moments) {
        kept.merge(later);
    }
    fn finish(&self, kept: &Moments) -> Option<f64> {
        (kept.count > 1).then(|| self.0.of(kept.squares, kept.count - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Agg;
    use crate::aggregate::laws::{encoded, kept_of, part_merges};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_split_gives_the_variance_of_all(
            values in prop::collection::vec(-1e3f64..1e3, 1..60),
            cuts in any::<[prop::sample::Index; 2]>(),
            shift in prop_oneof![Just(0.0), Just(1e6)],
        ) {
            let values: Vec<(f64, i64)> = values.into_iter().map(|value| (value + shift, 0)).collect();
            let a = Agg::<f64>::default();
            let (all, sample) = (a.variance(|v| *v), a.stddev(|v| *v).sample());
            let count = values.len() as f64;
            let mean = values.iter().map(|(value, _)| value).sum::<f64>() / count;
            let squares: f64 = values.iter().map(|(value, _)| (value - mean).powi(2)).sum();
            let tolerance = 1e-6 * squares.max(1.0);
            for kept in part_merges(&all, &values, cuts) {
                prop_assert!((all.finish(&kept) - squares / count).abs() < tolerance);
                let found = sample.finish(&kept);
                prop_assert_eq!(found.is_some(), count > 1.0);
                let expected = (squares / (count - 1.0)).sqrt();
                prop_assert!(found.is_none_or(|found| (found - expected).abs() < tolerance));
            }
        }
    }

    #[test]
    fn one_record_lies_at_its_mean_and_says_nothing_of_others() {
        let a = Agg::<i64>::default();
        let kept = kept_of(&a.variance(|n| *n), &[(7, 0)]);
        assert_eq!(a.stddev(|n: &i64| *n).finish(&kept), 0.0);
        assert_eq!(a.variance(|n: &i64| *n).sample().finish(&kept), None);
        assert_eq!(encoded(&kept), [1, 0, 0, 0, 0, 0, 0, 28, 64, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_not_finite_has_no_variance() {
        let variance = Agg::<f64>::default().variance(|v| *v);
        for strange in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let kept = kept_of(&variance, &[(1.0, 0), (strange, 0), (2.0, 0)]);
            assert!(variance.finish(&kept).is_nan(), "{strange}");
        }
    }
}
