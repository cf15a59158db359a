//! A backend in memory: what RocksDB does, without a disk.
//!
//! For the interpreter, the simulator, tests and jobs whose state may be lost with the process. Invariant: it
//! answers every call as [`RocksDbBackend`](super::rocksdb::RocksDbBackend) does; both are judged by
//! `tests/backend_contract.rs`. It knows no limit: it grows with what is committed.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};
use std::sync::{Arc, PoisonError, RwLock};

use super::{Backend, FamilySize, ReadOnly, Visit};
use crate::delta::{Change, Delta, Family};
use crate::error::Result;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A backend that keeps its rows in ordered maps; dropped with the process.
///
/// A scan works on what was there when it began and holds no lock while it visits; a commit that runs beside a
/// scan copies the families it changes, once.
#[derive(Debug, Default)]
pub struct MemoryBackend {
    families: RwLock<[Arc<Rows>; Family::ALL.len()]>,
}

impl MemoryBackend {
    /// A backend without rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many rows a family has.
    pub fn len(&self, family: Family) -> usize {
        self.rows(family).len()
    }

    /// Whether a family has no rows.
    pub fn is_empty(&self, family: Family) -> bool {
        self.rows(family).is_empty()
    }

    /// What is there now: shared until a commit changes one of the two.
    pub(super) fn as_it_is(&self) -> MemoryBackend {
        let families = self.families.read().unwrap_or_else(PoisonError::into_inner);
        MemoryBackend { families: RwLock::new(families.clone()) }
    }

    fn rows(&self, family: Family) -> Arc<Rows> {
        let families = self.families.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&families[family as usize])
    }
}

impl Backend for MemoryBackend {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let families = self.families.read().unwrap_or_else(PoisonError::into_inner);
        Ok(families[family as usize].get(key).cloned())
    }

    fn get_many(&self, family: Family, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        let families = self.families.read().unwrap_or_else(PoisonError::into_inner);
        let rows = &families[family as usize];
        Ok(keys.iter().map(|&key| rows.get(key).cloned()).collect())
    }

    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        if from >= to {
            return Ok(());
        }
        let rows = self.rows(family);
        for (key, value) in rows.range::<[u8], _>((Included(from), Excluded(to))) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn commit(&self, delta: &Delta) -> Result<()> {
        let mut families = self.families.write().unwrap_or_else(PoisonError::into_inner);
        for (family, change) in delta.changes() {
            let rows = Arc::make_mut(&mut families[family as usize]);
            match change {
                Change::Put { key, value } => {
                    rows.insert(key.to_vec(), value.to_vec());
                }
                Change::Delete { key } => {
                    rows.remove(key);
                }
                Change::DeleteRange { from, to } => delete_range(rows, from, to),
            }
        }
        Ok(())
    }

    fn sizes(&self) -> Vec<FamilySize> {
        let size = |family| FamilySize { family, rows: self.len(family) as u64, bytes: None };
        Family::ALL.map(size).to_vec()
    }

    /// While it is held, the next commit copies the families that it changes, once: all of their rows.
    fn snapshot(self: Arc<Self>) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(ReadOnly(self.as_it_is())))
    }
}

fn delete_range(rows: &mut Rows, from: &[u8], to: &[u8]) {
    if from >= to {
        return;
    }
    let gone: Vec<_> =
        rows.range::<[u8], _>((Included(from), Excluded(to))).map(|(key, _)| key.clone()).collect();
    for key in gone {
        rows.remove(&key);
    }
}
