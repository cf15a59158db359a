//! A backend on disk: RocksDB, set up so that what it returned from survives a power cut.
//!
//! The state directory holds `LOCK-highwater`, locked by the process that uses it, `SYNCED`, how far it was synced,
//! and `db`, the database: one column family a [`Family`], one write-ahead log, one block cache. Invariants: a commit
//! is one synced write batch, so it is there as a whole or not at all; nothing that exists is ever replaced by an empty
//! database; whatever is damaged or missing is an error and never a value. It does not know what the rows mean, except
//! the row that names the [layout](crate::layout).

mod read_only;
mod records;
mod snapshot;
mod synced;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;

use rocksdb::checkpoint::Checkpoint;
use rocksdb::properties::{
    CUR_SIZE_ALL_MEM_TABLES, ESTIMATE_LIVE_DATA_SIZE as LIVE_DATA_SIZE, ESTIMATE_NUM_KEYS,
};
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB,
    DBCompressionType, DBRecoveryMode, Options, ReadOptions, WriteBatch, WriteBufferManager, WriteOptions,
};

use super::{Backend, FamilySize, Visit};
use crate::budget::MemoryBudget;
use crate::delta::{Change, Delta, Family};
use crate::error::{Result, StateError};
use crate::layout::{FORMAT, FORMAT_KEY};
use synced::Synced;

pub use read_only::ReadOnlyBackend;
pub(crate) use synced::FILE as SYNCED;

const LOCK_FILE: &str = "LOCK-highwater";
/// The folder of the database in a state directory, and in a savepoint.
pub(crate) const DATABASE: &str = "db";

/// How many rows one lookup of many reads at once: their blocks are pinned together, beside the block cache.
const KEYS_PER_LOOKUP_MAX: usize = 1024;
/// Past this many bytes of log, the families that hold the log back are written to files.
const WAL_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How many files are kept open.
const OPEN_FILES_MAX: i32 = 1000;
/// Bits a key in the bloom filter of the family `values`: one lookup in a hundred reads a block in vain.
const BLOOM_BITS: f64 = 10.0;
/// What a write has in front of its rows, and in front of each: its kind, its family and two lengths.
const BATCH_BYTES: usize = 12;
const BATCH_ROW_BYTES: usize = 8;
/// The size of a part of an index or a filter: that of a block of rows, so that one has the worth of the other.
const INDEX_BLOCK_BYTES: usize = 4096;
/// A file in which of so many rows in a row so many are deletions is compacted at once, even if nothing more is
/// written.
const DELETES_WINDOW: usize = 10_000;
const DELETES_MAX: usize = 5_000;
/// The first sorted level has at least so many bytes, and files of at least so many. RocksDB's own 256 MiB would make
/// small state one level, all of which is written again whenever a few write buffers have become files.
const LEVEL_BYTES_MIN: usize = 16 * 1024 * 1024;
const FILE_BYTES_MIN: usize = 4 * 1024 * 1024;
/// Write buffers a family has at most: one that is written to and one on its way to a file.
const WRITE_BUFFERS_MAX: i32 = 2;

/// Rows in RocksDB, in a directory that one process uses at a time.
///
/// Everything that [`commit`](Backend::commit) returned from survives a kill of the process and a power cut.
/// Dropping it closes the database and unlocks the directory.
pub struct RocksDbBackend {
    // Closed before the note is completed, and before the lock is given up: fields are dropped in this order.
    db: DB,
    synced: Synced,
    _lock: DirectoryLock,
}

/// A directory that is kept for oneself, or with others for reading.
pub(crate) struct DirectoryLock(File);

impl Drop for DirectoryLock {
    /// Closing the file would not do: a process that is being started by another thread holds it, too, until it
    /// runs its own program.
    fn drop(&mut self) {
        // It goes with the process, if not now.
        let _ = self.0.unlock();
    }
}

impl RocksDbBackend {
    /// Opens the database in `directory`, or makes one if there is none; the directory is made for its owner
    /// only (mode 0700) if it is missing, and so is the folder of the database in one that is there. The mode of a
    /// directory that is there stays as it is: see [`open_to_others`].
    ///
    /// Memory: RocksDB is held to [`MemoryBudget::block_cache_bytes`] by its block cache and the sizes of its
    /// write buffers. Beside it stand the blocks that running reads pin and the delta that a running commit
    /// writes. Costs a replay of the log, at most 256 MiB of it.
    ///
    /// # Errors
    /// [`StateError::InUse`] if a process, also this one, has the directory open; [`StateError::Directory`] if
    /// it cannot be made or read; [`StateError::Lost`] if the database holds less than was synced;
    /// [`StateError::Layout`] if another version wrote it; [`StateError::Store`] if
    /// the database is damaged or none.
    pub fn open(directory: &Path, memory: &MemoryBudget) -> Result<RocksDbBackend> {
        let in_directory = |source| StateError::Directory { path: directory.to_owned(), source };
        make_private(directory).map_err(in_directory)?;
        let lock = lock(directory)?;
        let path = directory.join(DATABASE);
        refuse_remains(&path)?;
        records::refuse_recycled(&path)?;
        let synced = Synced::open(directory, &path)?;
        let logs = logs(&path);
        // RocksDB would make it for everybody to read, and the state directory may be one that others can enter.
        make_private(&path).map_err(in_directory)?;

        let cache = Cache::new_lru_cache(memory.block_cache_bytes());
        let families = Family::ALL
            .map(|family| ColumnFamilyDescriptor::new(family.name(), family_options(family, memory, &cache)));
        let db = DB::open_cf_descriptors(&database_options(memory, &cache), &path, families)
            .map_err(failed("opening the database"))?;
        synced.check(db.latest_sequence_number(), &logs)?;
        let backend = RocksDbBackend { db, synced, _lock: lock };
        backend.check_format(directory)?;
        backend.synced.note(backend.db.latest_sequence_number())?;
        backend.synced.sync()?;
        sync_directory(directory).map_err(in_directory)?;
        Ok(backend)
    }

    /// Writes the format's row into an empty database, compares it in any other.
    fn check_format(&self, directory: &Path) -> Result<()> {
        let found = self.get(Family::Meta, FORMAT_KEY)?;
        let found = match found.as_deref() {
            Some(bytes) if bytes == FORMAT.to_be_bytes() => return Ok(()),
            Some(bytes) => format_of(bytes),
            None if self.is_empty()? => {
                let mut delta = Delta::default();
                delta.put(Family::Meta, FORMAT_KEY, &FORMAT.to_be_bytes());
                return self.commit(&delta);
            }
            None => "none".to_owned(),
        };
        Err(StateError::Layout { path: directory.to_owned(), found, expected: FORMAT })
    }

    fn is_empty(&self) -> Result<bool> {
        for family in Family::ALL {
            let mut rows = self.db.raw_iterator_cf_opt(self.column_family(family)?, read_options());
            rows.seek_to_first();
            rows.status().map_err(failed("reading the first row"))?;
            if rows.valid() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn column_family(&self, family: Family) -> Result<&ColumnFamily> {
        self.db.cf_handle(family.name()).ok_or_else(|| StateError::Store {
            doing: "looking for a column family",
            reason: format!("there is no `{}`", family.name()),
        })
    }
}

impl Backend for RocksDbBackend {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let found = self.db.get_cf_opt(self.column_family(family)?, key, &read_options());
        found.map_err(failed("reading a row"))
    }

    fn get_many(&self, family: Family, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        get_many(&self.db, self.column_family(family)?, keys)
    }

    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        scan(&self.db, self.column_family(family)?, from, to, visit)
    }

    fn commit(&self, delta: &Delta) -> Result<()> {
        self.write(delta, true)
    }

    fn apply(&self, delta: &Delta) -> Result<()> {
        self.write(delta, false)
    }

    /// Costs a flush of the write buffers and a hard link for each file, or a copy where `directory` is on another
    /// file system; from then on the copy holds on to files that compaction would have deleted.
    fn checkpoint(&self, directory: &Path) -> Result<()> {
        let checkpoint = Checkpoint::new(&self.db).map_err(failed("preparing a savepoint"))?;
        checkpoint.create_checkpoint(directory).map_err(failed("writing a savepoint"))
    }

    /// What the database estimates: rows that are deleted and not compacted yet may count.
    fn sizes(&self) -> Vec<FamilySize> {
        let sizes = Family::ALL.into_iter().filter_map(|family| {
            let column_family = self.column_family(family).ok()?;
            let number = |property| self.db.property_int_value_cf(column_family, property).ok().flatten();
            let bytes = number(LIVE_DATA_SIZE).zip(number(CUR_SIZE_ALL_MEM_TABLES));
            let bytes = bytes.map(|(on_disk, in_memory)| on_disk + in_memory);
            Some(FamilySize { family, rows: number(ESTIMATE_NUM_KEYS)?, bytes })
        });
        sizes.collect()
    }

    /// While it is held, compaction keeps what was replaced or deleted since, and the directory stays in use.
    fn snapshot(self: Arc<Self>) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(snapshot::Snapshot::of(self)))
    }
}

impl RocksDbBackend {
    fn write(&self, delta: &Delta, synced: bool) -> Result<()> {
        if delta.is_empty() {
            return Ok(());
        }
        // As large as it gets: one that grows has its rows twice while it does.
        let mut batch =
            WriteBatch::with_capacity_bytes(BATCH_BYTES + delta.bytes() + BATCH_ROW_BYTES * delta.len());
        for (family, change) in delta.changes() {
            let column_family = self.column_family(family)?;
            match change {
                Change::Put { key, value } => batch.put_cf(column_family, key, value),
                Change::Delete { key } => batch.delete_cf(column_family, key),
                // RocksDB takes an empty range for a mistake.
                Change::DeleteRange { from, to } if from >= to => {}
                Change::DeleteRange { from, to } => batch.delete_range_cf(column_family, from, to),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(synced);
        self.db.write_opt(batch, &options).map_err(failed("committing an epoch"))?;
        // A synced write takes all before it along.
        if synced { self.synced.note(self.db.latest_sequence_number()) } else { Ok(()) }
    }
}

/// The names of the logs that are there.
fn logs(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut logs: Vec<String> = names.filter(|name| name.ends_with(".log")).collect();
    logs.sort();
    logs
}

fn get_many(db: &DB, family: &ColumnFamily, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
    let options = read_options();
    let mut values = Vec::with_capacity(keys.len());
    for some in keys.chunks(KEYS_PER_LOOKUP_MAX) {
        let found = db.batched_multi_get_cf_opt(family, some.iter().copied(), false, &options);
        for row in found {
            let row = row.map_err(failed("reading rows"))?;
            values.push(row.map(|row| row.to_vec()));
        }
    }
    Ok(values)
}

fn scan(db: &DB, family: &ColumnFamily, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<()> {
    if from >= to {
        return Ok(());
    }
    let mut options = read_options();
    options.set_iterate_range(from.to_vec()..to.to_vec());
    let mut rows = db.raw_iterator_cf_opt(family, options);
    rows.seek_to_first();
    while let Some((key, value)) = rows.item() {
        if visit(key, value).is_break() {
            return Ok(());
        }
        rows.next();
    }
    rows.status().map_err(failed("scanning rows"))
}

/// The format that the row says, or the row if it says none.
fn format_of(row: &[u8]) -> String {
    match <[u8; 4]>::try_from(row).map(u32::from_be_bytes) {
        Ok(format) => format.to_string(),
        Err(_) => format!("{row:?}"),
    }
}

fn failed(doing: &'static str) -> impl FnOnce(rocksdb::Error) -> StateError {
    move |error| StateError::Store { doing, reason: error.into_string() }
}

fn read_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    options
}

fn database_options(memory: &MemoryBudget, cache: &Cache) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    // A recycled log file may end in the rows of an older one, which weakens the recovery above.
    options.set_recycle_log_file_num(0);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_keep_log_file_num(4);
    // The manager charges the write buffers to the cache. It does not stall commits: the sizes in
    // `family_options` already bound the buffers.
    options.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager_with_cache(
        memory.write_buffer_bytes(),
        false,
        cache.clone(),
    ));
    options
}

fn family_options(family: Family, memory: &MemoryBudget, cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    // In parts of a block each: the index and the filter of a whole file may be larger than the cache, and would be
    // read anew for every row then.
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_partition_filters(true);
    blocks.set_metadata_block_size(INDEX_BLOCK_BYTES);
    blocks.set_pin_top_level_index_and_filter(true);
    if family == Family::Values {
        blocks.set_bloom_filter(BLOOM_BITS, false);
    }
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_bottommost_compression_type(DBCompressionType::Zstd);
    options.set_write_buffer_size(memory.write_buffer_bytes() / write_buffer_fraction(family));
    options.set_max_write_buffer_number(WRITE_BUFFERS_MAX);
    // As large as some write buffers together, so that what they become is merged with as much.
    let level_bytes = (2 * memory.write_buffer_bytes()).max(LEVEL_BYTES_MIN);
    options.set_max_bytes_for_level_base(level_bytes as u64);
    options.set_target_file_size_base((level_bytes / 8).max(FILE_BYTES_MIN) as u64);
    // Without this, what was deleted keeps its room until more is written.
    options.add_compact_on_deletion_collector_factory(DELETES_WINDOW, DELETES_MAX, 0.0);
    options
}

/// One buffer of the family is this fraction of all write buffers; twice each, they add up to the whole.
fn write_buffer_fraction(family: Family) -> usize {
    match family {
        Family::Values => 4,
        Family::Windows => 8,
        Family::Redo => 16,
        Family::Timers | Family::Meta => 32,
    }
}

/// The mode of a directory that others than its owner may read, enter or write to; `None` where they may not, or
/// where the system has no such modes.
///
/// What a backend keeps lies in a folder that is its owner's only, as long as it was made by this version. But whoever
/// may write to the directory around it can put another one in its place.
///
/// # Errors
/// If the directory cannot be looked at.
pub fn open_to_others(directory: &Path) -> io::Result<Option<u32>> {
    let found = fs::metadata(directory)?;
    #[cfg(unix)]
    let mode = Some(std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o777);
    #[cfg(not(unix))]
    let mode = Some(found).and(None);
    Ok(mode.filter(|mode| mode & 0o077 != 0))
}

pub(crate) fn make_private(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

pub(crate) fn lock(directory: &Path) -> Result<DirectoryLock> {
    let in_directory = |source| StateError::Directory { path: directory.to_owned(), source };
    let path = directory.join(LOCK_FILE);
    let mut options = File::options();
    options.create(true).write(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(in_directory)?;
    match file.try_lock() {
        Ok(()) => Ok(DirectoryLock(file)),
        Err(TryLockError::WouldBlock) => Err(StateError::InUse(directory.to_owned())),
        Err(TryLockError::Error(source)) => Err(in_directory(source)),
    }
}

/// Refuses a database that has lost its `CURRENT`: RocksDB would make an empty one in its place, unless there
/// is a log.
fn refuse_remains(path: &Path) -> Result<()> {
    if path.join("CURRENT").exists() {
        return Ok(());
    }
    let in_directory = |source| StateError::Directory { path: path.to_owned(), source };
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(in_directory(error)),
    };
    for entry in entries {
        let name = entry.map_err(in_directory)?.file_name();
        // A first start that was killed leaves neither tables nor logs: `CURRENT` is there before they are.
        if matches!(Path::new(&name).extension().and_then(|ending| ending.to_str()), Some("sst" | "log")) {
            return Err(StateError::Store {
                doing: "opening the database",
                reason: format!("there is `{}` but no file `CURRENT`", Path::new(&name).display()),
            });
        }
    }
    Ok(())
}

/// Makes the database's name durable: RocksDB syncs its own directory, not the ones above it.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let directory = directory.canonicalize()?;
        for above in directory.ancestors().take(2) {
            File::open(above)?.sync_all()?;
        }
    }
    Ok(())
}
