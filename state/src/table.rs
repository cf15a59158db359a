//! Typed write-back tables: what operators keep their state in.
//!
//! A row in use lives here as a decoded value. Nothing is encoded or decoded when a row is found; rows that are
//! not here are fetched for a whole batch in one call; what changed is encoded once per epoch, by
//! [`Table::freeze`]. A row that is born and dies within one epoch never reaches the backend.
//!
//! Invariants:
//!
//! - what the table does not hold stands in the backend as it is: a row is let go only when it is unchanged
//!   since an epoch that the backend has applied ([`Table::applied`]);
//! - a row that was taken is not read again before the backend has deleted it: all rows up to its time have been
//!   loaded when it is taken, and none of them is let go until then;
//! - HW-2: nothing is written but through the delta of a frozen epoch.
//!
//! It does not know workers, operators or watermarks. Memory: every row charges the shared
//! [`TableBudget`]; above it, rows that may be let go are, those first that were not used lately (CLOCK). The
//! search for them costs in proportion to the rows that came in, also while none may go. Slots that nothing needed
//! for an epoch are given back at its end, if they are most of the table.

mod account;

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use hashbrown::HashTable;

use crate::backend::Backend;
use crate::budget::TableBudget;
use crate::delta::{Delta, Family};
use crate::error::Result;
use crate::hash::with_time;
use crate::id::{Epoch, KeyGroup, StoreId};
use crate::layout::{after_prefix, time_prefix, value_prefix};
use crate::panes::{Filing, OnDisk, Pins, Taken, row_time};
use crate::persist::{Key, Persist, decode, encode};
use crate::time::Timestamp;
use account::Account;

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

struct Row<K, V> {
    hash: u64,
    time: Timestamp,
    /// The last epoch that changed the row.
    changed: Epoch,
    /// Bytes outside the row itself, estimated by its encoded length.
    heap: u32,
    dirty: bool,
    /// The backend holds the row, or will when the frozen epochs are applied.
    persisted: bool,
    used: bool,
    /// `None` marks a free slot.
    key: Option<K>,
    /// `None` is a row that is known to be absent.
    value: Option<V>,
}

/// A table of rows of one named state, on one worker.
pub struct Table<K, V> {
    place: Place,
    index: HashTable<Slot>,
    rows: Vec<Row<K, V>>,
    free: Vec<Slot>,
    dirty: Vec<Slot>,
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
    /// The fewest free slots since the last freeze.
    least_free: usize,
}

impl<K: Key, V: Persist> Table<K, V> {
    /// Opens the table over what the backend holds of it; costs a look-up per key group, and nothing is loaded.
    pub fn open(place: Place, applied: Epoch) -> Result<Self> {
        let mut table = Table {
            index: HashTable::new(),
            rows: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
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
            least_free: 0,
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

    /// Whether the rows are ordered by time.
    fn ordered(&self) -> bool {
        self.place.family != Family::Values
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
        slots.clear();
        self.make_room();
        for number in 0..count {
            let wanted = row(number);
            let slot = match self.find(&wanted) {
                Some(slot) => slot,
                None => self.insert_unknown(&wanted),
            };
            slots.push(slot);
        }
        if !self.missing.is_empty() {
            self.fetch_missing()?;
        }
        Ok(())
    }

    /// As [`resolve`](Table::resolve), for one row.
    pub fn resolve_one(&mut self, wanted: &RowRef<'_, K>) -> Result<Slot> {
        if let Some(slot) = self.find(wanted) {
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
        let row = &mut self.rows[slot as usize];
        row.used = true;
        if !row.dirty {
            row.dirty = true;
            self.dirty.push(slot);
        }
        &mut row.value
    }

    /// The value of a row.
    #[inline]
    pub fn value(&self, slot: Slot) -> Option<&V> {
        self.rows.get(slot as usize)?.value.as_ref()
    }

    /// The key of a row, if the slot holds one.
    pub fn key(&self, slot: Slot) -> Option<&K> {
        self.rows.get(slot as usize)?.key.as_ref()
    }

    /// The time of a row.
    pub fn time(&self, slot: Slot) -> Timestamp {
        self.rows[slot as usize].time
    }

    /// Writes what changed since the last freeze into the delta; from here on the changes belong to `epoch`.
    pub fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<()> {
        self.filing = Filing::default();
        let (dirty, before) = (std::mem::take(&mut self.dirty), delta.bytes());
        for &slot in &dirty {
            if self.rows[slot as usize].dirty {
                self.freeze_row(slot, epoch, delta)?;
            }
        }
        self.dirty = dirty;
        self.account.freeze(epoch, self.dirty.len(), delta.bytes() - before);
        self.dirty.clear();
        self.pins.freeze(epoch);
        self.shrink();
        self.settle();
        Ok(())
    }

    /// Takes a row out, without any trace in the next delta; the caller deletes it from the backend, if that
    /// holds it, and has loaded every row up to its time.
    pub(crate) fn take(&mut self, slot: Slot) -> Option<Taken<K, V>> {
        let row = &mut self.rows[slot as usize];
        let (key, value) = (row.key.take()?, row.value.take());
        let taken = Taken { key, hash: row.hash, value, persisted: row.persisted };
        self.pins.taking = self.pins.taking.max(Some(row.time));
        self.release(slot);
        Some(taken)
    }

    /// Puts a row that was found in the backend into the table, unless it is there, changed or not.
    pub(crate) fn insert_loaded(&mut self, row: &RowRef<'_, K>, value: V, encoded: usize) {
        if self.find(row).is_none() {
            let slot = self.insert_absent(row);
            self.fill(slot, value, encoded);
        }
    }

    /// How many rows the table has slots for.
    pub(crate) fn slot_count(&self) -> usize {
        self.rows.len()
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
            let row = &self.rows[slot as usize];
            let still_deleted = row.changed == at && row.value.is_none() && !row.dirty;
            if at <= epoch && still_deleted && row.key.is_some() {
                self.let_go(slot);
            }
            at > epoch
        });
        self.deleted = deleted;
        // Once around to mark what is not used, once more to let it go.
        self.steps = 2 * self.rows.len();
        self.make_room();
    }

    /// How many rows the table holds in memory, absent ones that were asked for included.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether the table holds no row in memory.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    fn find(&mut self, wanted: &RowRef<'_, K>) -> Option<Slot> {
        let hash = self.index_hash(wanted.hash, wanted.time);
        let rows = &self.rows;
        let found = self.index.find(hash, |&slot| {
            let row = &rows[slot as usize];
            row.hash == wanted.hash && row.time == wanted.time && row.key.as_ref() == Some(wanted.key)
        });
        let slot = found.copied();
        if let Some(slot) = slot {
            self.rows[slot as usize].used = true;
        }
        slot
    }

    #[inline]
    fn index_hash(&self, hash: u64, time: Timestamp) -> u64 {
        spread_hash(hash, time, self.ordered())
    }

    fn insert_absent(&mut self, wanted: &RowRef<'_, K>) -> Slot {
        let row = Row {
            hash: wanted.hash,
            time: wanted.time,
            changed: Epoch(0),
            heap: 0,
            dirty: false,
            persisted: false,
            used: true,
            key: Some(wanted.key.clone()),
            value: None,
        };
        let slot = self.insert(row);
        if self.ordered() {
            self.filing.created.push((slot, wanted.time));
        }
        slot
    }

    /// As [`insert_absent`](Table::insert_absent), of a row that the backend may hold.
    fn insert_unknown(&mut self, wanted: &RowRef<'_, K>) -> Slot {
        let slot = self.insert_absent(wanted);
        if self.on_disk.may_hold(KeyGroup::of_hash(wanted.hash), wanted.time) {
            self.missing.push(slot);
        }
        slot
    }

    fn insert(&mut self, row: Row<K, V>) -> Slot {
        let hash = self.index_hash(row.hash, row.time);
        self.bytes += Self::ROW_BYTES + row.heap as usize;
        self.steps += STEPS_PER_ROW;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.least_free = self.least_free.min(self.free.len());
                self.rows[slot as usize] = row;
                slot
            }
            None => {
                self.rows.push(row);
                Slot::try_from(self.rows.len() - 1).expect("a table holds fewer than 2^32 rows")
            }
        };
        let (rows, ordered) = (&self.rows, self.ordered());
        self.index.insert_unique(hash, slot, |&slot| spread(&rows[slot as usize], ordered));
        slot
    }

    /// What a row charges besides its heap: itself and its share of the index.
    const ROW_BYTES: usize = size_of::<Row<K, V>>() + 8;

    fn row_key(&self, hash: u64, time: Timestamp, key: &K, into: &mut Vec<u8>) -> Result<()> {
        let group = KeyGroup::of_hash(hash);
        match self.place.family {
            Family::Values => value_prefix(self.place.store, group, into),
            _ => time_prefix(self.place.store, group, time, into),
        }
        encode("key", key, into)
    }

    #[cold]
    fn fetch_missing(&mut self) -> Result<()> {
        let missing = std::mem::take(&mut self.missing);
        let fetched = self.fetch(&missing);
        if fetched.is_err() {
            // They are not known to be absent.
            missing.iter().for_each(|&slot| self.release(slot));
            let rows = &self.rows;
            self.filing.created.retain(|&(slot, _)| rows[slot as usize].key.is_some());
        }
        self.missing = missing;
        self.missing.clear();
        fetched
    }

    fn fetch(&mut self, missing: &[Slot]) -> Result<()> {
        let mut keys = Vec::with_capacity(missing.len());
        for &slot in missing {
            let row = &self.rows[slot as usize];
            let mut bytes = Vec::new();
            let key = row.key.as_ref().expect("a missing row was just inserted with its key");
            self.row_key(row.hash, row.time, key, &mut bytes)?;
            keys.push(bytes);
        }
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let found = self.place.backend.get_many(self.place.family, &keys)?;
        for ((&slot, bytes), key) in missing.iter().zip(found).zip(keys) {
            if let Some(bytes) = bytes {
                let value = decode(&self.place.name, &bytes)?;
                self.fill(slot, value, key.len() + bytes.len());
            }
        }
        Ok(())
    }

    fn fill(&mut self, slot: Slot, value: V, encoded: usize) {
        let row = &mut self.rows[slot as usize];
        row.value = Some(value);
        row.persisted = true;
        row.heap = u32::try_from(encoded).unwrap_or(u32::MAX);
        self.bytes += row.heap as usize;
    }

    fn freeze_row(&mut self, slot: Slot, epoch: Epoch, delta: &mut Delta) -> Result<()> {
        let before = delta.bytes();
        let row = &self.rows[slot as usize];
        let key = row.key.as_ref().expect("a dirty row has a key");
        match &row.value {
            Some(value) => delta.put_with(
                self.place.family,
                |into| self.row_key(row.hash, row.time, key, into),
                |into| encode("value", value, into),
            )?,
            None if row.persisted => {
                let mut bytes = Vec::new();
                self.row_key(row.hash, row.time, key, &mut bytes)?;
                delta.delete(self.place.family, &bytes);
                self.deleted.push((epoch, slot));
            }
            // An older row may still stand in the backend, until the epoch that deletes it is applied: this
            // one must go on to shadow it, and is let go by `applied`.
            None if row.changed > self.applied => {
                self.rows[slot as usize].dirty = false;
                return Ok(());
            }
            None => {
                self.let_go(slot);
                return Ok(());
            }
        }
        let heap = u32::try_from(delta.bytes() - before).unwrap_or(u32::MAX);
        let row = &mut self.rows[slot as usize];
        self.bytes = self.bytes + heap as usize - row.heap as usize;
        (row.heap, row.dirty, row.changed) = (heap, false, epoch);
        row.persisted = row.value.is_some();
        Ok(())
    }

    /// As [`release`](Table::release), of a row that may be filed in a pane.
    fn let_go(&mut self, slot: Slot) {
        if self.ordered() {
            self.filing.released.push((slot, self.rows[slot as usize].time));
        }
        self.release(slot);
    }

    /// Frees the slot; the row must not be needed to shadow one in the backend.
    fn release(&mut self, slot: Slot) {
        let row = &mut self.rows[slot as usize];
        self.bytes -= Self::ROW_BYTES + row.heap as usize;
        (row.key, row.value, row.dirty, row.heap) = (None, None, false, 0);
        let (hash, time) = (row.hash, row.time);
        let hash = self.index_hash(hash, time);
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == slot) {
            entry.remove();
        }
        self.free.push(slot);
    }

    /// Tells the shared budget what changed, and lets rows go if it is exceeded.
    pub(crate) fn make_room(&mut self) {
        self.settle();
        let over = self.account.over();
        if over > 0 {
            self.evict(over);
        }
    }

    /// Tells the shared budget what changed.
    pub(crate) fn settle(&mut self) {
        self.account.settle(self.bytes, self.dirty.len());
    }

    fn look_for_first(&mut self, group: KeyGroup) -> Result<()> {
        let (from, to) = self.group_rows(group, Timestamp::MIN);
        if let Some(row) = self.first_row(&from, &to)? {
            let ordered = self.ordered();
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
        if self.ordered() {
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
        self.steps = self.steps.min(2 * self.rows.len());
        while self.bytes > goal && self.steps > 0 {
            self.steps -= 1;
            self.hand = if self.hand + 1 < self.rows.len() { self.hand + 1 } else { 0 };
            let row = &mut self.rows[self.hand];
            if row.key.is_none() || row.dirty || row.changed > self.applied || std::mem::take(&mut row.used) {
                continue;
            }
            if row.persisted {
                let time = row.time;
                if Some(time) <= taken || self.pins.reading == Some(time) {
                    continue;
                }
                self.on_disk.let_go(KeyGroup::of_hash(row.hash), time);
            }
            self.let_go(self.hand as Slot);
        }
        self.settle();
    }

    /// Gives the slots back that nothing needed since the last freeze, if they are most of the table. Rows move
    /// out of them; nothing is dirty now.
    fn shrink(&mut self) {
        let idle = std::mem::replace(&mut self.least_free, self.free.len());
        if idle < FEWEST_GIVEN_BACK || idle < self.rows.len() / 4 * 3 {
            return;
        }
        let keep = self.rows.len() - idle;
        self.free.retain(|&slot| (slot as usize) < keep);
        for from in keep..self.rows.len() {
            let row = &self.rows[from];
            if row.key.is_none() {
                continue;
            }
            let (hash, time) = (self.index_hash(row.hash, row.time), row.time);
            let to = self.free.pop().expect("there are fewer rows than slots that were needed");
            if let Some(slot) = self.index.find_mut(hash, |&slot| slot as usize == from) {
                *slot = to;
            }
            self.rows.swap(from, to as usize);
            if self.ordered() {
                self.filing.moved.push((from as Slot, to, time));
            }
        }
        self.rows.truncate(keep);
        let waits = |row: &Row<K, V>| row.key.is_some() && row.value.is_none() && row.changed > self.applied;
        let rows = self.rows.iter().zip(0..);
        self.deleted = rows.filter(|(row, _)| waits(row)).map(|(row, slot)| (row.changed, slot)).collect();
        self.rows.shrink_to_fit();
        for slots in [&mut self.free, &mut self.dirty, &mut self.missing] {
            slots.shrink_to(keep);
        }
        let (rows, ordered) = (&self.rows, self.ordered());
        self.index.shrink_to(keep, |&slot| spread(&rows[slot as usize], ordered));
        self.least_free = self.free.len();
    }
}

/// The top bits of a key's hash are its group, and the same for many keys of one worker; hash tables use the top
/// bits too, hence the rotation.
#[inline]
fn spread_hash(hash: u64, time: Timestamp, ordered: bool) -> u64 {
    if ordered { with_time(hash, time.as_millis()) } else { hash.rotate_left(32) }
}

fn spread<K, V>(row: &Row<K, V>, ordered: bool) -> u64 {
    spread_hash(row.hash, row.time, ordered)
}

/// How many rows eviction may look at for each row that comes in. If it is too few to find what may go, because
/// most may not, the table grows over its limit by a part of what may not go, and not further.
const STEPS_PER_ROW: usize = 8;

/// Fewer slots than this are not worth the moving of rows.
const FEWEST_GIVEN_BACK: usize = 64;
