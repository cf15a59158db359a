//! Rows of a key in the order of a number, which are added and never changed.
//!
//! A journal is a named state of the family `values` whose rows are filed by the key group of a key, by the key, and
//! by a number of eight bytes behind it: one range of rows holds what belongs to a key, in order. Invariants: rows
//! travel in the delta of the epoch that added them (HW-2); what is read is what the backend has applied. It does not
//! know what a row or a number means. Memory: the rows that were added since the last epoch, encoded, charged to the
//! budget of the tables; nothing of what is committed.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::backend::Backend;
use crate::budget::TableBudget;
use crate::delta::{Delta, Family};
use crate::error::{Result, StateError};
use crate::hash::key_hash;
use crate::id::{Epoch, KeyGroup, StoreId};
use crate::layout::{VALUE_PREFIX_LEN, after_prefix, store_range, value_prefix};
use crate::persist::{Key, encode};
use crate::table::Place;

/// The length of the number behind the key, in bytes.
const NUMBER_LEN: usize = 8;

/// The key of a row without its number: that of the range which holds all rows of the key.
fn prefix<K: Key>(store: StoreId, hash: u64, key: &K, into: &mut Vec<u8>) -> Result<()> {
    value_prefix(store, KeyGroup::of_hash(hash), into);
    encode("key", key, into)
}

/// A journal as it is read.
#[derive(Clone)]
pub struct Journal<'b> {
    backend: &'b dyn Backend,
    store: StoreId,
    name: String,
}

impl<'b> Journal<'b> {
    /// The journal that is kept under a number; `name` is the state's, for errors.
    pub fn new(backend: &'b dyn Backend, store: StoreId, name: &str) -> Journal<'b> {
        Journal { backend, store, name: name.to_owned() }
    }

    /// Visits the rows of a key from the number `from` on, in the order of their numbers, until it says `Break`.
    ///
    /// # Errors
    /// What the backend reports, and what `visit` returns.
    pub fn read<K: Key, F: From<StateError>>(
        &self,
        key: &K,
        from: u64,
        mut visit: impl FnMut(u64, &[u8]) -> std::result::Result<ControlFlow<()>, F>,
    ) -> std::result::Result<(), F> {
        let mut first = Vec::new();
        prefix(self.store, key_hash(key), key, &mut first)?;
        let end = after_prefix(&first);
        first.extend_from_slice(&from.to_be_bytes());
        self.scan(&first, &end, |_, number, row| visit(number, row))
    }

    /// Visits all rows: by key group, then by the bytes of the key, then by number.
    ///
    /// # Errors
    /// What the backend reports, and what `visit` returns.
    pub fn all<F: From<StateError>>(
        &self,
        visit: impl FnMut(&[u8], u64, &[u8]) -> std::result::Result<ControlFlow<()>, F>,
    ) -> std::result::Result<(), F> {
        let (from, to) = store_range(self.store);
        self.scan(&from, &to, visit)
    }

    /// Whether it has no row. Costs one look-up.
    ///
    /// # Errors
    /// What the backend reports.
    pub fn is_empty(&self) -> Result<bool> {
        let mut empty = true;
        self.all(|_, _, _| {
            empty = false;
            Ok::<_, StateError>(ControlFlow::Break(()))
        })?;
        Ok(empty)
    }

    fn scan<F: From<StateError>>(
        &self,
        from: &[u8],
        to: &[u8],
        mut visit: impl FnMut(&[u8], u64, &[u8]) -> std::result::Result<ControlFlow<()>, F>,
    ) -> std::result::Result<(), F> {
        let mut failed = None;
        self.backend.scan(Family::Values, from, to, &mut |row_key, row| {
            let visited = split(row_key).map_or_else(
                || {
                    let reason = format!("its key has {} bytes, too few for a number", row_key.len());
                    Err(StateError::Row { name: self.name.clone(), reason }.into())
                },
                |(key, number)| visit(key, number, row),
            );
            visited.unwrap_or_else(|error| {
                failed = Some(error);
                ControlFlow::Break(())
            })
        })?;
        failed.map_or(Ok(()), Err)
    }
}

/// The bytes of the user's key in a row's key, and the number behind them.
fn split(row_key: &[u8]) -> Option<(&[u8], u64)> {
    let (key, number) = row_key.get(VALUE_PREFIX_LEN..)?.split_last_chunk::<NUMBER_LEN>()?;
    Some((key, u64::from_be_bytes(*number)))
}

/// Adds rows to a journal.
pub struct Appender {
    store: StoreId,
    /// Whether the backend keeps what is added; if not, nothing is encoded.
    is_kept: bool,
    added: Delta,
    budget: Arc<TableBudget>,
    /// How much of `added` has been charged.
    charged: usize,
    /// What the epochs that are frozen and not applied have added, in bytes.
    frozen: Vec<(Epoch, usize)>,
}

impl Appender {
    /// An appender to the journal at this place, whose family is `values`.
    pub fn new(place: &Place) -> Appender {
        debug_assert_eq!(place.family, Family::Values, "a journal's rows are not ordered by time");
        Appender {
            store: place.store,
            is_kept: place.backend.keeps(Family::Values),
            added: Delta::default(),
            budget: Arc::clone(&place.budget),
            charged: 0,
            frozen: Vec::new(),
        }
    }

    /// Adds a row, which `row` writes. `hash` is the key's [`key_hash`].
    ///
    /// # Errors
    /// If the key or the row cannot be encoded; nothing is added then.
    pub fn add<K: Key>(
        &mut self,
        (key, hash): (&K, u64),
        number: u64,
        row: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        if !self.is_kept {
            return Ok(());
        }
        let row_key = |into: &mut Vec<u8>| {
            prefix(self.store, hash, key, into)?;
            into.extend_from_slice(&number.to_be_bytes());
            Ok(())
        };
        self.added.put_with(Family::Values, row_key, row)?;
        let more = self.added.bytes() - self.charged;
        self.budget.charge(more);
        self.budget.charge_changed(more);
        self.charged += more;
        Ok(())
    }

    /// Moves what was added since the last call into the delta of `epoch`.
    pub fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) {
        delta.append(std::mem::take(&mut self.added));
        self.budget.release(self.charged);
        self.frozen.push((epoch, std::mem::take(&mut self.charged)));
    }

    /// Says that the backend has applied everything up to `epoch`.
    pub fn applied(&mut self, epoch: Epoch) {
        let budget = &self.budget;
        self.frozen.retain(|&(frozen, bytes)| {
            if frozen <= epoch {
                budget.release_changed(bytes);
            }
            frozen > epoch
        });
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.budget.release(self.charged);
        let frozen: usize = self.frozen.iter().map(|(_, bytes)| bytes).sum();
        self.budget.release_changed(self.charged + frozen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::memory::MemoryBackend;
    use crate::backend::volatile::VolatileBackend;

    fn place(backend: Arc<dyn Backend>) -> Place {
        Place {
            name: "test".to_owned(),
            store: StoreId(3),
            family: Family::Values,
            backend,
            budget: Arc::new(TableBudget::new(1_000_000)),
            groups: KeyGroup::range(0, 1),
        }
    }

    fn add(appender: &mut Appender, key: &str, number: u64, text: &str) {
        let key = key.to_owned();
        let row = |into: &mut Vec<u8>| {
            into.extend_from_slice(text.as_bytes());
            Ok(())
        };
        appender.add((&key, key_hash(&key)), number, row).expect("encodes");
    }

    fn rows_of(journal: &Journal<'_>, key: &str, from: u64) -> Vec<(u64, String)> {
        let mut rows = Vec::new();
        let visit = |number, row: &[u8]| {
            rows.push((number, String::from_utf8_lossy(row).into_owned()));
            Ok::<_, StateError>(ControlFlow::Continue(()))
        };
        journal.read(&key.to_owned(), from, visit).expect("reads");
        rows
    }

    #[test]
    fn the_rows_of_a_key_come_in_the_order_of_their_numbers_and_no_others_do() {
        let place = place(Arc::new(MemoryBackend::new()));
        let mut appender = Appender::new(&place);
        // 300 is longer than one byte, and keys that begin with each other lie beside each other.
        for (key, number) in [("a", 300), ("a", 2), ("ab", 1), ("", 7), ("a", 255), ("b", 2)] {
            add(&mut appender, key, number, key);
        }
        assert!(place.budget.used() > 0);
        let mut delta = Delta::default();
        appender.freeze(Epoch(1), &mut delta);
        assert_eq!(place.budget.used(), 0);
        place.backend.commit(&delta).expect("commits");
        let journal = Journal::new(&*place.backend, place.store, "test");
        let numbers = |key: &str, from| {
            let rows = rows_of(&journal, key, from);
            assert!(rows.iter().all(|(_, text)| text == key));
            rows.into_iter().map(|(number, _)| number).collect::<Vec<_>>()
        };
        assert_eq!(numbers("a", 0), [2, 255, 300]);
        assert_eq!(numbers("a", 3), [255, 300]);
        assert_eq!(numbers("ab", 0), [1]);
        assert_eq!(numbers("abc", 0), [0; 0]);
        let mut count = 0;
        let counting = |_: &[u8], _, _: &[u8]| {
            count += 1;
            Ok::<_, StateError>(ControlFlow::Continue(()))
        };
        journal.all(counting).expect("reads");
        assert_eq!(count, 6);
        assert!(!journal.is_empty().expect("reads"));
        assert!(Journal::new(&*place.backend, StoreId(4), "other").is_empty().expect("reads"));
    }

    #[test]
    fn what_is_added_counts_as_changed_until_its_epoch_is_applied() {
        let place = place(Arc::new(MemoryBackend::new()));
        place.budget.charge_changed(place.budget.changed_limit() / 2);
        let mut appender = Appender::new(&place);
        add(&mut appender, "a", 1, "row");
        assert!(place.budget.is_short());
        appender.freeze(Epoch(1), &mut Delta::default());
        assert!(place.budget.is_short());
        appender.applied(Epoch(1));
        assert!(!place.budget.is_short());
        add(&mut appender, "a", 2, "row");
        drop(appender);
        assert!(!place.budget.is_short() && place.budget.used() == 0);
    }

    #[test]
    fn over_a_backend_that_keeps_nothing_nothing_is_encoded() {
        let place = place(Arc::new(VolatileBackend::new()));
        let mut appender = Appender::new(&place);
        add(&mut appender, "a", 1, "row");
        let mut delta = Delta::default();
        appender.freeze(Epoch(1), &mut delta);
        assert_eq!((delta.len(), place.budget.used()), (0, 0));
    }

    #[test]
    fn a_key_that_is_too_short_for_a_number_is_refused_by_name() {
        let backend = MemoryBackend::new();
        let mut delta = Delta::default();
        let mut key = Vec::new();
        value_prefix(StoreId(3), KeyGroup::new(0), &mut key);
        delta.put(Family::Values, &key, b"row");
        backend.commit(&delta).expect("commits");
        let refused = Journal::new(&backend, StoreId(3), "test").is_empty().expect_err("is damaged");
        assert!(matches!(&refused, StateError::Row { name, .. } if name == "test"), "{refused}");
    }
}
