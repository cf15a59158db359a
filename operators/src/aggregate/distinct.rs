//! `distinct`: how many different values there are, exactly.
//!
//! Memory: every different value, for each key and window, as a set in order, so that its encoded form is one; and
//! the whole set is encoded anew in every epoch in which a value comes. As sets grow, sliding windows keep few
//! partial results of them. `distinct_approx` costs a bounded amount.

use std::collections::BTreeSet;

use highwater_state::{Persist, Timestamp};

use crate::aggregate::Aggregate;
use crate::data::Data;

/// The number of different values that the closure reads.
pub struct Distinct<F>(pub(super) F);

impl<T, V, F> Aggregate<T> for Distinct<F>
where
    T: Data,
    V: Ord + Clone + Persist,
    F: Fn(&T) -> V + Send + Sync + 'static,
{
    type Acc = BTreeSet<V>;
    type Out = u64;
    fn start(&self) -> BTreeSet<V> {
        BTreeSet::new()
    }
    fn add(&self, kept: &mut BTreeSet<V>, record: &T, _: Timestamp) {
        kept.insert((self.0)(record));
    }
    fn merge(&self, kept: &mut BTreeSet<V>, mut later: BTreeSet<V>) {
        // The smaller set goes into the larger one: a part of few values costs little, however many are kept.
        if kept.len() < later.len() {
            std::mem::swap(kept, &mut later);
        }
        kept.extend(later);
    }
    fn finish(&self, kept: &BTreeSet<V>) -> u64 {
        kept.len() as u64
    }
    fn is_bounded(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::aggregate::Agg;
    use crate::aggregate::laws::{encoded, kept_of, part_merges};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_split_gives_the_different_values_of_all(
            values in prop::collection::vec("[a-c]{0,2}", 1..30),
            cuts in any::<[prop::sample::Index; 2]>(),
        ) {
            let distinct = Agg::<String>::default().distinct(|text| text.clone());
            let expected = values.iter().collect::<HashSet<_>>().len() as u64;
            let records: Vec<(String, i64)> = values.into_iter().map(|text| (text, 0)).collect();
            let merges = part_merges(&distinct, &records, cuts);
            let bytes = encoded(&merges[0]);
            for kept in merges {
                prop_assert_eq!(distinct.finish(&kept), expected);
                prop_assert_eq!(encoded(&kept), &bytes[..]);
            }
        }
    }

    #[test]
    fn the_encoded_form_never_changes() {
        let distinct = Agg::<u8>::default().distinct(|n| *n);
        assert_eq!(encoded(&kept_of(&distinct, &[(9, 1), (8, 2), (9, 3)])), [2, 8, 9]);
    }
}
