//! Tumbling and sliding windows by brute force, for tests: every record is put into every window that holds it, and
//! every watermark looks at every window.

use std::collections::BTreeMap;

use super::replay::{Rec, Seen};
use super::{Timing, WindowedStream, Windows};
use crate::stream::Stream;

/// Windows, as numbers of milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) size: i64,
    pub(super) slide: i64,
    pub(super) offset: i64,
    pub(super) lateness: i64,
    /// The time between early results.
    pub(super) every: Option<i64>,
}

/// What is known of a window.
#[derive(Default)]
struct Known {
    records: Vec<Rec>,
    changed: bool,
}

impl Shape {
    /// The starts of the windows that hold a point in time.
    fn starts(&self, time: i64) -> impl Iterator<Item = i64> {
        let Shape { size, slide, offset, .. } = *self;
        (time - size + 1..=time).filter(move |start| (start - offset).rem_euclid(slide) == 0)
    }

    /// Where the slice of a point in time begins.
    fn slice(&self, time: i64) -> i64 {
        let is_edge = |at: i64| {
            let start = (at - self.offset).rem_euclid(self.slide) == 0;
            start || (at - self.offset - self.size).rem_euclid(self.slide) == 0
        };
        (time - self.slide..=time).rev().find(|&at| is_edge(at)).expect("there is an edge in every slide")
    }

    fn seen(&self, (key, start): (u8, i64), known: &Known, timing: Timing) -> Seen {
        let mut records = known.records.clone();
        records.sort_by_key(|record| self.slice(record.time));
        let ids = records.into_iter().map(|record| record.id).collect();
        Seen::Window { key, start, end: start + self.size, ids, timing }
    }

    /// What comes out, if a watermark `lag` behind the largest time follows every record with a larger one.
    pub(super) fn expected(&self, records: &[Rec], lag: i64) -> Vec<Seen> {
        let mut windows: BTreeMap<(u8, i64), Known> = BTreeMap::new();
        let (mut watermark, mut largest) = (i64::MIN, i64::MIN);
        let mut seen = Vec::new();
        for &record in records {
            let starts: Vec<i64> = self.starts(record.time).collect();
            let open =
                |start: &&i64| watermark == i64::MIN || **start + self.size + self.lateness > watermark;
            if !starts.is_empty() && !starts.iter().any(|start| open(&start)) {
                seen.push(Seen::Late(record.id));
            }
            for &start in starts.iter().filter(open) {
                let known = windows.entry((record.key, start)).or_default();
                known.records.push(record);
                known.changed = true;
                if start + self.size <= watermark {
                    seen.push(self.seen((record.key, start), known, Timing::Late));
                }
            }
            if record.time > largest {
                largest = record.time;
                self.rise(watermark, largest - lag, &mut windows, &mut seen);
                watermark = largest - lag;
            }
        }
        self.rise(watermark, i64::MAX, &mut windows, &mut seen);
        seen
    }

    fn rise(&self, from: i64, to: i64, windows: &mut BTreeMap<(u8, i64), Known>, seen: &mut Vec<Seen>) {
        let reaches_multiple = self.every.is_some_and(|every| {
            let passed = i128::from(to).div_euclid(i128::from(every));
            passed > i128::from(from).div_euclid(i128::from(every))
        });
        for (&window, known) in windows {
            let end = window.1 + self.size;
            if from < end && end <= to {
                seen.push(self.seen(window, known, Timing::OnTime));
            } else if to < end && reaches_multiple && std::mem::take(&mut known.changed) {
                seen.push(self.seen(window, known, Timing::Early));
            }
        }
    }
}

/// The windows' results and late records.
pub(super) fn ids<W: Windows>(windows: WindowedStream<u8, Rec, W>) -> Stream<Seen> {
    let (windows, late) = windows.with_late();
    windows
        .aggregate("ids", |_| super::replay::Ids)
        .map(Seen::from)
        .merge(late.map(|record| Seen::Late(record.id)))
}

/// Results that are not early.
pub(super) fn not_early(seen: Vec<Seen>) -> Vec<Seen> {
    let is_early = |seen: &Seen| matches!(seen, Seen::Window { timing: Timing::Early, .. });
    seen.into_iter().filter(|seen| !is_early(seen)).collect()
}

/// Whether every early result holds a part of what its window gives on time.
pub(super) fn early_are_parts(seen: &[Seen]) -> bool {
    let is_part = |of: (u8, i64), part: &[u64]| {
        seen.iter().any(|other| match other {
            Seen::Window { key, start, ids, timing: Timing::OnTime, .. } => {
                (*key, *start) == of && part.iter().all(|id| ids.contains(id))
            }
            _ => false,
        })
    };
    seen.iter().all(|seen| match seen {
        Seen::Window { key, start, ids, timing: Timing::Early, .. } => is_part((*key, *start), ids),
        _ => true,
    })
}
