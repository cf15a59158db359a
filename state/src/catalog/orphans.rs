//! States that the program no longer has: they are kept until somebody says that they may go.
//!
//! Invariant: what the program works with is never dropped, and dropping is one commit: the rows, the name, and
//! what its operator knew of time. It does not decide what may go.

use std::ops::ControlFlow;
use std::path::Path;

use super::{Catalog, Inner, PREFIX, USED_KEY, Used};
use crate::backend::Backend;
use crate::backend::rocksdb::RocksDbBackend;
use crate::budget::MemoryBudget;
use crate::delta::{Delta, Family};
use crate::error::{Result, StateError};
use crate::layout::{after_prefix, store_range, watermark_key};

impl Catalog {
    /// The names that are kept and that this program has not asked for, with their families and shapes. To be
    /// called when every operator has asked.
    pub fn orphans(&self) -> Vec<(String, Family, String)> {
        let inner = self.lock();
        let orphans = inner.entries.iter().filter(|(name, _)| !inner.asked.contains(*name));
        orphans.map(|(name, entry)| (name.clone(), entry.family, entry.shape.clone())).collect()
    }

    /// The names that the program had which ran last; `None` if that is not known.
    pub fn last_used(&self) -> Option<Vec<String>> {
        self.lock().used.as_ref().map(|used| used.names.iter().cloned().collect())
    }

    /// Drops states that the program has not asked for, in one commit; says which of the names there were. To be called
    /// when every operator has asked, and where no commit runs.
    ///
    /// # Errors
    /// [`StateError::Used`] if the program works with one of them, and then none is dropped; what the backend reports.
    pub fn drop_states(&self, backend: &dyn Backend, names: &[String]) -> Result<Vec<String>> {
        let mut inner = self.lock();
        if let Some(name) = names.iter().find(|name| inner.asked.contains(*name)) {
            return Err(StateError::Used { name: name.clone() });
        }
        inner.drop_states(backend, names)
    }
}

impl Inner {
    fn drop_states(&mut self, backend: &dyn Backend, names: &[String]) -> Result<Vec<String>> {
        let mut delta = Delta::default();
        let mut dropped = Vec::new();
        for name in names {
            let Some(entry) = self.entries.get(name) else { continue };
            let (from, to) = store_range(entry.id);
            delta.delete_range(entry.family, &from, &to);
            delta.delete(Family::Meta, &[PREFIX, name.as_bytes()].concat());
            dropped.push(name.clone());
        }
        if dropped.is_empty() {
            return Ok(dropped);
        }
        for name in &dropped {
            self.forget_watermark(backend, name, &dropped, &mut delta)?;
        }
        let used = Used { last: self.last, ..self.used.clone().unwrap_or_default() };
        if self.used.is_some() {
            delta.put(Family::Meta, USED_KEY, &used.row());
            self.used = Some(used);
        }
        backend.commit(&delta)?;
        self.entries.retain(|name, _| !dropped.contains(name));
        Ok(dropped)
    }

    /// The watermark of an operator goes with the last of its states: another that gets the name begins without one.
    fn forget_watermark(
        &self,
        backend: &dyn Backend,
        name: &str,
        dropped: &[String],
        delta: &mut Delta,
    ) -> Result<()> {
        let operator = operator_of(name);
        let mut others = self.entries.keys().filter(|other| !dropped.contains(other));
        if others.any(|other| operator_of(other) == operator) {
            return Ok(());
        }
        let key = watermark_key(&format!("operator/{operator}"));
        delta.delete(Family::Meta, &key);
        let sides = [&key, &b"/"[..]].concat();
        backend.scan(Family::Meta, &sides, &after_prefix(&sides), &mut |side, _| {
            delta.delete(Family::Meta, side);
            ControlFlow::Continue(())
        })
    }
}

/// A state is called like its operator, or that and what it is in it behind a slash.
fn operator_of(name: &str) -> &str {
    name.split_once('/').map_or(name, |(operator, _)| operator)
}

/// Drops states from a directory that no process uses; says which of the names there were.
///
/// # Errors
/// [`StateError::Used`] if the program that ran last works with one of them, and then none is dropped;
/// [`StateError::InUse`] if a process works on the directory; what the backend reports.
pub fn drop_orphans(directory: &Path, names: &[String]) -> Result<Vec<String>> {
    if !directory.join(crate::backend::rocksdb::DATABASE).join("CURRENT").is_file() {
        return Err(StateError::NoState(directory.to_owned()));
    }
    let backend = RocksDbBackend::open(directory, &MemoryBudget::of(MemoryBudget::MIN_BYTES)?)?;
    let catalog = Catalog::open(&backend)?;
    let mut inner = catalog.lock();
    let is_used = |name: &&String| inner.used.as_ref().is_none_or(|used| used.names.contains(*name));
    let has = |name: &&String| inner.entries.contains_key(*name);
    if let Some(name) = names.iter().filter(has).find(is_used) {
        return Err(StateError::Used { name: name.clone() });
    }
    inner.drop_states(&backend, names)
}
