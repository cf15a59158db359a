//! Sliding windows against brute force, at the ends of time, and where a naive way would take for ever.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::interpret::interpret;
use crate::memory::Memory;
use crate::stream::Stream;
use crate::testkit::{Harness, at, batched_output_of};
use crate::topology::Topology;
use crate::window::model::{Shape, early_are_parts, ids, not_early};
use crate::window::replay::{Rec, Seen, in_batches, in_epochs, record_by_record, recs, sort};
use crate::window::{Timing, sliding};

fn millis(millis: i64) -> Duration {
    Duration::from_millis(millis.unsigned_abs())
}

fn windows_of(shape: &Shape) -> Sliding {
    let windows = sliding(millis(shape.size), millis(shape.slide));
    if shape.offset < 0 {
        windows.offset_back(millis(shape.offset))
    } else {
        windows.offset(millis(shape.offset))
    }
}

fn chain(shape: Shape) -> impl Fn(Stream<Rec>) -> Stream<Seen> {
    move |stream| {
        let windows = stream.key_by(|record| record.key).window(windows_of(&shape));
        let windows = windows.allow_late(millis(shape.lateness));
        ids(match shape.every {
            Some(every) => windows.emit_early(millis(every)),
            None => windows,
        })
    }
}

prop_compose! {
    fn shapes()(
        size in 1i64..40,
        slide in prop_oneof![1i64..4, 1i64..50],
        offset in -60i64..60,
        lateness in prop_oneof![Just(0), 0i64..60],
    ) -> Shape {
        Shape { size, slide, offset, lateness, every: None }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn windows_are_those_of_brute_force(
        shape in shapes(),
        records in recs(-60..60, 0..30),
        lag in 0i64..40,
    ) {
        let expected = sort(shape.expected(&records, lag));
        prop_assert_eq!(&sort(record_by_record(&records, lag, chain(shape))), &expected);
        prop_assert_eq!(&sort(in_batches(&records, lag, chain(shape))), &expected);
        prop_assert_eq!(&sort(in_epochs(&records, lag, chain(shape))), &expected);
    }

    #[test]
    fn windows_in_a_long_stream_are_those_of_brute_force(
        shape in shapes(),
        steps in prop::collection::vec((0u8..2, 0i64..4, 0i64..12), 200),
        lag in 0i64..15,
    ) {
        let mut now = -100;
        let mut records = Vec::new();
        for ((key, step, behind), id) in steps.into_iter().zip(0..) {
            now += step;
            records.push(Rec { key, time: now - behind, id });
        }
        let expected = sort(shape.expected(&records, lag));
        prop_assert_eq!(&sort(in_batches(&records, lag, chain(shape))), &expected);
        prop_assert_eq!(&sort(in_epochs(&records, lag, chain(shape))), &expected);
    }

    #[test]
    fn early_results_hold_what_was_seen_so_far_and_change_nothing_else(
        shape in shapes(),
        every in 1i64..40,
        records in recs(-60..60, 0..30),
        lag in 0i64..40,
    ) {
        let shape = Shape { every: Some(every), ..shape };
        let expected = sort(shape.expected(&records, lag));
        prop_assert_eq!(&sort(record_by_record(&records, lag, chain(shape))), &expected);
        let expected = not_early(expected);
        for seen in [in_batches(&records, lag, chain(shape)), in_epochs(&records, lag, chain(shape))] {
            prop_assert!(early_are_parts(&seen));
            prop_assert_eq!(&not_early(sort(seen)), &expected);
        }
    }

    #[test]
    fn the_slice_and_the_windows_of_a_time_hold_it(
        time in prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX)],
        size in prop_oneof![1i64..1 << 40, Just(i64::MAX)],
        slide in prop_oneof![1i64..1 << 40, Just(i64::MAX)],
        offset in prop_oneof![-(1i64 << 41)..1 << 41, Just(i64::MAX), Just(-i64::MAX)],
    ) {
        let shape = Shape { size, slide, offset, lateness: 0, every: None };
        let grid = windows_of(&shape).grid();
        let span = grid.span(at(time));
        prop_assert!(span.contains(at(time)));
        let (time, size, slide) = (i128::from(time), i128::from(size), i128::from(slide));
        for end in [span.first_end, span.last_end, grid.end_after(at(time as i64))] {
            prop_assert_eq!((end - size - i128::from(offset)).rem_euclid(slide), 0);
        }
        prop_assert!(span.first_end - slide <= time && time < span.first_end);
        prop_assert!(span.last_end - size <= time && time < span.last_end - size + slide);
        for other in [span.start, span.last] {
            let other = grid.span(other);
            prop_assert_eq!((other.first_end, other.last_end), (span.first_end, span.last_end));
        }
    }
}

/// The windows of `count`, each with its bounds in milliseconds, and the late records.
type Counted = (Timing, i64, i64, u64);

fn counts(size: i64, slide: i64, lateness: i64) -> Harness<i64, Counted> {
    Harness::new(move |stream| {
        let windows = stream.key_by(|_: &i64| 'k').window(sliding(millis(size), millis(slide)));
        let counts = windows.allow_late(millis(lateness)).count("counts");
        counts.map(|c| (c.timing, c.window.start.as_millis(), c.window.end.as_millis(), c.value))
    })
}

fn take(harness: &mut Harness<i64, Counted>) -> Vec<Counted> {
    harness.take().into_iter().map(|(counted, _)| counted).collect()
}

#[test]
fn a_late_record_updates_the_windows_that_have_fired_at_once_in_the_order_of_their_ends() {
    let mut harness = counts(30, 10, 15);
    harness.record(0, at(25));
    harness.watermark(at(41));
    let on_time = [(Timing::OnTime, 0, 30, 1), (Timing::OnTime, 10, 40, 1)];
    assert_eq!(take(&mut harness), on_time);
    harness.record(0, at(21));
    assert_eq!(take(&mut harness), [(Timing::Late, 0, 30, 2), (Timing::Late, 10, 40, 2)]);
    harness.watermark(at(45));
    harness.record(0, at(22));
    assert_eq!(take(&mut harness), [(Timing::Late, 10, 40, 3)], "it is late for the window that ends at 30");
    harness.watermark(Timestamp::MAX);
    assert_eq!(take(&mut harness), [(Timing::OnTime, 20, 50, 3)]);
}

#[test]
fn a_record_between_two_windows_is_in_none_and_is_not_late() {
    let seen = |records: &[(i64, u64)]| {
        let recs: Vec<Rec> = records.iter().map(|&(time, id)| Rec { key: 0, time, id }).collect();
        let shape = Shape { size: 3, slide: 10, offset: 0, lateness: 0, every: None };
        record_by_record(&recs, 0, chain(shape))
    };
    let window =
        |start, id| Seen::Window { key: 0, start, end: start + 3, ids: vec![id], timing: Timing::OnTime };
    assert_eq!(seen(&[(2, 0), (3, 1), (9, 2), (10, 3)]), [window(0, 0), window(10, 3)]);
    assert_eq!(seen(&[(100, 0), (5, 1), (2, 2)]), [Seen::Late(2), window(100, 0)]);
}

#[test]
fn windows_at_the_ends_of_time_are_cut_off_there_and_fire_with_the_last_watermark() {
    let (first, last) = (i64::MIN, i64::MAX);
    let mut harness = counts(10, 4, 5);
    // 2^63 is a multiple of the slide: a window starts with the beginning of time, and four before its end.
    [first, last - 5, last].into_iter().for_each(|time| harness.record(0, at(time)));
    harness.watermark(at(first + 20));
    assert_eq!(take(&mut harness), [2, 6, 10].map(|end| (Timing::OnTime, first, first + end, 1)));
    harness.watermark(at(last - 1));
    assert_eq!(take(&mut harness), [(Timing::OnTime, last - 11, last - 1, 1)]);
    harness.watermark(Timestamp::MAX);
    let cut_off = [(last - 7, 2), (last - 3, 1)].map(|(start, count)| (Timing::OnTime, start, last, count));
    assert_eq!(take(&mut harness), cut_off);
    harness.record(0, at(last));
    harness.watermark(Timestamp::MAX);
    assert_eq!(take(&mut harness), [], "nothing is on time at the end of time");
}

#[test]
fn time_without_records_costs_nothing_however_far_the_watermark_jumps() {
    let mut harness = counts(3, 1, 1000);
    let year = 365 * 24 * 3600 * 1000;
    for time in [-100 * year, 0, 100 * year] {
        harness.record(0, at(time));
        harness.watermark(at(time + year));
        let expected = [1, 2, 3].map(|end| (Timing::OnTime, time + end - 3, time + end, 1));
        assert_eq!(take(&mut harness), expected);
    }
}

#[test]
fn a_record_in_ten_thousand_windows_is_in_each() {
    let mut harness = counts(10_000, 1, 0);
    harness.record(0, at(0));
    harness.record(0, at(5_000));
    harness.watermark(Timestamp::MAX);
    let found = take(&mut harness);
    assert_eq!(found.len(), 15_000);
    let twice = found.iter().filter(|counted| counted.3 == 2).count();
    assert_eq!(twice, 5_000);
}

#[test]
fn a_function_sees_the_records_of_each_window() {
    let mut harness = Harness::new(|stream| {
        let windows = stream.key_by(|_: &char| ()).window(sliding(millis(20), millis(10)));
        windows.apply("letters", |(), _, letters| [letters.into_iter().collect::<String>()])
    });
    [('a', 5), ('b', 15), ('c', 25), ('d', 12)]
        .into_iter()
        .for_each(|(letter, time)| harness.record(letter, at(time)));
    harness.watermark(Timestamp::MAX);
    let found: Vec<_> = harness.take().into_iter().map(|(letters, _)| letters).collect();
    assert_eq!(found, ["a", "abd", "bdc", "c"]);
}

/// A value that is counted while it lives.
#[derive(PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
struct Living(u64);

thread_local! {
    /// How many live, and how many there were at most.
    static LIVING: std::cell::Cell<(i64, i64)> = const { std::cell::Cell::new((0, 0)) };
}

impl Living {
    fn new(number: u64) -> Self {
        let (living, most) = LIVING.get();
        LIVING.set((living + 1, most.max(living + 1)));
        Living(number)
    }
}

impl Clone for Living {
    fn clone(&self) -> Self {
        Living::new(self.0)
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        let (living, most) = LIVING.get();
        LIVING.set((living - 1, most));
    }
}

#[test]
fn distinct_values_are_not_kept_again_for_every_slice() {
    let records = (0..3000).map(|number| (number, number as u64));
    let counts = batched_output_of(records, Duration::ZERO, |records| {
        let windows = records.key_by(|_: &u64| ()).window(sliding(millis(1000), millis(10)));
        let counts = windows.aggregate("counts", |a| (a.count(), a.distinct(|number| Living::new(*number))));
        counts.map(|counted| counted.value)
    });
    assert_eq!(counts[150], (1509, (1000, 1000)));
    let (_, most) = LIVING.get();
    assert!(most < 20_000, "{most} values are kept for windows of 1000");
}

/// Why windows are refused when the topology is checked.
fn refusal(windows: Sliding, early: Option<Duration>) -> String {
    let topology = Topology::new("refused");
    let source = topology.source("records", Memory::source([1i64]));
    let windows = source.event_time(|time| at(*time), Duration::ZERO).key_by(|_| ()).window(windows);
    let windows = match early {
        Some(every) => windows.emit_early(every),
        None => windows,
    };
    windows.count("counts").sink("sink", Memory::sink());
    interpret(topology).expect_err("is refused").to_string()
}

#[test]
fn a_size_a_slide_or_a_time_between_early_results_of_zero_is_refused() {
    let (zero, one) = (Duration::from_micros(999), Duration::from_millis(1));
    assert!(refusal(sliding(zero, one), None).contains("a size of at least one millisecond"));
    assert!(refusal(sliding(one, zero), None).contains("a slide of at least one millisecond"));
    assert!(refusal(sliding(Duration::MAX, one), None).contains("at most 100000 are possible"));
    let early = refusal(sliding(one, one), Some(zero));
    assert!(early.contains("emit_early") && early.contains("at least one millisecond"), "{early}");
}
