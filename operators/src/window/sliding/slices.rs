//! What is kept of a key with sliding windows: its slices, in one row.
//!
//! Invariants: slices are in the order of time, each once and none without a record; the key has a timer at `armed`,
//! and neither a window must fire nor a slice be dropped before.

use std::collections::VecDeque;
use std::time::Duration;

use highwater_state::Timestamp;
use highwater_state::time::duration_millis;
use serde::{Deserialize, Serialize};

use super::queue::Queue;
use super::{Grid, Span, timestamp};
use crate::aggregate::update::{Partials, Update};

/// A slice of a key that holds records.
#[derive(Serialize, Deserialize)]
pub(super) struct Slice<A> {
    pub(super) start: Timestamp,
    /// What is kept of its records; never `None`, but for the way in which records are added.
    pub(super) kept: Option<A>,
}

/// The slices of a key that open windows need.
#[derive(Serialize, Deserialize)]
pub(super) struct Slices<A> {
    slices: VecDeque<Slice<A>>,
    armed: Option<Timestamp>,
    #[serde(skip, default = "Queue::default")]
    queue: Queue<A>,
}

impl<A> Default for Slices<A> {
    fn default() -> Self {
        Slices { slices: VecDeque::new(), armed: None, queue: Queue::default() }
    }
}

impl<A: Clone> Slices<A> {
    /// Adds a record to its slice.
    #[inline]
    pub(super) fn add<T, U: Update<T, Kept = A>>(
        &mut self,
        update: &U,
        start: Timestamp,
        record: T,
        time: Timestamp,
    ) {
        let index = match self.slices.back() {
            Some(last) if last.start == start => self.slices.len() - 1,
            Some(last) if last.start > start => self.insert_before_last(start),
            _ => {
                self.slices.push_back(Slice { start, kept: None });
                self.slices.len() - 1
            }
        };
        update.add(&mut self.slices[index].kept, record, time);
        self.queue.changed(start);
    }

    fn insert_before_last(&mut self, start: Timestamp) -> usize {
        let index = count_before(&self.slices, start.as_millis().into());
        if self.slices[index].start != start {
            self.slices.insert(index, Slice { start, kept: None });
        }
        index
    }

    /// Notes that the key is to have a timer at `due` too: gives the timer to set and the one to delete, if the one
    /// that it has is not early enough.
    #[inline]
    pub(super) fn arm(&mut self, due: Timestamp) -> Option<(Timestamp, Option<Timestamp>)> {
        match self.armed {
            Some(armed) if armed <= due => None,
            _ => Some((due, self.armed.replace(due))),
        }
    }

    /// What the window that ends at `end` gives, with what other windows have left in `queue`.
    pub(super) fn merged<T, U: Update<T, Kept = A>>(
        &self,
        update: &U,
        grid: &Grid,
        end: i128,
        queue: &mut Queue<A>,
    ) -> Option<A> {
        let partials = update.partials();
        if partials == Partials::None {
            *queue = Queue::default();
        }
        queue.window(&self.slices, (end - grid.size, end), partials, |kept, later| update.merge(kept, later))
    }

    /// As [`merged`](Slices::merged), with what windows of earlier ends have left.
    pub(super) fn merged_next<T, U: Update<T, Kept = A>>(
        &mut self,
        update: &U,
        grid: &Grid,
        end: i128,
    ) -> Option<A> {
        let mut queue = std::mem::take(&mut self.queue);
        let merged = self.merged(update, grid, end, &mut queue);
        if update.partials() != Partials::None {
            self.queue = queue;
        }
        merged
    }

    /// The ends of the windows that fire when the key's timer at `time` does: first and last, nothing if the last lies
    /// before the first.
    pub(super) fn firing(&self, grid: &Grid, time: Timestamp) -> (i128, i128) {
        let before = Timestamp::from_millis(time.as_millis().saturating_sub(1));
        let last = match self.slices.back() {
            // The end of time is that of all windows which end at it or would after it.
            Some(last) if time == Timestamp::MAX => grid.span(last.start).last_end,
            _ => time.as_millis().into(),
        };
        (grid.end_after(before), last)
    }

    /// Drops the slices that no window needs when the key's timer at `time` has fired, and gives the key's next timer;
    /// `None` if nothing is left.
    pub(super) fn advance(&mut self, grid: &Grid, lateness: Duration, time: Timestamp) -> Option<Timestamp> {
        self.armed = None;
        if time == Timestamp::MAX {
            self.slices.clear();
        }
        let lateness = i128::from(duration_millis(lateness));
        let dropped_at = loop {
            let dropped_at = grid.span(self.slices.front()?.start).last_end + lateness;
            if dropped_at > time.as_millis().into() {
                break dropped_at;
            }
            self.slices.pop_front();
        };
        let end = grid.end_after(time);
        let start = end - grid.size;
        let unfired = match self.slices.front() {
            // Without lateness no slice stays that has fired with all of its windows.
            Some(first) if i128::from(first.start.as_millis()) >= start => 0,
            _ => count_before(&self.slices, start),
        };
        let fires_at = self.slices.get(unfired).map(|slice| end.max(grid.end_after(slice.start)));
        self.armed = Some(timestamp(fires_at.map_or(dropped_at, |fires_at| fires_at.min(dropped_at))));
        self.armed
    }
}

/// How many slices start before `time`; looks from the newest on, in steps that double, as what is asked for is most
/// often near.
pub(super) fn count_before<A>(slices: &VecDeque<Slice<A>>, time: i128) -> usize {
    let is_before = |index: usize| i128::from(slices[index].start.as_millis()) < time;
    let mut back = 1;
    while back <= slices.len() && !is_before(slices.len() - back) {
        back *= 2;
    }
    let (mut low, mut high) = (slices.len().saturating_sub(back), slices.len() - back / 2);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// What a record in a slice means for its key, at one watermark.
#[derive(Clone, Copy)]
pub(super) struct Placed {
    pub(super) span: Span,
    pub(super) is_late: bool,
    /// When a window must fire, or the slice be dropped.
    pub(super) due: Timestamp,
}

impl Placed {
    /// The slice of a record with this time.
    pub(super) fn of(grid: &Grid, lateness: Duration, watermark: Timestamp, time: Timestamp) -> Placed {
        let span = grid.span(time);
        let dropped_at = span.last_end + i128::from(duration_millis(lateness));
        let is_late = watermark == Timestamp::MAX || dropped_at <= watermark.as_millis().into();
        let fires_at = span.first_end.max(grid.end_after(watermark));
        let due = if fires_at <= span.last_end { fires_at.min(dropped_at) } else { dropped_at };
        Placed { span, is_late, due: timestamp(due) }
    }

    /// The ends of the windows that have fired and take the record all the same: first and last, nothing if the last
    /// lies before the first.
    pub(super) fn updated(&self, grid: &Grid, lateness: Duration, watermark: Timestamp) -> (i128, i128) {
        let watermark = i128::from(watermark.as_millis());
        let closed = watermark - i128::from(duration_millis(lateness));
        let slide = i128::from(grid.slide);
        let skipped = match closed - self.span.first_end {
            ahead if ahead < 0 => 0,
            behind => behind / slide + 1,
        };
        (self.span.first_end + skipped * slide, self.span.last_end.min(watermark))
    }
}
