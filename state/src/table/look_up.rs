//! How a table finds the rows that a caller names, and reads those that are not here from the backend, all that are
//! missing in one call.
//!
//! Invariant: a row whose slot is given without a value is known to be absent; it is not if reading it failed, and then
//! it has no slot.

use super::freezing::row_key;
use super::{NO_SLOT, ROWS_AT_ONCE, RowRef, RowTime, Slot, Table};
use crate::error::Result;
use crate::id::KeyGroup;
use crate::persist::{Key, Persist, decode};

impl<K: Key, V: Persist, At: RowTime> Table<K, V, At> {
    /// As [`resolve`](Table::resolve), of rows that are only read: one that does not exist gets [`NO_SLOT`].
    pub fn look_up<'k>(
        &mut self,
        count: usize,
        row: impl Fn(usize) -> RowRef<'k, K>,
        slots: &mut Vec<Slot>,
    ) -> Result<()>
    where
        K: 'k,
    {
        self.make_room();
        self.find(count, row, slots, |table, wanted| match table.may_be_on_disk(wanted) {
            true => table.insert_unknown(wanted),
            false => NO_SLOT,
        })
    }

    pub(super) fn find_or_read<'k>(
        &mut self,
        count: usize,
        row: impl Fn(usize) -> RowRef<'k, K>,
        slots: &mut Vec<Slot>,
    ) -> Result<()>
    where
        K: 'k,
    {
        self.find(count, row, slots, Self::insert_unknown)
    }

    /// The slots of rows, by `absent` of those that are not here; then what may be on disk is read.
    fn find<'k>(
        &mut self,
        count: usize,
        row: impl Fn(usize) -> RowRef<'k, K>,
        slots: &mut Vec<Slot>,
        absent: impl Fn(&mut Self, &RowRef<'k, K>) -> Slot,
    ) -> Result<()>
    where
        K: 'k,
    {
        self.account.asked(count);
        slots.clear();
        slots.resize(count, Slot::MAX);
        let first_changes = self.freezing.left() > 0;
        for (chunk, guessed) in slots.chunks_mut(ROWS_AT_ONCE).enumerate() {
            self.rows.guess_all(first_changes, |at| row(chunk * ROWS_AT_ONCE + at), guessed);
        }
        for (number, slot) in slots.iter_mut().enumerate() {
            let wanted = row(number);
            if !self.rows.is(*slot, &wanted) {
                *slot = match self.rows.find(&wanted) {
                    Some(slot) => slot,
                    None => absent(self, &wanted),
                };
            }
        }
        if !self.missing.is_empty() {
            self.fetch_missing()?;
        }
        Ok(())
    }

    /// As [`insert_absent`](Table::insert_absent), of a row that the backend may hold.
    pub(super) fn insert_unknown(&mut self, wanted: &RowRef<'_, K>) -> Slot {
        let slot = self.insert_absent(wanted);
        if self.may_be_on_disk(wanted) {
            self.missing.push(slot);
        }
        slot
    }

    fn may_be_on_disk(&self, wanted: &RowRef<'_, K>) -> bool {
        self.on_disk.may_hold(KeyGroup::of_hash(wanted.hash), wanted.time)
    }

    #[cold]
    pub(super) fn fetch_missing(&mut self) -> Result<()> {
        let missing = std::mem::take(&mut self.missing);
        self.account.read(missing.len());
        let fetched = self.fetch(&missing);
        if fetched.is_err() {
            // They are not known to be absent.
            missing.iter().for_each(|&slot| drop(self.release(slot)));
            self.filing.created.retain(|&(slot, _)| self.rows.row(slot).is_some());
        }
        self.missing = missing;
        self.missing.clear();
        fetched
    }

    fn fetch(&mut self, missing: &[Slot]) -> Result<()> {
        let mut keys = Vec::with_capacity(missing.len());
        for &slot in missing {
            let mut bytes = Vec::new();
            let (key, _) = self.rows.row(slot).expect("the slot holds a row");
            row_key(&self.place, key, self.rows.cold(slot), &mut bytes)?;
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

    pub(super) fn fill(&mut self, slot: Slot, value: V, encoded: usize) {
        self.rows.fill(slot, value);
        let cold = self.rows.cold_mut(slot);
        cold.persisted = true;
        cold.heap = u32::try_from(encoded).unwrap_or(u32::MAX);
        self.bytes += cold.heap as usize;
    }
}
