//! How much memory a job may use, all of it together.
//!
//! One number is configured; this module is the one place that splits it. Invariant HW-5: the parts add up to
//! the whole. It does not know who holds the memory: RocksDB is told its part when it is opened, the typed
//! tables charge what they hold to a [`TableBudget`] and evict when it is [`over`](TableBudget::over), and sources read
//! batches that are small enough for all queues to be full of them.
//!
//! | part | share | what lies in it |
//! | --- | --- | --- |
//! | process | 1/3, at most 24 MiB | code, stacks, what RocksDB has beside its cache |
//! | queues | 1/16 | records between operators, by the bytes that they were read from |
//! | block cache | 1/4 | blocks, indexes and filters read from disk, and the write buffers |
//! | write buffers | 1/8, inside the block cache | committed rows that are not in files yet |
//! | commit | 1/3 of the rest | what an epoch changed, encoded, and RocksDB's write of it |
//! | tables | 2/3 of the rest | decoded values in all typed tables; at most a quarter changed since a commit |
//!
//! What is changed can be let go only after a commit. So an epoch ends early when half of what may be changed is,
//! and sources are not read while all of it is ([`TableBudget::is_exhausted`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::error::{Result, StateError};

const MIB: usize = 1024 * 1024;

/// A program with RocksDB in it has some 14 MiB in memory before it does anything; its compactions take some more.
const PROCESS_BYTES_MAX: usize = 24 * MIB;

/// The memory that one job may use, in bytes.
///
/// ```
/// use highwater_state::budget::MemoryBudget;
///
/// let budget = MemoryBudget::default();
/// assert_eq!(budget.total_bytes(), 512 * 1024 * 1024);
/// let state = [budget.block_cache_bytes(), budget.commit_bytes(), budget.table_bytes()];
/// let besides = [budget.queue_bytes(), budget.process_bytes()];
/// assert_eq!(state.iter().chain(&besides).sum::<usize>(), budget.total_bytes());
/// assert!(MemoryBudget::of(1024).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBudget {
    total: usize,
}

impl MemoryBudget {
    /// The smallest budget, in bytes: 32 MiB. Below it RocksDB writes files of a few hundred rows.
    pub const MIN_BYTES: usize = 32 * MIB;
    /// The budget of a job that sets none, in bytes: 512 MiB.
    pub const DEFAULT_BYTES: usize = 512 * MIB;

    /// A budget of `bytes` bytes.
    ///
    /// # Errors
    /// [`StateError::Limit`] below [`MIN_BYTES`](Self::MIN_BYTES).
    pub fn of(bytes: usize) -> Result<Self> {
        if bytes < Self::MIN_BYTES {
            return Err(StateError::Limit {
                what: "the memory budget for state in bytes",
                found: bytes as u64,
                limit: Self::MIN_BYTES as u64,
                advice: "give state at least 32 MiB",
            });
        }
        Ok(MemoryBudget { total: bytes })
    }

    /// All of it, in bytes.
    pub fn total_bytes(&self) -> usize {
        self.total
    }

    /// The part of what the process has whatever its state is, in bytes.
    pub fn process_bytes(&self) -> usize {
        (self.total / 3).min(PROCESS_BYTES_MAX)
    }

    /// RocksDB's part, in bytes: blocks, indexes, filters and the write buffers.
    pub fn block_cache_bytes(&self) -> usize {
        self.total / 4
    }

    /// The part of the records that wait between operators, in bytes.
    pub fn queue_bytes(&self) -> usize {
        self.total / 16
    }

    /// The part of what an epoch changed while it is committed, in bytes.
    pub fn commit_bytes(&self) -> usize {
        (self.total - self.process_bytes() - self.queue_bytes() - self.block_cache_bytes()) / 3
    }

    /// The write buffers' part of [`block_cache_bytes`](Self::block_cache_bytes), in bytes.
    pub fn write_buffer_bytes(&self) -> usize {
        self.block_cache_bytes() / 2
    }

    /// The part of the typed tables, in bytes.
    pub fn table_bytes(&self) -> usize {
        let others =
            self.process_bytes() + self.queue_bytes() + self.block_cache_bytes() + self.commit_bytes();
        self.total - others
    }

    /// A fresh account of [`table_bytes`](Self::table_bytes), for all tables of all workers.
    pub fn tables(&self) -> Arc<TableBudget> {
        Arc::new(TableBudget::new(self.table_bytes()))
    }
}

impl Default for MemoryBudget {
    /// [`DEFAULT_BYTES`](Self::DEFAULT_BYTES).
    fn default() -> Self {
        MemoryBudget { total: Self::DEFAULT_BYTES }
    }
}

/// The account of what the typed tables hold, shared by all tables of all workers.
///
/// It counts and never refuses: a table that finds itself over the limit evicts entries that are on disk
/// already. Every operation is one relaxed atomic, so a reader may see a number that is a moment old.
#[derive(Debug)]
pub struct TableBudget {
    used: AtomicUsize,
    changed: AtomicUsize,
    limit: usize,
    rows_asked: AtomicU64,
    rows_read: AtomicU64,
}

impl TableBudget {
    /// An empty account with a limit in bytes.
    pub fn new(limit: usize) -> Self {
        let (used, changed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        TableBudget { used, changed, limit, rows_asked: AtomicU64::new(0), rows_read: AtomicU64::new(0) }
    }

    /// Notes that a table holds `bytes` bytes more.
    #[inline]
    pub fn charge(&self, bytes: usize) {
        self.used.fetch_add(bytes, Relaxed);
    }

    /// Notes that a table holds `bytes` bytes less; what was never charged is not subtracted.
    #[inline]
    pub fn release(&self, bytes: usize) {
        subtract(&self.used, bytes);
    }

    /// Notes that `bytes` bytes more have been changed since the last commit that a table knows of.
    #[inline]
    pub fn charge_changed(&self, bytes: usize) {
        self.changed.fetch_add(bytes, Relaxed);
    }

    /// Notes that `bytes` bytes less are changed: they are committed.
    #[inline]
    pub fn release_changed(&self, bytes: usize) {
        subtract(&self.changed, bytes);
    }

    /// What may be changed between two commits, in bytes.
    pub fn changed_limit(&self) -> usize {
        self.limit / 4
    }

    /// Whether the epoch should end now, because only a commit makes room.
    pub fn is_short(&self) -> bool {
        self.over() > 0 || self.changed.load(Relaxed) > self.changed_limit() / 2
    }

    /// Whether no more may be changed before the next commit: sources wait.
    pub fn is_exhausted(&self) -> bool {
        self.over() > 0 || self.changed.load(Relaxed) > self.changed_limit()
    }

    /// Notes that `asked` rows were asked for, and that `read` of them were not in memory.
    pub(crate) fn note_rows(&self, asked: u64, read: u64) {
        self.rows_asked.fetch_add(asked, Relaxed);
        self.rows_read.fetch_add(read, Relaxed);
    }

    /// How many rows operators have asked their tables for.
    pub fn rows_asked(&self) -> u64 {
        self.rows_asked.load(Relaxed)
    }

    /// How many of them were looked for in the backend, because they were not in memory and might be there. The others
    /// are hits.
    pub fn rows_read(&self) -> u64 {
        self.rows_read.load(Relaxed)
    }

    /// What is held now, in bytes.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// What may be held, in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many bytes are held above the limit; 0 within it.
    #[inline]
    pub fn over(&self) -> usize {
        self.used().saturating_sub(self.limit)
    }
}

fn subtract(from: &AtomicUsize, bytes: usize) {
    let before = from.fetch_sub(bytes, Relaxed);
    if before < bytes {
        debug_assert!(false, "released {bytes} bytes of {before}");
        from.fetch_add(bytes - before, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_whole() {
        for total in [MemoryBudget::MIN_BYTES, MemoryBudget::MIN_BYTES + 1, MemoryBudget::DEFAULT_BYTES] {
            let budget = MemoryBudget::of(total).expect("large enough");
            let state = budget.block_cache_bytes() + budget.commit_bytes() + budget.table_bytes();
            assert_eq!(state + budget.queue_bytes() + budget.process_bytes(), total);
            assert!(
                budget.tables().changed_limit() * 2 <= budget.commit_bytes() + 1,
                "two copies of the changes"
            );
            assert!(budget.write_buffer_bytes() < budget.block_cache_bytes());
        }
    }

    #[test]
    fn too_little_is_refused_with_both_numbers() {
        let refused = MemoryBudget::of(MemoryBudget::MIN_BYTES - 1).expect_err("one byte too few");
        assert!(matches!(refused, StateError::Limit { found: 33_554_431, limit: 33_554_432, .. }));
    }

    #[test]
    fn an_epoch_ends_early_at_half_of_what_may_be_changed_and_sources_wait_at_all_of_it() {
        let tables = TableBudget::new(400);
        tables.charge_changed(50);
        assert!(!tables.is_short());
        tables.charge_changed(1);
        assert!(tables.is_short() && !tables.is_exhausted());
        tables.charge_changed(50);
        assert!(tables.is_exhausted());
        tables.release_changed(101);
        assert!(!tables.is_short());
    }

    #[test]
    fn workers_share_one_account() {
        let tables = Arc::new(TableBudget::new(1000));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        tables.charge(3);
                        tables.release(2);
                    }
                });
            }
        });
        assert_eq!((tables.used(), tables.over()), (4000, 3000));
        tables.release(3500);
        assert_eq!((tables.used(), tables.limit(), tables.over()), (500, 1000, 0));
    }
}
