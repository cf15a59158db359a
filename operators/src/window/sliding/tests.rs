//! Sliding windows against brute force, and what they do at the ends of time and of memory.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::stream::Stream;
use crate::testkit::Harness;
use crate::window::replay::{Ids, Rec, Seen, in_batches, in_epochs, record_by_record, recs, sort};
use crate::window::{Timing, sliding};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// All windows that hold a time, by trying all starts around it.
fn windows_of(size: i64, slide: i64, offset: i64, time: i64) -> Vec<(i64, i64)> {
    let starts = time - size - slide..=time;
    let starts = starts.filter(|start| (start - offset).rem_euclid(slide) == 0);
    starts.map(|start| (start, start + size)).filter(|&(start, end)| start <= time && time < end).collect()
}

proptest! {
    #[test]
    fn a_slice_holds_the_times_that_have_the_same_windows(
        size in 1i64..40, slide in 1i64..40, offset in -50i64..50, time in -200i64..200,
    ) {
        let windows = sliding(Duration::from_millis(size as u64), Duration::from_millis(slide as u64));
        let by = Duration::from_millis(offset.unsigned_abs());
        let windows = if offset < 0 { windows.offset_back(by) } else { windows.offset(by) };
        let expected = windows_of(size, slide, offset, time);
        let slice = windows.slice_of(at(time));
        prop_assert_eq!(slice.is_none(), expected.is_empty());
        let Some(slice) = slice else { return Ok(()) };
        prop_assert!(slice.contains(at(time)));
        prop_assert_eq!(slice.first_end, at(expected[0].1));
        prop_assert_eq!(slice.last_end, at(expected[expected.len() - 1].1));
        for other in slice.start.as_millis()..slice.end.as_millis() {
            prop_assert_eq!(&windows_of(size, slide, offset, other), &expected);
        }
        for after in time - 100..time + 100 {
            let next = expected.iter().map(|&(_, end)| at(end)).find(|&end| end > at(after));
            prop_assert_eq!(windows.next_end(&slice, at(after)), next);
        }
        for (start, end) in expected {
            prop_assert_eq!(windows.window_ending(at(end)), Some(TimeRange { start: at(start), end: at(end) }));
        }
    }

    #[test]
    fn nothing_overflows(time in any::<i64>(), size in 1u64..1 << 62, slide in 1u64..1 << 62, offset in any::<u64>()) {
        let windows = sliding(Duration::from_millis(size), Duration::from_millis(slide));
        let windows = windows.offset(Duration::from_millis(offset));
        let Some(slice) = windows.slice_of(at(time)) else { return Ok(()) };
        prop_assert!(slice.start <= at(time) && slice.start < slice.end && slice.first_end <= slice.last_end);
        let window = windows.window_ending(slice.first_end);
        prop_assert!(window.is_some_and(|window| window.start <= at(time)));
    }
}

#[test]
fn sizes_and_slides_of_zero_are_refused() {
    let (zero, one) = (Duration::ZERO, Duration::from_millis(1));
    assert!(sliding(zero, one).check().is_err_and(|reason| reason.contains("size")));
    assert!(sliding(one, zero).check().is_err_and(|reason| reason.contains("slide")));
    assert!(sliding(one, one).check().is_ok());
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    size: i64,
    slide: i64,
    offset: i64,
    lateness: i64,
}

fn shape() -> impl Strategy<Value = Shape> {
    let lateness = prop_oneof![Just(0i64), 0i64..40];
    (1i64..40, 1i64..25, -30i64..30, lateness).prop_map(|(size, slide, offset, lateness)| Shape {
        size,
        slide,
        offset,
        lateness,
    })
}

impl Shape {
    fn windows(self) -> Sliding {
        let millis = |millis: i64| Duration::from_millis(millis.unsigned_abs());
        let windows = sliding(millis(self.size), millis(self.slide));
        let by = millis(self.offset);
        if self.offset < 0 { windows.offset_back(by) } else { windows.offset(by) }
    }

    fn chain(self, early: Option<i64>) -> impl Fn(Stream<Rec>) -> Stream<Seen> {
        move |stream| {
            let windows = stream.key_by(|record| record.key).window(self.windows());
            let windows = windows.allow_late(Duration::from_millis(self.lateness as u64));
            let (windows, late) = windows.with_late();
            let windows = match early {
                Some(every) => windows.emit_early(Duration::from_millis(every as u64)),
                None => windows,
            };
            windows.aggregate("ids", |_| Ids).map(Seen::from).merge(late.map(|record| Seen::Late(record.id)))
        }
    }
}

/// Keeps every window with all its records.
fn by_brute_force(records: &[Rec], lag: i64, of: Shape) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut kept: BTreeMap<(i64, i64, u8), Vec<u64>> = BTreeMap::new();
    let (mut watermark, mut largest) = (i64::MIN, i64::MIN);
    let result = |(end, start, key): (i64, i64, u8), ids: &Vec<u64>, timing| Seen::Window {
        key,
        start,
        end,
        ids: ids.clone(),
        timing,
    };
    for &record in records {
        let windows = windows_of(of.size, of.slide, of.offset, record.time);
        let taken: Vec<_> =
            windows.iter().filter(|(_, end)| end.saturating_add(of.lateness) > watermark).collect();
        if taken.is_empty() && !windows.is_empty() {
            seen.push(Seen::Late(record.id));
        }
        for &&(start, end) in &taken {
            let window = (end, start, record.key);
            let ids = kept.entry(window).or_default();
            ids.push(record.id);
            if end <= watermark {
                seen.push(result(window, ids, Timing::Late));
            }
        }
        largest = largest.max(record.time);
        let before = watermark;
        watermark = watermark.max(largest - lag);
        let fired = kept.iter().filter(|((end, ..), _)| before < *end && *end <= watermark);
        seen.extend(fired.map(|(&window, ids)| result(window, ids, Timing::OnTime)));
    }
    let fired = kept.iter().filter(|((end, ..), _)| *end > watermark);
    seen.extend(fired.map(|(&window, ids)| result(window, ids, Timing::OnTime)));
    seen
}

/// Without the order of the records in a window, which is that of slices.
fn as_sets(mut seen: Vec<Seen>) -> Vec<Seen> {
    for result in &mut seen {
        if let Seen::Window { ids, .. } = result {
            ids.sort_unstable();
        }
    }
    sort(seen)
}

fn without_early(mut seen: Vec<Seen>) -> Vec<Seen> {
    seen.retain(|seen| !matches!(seen, Seen::Window { timing: Timing::Early, .. }));
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn sliding_windows_are_those_of_brute_force(
        records in recs(-80..80, 1..40), lag in 0i64..100, of in shape(),
    ) {
        let expected = as_sets(by_brute_force(&records, lag, of));
        prop_assert_eq!(as_sets(record_by_record(&records, lag, of.chain(None))), expected.clone());
        prop_assert_eq!(as_sets(in_batches(&records, lag, of.chain(None))), expected.clone());
        prop_assert_eq!(as_sets(in_epochs(&records, lag, of.chain(None))), expected);
    }

    #[test]
    fn early_results_change_no_others_and_hold_what_has_come(
        records in recs(-80..80, 1..40), lag in 0i64..100, of in shape(), every in 1i64..30,
    ) {
        let expected = as_sets(by_brute_force(&records, lag, of));
        for seen in [
            record_by_record(&records, lag, of.chain(Some(every))),
            in_batches(&records, lag, of.chain(Some(every))),
            in_epochs(&records, lag, of.chain(Some(every))),
        ] {
            for early in &seen {
                let Seen::Window { key, start, end, ids, timing: Timing::Early } = early else { continue };
                let mut last = ids.clone();
                last.sort_unstable();
                let holds = |id: &u64| {
                    let record = records[*id as usize];
                    record.key == *key && *start <= record.time && record.time < *end
                };
                prop_assert!(!last.is_empty() && last.iter().all(holds), "{:?}", early);
                let final_ids = expected.iter().find_map(|seen| match seen {
                    Seen::Window { key: k, start: s, ids, timing: Timing::OnTime, .. } if (k, s) == (key, start) => Some(ids),
                    _ => None,
                });
                prop_assert!(final_ids.is_some_and(|all| last.iter().all(|id| all.contains(id))), "{:?}", early);
            }
            prop_assert_eq!(as_sets(without_early(seen)), expected.clone());
        }
    }
}

fn counts(windows: Sliding) -> Harness<i64, (i64, i64, u64)> {
    Harness::new(move |stream| {
        let counts = stream.key_by(|_| ()).window(windows).count("counts");
        counts.map(|w| (w.window.start.as_millis(), w.window.end.as_millis(), w.value))
    })
}

fn take(harness: &mut Harness<i64, (i64, i64, u64)>) -> Vec<(i64, i64, u64)> {
    harness.take().into_iter().map(|(count, _)| count).collect()
}

#[test]
fn a_watermark_that_jumps_far_walks_over_nothing() {
    let mut harness = counts(sliding(Duration::from_millis(2), Duration::from_millis(1)));
    harness.record(1, at(0));
    harness.record(1, at(1 << 50));
    harness.watermark(at(1 << 51));
    assert_eq!(take(&mut harness).len(), 4);
    assert_eq!(harness.rows(), 0);
}

#[test]
fn windows_at_both_ends_of_time_do_not_wrap_around() {
    let mut harness = counts(sliding(Duration::from_millis(20), Duration::from_millis(10)));
    harness.record(1, Timestamp::MIN);
    harness.record(1, Timestamp::MAX);
    harness.watermark(at(i64::MIN + 100));
    // i64::MIN is 2 ms behind a multiple of 10.
    assert_eq!(take(&mut harness), [(i64::MIN, i64::MIN + 8, 1), (i64::MIN, i64::MIN + 18, 1)]);
    harness.watermark(Timestamp::MAX);
    assert_eq!(take(&mut harness), [(i64::MAX - 17, i64::MAX, 1)]);
}

#[test]
fn an_early_result_tells_what_changed_and_nothing_else() {
    let mut harness = Harness::new(|stream| {
        let windows = stream
            .key_by(|key: &i64| *key)
            .window(sliding(Duration::from_millis(20), Duration::from_millis(10)));
        let counts = windows.emit_early(Duration::from_millis(4)).count("counts");
        counts.map(|w| (w.key, w.window.start.as_millis(), w.value, w.timing))
    });
    let take = |harness: &mut Harness<i64, _>| {
        let mut found: Vec<_> = harness.take().into_iter().map(|(count, _)| count).collect();
        found.sort_unstable();
        found
    };
    harness.record(1, at(1));
    harness.record(2, at(2));
    harness.watermark(at(5));
    let early = |key, start, count| (key, start, count, Timing::Early);
    assert_eq!(take(&mut harness), [early(1, -10, 1), early(1, 0, 1), early(2, -10, 1), early(2, 0, 1)]);
    harness.record(2, at(6));
    harness.watermark(at(7));
    assert_eq!(take(&mut harness), []);
    harness.watermark(at(9));
    assert_eq!(take(&mut harness), [early(2, -10, 2), early(2, 0, 2)]);
    harness.watermark(at(10));
    assert_eq!(take(&mut harness), [(1, -10, 1, Timing::OnTime), (2, -10, 2, Timing::OnTime)]);
}
