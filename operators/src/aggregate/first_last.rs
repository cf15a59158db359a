//! `first` and `last`: what the record with the smallest or the largest event time says.
//!
//! Of records with equal times, and on a stream without event time, the one that came first or last. The time is
//! kept beside the value, so that parts can be merged. Memory: one value and its time.

use highwater_state::{Persist, Timestamp};

use crate::aggregate::Aggregate;
use crate::data::Data;

/// The first and the last differ in which of two records stays.
macro_rules! end {
    ($name:ident, $replaces:expr, $what:literal) => {
        #[doc = $what]
        pub struct $name<F>(pub(super) F);

        impl<T, V, F> Aggregate<T> for $name<F>
        where
            T: Data,
            V: Clone + Persist,
            F: Fn(&T) -> V + Send + Sync + 'static,
        {
            type Acc = Option<(Timestamp, V)>;
            type Out = V;
            fn start(&self) -> Self::Acc {
                None
            }
            fn add(&self, kept: &mut Self::Acc, record: &T, time: Timestamp) {
                let replaces: fn(Timestamp, Timestamp) -> bool = $replaces;
                if kept.as_ref().is_none_or(|(old, _)| replaces(time, *old)) {
                    *kept = Some((time, (self.0)(record)));
                }
            }
            fn merge(&self, kept: &mut Self::Acc, later: Self::Acc) {
                let replaces: fn(Timestamp, Timestamp) -> bool = $replaces;
                let Some((time, value)) = later else { return };
                if kept.as_ref().is_none_or(|(old, _)| replaces(time, *old)) {
                    *kept = Some((time, value));
                }
            }
            fn finish(&self, kept: &Self::Acc) -> V {
                let (_, value) = kept.as_ref().expect("an aggregate is finished with at least one record");
                value.clone()
            }
        }
    };
}

end!(First, |new, old| new < old, "What the closure reads from the record with the smallest event time.");
end!(Last, |new, old| new >= old, "What the closure reads from the record with the largest event time.");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Agg;
    use crate::aggregate::laws::{encoded, kept_of, part_merges};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_split_gives_the_ends_of_all(
            times in prop::collection::vec(-4i64..4, 1..20),
            cuts in any::<[prop::sample::Index; 2]>(),
        ) {
            let records: Vec<(usize, i64)> = times.into_iter().enumerate().collect();
            let mut sorted = records.clone();
            sorted.sort_by_key(|(_, time)| *time);
            let a = Agg::<usize>::default();
            let both = (a.first(|n| *n), a.last(|n| *n));
            for kept in part_merges(&both, &records, cuts) {
                prop_assert_eq!(both.finish(&kept), (sorted[0].0, sorted[sorted.len() - 1].0));
            }
        }
    }

    #[test]
    fn the_encoded_form_never_changes() {
        let last = Agg::<u8>::default().last(|n| *n);
        assert_eq!(encoded(&kept_of(&last, &[(9, 1), (8, -1)])), [1, 2, 9]);
    }
}
