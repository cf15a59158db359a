//! A database that is only looked at: of a savepoint, or of a state directory that no process uses.
//!
//! Invariant: nothing on disk is changed by it, not even by opening; what stands in the log alone is replayed
//! into memory. It takes what families there are, so that it also reads what a version with fewer of them wrote.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{ColumnFamily, DB, DBRecoveryMode, Options};

use super::{
    DATABASE, DirectoryLock, LOCK_FILE, failed, format_of, get_many, logs, read_options, scan, synced,
};
use crate::backend::{Backend, Visit};
use crate::delta::{Delta, Family};
use crate::error::{Result, StateError};
use crate::layout::{FORMAT, FORMAT_KEY};

/// How many files are kept open: a look at state shall not take all that a process may open.
const OPEN_FILES_MAX: i32 = 256;

/// Rows in RocksDB that are read and never changed; several processes may do so at once.
pub struct ReadOnlyBackend {
    // Closed before the lock below is given up: fields are dropped in this order.
    db: DB,
    _lock: Option<DirectoryLock>,
}

impl ReadOnlyBackend {
    /// Opens the database in `directory`, a state directory or a savepoint.
    ///
    /// Memory: what its log holds, at most 256 MiB, and RocksDB's default block cache of 32 MiB.
    ///
    /// # Errors
    /// [`StateError::NoState`] if there is no database; [`StateError::InUse`] if a job works on it;
    /// [`StateError::Layout`] if another version wrote it; [`StateError::Store`] or [`StateError::Lost`] if it is
    /// damaged.
    pub fn open(directory: &Path) -> Result<ReadOnlyBackend> {
        let path = directory.join(DATABASE);
        if !path.join("CURRENT").is_file() {
            super::refuse_remains(&path)?;
            return Err(StateError::NoState(directory.to_owned()));
        }
        super::records::refuse_recycled(&path)?;
        let lock = share(directory)?;
        let check = synced::check_only(directory, &path)?;
        let mut options = Options::default();
        options.set_paranoid_checks(true);
        options.set_max_open_files(OPEN_FILES_MAX);
        // As it was written. Without these RocksDB 11.8 would delete the logs that are tracked from its manifest,
        // which it cannot do when it only reads: it follows a null pointer, after a job that was killed.
        options.set_track_and_verify_wals_in_manifest(true);
        options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        let there = DB::list_cf(&options, &path).map_err(failed("listing the column families"))?;
        let db = DB::open_cf_for_read_only(&options, &path, there, false);
        let backend =
            ReadOnlyBackend { db: db.map_err(failed("opening the database to read it"))?, _lock: lock };
        check(backend.db.latest_sequence_number(), &logs(&path))?;
        let found = backend.get(Family::Meta, FORMAT_KEY)?;
        match found.as_deref().map(format_of) {
            Some(found) if found == FORMAT.to_string() => Ok(backend),
            found => Err(StateError::Layout {
                path: directory.to_owned(),
                found: found.unwrap_or_else(|| "none".to_owned()),
                expected: FORMAT,
            }),
        }
    }

    fn column_family(&self, family: Family) -> Option<&ColumnFamily> {
        self.db.cf_handle(family.name())
    }
}

impl Backend for ReadOnlyBackend {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(column_family) = self.column_family(family) else { return Ok(None) };
        self.db.get_cf_opt(column_family, key, &read_options()).map_err(failed("reading a row"))
    }

    fn get_many(&self, family: Family, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        let Some(column_family) = self.column_family(family) else { return Ok(vec![None; keys.len()]) };
        get_many(&self.db, column_family, keys)
    }

    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        match self.column_family(family) {
            Some(column_family) => scan(&self.db, column_family, from, to, visit),
            None => Ok(()),
        }
    }

    fn commit(&self, _: &Delta) -> Result<()> {
        Err(StateError::ReadOnly)
    }

    fn snapshot(self: Arc<Self>) -> Result<Arc<dyn Backend>> {
        Ok(self)
    }
}

/// Keeps jobs out for as long as the directory is read; a savepoint has no lock, as nothing ever changes it.
fn share(directory: &Path) -> Result<Option<DirectoryLock>> {
    let path: PathBuf = directory.join(LOCK_FILE);
    let in_directory = |source| StateError::Directory { path: directory.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(in_directory(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(DirectoryLock(file))),
        Err(TryLockError::WouldBlock) => Err(StateError::InUse(directory.to_owned())),
        Err(TryLockError::Error(source)) => Err(in_directory(source)),
    }
}
