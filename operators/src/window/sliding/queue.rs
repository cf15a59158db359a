//! The values of windows that fire one after the other, each in a bounded number of merges.
//!
//! Aggregates cannot be taken back, and the order of merging matters. So the slices of the window that fired last are
//! held in two parts. The older part has, for each of its slices, what all from that one to the end of the part give:
//! what is too old is dropped without any merge. The newer part is one value, to which slices are added as windows
//! reach them. When the older part has run out, it is made anew of the slices of the newer. A slice is merged once in
//! each part, and a window merges the two.
//!
//! Where values grow with what is merged in them, the older part holds few of them, evenly spread; a window then merges
//! the slices before the first that it finds. Both their number and the merges are the square root of what they were.
//!
//! It is a cache: what it holds can be made anew of the slices, and must be when one of them changes. It does not
//! survive a restart. Memory: a value for each slice of the older part, or for as many as the square root of their
//! number.

use std::collections::VecDeque;

use highwater_state::Timestamp;

use super::slices::{Slice, count_before};
use crate::aggregate::update::Partials;

/// What is merged of the slices of the window that fired last.
pub(super) struct Queue<A> {
    /// The older part, the newest slice first: its start, and what it and all that are newer give; of all slices, or of
    /// some.
    older: Vec<(Timestamp, A)>,
    /// The newer part: the start of its first slice, and what all give.
    newer: Option<(Timestamp, A)>,
    /// The bounds of that window.
    from: i128,
    until: i128,
}

impl<A> Default for Queue<A> {
    fn default() -> Self {
        Queue { older: Vec::new(), newer: None, from: i128::MIN, until: i128::MIN }
    }
}

impl<A: Clone> Queue<A> {
    /// What the slices from `from` up to, and not with, `until` give; `None` without any. Both rise from call to call.
    pub(super) fn window(
        &mut self,
        slices: &VecDeque<Slice<A>>,
        (from, until): (i128, i128),
        partials: Partials,
        merge: impl Fn(&mut A, A),
    ) -> Option<A> {
        let is_old = |start: Timestamp| i128::from(start.as_millis()) < from;
        while self.older.pop_if(|(start, _)| is_old(*start)).is_some() {}
        if self.newer.take_if(|(start, _)| is_old(*start)).is_some() {
            let every = match partials {
                Partials::Few => between(slices, from, self.until).count().isqrt().max(1),
                Partials::All | Partials::None => 1,
            };
            let mut newer: Option<A> = None;
            for (number, (start, kept)) in between(slices, from, self.until).rev().enumerate() {
                let mut kept = kept.clone();
                if let Some(newer) = newer {
                    merge(&mut kept, newer);
                }
                if number % every == 0 {
                    self.older.push((start, kept.clone()));
                }
                newer = Some(kept);
            }
        }
        for (start, kept) in between(slices, from.max(self.until), until) {
            match &mut self.newer {
                Some((_, merged)) => merge(merged, kept.clone()),
                None => self.newer = Some((start, kept.clone())),
            }
        }
        (self.from, self.until) = (from, until);
        let parts = [self.older.last(), self.newer.as_ref()].into_iter().flatten();
        let mut merged: Option<A> = None;
        let mut add = |part: &A| match &mut merged {
            Some(merged) => merge(merged, part.clone()),
            None => merged = Some(part.clone()),
        };
        if partials == Partials::Few {
            // Those before the first of which the older part says what they give.
            let first = parts.clone().next().map_or(until, |(start, _)| start.as_millis().into());
            between(slices, from, first).for_each(|(_, kept)| add(kept));
        }
        parts.for_each(|(_, part)| add(part));
        merged
    }

    /// Forgets everything if the slice is part of it.
    #[inline]
    pub(super) fn changed(&mut self, slice: Timestamp) {
        let start = i128::from(slice.as_millis());
        if self.from <= start && start < self.until {
            *self = Queue::default();
        }
    }
}

/// The slices that start from `from` up to, and not at, `until`.
fn between<A>(
    slices: &VecDeque<Slice<A>>,
    from: i128,
    until: i128,
) -> impl DoubleEndedIterator<Item = (Timestamp, &A)> {
    let (first, end) = (count_before(slices, from), count_before(slices, until));
    let found = slices.range(first.min(end)..end);
    found.filter_map(|slice| Some((slice.start, slice.kept.as_ref()?)))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    fn slices(of: &[i64]) -> VecDeque<Slice<String>> {
        let start =
            |&start: &i64| Slice { start: Timestamp::from_millis(start), kept: Some(format!("{start} ")) };
        of.iter().map(start).collect()
    }

    /// The slices of a window one after the other.
    fn expected(of: &[i64], from: i64, until: i64) -> Option<String> {
        let inside: Vec<String> = of
            .iter()
            .filter(|start| (from..until).contains(*start))
            .map(|start| format!("{start} "))
            .collect();
        (!inside.is_empty()).then(|| inside.concat())
    }

    proptest! {
        #[test]
        fn a_window_gives_its_slices_in_order_also_after_one_has_changed(
            starts in prop::collection::btree_set(-60i64..60, 0..40),
            size in 1i64..30,
            steps in prop::collection::vec((1i64..20, -65i64..65), 1..30),
            partials in prop::sample::select(vec![Partials::All, Partials::Few]),
        ) {
            let mut starts: Vec<i64> = starts.into_iter().collect();
            let mut queue = Queue::default();
            let mut from = -70;
            for (step, new) in steps {
                from += step;
                let window = (i128::from(from), i128::from(from + size));
                let found = queue.window(&slices(&starts), window, partials, |kept, later| kept.push_str(&later));
                prop_assert_eq!(found, expected(&starts, from, from + size));
                if let Err(at) = starts.binary_search(&new) {
                    starts.insert(at, new);
                    queue.changed(Timestamp::from_millis(new));
                }
            }
        }
    }

    #[test]
    fn a_window_costs_a_bounded_number_of_merges_whatever_its_size() {
        let all: Vec<i64> = (0..20_000).collect();
        let slices = slices(&all);
        for size in [1, 10, 1000] {
            let (mut queue, merges) = (Queue::default(), Cell::new(0));
            let windows = 10_000i128;
            for end in 1..=windows {
                let merge = |_: &mut String, _| merges.set(merges.get() + 1);
                queue.window(&slices, (end - size, end), Partials::All, merge);
            }
            assert!(merges.get() <= 3 * windows, "{} merges at size {size}", merges.get());
        }
    }
}
