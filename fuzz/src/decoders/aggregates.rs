//! What aggregates keep, as it comes from disk: decoded, added to, merged and finished.

use highwater::prelude::*;
use highwater::state::persist;

type Record = (i64, String);

/// What is kept may be anything that its type can be: no step panics, and what is kept then can be kept again.
fn steps<A: Aggregate<Record>>(aggregate: &A, bytes: &[u8]) {
    let (mine, rest) = super::part(bytes);
    let (number, later) = super::first(rest);
    let Ok(mut kept) = persist::decode::<A::Acc>("kept", mine) else { return };
    let record = (i64::from(number) << (number % 60), format!("/{number}"));
    aggregate.add(&mut kept, &record, Timestamp::from_millis(number.into()));
    if let Ok(later) = persist::decode::<A::Acc>("kept", later) {
        let mut merged = later.clone();
        aggregate.merge(&mut merged, kept.clone());
        aggregate.finish(&merged);
        aggregate.merge(&mut kept, later);
    }
    aggregate.finish(&kept);
    let mut written = Vec::new();
    persist::encode("kept", &kept, &mut written).expect("what is kept can be written");
    persist::decode::<A::Acc>("kept", &written).expect("what was written can be read");
}

/// One of the built-in aggregates.
pub fn aggregates(bytes: &[u8]) {
    let (which, bytes) = super::first(bytes);
    let a = Agg::<Record>::default();
    match which % 12 {
        0 => steps(&a.distinct_approx(|record| record.0), bytes),
        1 => steps(&a.quantiles([0.0, 0.5, 0.99, 1.0], |record| record.0), bytes),
        2 => steps(&(a.count(), a.sum(|record| record.0), a.mean(|record| record.0)), bytes),
        3 => steps(&(a.min(|record| record.0), a.max(|record| record.1.clone())), bytes),
        4 => steps(&a.variance(|record| record.0), bytes),
        5 => steps(&(a.first(|record| record.1.clone()), a.last(|record| record.0)), bytes),
        6 => steps(&a.top(3, |record| record.0), bytes),
        7 => steps(&a.top_by(2, |record| record.1.clone(), |record| record.0), bytes),
        8 => steps(&a.distinct(|record| record.1.clone()), bytes),
        9 => steps(&a.collect(2, |record| record.clone()), bytes),
        10 => steps(&a.sum(|record| record.0 as f64), bytes),
        _ => steps(&a.stddev(|record| record.0 as f64), bytes),
    }
}
