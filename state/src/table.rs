//! Typed write-back tables: what operators keep their state in.
//!
//! A row in use lives here as a decoded value. Nothing is encoded or decoded when a row is found; rows that are
//! not here are fetched for a whole batch in one call; what changed is encoded once per epoch, in pieces between
//! records ([`Table::begin_freeze`]). A row that is born and dies within one epoch never reaches the backend.
//!
//! Invariants:
//!
//! - what the table does not hold stands in the backend as it is: a row is let go only when it is unchanged
//!   since an epoch that the backend has applied ([`Table::applied`]);
//! - a row that was taken is not read again before the backend has deleted it: all rows up to its time have been
//!   loaded when it is taken, and none of them is let go until then;
//! - HW-2: nothing is written but through the delta of a frozen epoch;
//! - over a backend that keeps no rows, all rows stay here, and none is encoded.
//!
//! It does not know workers, operators or watermarks. Memory: every row charges the shared
//! [`TableBudget`]; above it, rows that may be let go are, those first that were not used lately (CLOCK). The
//! search for them costs in proportion to the rows that came in, also while none may go. Slots that nothing needed
//! for an epoch are given back at its end, if they are most of the table.

mod account;
mod ask;
mod freezing;
mod index;
mod large;
mod look_up;
mod row_time;
mod rows;

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::backend::Backend;
use crate::budget::TableBudget;
use crate::delta::Family;
use crate::error::Result;
use crate::id::{Epoch, KeyGroup, StoreId};
use crate::layout::{after_prefix, time_prefix, value_prefix};
use crate::panes::{Filing, OnDisk, Pins, Taken, row_time};
use crate::persist::{Key, Persist};
use crate::time::Timestamp;
use account::Account;
use freezing::Freezing;
pub use row_time::RowTime;
use rows::{Cold, Content, Rows};

/// Where a table's rows are filed, and what it shares with other tables.
#[derive(Clone)]
pub struct Place {
    /// The state's name, for errors.
    pub name: String,
    /// Its number on disk.
    pub store: StoreId,
    /// The kind of its rows.
    pub family: Family,
    /// Where decided epochs are kept.
    pub backend: Arc<dyn Backend>,
    /// The memory that all tables share.
    pub budget: Arc<TableBudget>,
    /// The numbers of the key groups whose rows this table holds.
    pub groups: Range<u16>,
}

/// A row as a caller names it.
pub struct RowRef<'a, K> {
    /// The key's [`key_hash`](crate::hash::key_hash).
    pub hash: u64,
    /// The row's time; [`Timestamp::MIN`] in a table that is not ordered by time.
    pub time: Timestamp,
    /// The key.
    pub key: &'a K,
}

/// The number of a row in its table; valid until the table is frozen or told to make room.
pub type Slot = u32;

/// The slot of no row: it has no key and no value.
pub const NO_SLOT: Slot = Slot::MAX;

/// A table of rows of one named state, on one worker.
pub struct Table<K, V, At = ()> {
    place: Place,
    /// Whether the backend keeps the rows; if not, they stay here.
    is_kept: bool,
    rows: Rows<K, V, At>,
    /// The rows that were changed since the last freeze.
    dirty: Vec<Slot>,
    freezing: Freezing,
    /// Deleted rows that the backend may still hold, by the epoch that deletes them.
    deleted: Vec<(Epoch, Slot)>,
    missing: Vec<Slot>,
    pub(crate) on_disk: OnDisk,
    pub(crate) filing: Filing,
    pub(crate) pins: Pins,
    applied: Epoch,
    bytes: usize,
    account: Account,
    hand: usize,
    /// How many rows eviction may still look at.
    pub(crate) steps: usize,
}

impl<K: Key, V: Persist, At: RowTime> Table<K, V, At> {
    /// Opens the table over what the backend holds of it; costs a look-up per key group, and nothing is loaded.
    pub fn open(place: Place, applied: Epoch) -> Result<Self> {
        debug_assert_eq!(At::ORDERED, place.family != Family::Values, "only values are not ordered by time");
        let mut table = Table {
            rows: Rows::new(),
            dirty: Vec::new(),
            freezing: Freezing::default(),
            deleted: Vec::new(),
            missing: Vec::new(),
            on_disk: OnDisk::new(place.groups.clone()),
            filing: Filing::default(),
            pins: Pins::default(),
            applied,
            bytes: 0,
            account: Account::new(Arc::clone(&place.budget)),
            hand: 0,
            steps: 0,
            is_kept: place.backend.keeps(place.family),
            place,
        };
        let store = table.place.store.0.to_be_bytes();
        if table.first_row(&store, &after_prefix(&store))?.is_some() {
            for group in table.place.groups.clone() {
                table.look_for_first(KeyGroup::new(group))?;
            }
        }
        Ok(table)
    }

    /// The slots of `count` rows, which `row` names; rows that do not exist get a slot without a value. What is
    /// not in the table is read from the backend in one call.
    pub fn resolve<'k>(
        &mut self,
        count: usize,
        row: impl Fn(usize) -> RowRef<'k, K>,
        slots: &mut Vec<Slot>,
    ) -> Result<()>
    where
        K: 'k,
    {
        self.make_room();
        self.find_or_read(count, row, slots)
    }

    /// Calls `change` with the value of each of `count` rows in turn, to be changed in place: what
    /// [`resolve`](Table::resolve) and [`value_mut`](Table::value_mut) do, in one pass over the rows that are here.
    pub fn change_each<'k>(
        &mut self,
        count: usize,
        row: impl Fn(usize) -> RowRef<'k, K>,
        mut change: impl FnMut(usize, &mut Option<V>),
    ) -> Result<()>
    where
        K: 'k,
    {
        self.make_room();
        let mut guessed = [Slot::MAX; ROWS_AT_ONCE];
        let first_changes = self.freezing.left() > 0;
        for from in (0..count).step_by(ROWS_AT_ONCE) {
            let some = (count - from).min(ROWS_AT_ONCE);
            self.rows.guess_all(first_changes, |at| row(from + at), &mut guessed[..some]);
            for (at, &slot) in guessed[..some].iter().enumerate() {
                let (number, wanted) = (from + at, row(from + at));
                let Table { rows, dirty, freezing, deleted, place, bytes, is_kept, .. } = self;
                let first = |before: Option<Content<'_, K, V>>| {
                    dirty.push(slot);
                    if let Some(row) = before.filter(|_| *is_kept) {
                        freezing.write_before(place, slot, row, bytes, deleted);
                    }
                };
                if let Some(value) = rows.change_if(slot, &wanted, first) {
                    change(number, value);
                    continue;
                }
                let slot = match self.rows.find(&wanted) {
                    Some(slot) => slot,
                    None => self.insert_unknown(&wanted),
                };
                if !self.missing.is_empty() {
                    self.account.asked(number);
                    return self.change_read(slot, number, count, row, change);
                }
                change(number, self.value_mut(slot));
            }
        }
        self.account.asked(count);
        Ok(())
    }

    /// The rest of [`change_each`](Table::change_each), from a row on that has to be read: what has to be is read for
    /// all that follow in one call.
    #[cold]
    fn change_read<'k>(
        &mut self,
        unread: Slot,
        from: usize,
        count: usize,
        row: impl Fn(usize) -> RowRef<'k, K>,
        mut change: impl FnMut(usize, &mut Option<V>),
    ) -> Result<()>
    where
        K: 'k,
    {
        self.missing.clear();
        self.release(unread);
        if At::ORDERED {
            self.filing.created.pop();
        }
        let mut slots = Vec::with_capacity(count - from);
        self.find_or_read(count - from, |number| row(from + number), &mut slots)?;
        for (number, &slot) in slots.iter().enumerate() {
            change(from + number, self.value_mut(slot));
        }
        Ok(())
    }

    /// As [`resolve`](Table::resolve), for one row.
    pub fn resolve_one(&mut self, wanted: &RowRef<'_, K>) -> Result<Slot> {
        if let Some(slot) = self.rows.find(wanted) {
            self.account.asked(1);
            return Ok(slot);
        }
        let mut slots = Vec::with_capacity(1);
        let row = |_| RowRef { hash: wanted.hash, time: wanted.time, key: wanted.key };
        self.resolve(1, row, &mut slots)?;
        Ok(slots[0])
    }

    /// The value of a row, to be changed in place; `None` deletes it.
    #[inline]
    pub fn value_mut(&mut self, slot: Slot) -> &mut Option<V> {
        let Table { rows, dirty, freezing, deleted, place, bytes, is_kept, .. } = self;
        rows.change(slot, |before| {
            dirty.push(slot);
            if let Some(row) = before.filter(|_| *is_kept) {
                freezing.write_before(place, slot, row, bytes, deleted);
            }
        })
    }

    /// The value of a row.
    #[inline]
    pub fn value(&self, slot: Slot) -> Option<&V> {
        self.rows.row(slot)?.1
    }

    /// The key of a row, if the slot holds one.
    pub fn key(&self, slot: Slot) -> Option<&K> {
        Some(self.rows.row(slot)?.0)
    }

    /// The time of a row.
    pub fn time(&self, slot: Slot) -> Timestamp {
        self.rows.cold(slot).time
    }

    /// Says that these rows are taken out next, which is faster then.
    pub(crate) fn will_take(&self, slots: &[Slot]) {
        self.rows.touch(slots);
    }

    /// Takes a row out, without any trace in the next delta; the caller deletes it from the backend, if that
    /// holds it, and has loaded every row up to its time.
    pub(crate) fn take(&mut self, slot: Slot) -> Option<Taken<K, V>> {
        self.rows.row(slot)?;
        self.write_before_taking(slot);
        let &Cold { hash, time, persisted, .. } = self.rows.cold(slot);
        self.pins.taking = self.pins.taking.max(Some(time));
        let (key, value) = self.release(slot)?;
        Some(Taken { key, hash, value, persisted })
    }

    /// Puts a row that was found in the backend into the table, unless it is there, changed or not.
    pub(crate) fn insert_loaded(&mut self, row: &RowRef<'_, K>, value: V, encoded: usize) {
        if self.rows.find(row).is_none() {
            let slot = self.insert_absent(row);
            self.fill(slot, value, encoded);
        }
    }

    /// How many rows the table has slots for.
    pub(crate) fn slot_count(&self) -> usize {
        self.rows.slots()
    }

    /// Where the table's rows are filed.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Tells the table that the backend has applied everything up to `epoch`.
    pub fn applied(&mut self, epoch: Epoch) {
        self.applied = epoch;
        self.account.applied(epoch);
        self.pins.applied(epoch);
        let mut deleted = std::mem::take(&mut self.deleted);
        deleted.retain(|&(at, slot)| {
            let absent = self.rows.row(slot).is_some_and(|(_, value)| value.is_none());
            let still_deleted = absent && self.rows.cold(slot).changed == at && !self.rows.is_changed(slot);
            if at <= epoch && still_deleted {
                self.let_go(slot);
            }
            at > epoch
        });
        self.deleted = deleted;
        // Once around to mark what is not used, once more to let it go.
        self.steps = 2 * self.rows.slots();
        self.make_room();
    }

    /// How many rows the table holds in memory, absent ones that were asked for included.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether the table holds no row in memory.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 0
    }

    fn insert_absent(&mut self, wanted: &RowRef<'_, K>) -> Slot {
        let &RowRef { hash, time, key } = wanted;
        self.bytes += Rows::<K, V, At>::ROW_BYTES;
        self.steps += STEPS_PER_ROW;
        let cold = Cold { hash, time, changed: Epoch(0), heap: 0, persisted: false };
        let slot = self.rows.insert(cold, key.clone());
        if At::ORDERED {
            self.filing.created.push((slot, time));
        }
        slot
    }

    /// As [`release`](Table::release), of a row that may be filed in a pane.
    fn let_go(&mut self, slot: Slot) {
        if At::ORDERED {
            self.filing.released.push((slot, self.rows.cold(slot).time));
        }
        self.release(slot);
    }

    /// Frees the slot; the row must not be needed to shadow one in the backend.
    fn release(&mut self, slot: Slot) -> Option<(K, Option<V>)> {
        self.bytes -= Rows::<K, V, At>::ROW_BYTES + self.rows.cold(slot).heap as usize;
        self.rows.remove(slot)
    }

    /// Tells the shared budget what changed, and lets rows go if it is exceeded.
    pub(crate) fn make_room(&mut self) {
        self.settle();
        let over = self.account.over();
        if over > 0 && self.is_kept {
            self.evict(over);
        }
    }

    /// Tells the shared budget what changed.
    pub(crate) fn settle(&mut self) {
        let not_written = self.dirty.len() + self.freezing.left();
        self.account.settle(self.bytes, not_written, self.freezing.bytes());
    }

    fn look_for_first(&mut self, group: KeyGroup) -> Result<()> {
        let (from, to) = self.group_rows(group, Timestamp::MIN);
        if let Some(row) = self.first_row(&from, &to)? {
            let ordered = At::ORDERED;
            let time = if ordered { row_time(&self.place.name, &row)?.0 } else { Timestamp::MIN };
            self.on_disk.let_go(group, time);
        }
        Ok(())
    }

    fn first_row(&self, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut first = None;
        self.place.backend.scan(self.place.family, from, to, &mut |row, _| {
            first = Some(row.to_vec());
            ControlFlow::Break(())
        })?;
        Ok(first)
    }

    /// The range of the group's rows, from a time on where they are ordered by time.
    pub(crate) fn group_rows(&self, group: KeyGroup, from: Timestamp) -> (Vec<u8>, Vec<u8>) {
        let mut prefix = Vec::new();
        value_prefix(self.place.store, group, &mut prefix);
        let end = after_prefix(&prefix);
        if At::ORDERED {
            prefix.clear();
            time_prefix(self.place.store, group, from, &mut prefix);
        }
        (prefix, end)
    }

    /// Lets go of about `bytes` bytes of rows that the backend holds as they are.
    #[cold]
    fn evict(&mut self, bytes: usize) {
        let goal = self.bytes.saturating_sub(bytes);
        let taken = self.pins.through();
        self.steps = self.steps.min(2 * self.rows.slots());
        while self.bytes > goal && self.steps > 0 {
            self.steps -= 1;
            self.hand = if self.hand + 1 < self.rows.slots() { self.hand + 1 } else { 0 };
            let slot = self.hand as Slot;
            let &Cold { hash, time, changed, persisted, .. } = self.rows.cold(slot);
            let pinned = self.rows.is_changed(slot) || changed > self.applied;
            if self.rows.row(slot).is_none() || pinned || self.rows.take_used(slot) {
                continue;
            }
            if persisted {
                if Some(time) <= taken || self.pins.reading == Some(time) {
                    continue;
                }
                self.on_disk.let_go(KeyGroup::of_hash(hash), time);
            }
            self.let_go(slot);
        }
        self.settle();
    }
}

/// How many rows are looked up together: enough that their reads from memory overlap, and few enough that what is read
/// is still in the first-level cache when it is used.
pub(crate) const ROWS_AT_ONCE: usize = 128;

/// How many rows eviction may look at for each row that comes in. If it is too few to find what may go, because
/// most may not, the table grows over its limit by a part of what may not go, and not further.
const STEPS_PER_ROW: usize = 8;
