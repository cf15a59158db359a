//! Joins against their model, and what the model does not say.
//!
//! If a test fails here, a join pairs the wrong records, pairs them twice or not at all (HW-1), gives up a record too
//! early or too late, or emits behind its own watermark (HW-3).

use std::time::Duration;

use proptest::prelude::*;

use crate::interpret::{InterpretError, interpret};
use crate::join::model::{Keeps, Kind, Out, Rec, expected, in_batches, restarted};
use crate::join::{between_millis, within};
use crate::limits::Limits;
use crate::memory::Memory;
use crate::testkit::{Harness, at};
use crate::topology::Topology;
use crate::window::tumbling;

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => (-12i64..12, 0i64..15).prop_map(|(lower, length)| Kind::Interval { lower, upper: lower + length }),
        2 => (1u64..12, 0u64..30).prop_map(|(size, offset)| Kind::Tumbling { size, offset }),
        2 => Just(Kind::AsOf),
    ]
}

fn keeps() -> impl Strategy<Value = Keeps> {
    (any::<bool>(), any::<bool>()).prop_map(|(left, right)| Keeps { left, right })
}

/// Records of which many have equal times, and some are far behind the others.
fn records(times: impl Strategy<Value = i64>, most: usize) -> impl Strategy<Value = Vec<Rec>> {
    prop::collection::vec((any::<bool>(), 0u8..2, times), 0..most).prop_map(|rows| {
        let numbered = rows.into_iter().enumerate();
        numbered.map(|(id, (left, key, ts))| Rec { id: id as u32, left, key, ts }).collect()
    })
}

/// Times that rise on the whole, from before 1970 on.
fn rising(most: usize) -> impl Strategy<Value = Vec<Rec>> {
    records(-9i64..9, most).prop_map(|mut records| {
        records.iter_mut().zip(-20i64..).for_each(|(rec, base)| rec.ts += base);
        records
    })
}

fn without_times(out: Vec<(Out, i64)>) -> Vec<Out> {
    out.into_iter().map(|(out, _)| out).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn a_join_is_what_the_model_says_with_a_restart_after_every_record(
        kind in kinds(),
        keeps in keeps(),
        records in prop_oneof![rising(40), records(-20i64..20, 30)],
        lag in 0u32..15,
        stops in any::<bool>(),
    ) {
        let found = restarted(kind, keeps, &records, lag, stops);
        prop_assert_eq!(found, expected(kind, keeps, &records, lag, stops));
    }

    #[test]
    fn a_join_does_not_depend_on_how_its_records_are_batched(
        kind in kinds(),
        keeps in keeps(),
        records in rising(200),
        lag in 0u32..15,
        batch_records in 1usize..70,
        edge_batches in 1usize..5,
    ) {
        let limits = Limits { batch_records, edge_batches, ..Limits::default() };
        let found = in_batches(kind, keeps, &records, lag, limits);
        prop_assert_eq!(found, without_times(expected(kind, keeps, &records, lag, false)));
    }

    #[test]
    fn a_join_knows_the_ends_of_time(
        kind in prop_oneof![
            (any::<i64>(), any::<i64>())
                .prop_map(|(a, b)| Kind::Interval { lower: a.min(b), upper: a.max(b) }),
            (-9i64..9, 0i64..9).prop_map(|(lower, length)| Kind::Interval { lower, upper: lower + length }),
            (1u64..9, 0u64..1 << 62).prop_map(|(size, offset)| Kind::Tumbling { size, offset }),
            (1u64..1 << 62, 0u64..1 << 62).prop_map(|(size, offset)| Kind::Tumbling { size, offset }),
            Just(Kind::AsOf),
        ],
        keeps in keeps(),
        records in records(
            prop_oneof![i64::MIN..i64::MIN + 12, -6i64..6, i64::MAX - 12..=i64::MAX],
            16,
        ),
        // With none, a record at the last of all times would end time, and not be the last.
        lag in 1u32..15,
        stops in any::<bool>(),
        batched in any::<bool>(),
    ) {
        let mut records = records;
        if records.iter().all(|rec| rec.ts % 2 == 0) {
            records.sort_by_key(|rec| rec.ts);
        }
        let found = restarted(kind, keeps, &records, lag, stops);
        prop_assert_eq!(found, expected(kind, keeps, &records, lag, stops));
        if batched {
            let found = in_batches(kind, keeps, &records, lag, Limits::default());
            prop_assert_eq!(found, without_times(expected(kind, keeps, &records, lag, false)));
        }
    }
}

#[test]
fn one_record_that_meets_very_many_goes_on_where_a_full_output_stopped_it() {
    let many = 5_000;
    let outer = Keeps { left: true, right: true };
    for kind in [Kind::Interval { lower: -10, upper: 10 }, Kind::Tumbling { size: 20, offset: 0 }] {
        for left in [true, false] {
            let first = (0..many).map(|id| Rec { id, left, key: 0, ts: i64::from(id % 7) });
            let then = (0..3).map(|id| Rec { id: many + id, left: !left, key: 0, ts: i64::from(id) });
            let records: Vec<Rec> = first.chain(then).collect();
            let limits = Limits { edge_batches: 1, ..Limits::default() };
            let found = in_batches(kind, outer, &records, 10, limits);
            assert_eq!(found, without_times(expected(kind, outer, &records, 10, false)));
        }
    }
}

#[test]
fn very_many_records_that_are_given_up_at_once_go_on_where_a_full_output_stopped_them() {
    let outer = Keeps { left: true, right: true };
    for kind in [Kind::Interval { lower: -1, upper: 1 }, Kind::Tumbling { size: 5, offset: 0 }, Kind::AsOf] {
        let records: Vec<Rec> =
            (0..5_000).map(|id| Rec { id, left: true, key: (id % 3) as u8, ts: i64::from(id % 2) }).collect();
        let limits = Limits { batch_records: 16, edge_batches: 1, ..Limits::default() };
        let found = in_batches(kind, outer, &records, 10, limits);
        assert_eq!(found, without_times(expected(kind, outer, &records, 10, false)));
    }
}

/// Says when each of the records that have no partner leaves.
fn left_within_ten() -> Harness<(bool, i64), (i64, Option<i64>)> {
    Harness::new(|stream| {
        let (left, right) = stream.branch(|(left, _): &(bool, i64)| *left);
        let (left, right) = (left.map(|(_, time)| time), right.map(|(_, time)| time));
        let joined = left.key_by(|_| 'k').join(right.key_by(|_| 'k'), within(Duration::from_millis(10)));
        joined.left("joined").values()
    })
}

#[test]
fn a_record_waits_for_a_partner_until_the_watermark_is_past_the_last_it_could_have() {
    let mut harness = left_within_ten();
    harness.record((true, 100), at(100));
    harness.watermark(at(110));
    assert_eq!(harness.take(), []);
    harness.watermark(at(111));
    assert_eq!(harness.take(), [((100, None), at(100))]);
}

#[test]
fn a_partner_at_the_watermark_is_on_time() {
    let mut harness = left_within_ten();
    harness.record((true, 100), at(100));
    harness.watermark(at(110));
    harness.record((false, 109), at(109));
    harness.record((false, 110), at(110));
    assert_eq!(harness.take(), [((100, Some(110)), at(110))]);
    harness.watermark(at(1_000));
    assert_eq!(harness.take(), []);
}

#[test]
fn what_follows_a_join_waits_for_the_records_without_a_partner() {
    let mut harness = Harness::new(|stream| {
        let (left, right) = stream.branch(|(left, _): &(bool, i64)| *left);
        let joined = left.key_by(|_| 'k').join(right.key_by(|_| 'k'), within(Duration::from_millis(10)));
        let windows = joined.left("joined").window(tumbling(Duration::from_millis(10)));
        windows.count("counts").map(|counted| (counted.window.start.as_millis(), counted.value))
    });
    [(true, 5), (false, 12), (true, 30)].into_iter().for_each(|rec| harness.record(rec, at(rec.1)));
    harness.watermark(at(20));
    assert_eq!(harness.take(), [], "the watermark behind the join is at 10, and the pair at 12");
    harness.watermark(at(30));
    assert_eq!(harness.take(), [((10, 1), at(19))]);
    harness.watermark(at(50));
    assert_eq!(harness.take(), [((30, 1), at(39))]);
}

/// What is said of a topology with a join.
fn said_of(
    join: impl FnOnce(
        crate::keyed::KeyedStream<char, i64>,
        crate::keyed::KeyedStream<char, i64>,
    ) -> Option<crate::stream::Stream<i64>>,
) -> String {
    let topology = Topology::new("refused");
    let source = topology.source("records", Memory::source([1i64]));
    let (left, right) = source.event_time(|time| at(*time), Duration::ZERO).branch(|_| true);
    if let Some(joined) = join(left.key_by(|_| 'k'), right.key_by(|_| 'k')) {
        joined.sink("sink", Memory::sink());
    }
    match interpret(topology) {
        Err(InterpretError::Topology(errors)) => errors.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn bounds_that_cannot_be_are_refused_with_the_name_of_the_join_and_the_line() {
    let said = said_of(|left, right| {
        Some(left.join(right, between_millis(5, -5)).inner("paid").values().map(|pair| pair.0))
    });
    let line = line!() - 2;
    assert!(said.contains("`paid`") && said.contains(&format!("join/tests.rs:{line}")), "{said}");
    assert!(said.contains("5 ms, is above its upper bound, -5 ms"), "{said}");
    let said = said_of(|left, right| {
        Some(left.join(right, tumbling(Duration::ZERO)).outer("paid").values().map(|_| 1))
    });
    assert!(said.contains("`paid`") && said.contains("at least one millisecond"), "{said}");
}

#[test]
fn a_join_without_a_mode_is_refused() {
    let said = said_of(|left, right| {
        let _ = left.join(right, between_millis(0, 5));
        None
    });
    assert!(said.contains("end it with `inner`, `left`, `right` or `outer`"), "{said}");
}

/// Joins the right records with those of a join whose watermark stays a hundred milliseconds behind.
fn behind_another_join() -> Harness<(char, i64), (&'static str, i64)> {
    Harness::new(|stream| {
        let (first, others) = stream.branch(|(side, _): &(char, i64)| *side == 'a');
        let (second, right) = others.branch(|(side, _)| *side == 'b');
        let second = second.key_by(|_| 'k');
        let first = first.key_by(|_| 'k').join(second, between_millis(0, 100)).left("first");
        let (joined, _, late) = first.join(right.key_by(|_| 'k'), between_millis(-1, 1)).with_late();
        let joined = joined.right("second").values().map(|(_, right)| ("joined", right.1));
        joined.merge(late.map(|right| ("late", right.1)))
    })
}

#[test]
fn a_record_is_late_by_the_watermark_of_its_own_side_also_after_a_restart() {
    let mut harness = behind_another_join();
    harness.watermark(at(150));
    harness.record(('c', 149), at(149));
    harness.record(('c', 150), at(150));
    assert_eq!(harness.take(), [(("late", 149), at(149))]);
    harness.watermark(at(251));
    assert_eq!(harness.take(), [], "the record may find a partner at 151, and the other side is at 151");
    harness.watermark(at(252));
    assert_eq!(harness.take(), [(("joined", 150), at(150))]);
}
