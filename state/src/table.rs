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
//! - HW-2: nothing is written but through the delta of a frozen epoch.
//!
//! It does not know workers, operators or watermarks. Memory: every row charges the shared
//! [`TableBudget`]; above it, rows that may be let go are, those first that were not used lately (CLOCK).

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use hashbrown::HashTable;

use crate::backend::Backend;
use crate::budget::TableBudget;
use crate::delta::{Delta, Family};
use crate::error::{Result, StateError};
use crate::hash::{key_hash, with_time};
use crate::id::{Epoch, KEY_GROUPS, KeyGroup, StoreId};
use crate::layout::{after_prefix, split_time_row, time_prefix, value_prefix};
use crate::persist::{Key, Persist, decode, encode};
use crate::time::Timestamp;

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
    created: Vec<Slot>,
    missing: Vec<Slot>,
    /// Per key group the earliest row that only the backend holds.
    earliest_on_disk: Box<[Timestamp]>,
    applied: Epoch,
    bytes: usize,
    /// The bytes that the shared budget knows of.
    charged: usize,
    hand: usize,
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
            created: Vec::new(),
            missing: Vec::new(),
            earliest_on_disk: vec![Timestamp::MAX; usize::from(KEY_GROUPS)].into(),
            applied,
            bytes: 0,
            charged: 0,
            hand: 0,
            place,
        };
        let store = table.place.store.0.to_be_bytes();
        if table.first_row(&store, &after_prefix(&store))?.is_some() {
            for group in table.place.groups.clone() {
                table.look_for_earliest(KeyGroup::new(group))?;
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
                None => self.insert_absent(&wanted),
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
        self.rows[slot as usize].value.as_ref()
    }

    /// The key of a row, if the slot holds one.
    pub fn key(&self, slot: Slot) -> Option<&K> {
        self.rows[slot as usize].key.as_ref()
    }

    /// The time of a row.
    pub fn time(&self, slot: Slot) -> Timestamp {
        self.rows[slot as usize].time
    }

    /// The slots created by the calls of [`resolve`](Table::resolve) since the last call of this.
    pub(crate) fn take_created(&mut self, into: &mut Vec<Slot>) {
        into.append(&mut self.created);
    }

    /// Writes what changed since the last freeze into the delta; from here on the changes belong to `epoch`.
    pub fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<()> {
        let dirty = std::mem::take(&mut self.dirty);
        for &slot in &dirty {
            if self.rows[slot as usize].dirty {
                self.freeze_row(slot, epoch, delta)?;
            }
        }
        self.dirty = dirty;
        self.dirty.clear();
        self.created.clear();
        self.settle();
        Ok(())
    }

    /// Takes a row out, without any trace in the next delta; the caller deletes it from the backend with the
    /// range that it lies in. Says whether the backend may hold it.
    pub(crate) fn take(&mut self, slot: Slot) -> Option<(K, V, bool)> {
        let row = &mut self.rows[slot as usize];
        // A deleted row stays, so that the next delta deletes it in the backend too.
        let value = row.value.take()?;
        let key = row.key.take()?;
        let persisted = row.persisted;
        self.release(slot);
        Some((key, value, persisted))
    }

    /// Loads every row up to `time` that only the backend holds.
    pub(crate) fn load_through(&mut self, time: Timestamp) -> Result<()> {
        for number in self.place.groups.clone() {
            let earliest = self.earliest_on_disk[usize::from(number)];
            if earliest <= time {
                self.load_group(KeyGroup::new(number), time)?;
            }
        }
        Ok(())
    }

    /// The earliest time of a row that only the backend holds; [`Timestamp::MAX`] if there is none.
    pub(crate) fn earliest_on_disk(&self) -> Timestamp {
        let groups = usize::from(self.place.groups.start)..usize::from(self.place.groups.end);
        self.earliest_on_disk[groups].iter().copied().min().unwrap_or(Timestamp::MAX)
    }

    /// Where the table's rows are filed.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Tells the table that the backend has applied everything up to `epoch`.
    pub fn applied(&mut self, epoch: Epoch) {
        self.applied = epoch;
        let mut deleted = std::mem::take(&mut self.deleted);
        deleted.retain(|&(at, slot)| {
            let row = &self.rows[slot as usize];
            let still_deleted = row.changed == at && row.value.is_none() && !row.dirty;
            if at <= epoch && still_deleted && row.key.is_some() {
                self.release(slot);
            }
            at > epoch
        });
        self.deleted = deleted;
        self.settle();
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

    /// The top bits of a key's hash are its group, and the same for many keys of one worker; hash tables use
    /// the top bits too, hence the rotation.
    #[inline]
    fn index_hash(&self, hash: u64, time: Timestamp) -> u64 {
        if self.ordered() { with_time(hash, time.as_millis()) } else { hash.rotate_left(32) }
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
        let group = KeyGroup::of_hash(wanted.hash);
        if self.earliest_on_disk[usize::from(group.number())] <= wanted.time {
            self.missing.push(slot);
        }
        if self.ordered() {
            self.created.push(slot);
        }
        slot
    }

    fn insert(&mut self, row: Row<K, V>) -> Slot {
        let hash = self.index_hash(row.hash, row.time);
        self.bytes += Self::ROW_BYTES + row.heap as usize;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.rows[slot as usize] = row;
                slot
            }
            None => {
                self.rows.push(row);
                Slot::try_from(self.rows.len() - 1).expect("a table holds fewer than 2^32 rows")
            }
        };
        let (rows, ordered) = (&self.rows, self.place.family != Family::Values);
        self.index.insert_unique(hash, slot, |&slot| {
            let row = &rows[slot as usize];
            if ordered { with_time(row.hash, row.time.as_millis()) } else { row.hash.rotate_left(32) }
        });
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
        let mut keys = Vec::with_capacity(missing.len());
        for &slot in &missing {
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
        self.missing = missing;
        self.missing.clear();
        Ok(())
    }

    fn fill(&mut self, slot: Slot, value: V, encoded: usize) {
        let row = &mut self.rows[slot as usize];
        row.value = Some(value);
        row.persisted = true;
        row.heap = u32::try_from(encoded).unwrap_or(u32::MAX);
        self.bytes += encoded;
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
                self.release(slot);
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
    fn make_room(&mut self) {
        self.settle();
        let over = self.place.budget.over();
        if over > 0 {
            self.evict(over);
        }
    }

    fn settle(&mut self) {
        let budget = &self.place.budget;
        if self.bytes > self.charged {
            budget.charge(self.bytes - self.charged);
        } else {
            budget.release(self.charged - self.bytes);
        }
        self.charged = self.bytes;
    }

    fn load_group(&mut self, group: KeyGroup, time: Timestamp) -> Result<()> {
        let mut found: Vec<(Timestamp, K, V, usize)> = Vec::new();
        let mut next = Timestamp::MAX;
        let mut failed = Ok(());
        let (from, to) = self.group_rows(group, self.earliest_on_disk[usize::from(group.number())]);
        let name = &self.place.name;
        self.place.backend.scan(self.place.family, &from, &to, &mut |row, value| {
            let decoded = row_time(name, row).and_then(|(at, key)| {
                if at > time {
                    next = at;
                    return Ok(false);
                }
                found.push((at, decode(name, key)?, decode(name, value)?, row.len() + value.len()));
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
        self.earliest_on_disk[usize::from(group.number())] = next;
        for (time, key, value, encoded) in found {
            let hash = key_hash(&key);
            let row = RowRef { hash, time, key: &key };
            if self.find(&row).is_none() {
                let slot = self.insert_absent(&row);
                self.fill(slot, value, encoded);
            }
        }
        self.missing.clear();
        Ok(())
    }

    fn look_for_earliest(&mut self, group: KeyGroup) -> Result<()> {
        let (from, to) = self.group_rows(group, Timestamp::MIN);
        let first = self.first_row(&from, &to)?;
        self.earliest_on_disk[usize::from(group.number())] = match first {
            None => Timestamp::MAX,
            Some(_) if !self.ordered() => Timestamp::MIN,
            Some(row) => row_time(&self.place.name, &row)?.0,
        };
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
    fn group_rows(&self, group: KeyGroup, from: Timestamp) -> (Vec<u8>, Vec<u8>) {
        let mut prefix = Vec::new();
        value_prefix(self.place.store, group, &mut prefix);
        let end = after_prefix(&prefix);
        if self.ordered() {
            prefix.clear();
            time_prefix(self.place.store, group, from, &mut prefix);
        }
        (prefix, end)
    }

    /// Lets go of up to `bytes` bytes of rows that the backend holds as they are, looking at each row once.
    #[cold]
    fn evict(&mut self, bytes: usize) {
        let goal = self.bytes.saturating_sub(bytes);
        for _ in 0..self.rows.len() {
            if self.bytes <= goal {
                break;
            }
            self.hand = (self.hand + 1) % self.rows.len();
            let row = &mut self.rows[self.hand];
            // The end of time is also the mark of a group without rows on disk, so such a row stays.
            let pinned = row.dirty || row.changed > self.applied || row.time == Timestamp::MAX;
            if row.key.is_none() || pinned {
                continue;
            }
            if std::mem::take(&mut row.used) {
                continue;
            }
            if row.persisted {
                let group = usize::from(KeyGroup::of_hash(row.hash).number());
                self.earliest_on_disk[group] = self.earliest_on_disk[group].min(row.time);
            }
            self.release(self.hand as Slot);
        }
        self.settle();
    }
}

fn row_time<'a>(name: &str, row: &'a [u8]) -> Result<(Timestamp, &'a [u8])> {
    split_time_row(row).ok_or_else(|| StateError::Row {
        name: name.to_owned(),
        reason: format!("its key has {} bytes, too few for a row ordered by time", row.len()),
    })
}

impl<K, V> Drop for Table<K, V> {
    fn drop(&mut self) {
        self.place.budget.release(self.charged);
    }
}
