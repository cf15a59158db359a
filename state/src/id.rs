//! The numbers that rows are filed under: stores, key groups, epochs.
//!
//! Invariant: they mean the same in every run of every version. [`KEY_GROUPS`] and the way a hash becomes a
//! group are part of the format on disk.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// How many key groups there are: the most workers that keyed state can be spread over.
///
/// 128, because a group is the unit that moves between workers, and a job that outgrows 128 threads has left
/// one machine. Part of the format on disk: it cannot change without a migration.
pub const KEY_GROUPS: u16 = 128;

/// The part of the key space that a key belongs to; always the same for the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyGroup(u16);

impl KeyGroup {
    /// The group of a key with this [`hash`](crate::hash::key_hash).
    ///
    /// Takes the top bits: hash tables use the low ones, so that the keys of one group still spread over a
    /// table.
    pub fn of_hash(hash: u64) -> Self {
        KeyGroup((hash >> (64 - KEY_GROUPS.trailing_zeros())) as u16)
    }

    /// The group with this number.
    ///
    /// # Panics
    /// If `number` is not below [`KEY_GROUPS`].
    pub fn new(number: u16) -> Self {
        assert!(number < KEY_GROUPS, "key group {number} of {KEY_GROUPS}");
        KeyGroup(number)
    }

    /// The group's number, below [`KEY_GROUPS`].
    pub fn number(self) -> u16 {
        self.0
    }

    /// Which of `workers` workers owns the group: contiguous ranges, as even as they can be.
    pub fn worker(self, workers: usize) -> usize {
        usize::from(self.0) * workers / usize::from(KEY_GROUPS)
    }

    /// The numbers of the groups that worker `worker` of `workers` owns.
    pub fn range(worker: usize, workers: usize) -> Range<u16> {
        let first = |worker: usize| (worker * usize::from(KEY_GROUPS)).div_ceil(workers) as u16;
        first(worker)..first(worker + 1)
    }
}

/// The number of one named state on disk; [`catalog`](crate::catalog) keeps which name has which number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StoreId(pub u16);

/// Whether a text can be a name of what survives a restart. Names become parts of rows on disk, of paths and of
/// metrics: 1 to 200 ASCII letters, digits, `.`, `_` and `-`, and not `.` or `..`.
pub fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=200).contains(&name.len()) && name.chars().all(good) && name != "." && name != ".."
}

/// What lies between two barriers; counted from 1, consecutive, 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_has_exactly_one_owner_for_any_number_of_workers() {
        for workers in 1..=usize::from(KEY_GROUPS) {
            for group in (0..KEY_GROUPS).map(KeyGroup) {
                let owners =
                    (0..workers).filter(|&worker| KeyGroup::range(worker, workers).contains(&group.0));
                assert_eq!(owners.collect::<Vec<_>>(), [group.worker(workers)]);
            }
        }
    }
}
