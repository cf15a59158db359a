//! `top` and `top_by`: the largest few.
//!
//! Memory: as many values as are asked for.

use std::cmp::Ordering;

use highwater_state::{Persist, Timestamp};

use crate::aggregate::Aggregate;
use crate::data::Data;

/// The order of values; one that compares with nothing, NaN, is smaller than all others.
fn compare<N: PartialOrd>(a: &N, b: &N) -> Ordering {
    let compares = |value: &N| value.partial_cmp(value).is_some();
    a.partial_cmp(b).unwrap_or_else(|| compares(a).cmp(&compares(b)))
}

/// Puts a value in its place among the `most` first; behind those that it does not precede.
fn insert<V>(kept: &mut Vec<V>, most: usize, new: V, precedes: impl Fn(&V, &V) -> bool) {
    let place = kept.partition_point(|old| !precedes(&new, old));
    if place < most {
        kept.insert(place, new);
        kept.truncate(most);
    }
}

fn check_most(verb: &str, most: usize) -> Result<(), String> {
    if most == 0 {
        return Err(format!("the {verb} 0 values are none; ask for at least one"));
    }
    Ok(())
}

/// The largest values that the closure reads.
pub struct Top<F> {
    most: usize,
    of: F,
}

impl<F> Top<F> {
    pub(super) fn new(most: usize, of: F) -> Self {
        Top { most, of }
    }
}

impl<T, N, F> Aggregate<T> for Top<F>
where
    T: Data,
    N: PartialOrd + Clone + Persist,
    F: Fn(&T) -> N + Send + Sync + 'static,
{
    type Acc = Vec<N>;
    type Out = Vec<N>;
    fn start(&self) -> Vec<N> {
        Vec::new()
    }
    fn add(&self, kept: &mut Vec<N>, record: &T, _: Timestamp) {
        insert(kept, self.most, (self.of)(record), |new, old| compare(new, old).is_gt());
    }
    fn merge(&self, kept: &mut Vec<N>, later: Vec<N>) {
        for value in later {
            insert(kept, self.most, value, |new, old| compare(new, old).is_gt());
        }
    }
    fn finish(&self, kept: &Vec<N>) -> Vec<N> {
        // More than are wanted are kept if the topology was changed to want fewer.
        kept.iter().take(self.most).cloned().collect()
    }
    fn check(&self) -> Result<(), String> {
        check_most("top", self.most)
    }
}

/// What one closure reads from the records of which another reads the largest values.
pub struct TopBy<B, F> {
    most: usize,
    by: B,
    of: F,
}

impl<B, F> TopBy<B, F> {
    pub(super) fn new(most: usize, by: B, of: F) -> Self {
        TopBy { most, by, of }
    }
}

/// Whether the first stands before the second: the larger, among equal ones the earlier.
fn precedes<N: PartialOrd, V>(new: &(N, Timestamp, V), old: &(N, Timestamp, V)) -> bool {
    compare(&new.0, &old.0).reverse().then(new.1.cmp(&old.1)).is_lt()
}

impl<T, N, V, B, F> Aggregate<T> for TopBy<B, F>
where
    T: Data,
    N: PartialOrd + Clone + Persist,
    V: Clone + Persist,
    B: Fn(&T) -> N + Send + Sync + 'static,
    F: Fn(&T) -> V + Send + Sync + 'static,
{
    type Acc = Vec<(N, Timestamp, V)>;
    type Out = Vec<(N, V)>;
    fn start(&self) -> Self::Acc {
        Vec::new()
    }
    fn add(&self, kept: &mut Self::Acc, record: &T, time: Timestamp) {
        let by = (self.by)(record);
        // What is not kept is not read either: it may be costly to.
        let last = kept.last().filter(|_| kept.len() >= self.most);
        if last.is_none_or(|last| compare(&by, &last.0).reverse().then(time.cmp(&last.1)).is_lt()) {
            insert(kept, self.most, (by, time, (self.of)(record)), precedes);
        }
    }
    fn merge(&self, kept: &mut Self::Acc, later: Self::Acc) {
        later.into_iter().for_each(|value| insert(kept, self.most, value, precedes));
    }
    fn finish(&self, kept: &Self::Acc) -> Vec<(N, V)> {
        kept.iter().take(self.most).map(|(by, _, of)| (by.clone(), of.clone())).collect()
    }
    fn check(&self) -> Result<(), String> {
        check_most("top_by", self.most)
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
        fn any_split_gives_the_largest_of_all(
            values in prop::collection::vec((0i64..6, -3i64..3), 1..30),
            cuts in any::<[prop::sample::Index; 2]>(),
            most in 1usize..6,
        ) {
            let numbered = values.into_iter().enumerate();
            let records: Vec<((i64, usize), i64)> = numbered.map(|(n, (value, time))| ((value, n), time)).collect();
            let mut sorted = records.clone();
            sorted.sort_by_key(|((value, _), time)| (-*value, *time));
            let expected: Vec<(i64, usize)> = sorted.into_iter().map(|(record, _)| record).take(most).collect();
            let a = Agg::<(i64, usize)>::default();
            let both = (a.top(most, |r| r.0), a.top_by(most, |r| r.0, |r| r.1));
            let first: Vec<i64> = expected.iter().map(|(value, _)| *value).collect();
            for kept in part_merges(&both, &records, cuts) {
                prop_assert_eq!(both.finish(&kept), (first.clone(), expected.clone()));
            }
        }
    }

    #[test]
    fn not_a_number_is_smaller_than_everything() {
        let top = Agg::<f64>::default().top(3, |v| *v);
        let values = [f64::NAN, 1.0, f64::NAN, f64::NEG_INFINITY, f64::INFINITY, f64::NAN];
        let kept = kept_of(&top, &values.map(|value| (value, 0)));
        assert_eq!(top.finish(&kept), [f64::INFINITY, 1.0, f64::NEG_INFINITY]);
        let kept = kept_of(&top, &[(f64::NAN, 0)]);
        assert!(top.finish(&kept)[0].is_nan());
    }

    #[test]
    fn fewer_are_given_at_once_where_more_were_kept_by_an_earlier_run() {
        let a = Agg::<u8>::default();
        let both = |most| (a.top(most, |n| *n), a.top_by(most, |n| *n, |n| *n));
        let mut kept = kept_of(&both(3), &[(5, 0), (7, 0), (6, 0)]);
        let fewer = both(2);
        fewer.add(&mut kept, &1, Timestamp::MIN);
        assert_eq!(fewer.finish(&kept), (vec![7, 6], vec![(7, 7), (6, 6)]));
    }

    #[test]
    fn none_at_all_is_refused() {
        let a = Agg::<u8>::default();
        assert!(Aggregate::<u8>::check(&a.top(0, |n| *n)).is_err());
        assert!(Aggregate::<u8>::check(&(a.count(), a.top_by(0, |n| *n, |n| *n))).is_err());
        assert!(Aggregate::<u8>::check(&a.top(1, |n| *n)).is_ok());
    }

    #[test]
    fn the_encoded_form_never_changes() {
        let a = Agg::<u8>::default();
        let both = (a.top(2, |n| *n), a.top_by(2, |n| *n, |n| n + 1));
        assert_eq!(encoded(&kept_of(&both, &[(3, 1), (5, 2)])), [2, 5, 3, 2, 5, 4, 6, 3, 2, 4]);
    }
}
