//! Which slot a row is in: buckets of eight entries, each as large as a cache line.
//!
//! An entry is a slot and 32 bits of the row's hash, whose top bits are also the number of the bucket where it belongs;
//! one that is full overflows into the next. All eight entries are compared at once and without a branch, because a
//! branch that depends on where a row stands is guessed wrong for every second record, which costs more than the
//! comparisons. Growing or removing reads nothing but entries. Invariant: between the bucket where an entry belongs and
//! the one where it stands all are full, also after another was removed. It does not know keys: two rows may have the
//! same 32 bits, and the caller compares them.

use crate::table::ask::ask_for;
use crate::table::{Slot, large};

const ENTRIES: usize = 8;

/// Entries in use come first; a slot is kept as one more, and 0 means that there is none.
#[repr(align(64))]
#[derive(Clone, Copy, Default)]
struct Bucket {
    hashes: [u32; ENTRIES],
    slots: [u32; ENTRIES],
}

impl Bucket {
    fn is_full(&self) -> bool {
        self.slots[ENTRIES - 1] != 0
    }

    fn len(&self) -> usize {
        self.slots.iter().position(|&slot| slot == 0).unwrap_or(ENTRIES)
    }

    /// Takes an entry out; the last one takes its place.
    fn take(&mut self, at: usize) -> (u32, u32) {
        let taken = (self.hashes[at], self.slots[at]);
        let last = self.len() - 1;
        (self.hashes[at], self.slots[at]) = (self.hashes[last], self.slots[last]);
        (self.hashes[last], self.slots[last]) = (0, 0);
        taken
    }
}

/// Slots by 32 bits of a hash; at most 2^31 of them.
#[derive(Default)]
pub(super) struct Index {
    /// A power of two of them, at least two, at most five eighths of whose entries are in use; none before the first
    /// insertion.
    buckets: Vec<Bucket>,
    /// How far a hash is shifted to give its bucket.
    shift: u32,
    len: usize,
}

/// What an entry costs in memory on average: they are between five sixteenths and five eighths of the places.
pub(super) const BYTES_PER_SLOT: usize = 2 * size_of::<Bucket>() / ENTRIES;

impl Index {
    /// Says that the entries of this hash are read soon.
    #[inline]
    pub(super) fn ask_for(&self, hash: u32) {
        // Without a bucket the shift is 0 as well, and any place is as good.
        ask_for(&self.buckets, (hash >> self.shift) as usize);
    }

    /// A slot with this hash, [`Slot::MAX`] if there is none; a wrong one, if there are several.
    #[inline]
    pub(super) fn first(&self, hash: u32) -> Slot {
        let Some(mask) = self.buckets.len().checked_sub(1) else { return Slot::MAX };
        let mut number = (hash >> self.shift) as usize;
        loop {
            let bucket = &self.buckets[number & mask];
            let mut found = 0;
            for (of, slot) in bucket.hashes.iter().zip(&bucket.slots) {
                // A mask in place of an `if`, which would become a branch.
                found |= u32::from(*of == hash).wrapping_neg() & slot;
            }
            if found != 0 || !bucket.is_full() {
                return found.wrapping_sub(1);
            }
            number += 1;
        }
    }

    /// The first slot with this hash that `is` says yes to.
    #[inline]
    pub(super) fn find(&self, hash: u32, is: impl Fn(Slot) -> bool) -> Option<Slot> {
        let (number, at) = self.place_of(hash, is)?;
        Some(self.buckets[number].slots[at] - 1)
    }

    /// Adds a slot, which is not there yet.
    pub(super) fn insert(&mut self, hash: u32, slot: Slot) {
        if (self.len + 1) * 8 > self.buckets.len() * ENTRIES * 5 {
            self.resize((self.buckets.len() * 2).max(2));
        }
        self.len += 1;
        self.put(hash, slot + 1);
    }

    /// Removes a slot.
    pub(super) fn remove(&mut self, hash: u32, slot: Slot) {
        let Some((mut hole, at)) = self.place_of(hash, |found| found == slot) else { return };
        let mask = self.buckets.len() - 1;
        self.len -= 1;
        let mut was_full = self.buckets[hole].is_full();
        self.buckets[hole].take(at);
        // What overflowed because of the entry that is gone moves back.
        let mut number = hole;
        while was_full {
            number = (number + 1) & mask;
            was_full = self.buckets[number].is_full();
            let passed = |&hash: &u32| {
                let belongs = (hash >> self.shift) as usize;
                number.wrapping_sub(belongs) & mask >= number.wrapping_sub(hole) & mask
            };
            let used = self.buckets[number].len();
            if let Some(at) = self.buckets[number].hashes[..used].iter().position(passed) {
                let (hash, slot) = self.buckets[number].take(at);
                let end = self.buckets[hole].len();
                (self.buckets[hole].hashes[end], self.buckets[hole].slots[end]) = (hash, slot);
                hole = number;
            }
        }
    }

    /// Notes that a row has moved from one slot to another.
    pub(super) fn moved(&mut self, hash: u32, from: Slot, to: Slot) {
        if let Some((number, at)) = self.place_of(hash, |found| found == from) {
            self.buckets[number].slots[at] = to + 1;
        }
    }

    /// How many slots there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Gives memory back that is not needed for `slots` slots.
    pub(super) fn shrink_to(&mut self, slots: usize) {
        let buckets = (slots.max(self.len) * 8).div_ceil(5 * ENTRIES).next_power_of_two().max(2);
        if buckets < self.buckets.len() {
            self.resize(buckets);
        }
    }

    fn place_of(&self, hash: u32, is: impl Fn(Slot) -> bool) -> Option<(usize, usize)> {
        let mask = self.buckets.len().checked_sub(1)?;
        let mut number = (hash >> self.shift) as usize;
        loop {
            let bucket = &self.buckets[number];
            let wanted = |&(of, slot): &(&u32, &u32)| *of == hash && *slot != 0 && is(*slot - 1);
            if let Some(at) = bucket.hashes.iter().zip(&bucket.slots).position(|entry| wanted(&entry)) {
                return Some((number, at));
            }
            if !bucket.is_full() {
                return None;
            }
            number = (number + 1) & mask;
        }
    }

    fn resize(&mut self, buckets: usize) {
        let mut room = large::with_capacity(buckets);
        room.resize(buckets, Bucket::default());
        let before = std::mem::replace(&mut self.buckets, room);
        self.shift = u32::BITS - buckets.ilog2();
        for bucket in before {
            for at in 0..bucket.len() {
                self.put(bucket.hashes[at], bucket.slots[at]);
            }
        }
    }

    fn put(&mut self, hash: u32, slot: u32) {
        let mask = self.buckets.len() - 1;
        let mut number = (hash >> self.shift) as usize;
        while self.buckets[number].is_full() {
            number = (number + 1) & mask;
        }
        let bucket = &mut self.buckets[number];
        let end = bucket.len();
        (bucket.hashes[end], bucket.slots[end]) = (hash, slot);
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
                    let alone = model.iter().filter(|&&other| hash_of(other) == hash_of(slot)).count() == 1;
                    assert!(!(alone && model.contains(&slot)) || index.first(hash_of(slot)) == slot);
                }
            }
            assert_eq!(index.len(), model.len());
        }
    }

    #[test]
    fn it_finds_what_was_inserted_and_not_removed_whatever_the_hashes() {
        follow_the_model(1, |slot| slot.wrapping_mul(0x9e37_79b9), 200, 20_000);
        // All in one bucket, at the end and at the beginning; among them the hash of an empty place.
        follow_the_model(2, |slot| u32::MAX - slot % 3, 60, 6_000);
        follow_the_model(4, |slot| slot % 3, 60, 6_000);
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
