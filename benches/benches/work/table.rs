//! A table of counts over RocksDB, filled with a number of keys.

use std::sync::Arc;

use highwater::state::backend::rocksdb::RocksDbBackend;
use highwater::state::budget::MemoryBudget;
use highwater::state::delta::{Delta, Family};
use highwater::state::hash::key_hash;
use highwater::state::table::{Place, RowRef, Table};
use highwater::state::{Backend, Epoch, KeyGroup, Piece, StoreId, Timestamp};
use tempfile::TempDir;

/// Keys that are changed together, as an operator does with those of a batch.
const BATCH: usize = 1024;

/// A table, and what it stands on.
pub struct Counts {
    table: Table<u64, u64>,
    /// Where the rows are kept.
    pub backend: Arc<RocksDbBackend>,
    epoch: Epoch,
    hashes: Vec<u64>,
    _directory: TempDir,
}

impl Counts {
    /// A table with a row for each key below `keys`, all of them on disk, with so many bytes of memory in all.
    pub fn filled(keys: u64, memory: usize) -> Counts {
        let directory = tempfile::tempdir().expect("a directory for the state");
        let memory = MemoryBudget::of(memory).expect("it is enough");
        let backend = Arc::new(RocksDbBackend::open(directory.path(), &memory).expect("it opens"));
        let place = Place {
            name: "counts".to_owned(),
            store: StoreId(1),
            family: Family::Values,
            backend: Arc::clone(&backend) as Arc<dyn Backend>,
            budget: memory.tables(),
            groups: KeyGroup::range(0, 1),
        };
        let table = Table::open(place, Epoch(0)).expect("it opens");
        let mut counts =
            Counts { table, backend, epoch: Epoch(0), hashes: Vec::new(), _directory: directory };
        let all: Vec<u64> = (0..keys).collect();
        for some in all.chunks(64 * BATCH) {
            counts.add(some);
            let delta = counts.freeze();
            counts.commit(&delta);
        }
        counts
    }

    /// Adds one for each of the keys.
    pub fn add(&mut self, keys: &[u64]) {
        for keys in keys.chunks(BATCH) {
            self.hashes.clear();
            self.hashes.extend(keys.iter().map(key_hash));
            let hashes = &self.hashes;
            let row = |at: usize| RowRef { hash: hashes[at], time: Timestamp::MIN, key: &keys[at] };
            let changed =
                self.table.change_each(keys.len(), row, |_, count| *count.get_or_insert_default() += 1);
            changed.expect("the rows are read");
        }
    }

    /// The whole end of an epoch, up to the commit.
    pub fn freeze(&mut self) -> Delta {
        let mut delta = self.barrier();
        self.write(&mut delta);
        delta.sort();
        delta
    }

    /// What a barrier does in the worker.
    pub fn barrier(&mut self) -> Delta {
        self.epoch = self.epoch.next();
        let mut delta = Delta::default();
        self.table.begin_freeze(self.epoch, &mut delta);
        delta
    }

    /// What the worker does behind it, in pieces between which records go on.
    pub fn write(&mut self, delta: &mut Delta) {
        while delta.is_awaited() {
            self.table.write_frozen(&mut Piece::of(128 * 1024, delta)).expect("the rows are encoded");
        }
    }

    /// What the end does in the coordinator, and afterwards in the worker.
    pub fn commit(&mut self, delta: &Delta) {
        self.backend.commit(delta).expect("there is room");
        self.table.applied(self.epoch);
    }

    /// How many rows are in memory.
    pub fn in_memory(&self) -> usize {
        self.table.len()
    }
}
