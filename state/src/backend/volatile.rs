//! A backend for state that ends with the process: what no later start could read is not kept.
//!
//! Positions, epochs and receipts are, because a job may ask for them while it runs; rows of operators are not, and
//! [`Table`](crate::table::Table) does not encode what changed when it finds that out. Invariant: what
//! [`keeps`](Backend::keeps) denies is never read back, because a table over such a backend lets no row go. Memory: a
//! job's state is in memory once, decoded.

use std::sync::Arc;

use super::memory::MemoryBackend;
use super::{Backend, ReadOnly, Visit};
use crate::delta::{Change, Delta, Family};
use crate::error::Result;

/// A backend that keeps everything but the rows of operators; dropped with the process.
#[derive(Debug, Default)]
pub struct VolatileBackend {
    kept: MemoryBackend,
}

impl VolatileBackend {
    /// A backend without rows.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Backend for VolatileBackend {
    fn keeps(&self, family: Family) -> bool {
        !matches!(family, Family::Values | Family::Windows | Family::Timers)
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.kept.get(family, key)
    }

    fn get_many(&self, family: Family, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        self.kept.get_many(family, keys)
    }

    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        self.kept.scan(family, from, to, visit)
    }

    fn commit(&self, delta: &Delta) -> Result<()> {
        let mut kept = Delta::default();
        for (family, change) in delta.changes().filter(|(family, _)| self.keeps(*family)) {
            match change {
                Change::Put { key, value } => kept.put(family, key, value),
                Change::Delete { key } => kept.delete(family, key),
                Change::DeleteRange { from, to } => kept.delete_range(family, from, to),
            }
        }
        self.kept.commit(&kept)
    }

    fn snapshot(self: Arc<Self>) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(ReadOnly(VolatileBackend { kept: self.kept.as_it_is() })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_kept_and_rows_of_operators_are_not() {
        let backend = VolatileBackend::new();
        let mut delta = Delta::default();
        for family in Family::ALL {
            delta.put(family, b"key", b"value");
        }
        backend.commit(&delta).expect("commits");
        for family in Family::ALL {
            let found = backend.get(family, b"key").expect("reads");
            assert_eq!(found.is_some(), backend.keeps(family), "{family:?}");
        }
        assert!(backend.keeps(Family::Meta) && !backend.keeps(Family::Values));
    }
}
