//! Tables ordered by time: windows by their end, timers by their time.
//!
//! Rows of one time are a pane. Firing takes the panes up to the watermark in order of time; what they hold is
//! dropped as a range, so that closing a window costs in proportion to what it holds and never to what stays
//! open. Invariant: at the end of an epoch no row lies at or before the time up to which panes were dropped.
//!
//! It does not know watermarks or lateness; operators decide up to which time they take and drop.

use std::collections::BTreeMap;

use crate::delta::Delta;
use crate::error::Result;
use crate::id::{Epoch, KeyGroup};
use crate::layout::time_prefix;
use crate::persist::{Key, Persist, encode};
use crate::table::{Place, RowRef, Slot, Table};
use crate::time::Timestamp;

/// Up to how many dropped rows an epoch deletes one by one; above it, by one range per key group. Ranges cost
/// every later read of the family a little, single deletes cost their own bytes.
const DELETES_ONE_BY_ONE: usize = 1024;

/// A table ordered by time.
pub struct Panes<K, V> {
    table: Table<K, V>,
    panes: BTreeMap<Timestamp, Vec<Slot>>,
    /// Keys of dropped rows that the backend holds.
    dropped: Vec<Vec<u8>>,
    dropped_many: bool,
    dropped_through: Timestamp,
    /// The end of time has been asked for: rows there cannot be told from none by the table's bounds.
    all_loaded: bool,
    created: Vec<Slot>,
}

impl<K: Key, V: Persist> Panes<K, V> {
    /// Opens the panes over what the backend holds of them; nothing is loaded before it is due.
    pub fn open(place: Place, applied: Epoch) -> Result<Self> {
        Ok(Panes {
            table: Table::open(place, applied)?,
            panes: BTreeMap::new(),
            dropped: Vec::new(),
            dropped_many: false,
            dropped_through: Timestamp::MIN,
            all_loaded: false,
            created: Vec::new(),
        })
    }

    /// As [`Table::resolve`]; the rows' times are those of their panes.
    pub fn resolve<'k>(
        &mut self,
        count: usize,
        row: impl Fn(usize) -> RowRef<'k, K>,
        slots: &mut Vec<Slot>,
    ) -> Result<()>
    where
        K: 'k,
    {
        self.table.resolve(count, row, slots)?;
        self.file_created();
        Ok(())
    }

    /// As [`Table::value_mut`].
    #[inline]
    pub fn value_mut(&mut self, slot: Slot) -> &mut Option<V> {
        self.table.value_mut(slot)
    }

    /// As [`Table::value`].
    #[inline]
    pub fn value(&self, slot: Slot) -> Option<&V> {
        self.table.value(slot)
    }

    /// The key of a row.
    pub fn key(&self, slot: Slot) -> Option<&K> {
        self.table.key(slot)
    }

    /// The time of the earliest pane at or before `through`; the pane is in memory then.
    pub fn due(&mut self, through: Timestamp) -> Result<Option<Timestamp>> {
        if through == Timestamp::MAX && !self.all_loaded {
            self.table.load_through(through)?;
            self.file_created();
            self.all_loaded = true;
        }
        loop {
            let in_memory = self.panes.first_key_value().map_or(Timestamp::MAX, |(&time, _)| time);
            let on_disk = self.table.earliest_on_disk();
            if on_disk < Timestamp::MAX && on_disk <= through && on_disk <= in_memory {
                self.table.load_through(on_disk)?;
                self.file_created();
                continue;
            }
            return Ok((in_memory <= through && !self.panes.is_empty()).then_some(in_memory));
        }
    }

    /// The earliest pane after `after` and at or before `through`; for panes that stay when they are read.
    pub fn due_after(&mut self, after: Timestamp, through: Timestamp) -> Result<Option<Timestamp>> {
        if self.table.earliest_on_disk() <= through && !self.all_loaded {
            self.all_loaded = through == Timestamp::MAX;
            self.table.load_through(through)?;
            self.file_created();
        }
        let first = Timestamp::from_millis(after.as_millis().saturating_add(1));
        if first > through || after == Timestamp::MAX {
            return Ok(None);
        }
        Ok(self.panes.range(first..=through).next().map(|(&time, _)| time))
    }

    /// Takes up to `most` rows out of the pane at `time`, into `rows`; says whether there are more.
    pub fn take(&mut self, time: Timestamp, most: usize, rows: &mut Vec<(K, V)>) -> Result<bool> {
        let Some(slots) = self.panes.get_mut(&time) else { return Ok(false) };
        for _ in 0..most {
            let Some(slot) = slots.pop() else { break };
            // A row that was let go or deleted leaves its number behind; another may have moved in.
            if self.table.key(slot).is_none() || self.table.time(slot) != time {
                continue;
            }
            let Some((key, value, persisted)) = self.table.take(slot) else { continue };
            if persisted && !self.dropped_many {
                let mut row = Vec::new();
                let place = self.table.place();
                let group = KeyGroup::of_hash(crate::hash::key_hash(&key));
                time_prefix(place.store, group, time, &mut row);
                encode("key", &key, &mut row)?;
                self.dropped.push(row);
                self.dropped_many = self.dropped.len() > DELETES_ONE_BY_ONE;
            }
            rows.push((key, value));
        }
        let more = !slots.is_empty();
        if !more {
            self.panes.remove(&time);
            self.dropped_through = self.dropped_through.max(time);
        }
        Ok(more)
    }

    /// The rows of the pane at `time`, each once; they stay.
    pub fn slots(&mut self, time: Timestamp) -> &[Slot] {
        let Some(slots) = self.panes.get_mut(&time) else { return &[] };
        slots.sort_unstable();
        slots.dedup();
        let table = &self.table;
        slots.retain(|&slot| table.time(slot) == time && table.value(slot).is_some());
        slots
    }

    /// As [`Table::freeze`]. Rows that were taken are deleted.
    ///
    /// # Panics
    /// If a row at or before a pane that was taken is still there: the operator took panes out of order.
    pub fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<()> {
        let place = self.table.place();
        if self.dropped_many {
            let first = self.panes.first_key_value().map(|(&time, _)| time);
            assert!(first.is_none_or(|first| first > self.dropped_through), "panes were taken out of order");
            let end = Timestamp::from_millis(self.dropped_through.as_millis().saturating_add(1));
            for group in place.groups.clone().map(KeyGroup::new) {
                let (mut from, mut to) = (Vec::new(), Vec::new());
                time_prefix(place.store, group, Timestamp::MIN, &mut from);
                time_prefix(place.store, group, end, &mut to);
                delta.delete_range(place.family, &from, &to);
            }
        } else {
            self.dropped.iter().for_each(|row| delta.delete(place.family, row));
        }
        self.dropped.clear();
        self.dropped_many = false;
        self.table.freeze(epoch, delta)
    }

    /// As [`Table::applied`].
    pub fn applied(&mut self, epoch: Epoch) {
        self.table.applied(epoch);
    }

    /// How many rows are in memory.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no row is in memory.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    fn file_created(&mut self) {
        self.table.take_created(&mut self.created);
        for slot in self.created.drain(..) {
            self.panes.entry(self.table.time(slot)).or_default().push(slot);
        }
    }
}
