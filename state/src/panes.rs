//! Tables ordered by time: windows by their end, timers by their time.
//!
//! Rows of one time are a pane. Firing takes the panes up to the watermark in order of time; what they hold is
//! dropped as a range, so that closing a window costs in proportion to what it holds and never to what stays
//! open. Invariants:
//!
//! - a row of the table that has a value is filed in the pane of its time, once; a slot that holds no row of the
//!   pane is in no pane, but [`NO_SLOT`] may stand in the place of a row that went while its pane was read;
//! - a row that was taken is deleted by the next delta, and not found again, whether that is applied or not.
//!
//! It does not know watermarks or lateness; operators decide up to which time they take and drop.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use crate::delta::{Delta, Piece};
use crate::error::{Result, StateError};
use crate::id::{Epoch, KEY_GROUPS, KeyGroup};
use crate::layout::{after_prefix, split_time_row, time_prefix, value_prefix};
use crate::persist::{Key, Persist, decode, encode};
use crate::table::{NO_SLOT, Place, ROWS_AT_ONCE, RowRef, Slot, Table};
use crate::time::Timestamp;

/// Up to how many dropped rows an epoch deletes one by one; above it, by one range per key group. Ranges cost
/// every later read of the family a little, single deletes cost their own bytes.
const DELETES_ONE_BY_ONE: usize = 1024;

/// A table ordered by time.
pub struct Panes<K, V> {
    table: Table<K, V, Timestamp>,
    panes: BTreeMap<Timestamp, Vec<Slot>>,
    /// By slot: where in its pane it stands.
    positions: Vec<u32>,
    /// Deletes the rows that were taken in this epoch and that the backend holds, unless they are too many.
    dropped: Delta,
    dropped_many: bool,
}

impl<K: Key, V: Persist> Panes<K, V> {
    /// Opens the panes over what the backend holds of them; nothing is loaded before it is due.
    pub fn open(place: Place, applied: Epoch) -> Result<Self> {
        Ok(Panes {
            table: Table::open(place, applied)?,
            panes: BTreeMap::new(),
            positions: Vec::new(),
            dropped: Delta::default(),
            dropped_many: false,
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
        let resolved = self.table.resolve(count, row, slots);
        self.file();
        resolved
    }

    /// As [`Table::look_up`]; the rows' times are those of their panes.
    pub fn look_up<'k>(
        &mut self,
        count: usize,
        row: impl Fn(usize) -> RowRef<'k, K>,
        slots: &mut Vec<Slot>,
    ) -> Result<()>
    where
        K: 'k,
    {
        let found = self.table.look_up(count, row, slots);
        self.file();
        found
    }

    /// As [`Table::change_each`]; the rows' times are those of their panes.
    pub fn change_each<'k>(
        &mut self,
        count: usize,
        row: impl Fn(usize) -> RowRef<'k, K>,
        change: impl FnMut(usize, &mut Option<V>),
    ) -> Result<()>
    where
        K: 'k,
    {
        let changed = self.table.change_each(count, row, change);
        self.file();
        changed
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

    /// The time of the earliest pane at or before `through`; the pane is in memory then. It may turn out to hold
    /// no rows.
    pub fn due(&mut self, through: Timestamp) -> Result<Option<Timestamp>> {
        loop {
            let in_memory =
                self.panes.first_key_value().map(|(&time, _)| time).filter(|&time| time <= through);
            let until = in_memory.unwrap_or(through);
            match self.table.on_disk.first() {
                Some(on_disk) if on_disk <= until => self.load(on_disk, OnDisk::first_of)?,
                _ => return Ok(in_memory),
            }
        }
    }

    /// The earliest pane after `after` and at or before `through`; for panes that stay when they are read. The
    /// pane is in memory until this is called again, or until it is taken.
    pub fn due_after(&mut self, after: Timestamp, through: Timestamp) -> Result<Option<Timestamp>> {
        self.table.pins.reading = None;
        let first = Timestamp::from_millis(after.as_millis().saturating_add(1));
        if first > through || after == Timestamp::MAX {
            return Ok(None);
        }
        // What was read before may go.
        self.table.make_room();
        self.file();
        let found = loop {
            let in_memory = self.panes.range(first..=through).next().map(|(&time, _)| time);
            let until = in_memory.unwrap_or(through);
            match self.table.on_disk.first_after(after) {
                Some(on_disk) if on_disk <= until => self.load(on_disk, OnDisk::later_of)?,
                _ => break in_memory,
            }
        };
        self.table.pins.reading = found;
        Ok(found)
    }

    /// Takes up to `most` rows out of the pane at `time`, into `rows`; says whether there are more.
    pub fn take(&mut self, time: Timestamp, most: usize, rows: &mut Vec<(K, V)>) -> Result<bool> {
        // Nothing at or before `time` may be on disk alone: what is taken would be found there again.
        if self.table.on_disk.first().is_some_and(|first| first <= time) {
            self.load(time, OnDisk::first_of)?;
        }
        let Some(slots) = self.panes.get_mut(&time) else { return Ok(false) };
        let from = slots.len().saturating_sub(most);
        for (number, slot) in slots[from..].iter().rev().copied().enumerate() {
            if number % ROWS_AT_ONCE == 0 && slots.len() - from > 8 {
                let end = slots.len() - number;
                self.table.will_take(&slots[end.saturating_sub(ROWS_AT_ONCE).max(from)..end]);
            }
            if slot == NO_SLOT {
                continue;
            }
            let Some(taken) = self.table.take(slot) else { continue };
            if taken.persisted && !self.dropped_many {
                let place = self.table.place();
                let mut row = Vec::new();
                time_prefix(place.store, KeyGroup::of_hash(taken.hash), time, &mut row);
                encode("key", &taken.key, &mut row)?;
                self.dropped.delete(place.family, &row);
                if self.dropped.len() > DELETES_ONE_BY_ONE {
                    (self.dropped, self.dropped_many) = (Delta::default(), true);
                }
            }
            rows.extend(taken.value.map(|value| (taken.key, value)));
        }
        slots.truncate(from);
        let more = !slots.is_empty();
        if !more {
            self.panes.remove(&time);
        }
        Ok(more)
    }

    /// The rows of the pane at `time`, each once; they stay. A slot without a value is to be passed over: its row
    /// is gone, or never was.
    ///
    /// While one pane is read, what this gives only grows, at its end, so that a reader may remember how many
    /// slots it has seen; what changes in a slot that it has passed is not told. Costs nothing.
    pub fn slots(&mut self, time: Timestamp) -> &[Slot] {
        self.table.pins.reading = Some(time);
        self.panes.get(&time).map_or(&[], Vec::as_slice)
    }

    /// As [`Table::freeze`]. Rows that were taken are deleted.
    pub fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<()> {
        self.begin_freeze(epoch, delta);
        self.write_frozen(&mut Piece::rest(delta))?;
        delta.sort();
        Ok(())
    }

    /// As [`Table::begin_freeze`]. Rows that were taken are deleted.
    pub fn begin_freeze(&mut self, epoch: Epoch, delta: &mut Delta) {
        if let Some(through) = self.table.pins.taking.filter(|_| self.dropped_many) {
            // What stays or came in behind lies inside the range too: it is written again.
            for &slot in self.panes.range(..=through).flat_map(|(_, slots)| slots) {
                if self.table.value(slot).is_some() {
                    self.table.value_mut(slot);
                }
            }
            self.delete_through(through, delta);
        }
        delta.append(std::mem::take(&mut self.dropped));
        self.dropped_many = false;
        self.table.begin_freeze(epoch, delta);
        self.file();
    }

    /// As [`Table::write_frozen`].
    pub fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<()> {
        let written = self.table.write_frozen(piece);
        self.file();
        written
    }

    fn delete_through(&self, through: Timestamp, delta: &mut Delta) {
        let place = self.table.place();
        for group in place.groups.clone().map(KeyGroup::new) {
            let (mut from, mut to) = (Vec::new(), Vec::new());
            time_prefix(place.store, group, Timestamp::MIN, &mut from);
            match through.as_millis().checked_add(1) {
                Some(end) => time_prefix(place.store, group, Timestamp::from_millis(end), &mut to),
                None => {
                    value_prefix(place.store, group, &mut to);
                    to = after_prefix(&to);
                }
            }
            delta.delete_range(place.family, &from, &to);
        }
    }

    /// As [`Table::applied`].
    pub fn applied(&mut self, epoch: Epoch) {
        self.table.applied(epoch);
        self.file();
    }

    /// How many rows are in memory.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no row is in memory.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Files what the table's last call changed.
    fn file(&mut self) {
        let mut filing = std::mem::take(&mut self.table.filing);
        for (slot, time) in filing.released.drain(..) {
            self.unfile(slot, time);
        }
        for (from, to, time) in filing.moved.drain(..) {
            let position = self.positions[from as usize];
            self.positions[to as usize] = position;
            if let Some(slots) = self.panes.get_mut(&time) {
                slots[position as usize] = to;
            }
        }
        let count = self.table.slot_count();
        if self.positions.len() != count {
            self.positions.resize(count, 0);
            self.positions.shrink_to(2 * count);
        }
        // Rows that come together are mostly of one pane.
        for of_one_time in filing.created.chunk_by(|one, other| one.1 == other.1) {
            let slots = self.panes.entry(of_one_time[0].1).or_default();
            for &(slot, _) in of_one_time {
                self.positions[slot as usize] = slots.len() as u32;
                slots.push(slot);
            }
        }
        filing.created.clear();
        self.table.filing = filing;
    }

    fn unfile(&mut self, slot: Slot, time: Timestamp) {
        let Some(slots) = self.panes.get_mut(&time) else { return };
        let position = self.positions[slot as usize] as usize;
        if self.table.pins.reading == Some(time) {
            slots[position] = NO_SLOT;
            return;
        }
        slots.swap_remove(position);
        if let Some(&moved) = slots.get(position).filter(|&&moved| moved != NO_SLOT) {
            self.positions[moved as usize] = position as u32;
        }
        if slots.is_empty() {
            self.panes.remove(&time);
        }
    }

    /// Loads the rows up to `through`, of each group from its bound on.
    fn load(
        &mut self,
        through: Timestamp,
        bound: impl Fn(&OnDisk, KeyGroup) -> Option<Timestamp>,
    ) -> Result<()> {
        let mut groups = self.table.place().groups.clone().map(KeyGroup::new);
        let loaded = groups.try_for_each(|group| match bound(&self.table.on_disk, group) {
            Some(from) if from <= through => self.load_group(group, from, through),
            _ => Ok(()),
        });
        self.file();
        self.table.settle();
        loaded
    }

    fn load_group(&mut self, group: KeyGroup, from: Timestamp, through: Timestamp) -> Result<()> {
        let mut found: Vec<(Timestamp, K, V, usize)> = Vec::new();
        let mut next = None;
        let mut failed = Ok(());
        let place = self.table.place();
        let (first, end) = self.table.group_rows(group, from);
        place.backend.scan(place.family, &first, &end, &mut |row, value| {
            let decoded = row_time(&place.name, row).and_then(|(at, key)| {
                if at > through {
                    next = Some(at);
                    return Ok(false);
                }
                let (key, kept) = (decode(&place.name, key)?, decode(&place.name, value)?);
                found.push((at, key, kept, row.len() + value.len()));
                Ok(true)
            });
            match decoded {
                Ok(true) => ControlFlow::Continue(()),
                Ok(false) => ControlFlow::Break(()),
                Err(error) => {
                    failed = Err(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        failed?;
        self.table.on_disk.loaded(group, from, next);
        for (time, key, value, encoded) in found {
            let hash = crate::hash::key_hash(&key);
            self.table.insert_loaded(&RowRef { hash, time, key: &key }, value, encoded);
        }
        Ok(())
    }
}

/// The time of a row of the backend, and the bytes of its key.
pub(crate) fn row_time<'a>(name: &str, row: &'a [u8]) -> Result<(Timestamp, &'a [u8])> {
    split_time_row(row).ok_or_else(|| StateError::Row {
        name: name.to_owned(),
        reason: format!("its key has {} bytes, too few for a row ordered by time", row.len()),
    })
}

/// A row that was taken out of its table.
pub(crate) struct Taken<K, V> {
    pub(crate) key: K,
    pub(crate) hash: u64,
    pub(crate) value: Option<V>,
    /// The backend holds the row, or will when the frozen epochs are applied.
    pub(crate) persisted: bool,
}

/// Which slots of a table must be filed anew, in the order in which it must be done.
#[derive(Default)]
pub(crate) struct Filing {
    pub(crate) released: Vec<(Slot, Timestamp)>,
    /// From the first slot to the second.
    pub(crate) moved: Vec<(Slot, Slot, Timestamp)>,
    pub(crate) created: Vec<(Slot, Timestamp)>,
}

/// Which rows a table does not let go although the backend holds them.
#[derive(Default)]
pub(crate) struct Pins {
    /// The last time of which rows were taken in this epoch.
    pub(crate) taking: Option<Timestamp>,
    /// The same of the epochs that are frozen and not applied.
    taken: Vec<(Epoch, Timestamp)>,
    /// The pane that is being read.
    pub(crate) reading: Option<Timestamp>,
}

impl Pins {
    pub(crate) fn freeze(&mut self, epoch: Epoch) {
        self.taken.extend(self.taking.take().map(|time| (epoch, time)));
    }

    pub(crate) fn applied(&mut self, epoch: Epoch) {
        self.taken.retain(|&(at, _)| at > epoch);
    }

    /// The time up to which rows stay, because some there were taken and the backend does not know yet.
    pub(crate) fn through(&self) -> Option<Timestamp> {
        self.taken.iter().map(|&(_, time)| time).chain(self.taking).max()
    }
}

/// From when on the backend may hold rows that the table does not, per key group. A bound may lie too early and
/// never too late.
pub(crate) struct OnDisk {
    groups: Range<usize>,
    first: Box<[Option<Timestamp>]>,
    /// The earliest of them, because it is asked for at every pane, and changes seldom.
    earliest: Option<Timestamp>,
    /// The bounds of the rows after the pane that was read last, so that those before it, which stay, are not
    /// loaded with every pane that is read.
    later: Box<[Option<Timestamp>]>,
    /// That pane; `None` until one is read.
    read: Option<Timestamp>,
}

impl OnDisk {
    /// Nothing, of these groups.
    pub(crate) fn new(groups: Range<u16>) -> Self {
        let none = || vec![None; usize::from(KEY_GROUPS)].into();
        let groups = usize::from(groups.start)..usize::from(groups.end);
        OnDisk { groups, first: none(), earliest: None, later: none(), read: None }
    }

    /// The earliest bound.
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.earliest
    }

    fn first_of(&self, group: KeyGroup) -> Option<Timestamp> {
        self.first[usize::from(group.number())]
    }

    /// The earliest bound of the rows after `after`; exact, if `after` rises from call to call.
    fn first_after(&mut self, after: Timestamp) -> Option<Timestamp> {
        if self.read != Some(after) {
            let next = Timestamp::from_millis(after.as_millis().saturating_add(1));
            let rises = self.read.is_some_and(|read| read < after);
            for (later, first) in self.later.iter_mut().zip(&self.first) {
                let bound = if rises { *later } else { *first };
                *later = bound.map(|bound| bound.max(next));
            }
            self.read = Some(after);
        }
        self.later[self.groups.clone()].iter().flatten().min().copied()
    }

    fn later_of(&self, group: KeyGroup) -> Option<Timestamp> {
        self.later[usize::from(group.number())]
    }

    /// Whether the backend may hold a row of this time that the table does not.
    #[inline]
    pub(crate) fn may_hold(&self, group: KeyGroup, time: Timestamp) -> bool {
        self.first[usize::from(group.number())].is_some_and(|first| first <= time)
    }

    /// Notes that a row of this time stands in the backend only.
    pub(crate) fn let_go(&mut self, group: KeyGroup, time: Timestamp) {
        let lower =
            |bound: &mut Option<Timestamp>| *bound = Some(bound.map_or(time, |bound| bound.min(time)));
        lower(&mut self.first[usize::from(group.number())]);
        lower(&mut self.earliest);
        if self.read.is_some_and(|read| time > read) {
            lower(&mut self.later[usize::from(group.number())]);
        }
    }

    /// Notes that the rows from `from` up to `next` are in memory; without `next` there are no more.
    fn loaded(&mut self, group: KeyGroup, from: Timestamp, next: Option<Timestamp>) {
        let group = usize::from(group.number());
        let before = self.first[group];
        for bound in [&mut self.first[group], &mut self.later[group]] {
            if bound.is_some_and(|bound| bound >= from) {
                *bound = next.max(*bound).filter(|_| next.is_some());
            }
        }
        if before == self.earliest {
            self.earliest = self.first[self.groups.clone()].iter().flatten().min().copied();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backend::memory::MemoryBackend;
    use crate::backend::volatile::VolatileBackend;
    use crate::budget::TableBudget;
    use crate::delta::Family;
    use crate::id::StoreId;

    fn over_its_limit() -> Panes<u64, u64> {
        let place = Place {
            name: "test".to_owned(),
            store: StoreId(1),
            family: Family::Windows,
            backend: Arc::new(MemoryBackend::new()),
            budget: Arc::new(TableBudget::new(0)),
            groups: KeyGroup::range(0, 1),
        };
        Panes::open(place, Epoch(0)).expect("opens")
    }

    fn set(panes: &mut Panes<u64, u64>, time: Timestamp, key: u64) {
        let row = |_| RowRef { hash: crate::hash::key_hash(&key), time, key: &key };
        let mut slots = Vec::new();
        panes.resolve(1, row, &mut slots).expect("resolves");
        *panes.value_mut(slots[0]) = Some(key);
    }

    #[test]
    fn slots_that_nothing_needs_are_given_back_and_the_rows_in_them_are_kept() {
        let mut panes = over_its_limit();
        let time = Timestamp::from_millis;
        (0..100_000).for_each(|key| set(&mut panes, time(1), key));
        (0..50).for_each(|key| set(&mut panes, time(2), key));
        let mut rows = Vec::new();
        panes.take(time(1), usize::MAX, &mut rows).expect("takes");
        assert_eq!(rows.len(), 100_000);
        for epoch in 1..=2 {
            let backend = Arc::clone(&panes.table.place().backend);
            let mut delta = Delta::default();
            panes.freeze(Epoch(epoch), &mut delta).expect("freezes");
            backend.commit(&delta).expect("commits");
        }
        assert_eq!((panes.table.slot_count(), panes.positions.len()), (50, 50));
        assert!(panes.positions.capacity() <= 100);
        rows.clear();
        panes.take(time(2), usize::MAX, &mut rows).expect("takes");
        rows.sort_unstable();
        assert_eq!(rows, (0..50).map(|key| (key, key)).collect::<Vec<_>>());
    }

    #[test]
    fn over_a_backend_that_keeps_nothing_rows_stay_and_nothing_is_written() {
        let mut panes = over_its_limit();
        let place = Place { backend: Arc::new(VolatileBackend::new()), ..panes.table.place().clone() };
        panes = Panes::open(place, Epoch(0)).expect("opens");
        (0..1000).for_each(|key| set(&mut panes, Timestamp::from_millis(1), key));
        for epoch in 1..=3 {
            let mut delta = Delta::default();
            panes.freeze(Epoch(epoch), &mut delta).expect("freezes");
            assert_eq!(delta.len(), 0);
            panes.applied(Epoch(epoch));
            set(&mut panes, Timestamp::from_millis(1), 0);
        }
        let mut rows = Vec::new();
        panes.take(Timestamp::from_millis(1), usize::MAX, &mut rows).expect("takes");
        assert_eq!(rows.len(), 1000);
    }

    #[test]
    fn a_table_of_which_nothing_may_go_is_not_searched_again_and_again() {
        let mut panes = over_its_limit();
        (0..10_000).for_each(|key| set(&mut panes, Timestamp::MIN, key));
        (0..10).for_each(|key| set(&mut panes, Timestamp::MIN, key));
        assert_eq!((panes.table.steps, panes.len()), (0, 10_000));
        panes.freeze(Epoch(1), &mut Delta::default()).expect("freezes");
        (0..10).for_each(|key| set(&mut panes, Timestamp::MIN, key));
        assert_eq!((panes.table.steps, panes.len()), (0, 10_000));
        panes.applied(Epoch(1));
        (0..10).for_each(|key| set(&mut panes, Timestamp::MIN, key));
        assert!(panes.len() <= 10, "{} rows", panes.len());
    }
}
