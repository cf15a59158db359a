//! What `count`, `fold`, `reduce` and `aggregate` do when a record comes: the same for running values and for
//! windows. `None` is a key or window that has not seen a record.

use std::sync::Arc;

use crate::aggregate::Aggregate;

/// Counts.
pub(crate) fn count<T>(kept: &mut Option<u64>, _: T) {
    *kept = Some(kept.unwrap_or(0) + 1);
}

/// Begins with `initial`, and changes it with every record.
pub(crate) fn fold<A, T>(initial: impl Fn() -> A, f: impl Fn(&mut A, T)) -> impl Fn(&mut Option<A>, T) {
    move |kept, record| f(kept.get_or_insert_with(&initial), record)
}

/// Begins with the first record, and combines it with every other.
pub(crate) fn reduce<T>(f: impl Fn(T, T) -> T) -> impl Fn(&mut Option<T>, T) {
    move |kept, record| {
        *kept = Some(match kept.take() {
            Some(before) => f(before, record),
            None => record,
        });
    }
}

/// Adds every record to an aggregate; the second closure gives its value.
pub(crate) fn aggregate<T, A: Aggregate<T>>(
    aggregate: A,
) -> (impl Fn(&mut Option<A::Acc>, T), impl Fn(&A::Acc) -> A::Out) {
    let aggregate = Arc::new(aggregate);
    let finish = Arc::clone(&aggregate);
    let add = move |kept: &mut Option<A::Acc>, record| {
        aggregate.add(kept.get_or_insert_with(|| aggregate.start()), &record);
    };
    (add, move |kept: &A::Acc| finish.finish(kept))
}
