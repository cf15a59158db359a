//! Where decided epochs are kept, as bytes.
//!
//! Invariant HW-2: a backend changes only by [`Backend::commit`] and [`Backend::apply`], atomically. It does not
//! know types, operators or epochs; it knows rows, families and deltas.
//!
//! Every implementation is judged by `tests/backend_contract.rs` against an ordered map.

pub mod memory;
pub mod rocksdb;
pub mod volatile;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::delta::{Delta, Family};
use crate::error::{Result, StateError};

/// Called for every row of a scan; [`ControlFlow::Break`] ends it.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// About how large a family is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilySize {
    /// The family.
    pub family: Family,
    /// How many rows it has.
    pub rows: u64,
    /// How many bytes they take, in memory and on disk; `None` if that is not known.
    pub bytes: Option<u64>,
}

/// A store of rows that changes by whole deltas.
///
/// Shared by all workers and by the thread that commits; reads may run while a commit does, and see either none
/// or all of it for each row they read.
pub trait Backend: Send + Sync + 'static {
    /// Whether rows of this family can be read back. Where they cannot, tables keep what they hold and encode nothing.
    fn keeps(&self, family: Family) -> bool {
        let _ = family;
        true
    }

    /// The row's value; costs one lookup.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// The values of many rows, in the order of `keys`; one batched lookup, which is several times cheaper than
    /// as many calls of [`get`](Backend::get).
    fn get_many(&self, family: Family, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>>;

    /// Visits the rows with `from <= key < to` in the order of their keys.
    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<()>;

    /// Applies all changes of the delta, or none: atomic, and durable once it returns.
    fn commit(&self, delta: &Delta) -> Result<()>;

    /// Applies all changes of the delta, or none, without waiting for the disk: durable with the next
    /// [`commit`](Backend::commit) at the latest. A power cut may take it back, as a whole and with whatever was
    /// applied after it; a kill of the process does not. For what [`redo`](crate::redo) can repeat.
    fn apply(&self, delta: &Delta) -> Result<()> {
        self.commit(delta)
    }

    /// Makes a copy of all that is committed in a directory that is not there yet; see
    /// [`savepoint`](crate::savepoint). Refused where there is no disk.
    fn checkpoint(&self, directory: &Path) -> Result<()> {
        let _ = directory;
        Err(StateError::NoCheckpoint)
    }

    /// About how many rows each family has and how many bytes they take, as far as that is known without looking at
    /// them.
    fn sizes(&self) -> Vec<FamilySize> {
        Vec::new()
    }

    /// All rows as the last commit left them, for as long as the answer is held: a backend that is read, and that no
    /// later commit changes. Deltas are committed as a whole, so it holds whole epochs. Refused where nothing of the
    /// kind is made.
    ///
    /// What it costs to make is small; what it costs to hold, each backend says.
    fn snapshot(self: Arc<Self>) -> Result<Arc<dyn Backend>> {
        Err(StateError::NoSnapshot)
    }
}

/// A backend that is read and never changed.
pub(crate) struct ReadOnly<B>(pub(crate) B);

impl<B: Backend> Backend for ReadOnly<B> {
    fn keeps(&self, family: Family) -> bool {
        self.0.keeps(family)
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.0.get(family, key)
    }

    fn get_many(&self, family: Family, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        self.0.get_many(family, keys)
    }

    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        self.0.scan(family, from, to, visit)
    }

    fn commit(&self, _: &Delta) -> Result<()> {
        Err(StateError::ReadOnly)
    }

    fn snapshot(self: Arc<Self>) -> Result<Arc<dyn Backend>> {
        Ok(self)
    }
}
