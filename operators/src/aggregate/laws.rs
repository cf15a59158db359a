//! What the tests of all aggregates ask: that records added one by one and parts merged in any way keep the same,
//! also when what is kept has been on disk in between.

use highwater_state::Timestamp;
use highwater_state::persist::{decode, encode};
use proptest::sample::Index;

use crate::aggregate::Aggregate;

/// What is kept of some records with their times in milliseconds, added one by one.
pub fn kept_of<T, A: Aggregate<T>>(aggregate: &A, records: &[(T, i64)]) -> A::Acc {
    let mut kept = aggregate.start();
    for (record, time) in records {
        aggregate.add(&mut kept, record, Timestamp::from_millis(*time));
    }
    kept
}

/// The bytes that would be written to disk.
pub fn encoded<V: serde::Serialize>(kept: &V) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode("kept", kept, &mut bytes).expect("what is kept can be encoded");
    bytes
}

fn through_disk<T, A: Aggregate<T>>(_: &A, kept: A::Acc) -> A::Acc {
    let bytes = encoded(&kept);
    let kept = decode("kept", &bytes).expect("what was encoded can be decoded");
    assert_eq!(encoded(&kept), bytes, "what comes back from disk is what went there");
    kept
}

/// The records cut into three parts: what is kept when all are added, when the parts are merged from the left, from
/// the right, and with parts of no record around them.
pub fn part_merges<T, A: Aggregate<T>>(aggregate: &A, records: &[(T, i64)], cuts: [Index; 2]) -> [A::Acc; 5] {
    let mut cuts = cuts.map(|cut| cut.index(records.len() + 1));
    cuts.sort_unstable();
    let part = |from: usize, to: usize| through_disk(aggregate, kept_of(aggregate, &records[from..to]));
    let parts = || (part(0, cuts[0]), part(cuts[0], cuts[1]), part(cuts[1], records.len()));
    let merged = |mut kept: A::Acc, later: A::Acc| {
        aggregate.merge(&mut kept, later);
        through_disk(aggregate, kept)
    };
    let (a, b, c) = parts();
    let from_the_left = merged(merged(a, b), c);
    let (a, b, c) = parts();
    let from_the_right = merged(a, merged(b, c));
    let all = || kept_of(aggregate, records);
    [all(), from_the_left, from_the_right, merged(aggregate.start(), all()), merged(all(), aggregate.start())]
}
