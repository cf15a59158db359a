//! How much memory state may use, all of it together.
//!
//! One number is configured; this module is the one place that splits it. Invariant HW-5: the parts add up to
//! the whole. It does not know who holds the memory: RocksDB is told its part when it is opened, and the typed
//! tables charge what they hold to a [`TableBudget`] and evict when it is [`over`](TableBudget::over).
//!
//! | part | share | what lies in it |
//! | --- | --- | --- |
//! | tables | 1/2 | decoded values in the typed tables of all workers |
//! | block cache | 1/2 | blocks, indexes and filters read from disk, and the write buffers |
//! | write buffers | 1/4, inside the block cache | committed rows that are not in files yet |

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::error::{Result, StateError};

const MIB: usize = 1024 * 1024;

/// The memory that all state of one process may use, in bytes.
///
/// ```
/// use highwater_state::budget::MemoryBudget;
///
/// let budget = MemoryBudget::default();
/// assert_eq!(budget.total_bytes(), 512 * 1024 * 1024);
/// assert_eq!(budget.block_cache_bytes() + budget.table_bytes(), budget.total_bytes());
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

    /// RocksDB's part, in bytes: blocks, indexes, filters and the write buffers.
    pub fn block_cache_bytes(&self) -> usize {
        self.total / 2
    }

    /// The write buffers' part of [`block_cache_bytes`](Self::block_cache_bytes), in bytes.
    pub fn write_buffer_bytes(&self) -> usize {
        self.block_cache_bytes() / 2
    }

    /// The part of the typed tables, in bytes.
    pub fn table_bytes(&self) -> usize {
        self.total - self.block_cache_bytes()
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
    limit: usize,
}

impl TableBudget {
    /// An empty account with a limit in bytes.
    pub fn new(limit: usize) -> Self {
        TableBudget { used: AtomicUsize::new(0), limit }
    }

    /// Notes that a table holds `bytes` bytes more.
    #[inline]
    pub fn charge(&self, bytes: usize) {
        self.used.fetch_add(bytes, Relaxed);
    }

    /// Notes that a table holds `bytes` bytes less; what was never charged is not subtracted.
    #[inline]
    pub fn release(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Relaxed);
        if before < bytes {
            debug_assert!(false, "released {bytes} bytes of {before}");
            self.used.fetch_add(bytes - before, Relaxed);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_whole() {
        for total in [MemoryBudget::MIN_BYTES, MemoryBudget::MIN_BYTES + 1, MemoryBudget::DEFAULT_BYTES] {
            let budget = MemoryBudget::of(total).expect("large enough");
            assert_eq!(budget.block_cache_bytes() + budget.table_bytes(), total);
            assert!(budget.write_buffer_bytes() < budget.block_cache_bytes());
        }
    }

    #[test]
    fn too_little_is_refused_with_both_numbers() {
        let refused = MemoryBudget::of(MemoryBudget::MIN_BYTES - 1).expect_err("one byte too few");
        assert!(matches!(refused, StateError::Limit { found: 33_554_431, limit: 33_554_432, .. }));
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
