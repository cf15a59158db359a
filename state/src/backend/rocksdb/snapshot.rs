//! The rows of a database as they were at one moment, for readers beside the thread that commits.
//!
//! Invariant: what it reads is what was committed when it was made, whatever is committed since; and the database is
//! neither closed nor its directory unlocked while it is held. It does not know epochs; a commit is one write, so a
//! moment is always between two of them.

use std::sync::Arc;

use rocksdb::ColumnFamily;
use self_cell::self_cell;

use super::{RocksDbBackend, failed, read_options};
use crate::backend::{Backend, Visit};
use crate::delta::{Delta, Family};
use crate::error::{Result, StateError};

type Moment<'a> = rocksdb::Snapshot<'a>;

self_cell!(
    /// The database together with a moment of it, which must not outlive it.
    struct Held {
        owner: Arc<RocksDbBackend>,
        #[covariant]
        dependent: Moment,
    }
);

/// One moment of a database.
pub(super) struct Snapshot(Held);

impl Snapshot {
    /// The database as it is now.
    pub(super) fn of(backend: Arc<RocksDbBackend>) -> Snapshot {
        Snapshot(Held::new(backend, |backend| backend.db.snapshot()))
    }

    fn column_family(&self, family: Family) -> Result<&ColumnFamily> {
        self.0.borrow_owner().column_family(family)
    }
}

impl Backend for Snapshot {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let found = self.0.borrow_dependent().get_cf_opt(self.column_family(family)?, key, read_options());
        found.map_err(failed("reading a row"))
    }

    fn get_many(&self, family: Family, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        let column_family = self.column_family(family)?;
        let keys = keys.iter().map(|key| (column_family, *key));
        let found = self.0.borrow_dependent().multi_get_cf_opt(keys, read_options());
        found.into_iter().map(|row| row.map_err(failed("reading rows"))).collect()
    }

    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        if from >= to {
            return Ok(());
        }
        let mut options = read_options();
        options.set_iterate_range(from.to_vec()..to.to_vec());
        let mut rows = self.0.borrow_dependent().raw_iterator_cf_opt(self.column_family(family)?, options);
        rows.seek_to_first();
        while let Some((key, value)) = rows.item() {
            if visit(key, value).is_break() {
                return Ok(());
            }
            rows.next();
        }
        rows.status().map_err(failed("scanning rows"))
    }

    fn commit(&self, _: &Delta) -> Result<()> {
        Err(StateError::ReadOnly)
    }

    fn snapshot(self: Arc<Self>) -> Result<Arc<dyn Backend>> {
        Ok(self)
    }
}
