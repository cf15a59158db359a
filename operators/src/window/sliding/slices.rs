//! The slices of one key, and what windows are put together from.
//!
//! A window is the merge of the slices in it. Windows of a key fire in the order of time, so slices enter at the end
//! and leave at the front, and the merge is kept by two stacks (Tangwongsan et al., 2015): for the slices at the front
//! the merge of each with all that follow it there, and one merge of those behind. Each slice is merged twice,
//! whatever the number of slices in a window.
//!
//! Invariant: the two stacks are what merging the slices would give, or are marked stale and made anew for the next
//! window. They are no state: a row that comes from disk begins without them. This module does not know time zones of
//! windows, watermarks or timers; merges are associative and nothing more.

use std::collections::VecDeque;

use highwater_state::{TimeRange, Timestamp};
use serde::{Deserialize, Serialize};

/// The slices of one key.
#[derive(Serialize, Deserialize)]
pub(super) struct Slices<A> {
    /// In order of time, by the start of each.
    slices: VecDeque<(Timestamp, Option<A>)>,
    /// The timer of the key that counts; others are left over.
    pub(super) armed: Option<Timestamp>,
    #[serde(skip, default = "Stacks::none")]
    stacks: Stacks<A>,
}

/// The slices of the last window, merged.
struct Stacks<A> {
    fresh: bool,
    /// How many slices lie before the window.
    passed: usize,
    /// How many slices lie before the end of the window.
    entered: usize,
    /// The merges of the front slices with all that follow them there; that of the first stands last.
    front: Vec<A>,
    /// The merge of the slices behind them.
    back: Option<A>,
}

impl<A> Stacks<A> {
    fn none() -> Self {
        Stacks { fresh: false, passed: 0, entered: 0, front: Vec::new(), back: None }
    }
}

impl<A> Default for Slices<A> {
    fn default() -> Self {
        Slices { slices: VecDeque::new(), armed: None, stacks: Stacks::none() }
    }
}

impl<A: Clone> Slices<A> {
    pub(super) fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// What is kept of the slice that begins at `start`, to be changed; never `None` afterwards.
    pub(super) fn at(&mut self, start: Timestamp) -> &mut Option<A> {
        let index = match self.slices.back() {
            Some(&(last, _)) if last == start => self.slices.len() - 1,
            Some(&(last, _)) if last < start => self.add(self.slices.len(), start),
            _ => {
                let index = self.slices.partition_point(|&(other, _)| other < start);
                let found = self.slices.get(index).is_some_and(|&(other, _)| other == start);
                if found { index } else { self.add(index, start) }
            }
        };
        // A slice that is not in the stacks yet changes nothing in them.
        self.stacks.fresh &= index >= self.stacks.entered;
        &mut self.slices[index].1
    }

    fn add(&mut self, index: usize, start: Timestamp) -> usize {
        self.slices.insert(index, (start, None));
        index
    }

    /// The starts of the slices, in order.
    pub(super) fn starts(&self) -> impl DoubleEndedIterator<Item = Timestamp> {
        self.slices.iter().map(|&(start, _)| start)
    }

    /// The first slice of which `past` does not say that it lies before what is looked for.
    pub(super) fn first_not(&self, past: impl Fn(Timestamp) -> bool) -> Option<Timestamp> {
        let index = self.slices.partition_point(|&(start, _)| past(start));
        self.slices.get(index).map(|&(start, _)| start)
    }

    /// Drops the slices at the front of which `done` says that nothing needs them.
    pub(super) fn drop_while(&mut self, done: impl Fn(Timestamp) -> bool) {
        let count = self.slices.iter().take_while(|&&(start, _)| done(start)).count();
        self.slices.drain(..count);
        let stacks = &mut self.stacks;
        let leaving = count.saturating_sub(stacks.passed);
        stacks.fresh &= leaving <= stacks.front.len();
        if stacks.fresh {
            stacks.front.truncate(stacks.front.len() - leaving);
            stacks.passed = stacks.passed.saturating_sub(count);
            stacks.entered -= count;
        }
    }

    /// The merge of the slices in a window, one after the other.
    pub(super) fn merged(&self, window: TimeRange, merge: impl Fn(&mut A, A)) -> Option<A> {
        let from = self.slices.partition_point(|&(start, _)| start < window.start);
        let slices = self.slices.range(from..).take_while(|&&(start, _)| start < window.end);
        slices.filter_map(|(_, kept)| kept.clone()).reduce(|mut kept, later| {
            merge(&mut kept, later);
            kept
        })
    }

    /// The same for windows that are asked for in the order of time, in a number of merges that does not depend on
    /// how many slices there are in a window, on the whole.
    pub(super) fn next_merged(&mut self, window: TimeRange, merge: impl Fn(&mut A, A)) -> Option<A> {
        let passed = self.slices.partition_point(|&(start, _)| start < window.start);
        let entered = self.slices.partition_point(|&(start, _)| start < window.end);
        let stacks = &mut self.stacks;
        let leaving = passed.checked_sub(stacks.passed).filter(|_| stacks.fresh && entered >= stacks.entered);
        match leaving {
            Some(leaving) if leaving <= stacks.front.len() => {
                stacks.front.truncate(stacks.front.len() - leaving);
                for (_, kept) in self.slices.range(stacks.entered..entered) {
                    let Some(kept) = kept.clone() else { continue };
                    match &mut stacks.back {
                        Some(back) => merge(back, kept),
                        back => *back = Some(kept),
                    }
                }
            }
            _ => {
                stacks.front.clear();
                stacks.back = None;
                for kept in self.slices.range(passed..entered).rev().filter_map(|(_, kept)| kept.as_ref()) {
                    let mut kept = kept.clone();
                    if let Some(later) = stacks.front.last() {
                        merge(&mut kept, later.clone());
                    }
                    stacks.front.push(kept);
                }
            }
        }
        (stacks.fresh, stacks.passed, stacks.entered) = (true, passed, entered);
        let mut merged = stacks.front.last().cloned();
        match (&mut merged, &stacks.back) {
            (Some(merged), Some(back)) => merge(merged, back.clone()),
            (merged, back) => *merged = merged.take().or_else(|| back.clone()),
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use proptest::prelude::*;

    fn time(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn window(start: i64, end: i64) -> TimeRange {
        TimeRange { start: time(start), end: time(end) }
    }

    fn push(slices: &mut Slices<Vec<i64>>, start: i64, value: i64) {
        slices.at(time(start)).get_or_insert_default().push(value);
    }

    fn join(kept: &mut Vec<i64>, mut later: Vec<i64>) {
        kept.append(&mut later);
    }

    proptest! {
        #[test]
        fn windows_in_the_order_of_time_are_the_merge_of_their_slices(
            steps in prop::collection::vec((0i64..60, 0i64..4, 1i64..12, any::<bool>()), 1..40),
        ) {
            let mut slices = Slices::default();
            let mut start = -10;
            for (value, (at, step, size, drops)) in steps.into_iter().enumerate() {
                push(&mut slices, at, value as i64);
                start += step;
                let window = window(start, start + size.max(step));
                prop_assert_eq!(slices.next_merged(window, join), slices.merged(window, join));
                if drops {
                    slices.drop_while(|other| other < window.start);
                }
            }
        }
    }

    #[test]
    fn a_slice_is_merged_a_few_times_whatever_the_ratio() {
        for ratio in [10, 100, 1000] {
            let mut slices = Slices::default();
            let merges = Cell::new(0u64);
            for at in 0..10 * ratio {
                push(&mut slices, at, at);
                let _ = slices.next_merged(window(at + 1 - ratio, at + 1), |kept, later| {
                    merges.set(merges.get() + 1);
                    *kept = vec![kept[0], later[later.len() - 1]];
                });
                slices.drop_while(|start| start <= time(at + 1 - ratio));
            }
            let per_slice = merges.get() as f64 / (10 * ratio) as f64;
            assert!(per_slice <= 3.0, "{per_slice} merges for each of {ratio} slices");
        }
    }
}
