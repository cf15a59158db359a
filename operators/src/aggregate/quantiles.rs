//! `quantiles`: below which value a given part of the values lies, nearly, in bounded memory.
//!
//! A DDSketch (Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error
//! guarantees", 2019). Values are counted in buckets that each are wider than the one below by a factor, so that any
//! value in a bucket is within a fixed relative error of all others in it. The bucket of a value is the first bits of
//! its floating point form, the exponent and six bits more (their linearly interpolated mapping): no logarithm, and so
//! the same bucket on every machine.
//!
//! Invariants: a reported quantile is within 1/129 (0.8 %) of the value at its rank, and what is kept depends on the
//! values alone, not on their order or on how parts were merged. Both hold as long as the largest value of a sign is at
//! most 10^19 times the smallest; below, values are counted with the smallest that are. Memory: a count per bucket that
//! is not empty, 64 for every doubling between the smallest and the largest value, at most [`BUCKETS_MAX`] for each
//! sign; a few hundred in practice.

use std::collections::BTreeMap;

use highwater_state::Timestamp;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Number};
use crate::data::Data;

/// How many bits behind the exponent choose a bucket.
const BITS: u32 = 6;
/// How many bits of a number do not.
const REST: u32 = f64::MANTISSA_DIGITS - 1 - BITS;
/// From the first to the last bucket of one sign: 64 doublings.
const BUCKETS_MAX: u32 = 4096;

/// How many values lie in each bucket of their size.
type Buckets = BTreeMap<u32, u64>;

/// What is kept of numbers to tell their quantiles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ranks {
    lowest: u64,
    negative: Buckets,
    zero: u64,
    positive: Buckets,
    highest: u64,
}

fn bucket(size: f64) -> u32 {
    (size.to_bits() >> REST) as u32
}

/// The value with the smallest relative error to all values of the bucket: the harmonic mean of its bounds.
fn size_in(bucket: u32) -> f64 {
    let from = f64::from_bits(u64::from(bucket) << REST);
    let parts = f64::from((1 << BITS) + (bucket & ((1 << BITS) - 1)));
    from + from / (2.0 * parts + 1.0)
}

fn count(buckets: &mut Buckets, bucket: u32, count: u64) {
    *buckets.entry(bucket).or_default() += count;
    let (Some((&first, _)), Some((&last, _))) = (buckets.first_key_value(), buckets.last_key_value()) else {
        return;
    };
    let least = last.saturating_sub(BUCKETS_MAX - 1);
    if first < least {
        let kept = buckets.split_off(&least);
        let below: u64 = std::mem::replace(buckets, kept).values().sum();
        *buckets.entry(least).or_default() += below;
    }
}

impl Ranks {
    fn add(&mut self, value: f64) {
        let size = value.abs();
        match value {
            _ if value.is_nan() => {}
            f64::INFINITY => self.highest += 1,
            f64::NEG_INFINITY => self.lowest += 1,
            _ if size < f64::MIN_POSITIVE => self.zero += 1,
            _ if value > 0.0 => count(&mut self.positive, bucket(size), 1),
            _ => count(&mut self.negative, bucket(size), 1),
        }
    }

    fn merge(&mut self, later: Ranks) {
        self.lowest += later.lowest;
        later.negative.into_iter().for_each(|(bucket, number)| count(&mut self.negative, bucket, number));
        self.zero += later.zero;
        later.positive.into_iter().for_each(|(bucket, number)| count(&mut self.positive, bucket, number));
        self.highest += later.highest;
    }

    /// Every value that can be told, from the smallest to the largest, and how many of them there are.
    fn values(&self) -> impl Iterator<Item = (f64, u64)> {
        let negative = self.negative.iter().rev().map(|(&bucket, &number)| (-size_in(bucket), number));
        let positive = self.positive.iter().map(|(&bucket, &number)| (size_in(bucket), number));
        let below = std::iter::once((f64::NEG_INFINITY, self.lowest)).chain(negative);
        let above = positive.chain(std::iter::once((f64::INFINITY, self.highest)));
        below.chain(std::iter::once((0.0, self.zero))).chain(above)
    }

    fn quantile(&self, quantile: f64) -> f64 {
        let all: u64 = self.values().map(|(_, number)| number).sum();
        let Some(last) = all.checked_sub(1) else { return f64::NAN };
        let mut left = ((quantile * last as f64).floor() as u64).min(last);
        for (value, number) in self.values() {
            if left < number {
                return value;
            }
            left -= number;
        }
        unreachable!("a rank lies below the number of all values")
    }
}

/// Quantiles of what the closure reads from each record.
pub struct Quantiles<const N: usize, F> {
    quantiles: [f64; N],
    of: F,
}

impl<const N: usize, F> Quantiles<N, F> {
    pub(super) fn new(quantiles: [f64; N], of: F) -> Self {
        Quantiles { quantiles, of }
    }
}

impl<const N: usize, T, V, F> Aggregate<T> for Quantiles<N, F>
where
    T: Data,
    V: Number,
    F: Fn(&T) -> V + Send + Sync + 'static,
{
    type Acc = Ranks;
    type Out = [f64; N];
    fn start(&self) -> Ranks {
        Ranks::default()
    }
    fn add(&self, kept: &mut Ranks, record: &T, _: Timestamp) {
        kept.add((self.of)(record).to_f64());
    }
    fn merge(&self, kept: &mut Ranks, later: Ranks) {
        kept.merge(later);
    }
    fn finish(&self, kept: &Ranks) -> [f64; N] {
        self.quantiles.map(|quantile| kept.quantile(quantile))
    }
    fn check(&self) -> Result<(), String> {
        match self.quantiles.iter().find(|quantile| !(0.0..=1.0).contains(*quantile)) {
            Some(quantile) => {
                Err(format!("{quantile} is no quantile; one lies between 0 and 1, the median is 0.5"))
            }
            None if N == 0 => {
                Err("no quantile is asked for; ask for at least one, the median is 0.5".to_owned())
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Agg;
    use crate::aggregate::laws::{encoded, kept_of, part_merges};
    use proptest::prelude::*;

    /// The value at the rank of the quantile among values in order.
    fn exact(sorted: &[f64], quantile: f64) -> f64 {
        sorted[(quantile * (sorted.len() - 1) as f64).floor() as usize]
    }

    fn number() -> impl Strategy<Value = f64> {
        let spread = (-12i32..6, 1f64..10.0, any::<bool>());
        let spread = spread.prop_map(|(power, part, negative)| {
            let size = part * 10f64.powi(power);
            if negative { -size } else { size }
        });
        let special = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY];
        prop_oneof![2 => spread, 1 => prop::sample::select(special.to_vec())]
    }

    proptest! {
        #[test]
        fn any_split_gives_each_quantile_within_the_stated_error(
            mut values in prop::collection::vec(number(), 1..80),
            cuts in any::<[prop::sample::Index; 2]>(),
            quantiles in any::<[prop::sample::Index; 3]>(),
        ) {
            let quantiles = quantiles.map(|index| index.index(1001) as f64 / 1000.0);
            let aggregate = Agg::<f64>::default().quantiles(quantiles, |v| *v);
            let records: Vec<(f64, i64)> = values.iter().map(|value| (*value, 0)).collect();
            values.sort_by(f64::total_cmp);
            let merges = part_merges(&aggregate, &records, cuts);
            for kept in &merges {
                prop_assert_eq!(kept, &merges[0]);
                for (found, quantile) in aggregate.finish(kept).into_iter().zip(quantiles) {
                    let expected = exact(&values, quantile);
                    let within = (found - expected).abs() <= expected.abs() * (1.0 / 129.0 + 1e-12);
                    prop_assert!(found == expected || within, "{} at {}, not {}", found, quantile, expected);
                }
            }
        }

        #[test]
        fn any_size_lies_near_its_bucket(bits in any::<u64>()) {
            let size = f64::from_bits(bits >> 1);
            prop_assume!(size.is_normal());
            let found = size_in(bucket(size));
            prop_assert!((found / size - 1.0).abs() <= 1.0 / 129.0 + 1e-12, "{} for {}", found, size);
        }

        #[test]
        fn sizes_too_far_apart_are_counted_with_the_smallest_that_are_kept(
            powers in prop::collection::vec(-300i32..300, 1..40),
            cuts in any::<[prop::sample::Index; 2]>(),
        ) {
            let aggregate = Agg::<f64>::default().quantiles([0.0, 1.0], |v| *v);
            let records: Vec<(f64, i64)> = powers.iter().map(|power| (10f64.powi(*power), 0)).collect();
            let largest = records.iter().map(|(value, _)| *value).fold(0.0, f64::max);
            let merges = part_merges(&aggregate, &records, cuts);
            for kept in &merges {
                prop_assert_eq!(kept, &merges[0]);
                prop_assert!(kept.positive.len() <= BUCKETS_MAX as usize);
                let [low, high] = aggregate.finish(kept);
                prop_assert!((high / largest - 1.0).abs() < 0.008 && low > largest * 1e-20);
            }
        }
    }

    #[test]
    fn not_a_number_has_no_rank() {
        let median = Agg::<f64>::default().quantiles([0.5], |v| *v);
        let kept = kept_of(&median, &[f64::NAN, 1.0, f64::NAN].map(|value| (value, 0)));
        assert!((median.finish(&kept)[0] - 1.0).abs() < 0.008);
        assert!(median.finish(&kept_of(&median, &[(f64::NAN, 0)]))[0].is_nan());
    }

    #[test]
    fn the_ends_of_the_numbers_are_told() {
        let ends = Agg::<f64>::default().quantiles([0.0, 1.0], |v| *v);
        let kept = kept_of(&ends, &[(f64::MIN, 0), (5e-324, 0), (f64::MAX, 0)]);
        let [low, high] = ends.finish(&kept);
        assert!(
            (low / f64::MIN - 1.0).abs() < 0.008 && (high / f64::MAX - 1.0).abs() < 0.008,
            "{low} {high}"
        );
        assert_eq!(kept.zero, 1, "what is smaller than a normal number is taken for zero");
    }

    #[test]
    fn what_is_no_quantile_is_refused() {
        let a = Agg::<f64>::default();
        for bad in [-0.1, 1.1, f64::NAN] {
            assert!(Aggregate::<f64>::check(&a.quantiles([0.5, bad], |v| *v)).is_err(), "{bad}");
        }
        assert!(Aggregate::<f64>::check(&a.quantiles([], |v| *v)).is_err());
        assert!(Aggregate::<f64>::check(&a.quantiles([0.0, 1.0], |v| *v)).is_ok());
    }

    #[test]
    fn the_encoded_form_never_changes() {
        let median = Agg::<f64>::default().quantiles([0.5], |v| *v);
        let kept = kept_of(&median, &[(1.0, 0), (1.0, 0), (-2.0, 0), (0.0, 0)]);
        assert_eq!(encoded(&kept), [0, 1, 128, 128, 4, 1, 1, 1, 192, 255, 3, 2, 0]);
    }
}
