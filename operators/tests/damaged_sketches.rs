//! What aggregates keep comes from disk: bytes that can be decoded and were never written are refused or worked with,
//! and never a panic in the middle of a job.

use highwater_operators::aggregate::{Agg, Aggregate, Distincts};
use highwater_state::Timestamp;
use highwater_state::persist::{decode, encode};
use highwater_state::shape::shape_of;

/// The registers of `distinct_approx`, which are as many as these.
fn registers(count: usize) -> Vec<u8> {
    let mut bytes = vec![1];
    encode("kept", &vec![3u8; count], &mut bytes).expect("can be encoded");
    bytes
}

#[test]
fn registers_of_distinct_approx_that_are_too_few_are_worked_with() {
    let approx = Agg::<u64>::default().distinct_approx(|n| *n);
    for count in [0, 1, 100, 16_383] {
        let mut kept: Distincts = decode("kept", &registers(count)).expect("is a list of numbers");
        for record in 0..1000 {
            approx.add(&mut kept, &record, Timestamp::MIN);
        }
        let mut whole: Distincts = decode("kept", &registers(16_384)).expect("was written like this");
        approx.merge(&mut whole, kept.clone());
        assert!(approx.finish(&kept) >= 900, "{count}: {}", approx.finish(&kept));
    }
}

#[test]
fn registers_of_distinct_approx_that_are_too_many_are_refused() {
    let refused = decode::<Distincts>("views", &registers(16_385)).expect_err("has too many").to_string();
    assert!(refused.contains("`views`"), "{refused}");
}

#[test]
fn the_shape_of_distinct_approx_never_changes() {
    assert_eq!(shape_of::<Distincts>(), "Distincts[Few(list<u64>)|Many(list<u8>)]");
}
