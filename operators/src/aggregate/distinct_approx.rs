//! `distinct_approx`: how many different values there are, nearly, in bounded memory.
//!
//! A HyperLogLog of 2^14 registers (Flajolet, Fusy, Gandouet and Meunier 2007) over 64-bit hashes (Heule, Nunkesser
//! and Hall 2013), with the estimator of Ertl ("New cardinality estimation algorithms for HyperLogLog sketches",
//! 2017, algorithm 6), which has no bias to be corrected and no threshold between small and large numbers. Up to
//! [`FEW`] different values, their hashes themselves are kept, and the number is exact.
//!
//! Invariants: what is kept depends on the set of the values alone, not on their order or on how parts were merged;
//! the hash is that of keys, which is the same in every version. Memory: up to about 16 KiB per key and window,
//! 8 bytes per value while they are few.

use std::collections::BTreeSet;

use highwater_state::Timestamp;
use highwater_state::hash::key_hash;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::aggregate::Aggregate;
use crate::data::Data;

/// How many bits of a hash choose its register.
const PRECISION: u32 = 14;
/// How many registers there are; the standard error is 1.04 over the square root of it, 0.81 %.
const REGISTERS: usize = 1 << PRECISION;
/// The largest value of a register: one more than the bits that are left for it.
const RANK_MAX: usize = 64 - PRECISION as usize + 1;
/// Up to how many different values are kept as they are; as many as take less room than the registers.
const FEW: usize = 1024;

/// What is kept of values to tell how many different ones there are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Distincts {
    /// The hashes of the values, at most 1024.
    Few(BTreeSet<u64>),
    /// For each register, the largest rank of a hash that belongs to it.
    Many(#[serde(deserialize_with = "all_registers")] Vec<u8>),
}

/// As many registers as there have to be: those that are left out at the end are of no value, more are refused.
fn all_registers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let mut registers = Vec::deserialize(deserializer)?;
    if registers.len() > REGISTERS {
        return Err(D::Error::custom("there are more registers than the sketch has"));
    }
    registers.resize(REGISTERS, 0);
    Ok(registers)
}

impl Distincts {
    fn add(&mut self, hash: u64) {
        match self {
            Distincts::Many(registers) => raise(registers, hash),
            Distincts::Few(hashes) => {
                hashes.insert(hash);
                if hashes.len() > FEW {
                    let mut registers = vec![0; REGISTERS];
                    hashes.iter().for_each(|&hash| raise(&mut registers, hash));
                    *self = Distincts::Many(registers);
                }
            }
        }
    }

    fn merge(&mut self, mut later: Distincts) {
        if matches!((&*self, &later), (Distincts::Few(_), Distincts::Many(_))) {
            std::mem::swap(self, &mut later);
        }
        match later {
            Distincts::Few(hashes) => hashes.into_iter().for_each(|hash| self.add(hash)),
            Distincts::Many(others) => {
                let Distincts::Many(registers) = self else {
                    unreachable!("the one with registers is merged into")
                };
                registers.iter_mut().zip(others).for_each(|(rank, other)| *rank = other.max(*rank));
            }
        }
    }

    fn estimate(&self) -> u64 {
        match self {
            Distincts::Few(hashes) => hashes.len() as u64,
            Distincts::Many(registers) => estimate(registers).round() as u64,
        }
    }
}

/// The first bits of the hash choose a register, which keeps the largest place of the first one among the others.
fn raise(registers: &mut [u8], hash: u64) {
    let register = (hash >> (64 - PRECISION)) as usize;
    // The bit behind the last ends the search where all others are zero.
    let rank = ((hash << PRECISION) | (1 << (PRECISION - 1))).leading_zeros() as u8 + 1;
    registers[register] = rank.max(registers[register]);
}

fn estimate(registers: &[u8]) -> f64 {
    let mut counts = [0u32; RANK_MAX + 1];
    registers.iter().for_each(|&rank| counts[usize::from(rank).min(RANK_MAX)] += 1);
    let all = registers.len() as f64;
    let mut sum = all * tau(1.0 - f64::from(counts[RANK_MAX]) / all);
    for &count in counts[1..RANK_MAX].iter().rev() {
        sum = 0.5 * (sum + f64::from(count));
    }
    sum += all * sigma(f64::from(counts[0]) / all);
    all * all / (2.0 * std::f64::consts::LN_2 * sum)
}

/// The part of the registers that no value has reached.
fn sigma(share: f64) -> f64 {
    if share >= 1.0 {
        return f64::INFINITY;
    }
    let (mut power, mut factor, mut sum) = (share, 1.0, share);
    loop {
        power *= power;
        let before = sum;
        sum += power * factor;
        factor += factor;
        if sum <= before {
            return sum;
        }
    }
}

/// The part of the registers that are at the end of what they can hold.
fn tau(share: f64) -> f64 {
    if share <= 0.0 || share >= 1.0 {
        return 0.0;
    }
    let (mut root, mut factor, mut sum) = (share, 1.0, 1.0 - share);
    loop {
        root = root.sqrt();
        let before = sum;
        factor *= 0.5;
        sum -= (1.0 - root) * (1.0 - root) * factor;
        if sum >= before {
            return sum / 3.0;
        }
    }
}

/// About how many different values the closure reads.
pub struct DistinctApprox<F>(pub(super) F);

impl<T: Data, V: Serialize, F: Fn(&T) -> V + Send + Sync + 'static> Aggregate<T> for DistinctApprox<F> {
    type Acc = Distincts;
    type Out = u64;
    fn start(&self) -> Distincts {
        Distincts::Few(BTreeSet::new())
    }
    fn add(&self, kept: &mut Distincts, record: &T, _: Timestamp) {
        kept.add(key_hash(&(self.0)(record)));
    }
    fn merge(&self, kept: &mut Distincts, later: Distincts) {
        kept.merge(later);
    }
    fn finish(&self, kept: &Distincts) -> u64 {
        kept.estimate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Agg;
    use crate::aggregate::laws::{encoded, kept_of, part_merges};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_split_keeps_the_same(
            values in prop::collection::vec(0u32..4000, 1..4000),
            cuts in any::<[prop::sample::Index; 2]>(),
        ) {
            let approx = Agg::<u32>::default().distinct_approx(|n| *n);
            let records: Vec<(u32, i64)> = values.into_iter().map(|value| (value, 0)).collect();
            let [all, others @ ..] = part_merges(&approx, &records, cuts);
            for kept in others {
                prop_assert_eq!(&kept, &all);
            }
        }
    }

    /// The relative errors for this many different values, once for each seed.
    fn errors(count: u64, seeds: u64) -> Vec<f64> {
        let error = |seed: u64| {
            let mut kept = Distincts::Few(BTreeSet::new());
            (0..count).for_each(|n| kept.add(key_hash(&(seed, n))));
            kept.estimate() as f64 / count as f64 - 1.0
        };
        (0..seeds).map(error).collect()
    }

    #[test]
    fn few_values_are_counted_exactly() {
        for count in [1, 10, FEW as u64] {
            assert_eq!(errors(count, 20), [0.0; 20]);
        }
    }

    /// The bounds are three standard errors of what is measured; the seeds are fixed, so a failure is no chance.
    #[test]
    fn the_error_is_as_stated_and_has_no_bias() {
        for (count, seeds) in
            [(1_025, 200), (5_000, 100), (20_000, 100), (40_000, 60), (100_000, 60), (500_000, 60)]
        {
            let errors = errors(count, seeds);
            let number = seeds as f64;
            let bias = errors.iter().sum::<f64>() / number;
            let spread = (errors.iter().map(|error| error * error).sum::<f64>() / number).sqrt();
            let stated = 0.0081;
            assert!(bias.abs() < 3.0 * stated / number.sqrt(), "{count}: bias {bias}");
            assert!(spread < stated * (1.0 + 3.0 / (2.0 * number).sqrt()), "{count}: spread {spread}");
            assert!(errors.iter().all(|error| error.abs() < 4.0 * stated), "{count}: {errors:?}");
        }
    }

    #[test]
    fn texts_and_numbers_in_a_row_are_spread_as_well() {
        let mut kept = (Distincts::Few(BTreeSet::new()), Distincts::Few(BTreeSet::new()));
        for n in 0..100_000u64 {
            kept.0.add(key_hash(&n));
            kept.1.add(key_hash(&format!("/page/{n}")));
        }
        for found in [kept.0.estimate(), kept.1.estimate()] {
            assert!((found as f64 / 1e5 - 1.0).abs() < 0.0243, "{found}");
        }
    }

    #[test]
    fn the_ends_of_the_registers_give_an_estimate() {
        assert_eq!(estimate(&[0; REGISTERS]), 0.0);
        assert!(estimate(&[RANK_MAX as u8; REGISTERS]).is_infinite());
        let mut registers = [0; REGISTERS];
        raise(&mut registers, 0);
        assert_eq!(registers[0], RANK_MAX as u8);
    }

    #[test]
    fn the_encoded_form_never_changes() {
        let approx = Agg::<u64>::default().distinct_approx(|n| *n);
        assert_eq!(
            encoded(&kept_of(&approx, &[(0, 0)])),
            [0, 1, 207, 253, 160, 209, 138, 192, 154, 218, 245, 1]
        );
        let many: Vec<(u64, i64)> = (0..2000).map(|n| (n, 0)).collect();
        let bytes = encoded(&kept_of(&approx, &many));
        assert_eq!(
            (bytes.len(), &bytes[..4], key_hash(&bytes)),
            (16_388, &[1, 128, 128, 1][..], 1_217_387_192_185_825_874)
        );
    }
}
