//! `count`, `sum`, `min`, `max` and `mean`.

use highwater_state::{Persist, Timestamp};

use crate::aggregate::Aggregate;
use crate::data::Data;

/// A number that can be summed up.
pub trait Number: Copy + Persist {
    /// Nothing.
    const ZERO: Self;
    /// The sum, within the bounds of the type.
    fn plus(self, other: Self) -> Self;
    /// The nearest 64-bit floating point number.
    fn to_f64(self) -> f64;
}

/// The integers, and then the floating point numbers, differ in nothing but their names.
macro_rules! numbers {
    ($($integer:ty),*; $($float:ty),*) => {
        $(impl Number for $integer {
            const ZERO: Self = 0;
            fn plus(self, other: Self) -> Self {
                self.saturating_add(other)
            }
            fn to_f64(self) -> f64 {
                self as f64
            }
        })*
        $(impl Number for $float {
            const ZERO: Self = 0.0;
            fn plus(self, other: Self) -> Self {
                self + other
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
        })*
    };
}

numbers!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize; f32, f64);

/// How many records there are.
#[derive(Clone, Copy, Debug)]
pub struct Count;

impl<T: Data> Aggregate<T> for Count {
    type Acc = u64;
    type Out = u64;
    fn start(&self) -> u64 {
        0
    }
    fn add(&self, kept: &mut u64, _: &T, _: Timestamp) {
        *kept += 1;
    }
    fn merge(&self, kept: &mut u64, later: u64) {
        *kept += later;
    }
    fn finish(&self, kept: &u64) -> u64 {
        *kept
    }
}

/// The sum of what the closure reads from each record.
pub struct Sum<F>(pub(super) F);

impl<T: Data, N: Number, F: Fn(&T) -> N + Send + Sync + 'static> Aggregate<T> for Sum<F> {
    type Acc = N;
    type Out = N;
    fn start(&self) -> N {
        N::ZERO
    }
    fn add(&self, kept: &mut N, record: &T, _: Timestamp) {
        *kept = kept.plus((self.0)(record));
    }
    fn merge(&self, kept: &mut N, later: N) {
        *kept = kept.plus(later);
    }
    fn finish(&self, kept: &N) -> N {
        *kept
    }
}

/// Whether `new` takes the place of `old`: if it is on the wanted side of it, or `old` compares with nothing.
fn replaces<N: PartialOrd>(new: &N, old: &N, wanted: std::cmp::Ordering) -> bool {
    match new.partial_cmp(old) {
        Some(order) => order == wanted,
        None => old.partial_cmp(old).is_none(),
    }
}

/// The smallest and the largest differ in the side they look for.
macro_rules! extreme {
    ($name:ident, $wanted:expr, $what:literal) => {
        #[doc = $what]
        pub struct $name<F>(pub(super) F);

        impl<T, N, F> Aggregate<T> for $name<F>
        where
            T: Data,
            N: PartialOrd + Clone + Persist,
            F: Fn(&T) -> N + Send + Sync + 'static,
        {
            type Acc = Option<N>;
            type Out = N;
            fn start(&self) -> Option<N> {
                None
            }
            fn add(&self, kept: &mut Option<N>, record: &T, _: Timestamp) {
                let new = (self.0)(record);
                if kept.as_ref().is_none_or(|old| replaces(&new, old, $wanted)) {
                    *kept = Some(new);
                }
            }
            fn merge(&self, kept: &mut Option<N>, later: Option<N>) {
                let Some(new) = later else { return };
                if kept.as_ref().is_none_or(|old| replaces(&new, old, $wanted)) {
                    *kept = Some(new);
                }
            }
            fn finish(&self, kept: &Option<N>) -> N {
                kept.clone().expect("an aggregate is finished with at least one record")
            }
        }
    };
}

extreme!(Min, std::cmp::Ordering::Less, "The smallest of what the closure reads from each record.");
extreme!(Max, std::cmp::Ordering::Greater, "The largest of what the closure reads from each record.");

/// The mean of what the closure reads from each record.
pub struct Mean<F>(pub(super) F);

impl<T: Data, N: Number, F: Fn(&T) -> N + Send + Sync + 'static> Aggregate<T> for Mean<F> {
    type Acc = (f64, u64);
    type Out = f64;
    fn start(&self) -> (f64, u64) {
        (0.0, 0)
    }
    fn add(&self, kept: &mut (f64, u64), record: &T, _: Timestamp) {
        kept.0 += (self.0)(record).to_f64();
        kept.1 += 1;
    }
    fn merge(&self, kept: &mut (f64, u64), later: (f64, u64)) {
        kept.0 += later.0;
        kept.1 += later.1;
    }
    fn finish(&self, kept: &(f64, u64)) -> f64 {
        kept.0 / kept.1 as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Agg;
    use proptest::prelude::*;

    fn of<A: Aggregate<i64>>(aggregate: &A, records: &[i64]) -> A::Acc {
        let mut kept = aggregate.start();
        records.iter().for_each(|record| aggregate.add(&mut kept, record, Timestamp::MIN));
        kept
    }

    proptest! {
        #[test]
        fn merging_parts_gives_the_same_as_adding_all(
            records in prop::collection::vec(-1000i64..1000, 1..40),
            cut in any::<prop::sample::Index>(),
        ) {
            let a = Agg::<i64>::default();
            let all = (a.count(), a.sum(|n| *n), a.min(|n| *n), a.max(|n| *n), a.mean(|n| *n));
            let (first, second) = records.split_at(cut.index(records.len()));
            let mut merged = of(&all, first);
            all.merge(&mut merged, of(&all, second));
            let found = all.finish(&merged);
            let sum: i64 = records.iter().sum();
            let (min, max) = (records.iter().min().copied(), records.iter().max().copied());
            prop_assert_eq!((found.0, found.1, Some(found.2), Some(found.3)), (records.len() as u64, sum, min, max));
            prop_assert!((found.4 - sum as f64 / records.len() as f64).abs() < 1e-9);
        }
    }

    #[test]
    fn not_a_number_is_the_extreme_only_where_there_is_nothing_else() {
        let a = Agg::<f64>::default();
        let min = a.min(|n| *n);
        let mut kept = min.start();
        [f64::NAN, 2.0, f64::NAN, 1.0].iter().for_each(|n| min.add(&mut kept, n, Timestamp::MIN));
        assert_eq!(min.finish(&kept), 1.0);
    }
}
