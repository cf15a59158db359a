//! The rows of all key groups of a state, in the order of time.
//!
//! Each group has its rows in that order on disk; here they are merged. Invariant: rows come by time, at one time by
//! key group, in a group by the bytes of their keys. It reads a few rows of each group ahead, so that a page of a
//! state with many rows costs little more than the page.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::ControlFlow;

use super::Kept;
use crate::backend::Backend;
use crate::delta::Family;
use crate::error::Result;
use crate::id::{KEY_GROUPS, KeyGroup, StoreId};
use crate::layout::{VALUE_PREFIX_LEN, after_prefix, split_time_row, time_prefix, value_prefix};
use crate::time::Timestamp;

/// How many rows of a group are read at once: of most groups a page needs a few.
const AHEAD_ROWS: usize = 16;

type Raw = (Vec<u8>, Vec<u8>);

/// Rows that are merged.
pub(super) struct InOrderOfTime<'r> {
    backend: &'r dyn Backend,
    family: Family,
    groups: Vec<Group>,
    /// The time of the next row of each group that has one.
    next: BinaryHeap<Reverse<(Timestamp, usize)>>,
}

/// What is left of one group.
struct Group {
    rows: VecDeque<Raw>,
    /// Where its next rows begin; `None` behind the last.
    from: Option<Vec<u8>>,
    to: Vec<u8>,
}

impl<'r> InOrderOfTime<'r> {
    /// The rows from one time on and before another, behind a row.
    pub(super) fn new(
        backend: &'r dyn Backend,
        kept: &Kept,
        from: Timestamp,
        to: Option<Timestamp>,
        after: Option<&[u8]>,
    ) -> Result<Self> {
        let mut rows =
            InOrderOfTime { backend, family: kept.family, groups: Vec::new(), next: BinaryHeap::new() };
        for number in 0..KEY_GROUPS {
            let group = KeyGroup::new(number);
            let from = beginning(kept.id, group, from, after);
            let to = to.map_or_else(|| end(kept.id, group), |to| at(kept.id, group, to));
            rows.groups.push(Group { rows: VecDeque::new(), from: Some(from), to });
            rows.read_ahead(usize::from(number))?;
        }
        Ok(rows)
    }

    /// The next row.
    pub(super) fn next(&mut self) -> Result<Option<Raw>> {
        let Some(Reverse((_, number))) = self.next.pop() else { return Ok(None) };
        let row = self.groups[number].rows.pop_front();
        if self.groups[number].rows.is_empty() {
            self.read_ahead(number)?;
        } else {
            self.file(number);
        }
        Ok(row)
    }

    fn read_ahead(&mut self, number: usize) -> Result<()> {
        let group = &mut self.groups[number];
        let Some(from) = group.from.take() else { return Ok(()) };
        let (rows, mut next) = (&mut group.rows, None);
        self.backend.scan(self.family, &from, &group.to, &mut |key, value| {
            rows.push_back((key.to_vec(), value.to_vec()));
            if rows.len() < AHEAD_ROWS {
                return ControlFlow::Continue(());
            }
            next = Some([key, &[0][..]].concat());
            ControlFlow::Break(())
        })?;
        group.from = next;
        self.file(number);
        Ok(())
    }

    /// Notes when the group's next row is due.
    fn file(&mut self, number: usize) {
        let first = self.groups[number].rows.front();
        if let Some((time, _)) = first.and_then(|(key, _)| split_time_row(key)) {
            self.next.push(Reverse((time, number)));
        }
    }
}

fn at(store: StoreId, group: KeyGroup, time: Timestamp) -> Vec<u8> {
    let mut row = Vec::new();
    time_prefix(store, group, time, &mut row);
    row
}

fn end(store: StoreId, group: KeyGroup) -> Vec<u8> {
    let mut prefix = Vec::new();
    value_prefix(store, group, &mut prefix);
    after_prefix(&prefix)
}

/// Where a group's rows begin that come from `from` on, and in the merged order behind the row `after`.
fn beginning(store: StoreId, group: KeyGroup, from: Timestamp, after: Option<&[u8]>) -> Vec<u8> {
    let first = at(store, group, from);
    let Some((time, after)) = after.and_then(|after| Some((split_time_row(after)?.0, after))) else {
        return first;
    };
    let mut own = Vec::new();
    value_prefix(store, group, &mut own);
    let behind = match own.as_slice().cmp(&after[..VALUE_PREFIX_LEN]) {
        std::cmp::Ordering::Less if time == Timestamp::MAX => end(store, group),
        std::cmp::Ordering::Less => at(store, group, Timestamp::from_millis(time.as_millis() + 1)),
        std::cmp::Ordering::Equal => [after, &[0]].concat(),
        std::cmp::Ordering::Greater => at(store, group, time),
    };
    first.max(behind)
}
