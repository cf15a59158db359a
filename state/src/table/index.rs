//! Which slot a row is in: open addressing with linear probing over entries of eight bytes.
//!
//! An entry is a slot and 32 bits of the row's hash, whose top bits are also where it belongs: so a look-up reads one
//! line of memory, and growing or removing reads nothing but entries. Invariant: between where an entry belongs and
//! where it stands no place is empty, also after another was removed. It does not know keys: two rows may have the same
//! 32 bits, and the caller compares them.

use crate::table::Slot;

const EMPTY: u64 = u64::MAX;
const FEWEST_PLACES: usize = 16;

/// Slots by 32 bits of a hash; at most 2^31 of them.
#[derive(Default)]
pub(super) struct Index {
    /// A power of two of them, at most four fifths in use; none before the first insertion.
    entries: Vec<u64>,
    /// How far a hash is shifted to give its place.
    shift: u32,
    len: usize,
}

impl Index {
    /// The first slot with this hash, [`Slot::MAX`] if there is none.
    #[inline]
    pub(super) fn first(&self, hash: u32) -> Slot {
        let Some(mask) = self.entries.len().checked_sub(1) else { return Slot::MAX };
        let mut place = (hash >> self.shift) as usize;
        loop {
            let entry = self.entries[place & mask];
            // The slot of an empty place is the one that says that there is none.
            if (entry >> 32) as u32 == hash || entry == EMPTY {
                return entry as Slot;
            }
            place += 1;
        }
    }

    /// The first slot with this hash that `is` says yes to.
    #[inline]
    pub(super) fn find(&self, hash: u32, is: impl Fn(Slot) -> bool) -> Option<Slot> {
        let place = self.place_of(hash, is)?;
        Some(self.entries[place] as Slot)
    }

    /// Adds a slot, which is not there yet.
    pub(super) fn insert(&mut self, hash: u32, slot: Slot) {
        if (self.len + 1) * 5 > self.entries.len() * 4 {
            self.resize((self.entries.len() * 2).max(FEWEST_PLACES));
        }
        self.len += 1;
        self.put(u64::from(hash) << 32 | u64::from(slot));
    }

    /// Removes a slot.
    pub(super) fn remove(&mut self, hash: u32, slot: Slot) {
        let Some(mut hole) = self.place_of(hash, |found| found == slot) else { return };
        self.len -= 1;
        let mask = self.entries.len() - 1;
        let mut place = hole;
        loop {
            place = (place + 1) & mask;
            let entry = self.entries[place];
            if entry == EMPTY {
                break;
            }
            // What belongs behind the hole stays where it is.
            let belongs = ((entry >> 32) as u32 >> self.shift) as usize;
            if place.wrapping_sub(belongs) & mask >= place.wrapping_sub(hole) & mask {
                self.entries[hole] = entry;
                hole = place;
            }
        }
        self.entries[hole] = EMPTY;
    }

    /// Notes that a row has moved from one slot to another.
    pub(super) fn moved(&mut self, hash: u32, from: Slot, to: Slot) {
        if let Some(place) = self.place_of(hash, |found| found == from) {
            self.entries[place] = u64::from(hash) << 32 | u64::from(to);
        }
    }

    /// How many slots there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Gives memory back that is not needed for `slots` slots.
    pub(super) fn shrink_to(&mut self, slots: usize) {
        let places = (slots.max(self.len) * 5).div_ceil(4).next_power_of_two().max(FEWEST_PLACES);
        if places < self.entries.len() {
            self.resize(places);
        }
    }

    fn place_of(&self, hash: u32, is: impl Fn(Slot) -> bool) -> Option<usize> {
        let mask = self.entries.len().checked_sub(1)?;
        let mut place = (hash >> self.shift) as usize & mask;
        loop {
            let entry = self.entries[place];
            if entry == EMPTY {
                return None;
            }
            if (entry >> 32) as u32 == hash && is(entry as Slot) {
                return Some(place);
            }
            place = (place + 1) & mask;
        }
    }

    fn resize(&mut self, places: usize) {
        let before = std::mem::replace(&mut self.entries, vec![EMPTY; places]);
        self.shift = u32::BITS - places.ilog2();
        before.into_iter().filter(|&entry| entry != EMPTY).for_each(|entry| self.put(entry));
    }

    fn put(&mut self, entry: u64) {
        let mask = self.entries.len() - 1;
        let mut place = ((entry >> 32) as u32 >> self.shift) as usize;
        while self.entries[place] != EMPTY {
            place = (place + 1) & mask;
        }
        self.entries[place] = entry;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Does `steps` random insertions and removals of slots whose hashes are few, and compares with a set.
    fn follow_the_model(seed: u64, hash_of: impl Fn(Slot) -> u32, slots: u32, steps: u32) {
        let (mut index, mut model) = (Index::default(), BTreeSet::new());
        let mut random = seed;
        for step in 0..steps {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let slot = (random >> 33) as u32 % slots;
            let hash = hash_of(slot);
            if model.remove(&slot) {
                index.remove(hash, slot);
            } else {
                model.insert(slot);
                index.insert(hash, slot);
            }
            if step % 64 == 0 {
                index.shrink_to(model.len());
                for slot in 0..slots {
                    let found = index.find(hash_of(slot), |found| found == slot);
                    assert_eq!(found.is_some(), model.contains(&slot));
                    let any = model.iter().any(|&other| hash_of(other) == hash_of(slot));
                    assert_eq!(index.first(hash_of(slot)) != Slot::MAX, any);
                }
            }
            assert_eq!(index.len(), model.len());
        }
    }

    #[test]
    fn it_finds_what_was_inserted_and_not_removed_whatever_the_hashes() {
        follow_the_model(1, |slot| slot.wrapping_mul(0x9e37_79b9), 200, 20_000);
        // All in one place, at the end of the table; the last of them with the hash of an empty place.
        follow_the_model(2, |slot| u32::MAX - slot % 3, 60, 6_000);
        follow_the_model(3, |slot| slot.wrapping_mul(0x9e37_79b9) | 0xf000_0000, 200, 20_000);
    }

    #[test]
    fn a_row_that_moves_is_found_in_its_new_slot() {
        let mut index = Index::default();
        index.insert(7, 1);
        index.insert(7, 2);
        index.moved(7, 1, 9);
        assert_eq!(index.find(7, |slot| slot == 1), None);
        assert_eq!(index.find(7, |slot| slot == 9), Some(9));
        assert_eq!(index.len(), 2);
    }
}
