//! `collect`: the values themselves, up to a limit.
//!
//! Memory: as many values as the limit allows, for each key and window; each of them is encoded anew in every epoch
//! in which another comes.

use highwater_state::{Persist, Timestamp};
use serde::{Deserialize, Serialize};

use crate::aggregate::Aggregate;
use crate::data::Data;

/// What [`collect`](crate::aggregate::Agg::collect) gives.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Collected<V> {
    /// The first values, in the order in which they came.
    pub values: Vec<V>,
    /// How many values came after them and were left out.
    pub left_out: u64,
}

/// The first values that the closure reads, up to a limit.
pub struct Collect<F> {
    limit: usize,
    of: F,
}

impl<F> Collect<F> {
    pub(super) fn new(limit: usize, of: F) -> Self {
        Collect { limit, of }
    }
}

impl<T, V, F> Aggregate<T> for Collect<F>
where
    T: Data,
    V: Clone + Persist,
    F: Fn(&T) -> V + Send + Sync + 'static,
{
    type Acc = Collected<V>;
    type Out = Collected<V>;
    fn start(&self) -> Collected<V> {
        Collected { values: Vec::new(), left_out: 0 }
    }
    fn add(&self, kept: &mut Collected<V>, record: &T, _: Timestamp) {
        if kept.values.len() < self.limit {
            kept.values.push((self.of)(record));
        } else {
            kept.left_out += 1;
        }
    }
    fn merge(&self, kept: &mut Collected<V>, later: Collected<V>) {
        let taken = self.limit.saturating_sub(kept.values.len()).min(later.values.len());
        kept.left_out += later.left_out + (later.values.len() - taken) as u64;
        kept.values.extend(later.values.into_iter().take(taken));
    }
    fn finish(&self, kept: &Collected<V>) -> Collected<V> {
        kept.clone()
    }
    fn check(&self) -> Result<(), String> {
        if self.limit == 0 {
            return Err("a limit of 0 collects nothing; allow at least one value, or use `count`".to_owned());
        }
        Ok(())
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
        fn any_split_gives_the_first_of_all(
            values in prop::collection::vec(0u8..9, 1..20),
            cuts in any::<[prop::sample::Index; 2]>(),
            limit in 1usize..25,
        ) {
            let collect = Agg::<u8>::default().collect(limit, |n| *n);
            let records: Vec<(u8, i64)> = values.iter().map(|value| (*value, 0)).collect();
            for kept in part_merges(&collect, &records, cuts) {
                let found = collect.finish(&kept);
                prop_assert_eq!(&found.values, &values[..limit.min(values.len())]);
                prop_assert_eq!(found.left_out, values.len().saturating_sub(limit) as u64);
            }
        }
    }

    #[test]
    fn a_limit_of_zero_is_refused_and_the_encoded_form_never_changes() {
        let a = Agg::<u8>::default();
        assert!(Aggregate::<u8>::check(&a.collect(0, |n| *n)).is_err());
        assert_eq!(encoded(&kept_of(&a.collect(1, |n| *n), &[(3, 1), (5, 2)])), [1, 3, 1]);
    }
}
