//! State, read without changing it: of a savepoint, or of a state directory that no job works on.
//!
//! Invariant: nothing on disk changes. What is read, and how, is [`view`](crate::view)'s business.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::backend::rocksdb::ReadOnlyBackend;
use crate::error::{Result, StateError};
use crate::id::Epoch;
use crate::persist::{Key, Persist};
use crate::savepoint::Savepoint;
use crate::time::Timestamp;
use crate::view::StateView;

pub use crate::view::{JsonRow, JsonRows, Row, Rows};

/// What is said of one state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StateSummary {
    /// Its name: the operator's, and the part's behind a slash.
    pub name: String,
    /// The kind of its rows: `values`, `windows` or `timers`.
    pub family: &'static str,
    /// The shapes of its keys and values, as `keys -> values`.
    pub shape: String,
    /// How many rows it has.
    pub rows: u64,
    /// How many bytes its keys and values have, encoded and not compressed.
    pub bytes: u64,
    /// Whether the program that ran last had it; `None` if that is not known.
    pub used: Option<bool>,
}

/// A state directory or a savepoint that is being read; jobs are kept out of a directory meanwhile.
pub struct StateReader {
    path: PathBuf,
    view: StateView,
    savepoint: Option<Savepoint>,
}

impl StateReader {
    /// Opens a state directory, or a savepoint, which is looked at as by [`Savepoint::open`].
    ///
    /// # Errors
    /// [`StateError::NoState`] if it is neither; [`StateError::InUse`] if a job works on it; [`StateError::Savepoint`]
    /// if a savepoint is not complete; [`StateError::Layout`] and [`StateError::Store`] if it cannot be read.
    pub fn open(directory: &Path) -> Result<StateReader> {
        let savepoint = match Savepoint::is_at(directory) {
            true => Some(Savepoint::open(directory)?),
            false => None,
        };
        let view = StateView::of(Arc::new(ReadOnlyBackend::open(directory)?), directory)?;
        Ok(StateReader { path: directory.to_owned(), view, savepoint })
    }

    /// The last committed epoch.
    pub fn epoch(&self) -> Epoch {
        self.view.epoch()
    }

    /// The states, to be read in pages, too.
    pub fn view(&self) -> &StateView {
        &self.view
    }

    /// What the savepoint says of itself, if it is one.
    pub fn savepoint(&self) -> Option<&Savepoint> {
        self.savepoint.as_ref()
    }

    /// Every state, in the order of names, also those that the program no longer has. Costs a read of all rows.
    ///
    /// # Errors
    /// What the database reports.
    pub fn states(&self) -> Result<Vec<StateSummary>> {
        let used = self.view.catalog().last_used();
        let mut states = Vec::new();
        for (name, family, shape) in self.view.catalog().names() {
            let (rows, bytes) = self.view.size(&name)?;
            let used = used.as_ref().map(|used| used.contains(&name));
            states.push(StateSummary { name, family: family.name(), shape, rows, bytes, used });
        }
        Ok(states)
    }

    /// The names of the states that the program which ran last did not have; `None` if that is not known, because
    /// a version that did not note it wrote the directory.
    pub fn orphans(&self) -> Option<Vec<String>> {
        let used = self.view.catalog().last_used()?;
        let names = self.view.catalog().names().into_iter().map(|(name, ..)| name);
        Some(names.filter(|name| !used.contains(name)).collect())
    }

    /// As [`StateView::get`].
    ///
    /// ```no_run
    /// use highwater_state::{Savepoint, StateReader};
    ///
    /// let reader = StateReader::open("/var/lib/views/savepoints/before-upgrade".as_ref())?;
    /// let visits: Option<u64> = reader.get("visits-per-user", &"ada".to_string())?;
    /// # Ok::<(), highwater_state::StateError>(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn get<K: Key, V: Persist>(&self, state: &str, key: &K) -> Result<Option<V>> {
        self.view.get(state, key)
    }

    /// As [`StateView::get_at`].
    ///
    /// # Errors
    /// As there.
    pub fn get_at<K: Key, V: Persist>(&self, state: &str, time: Timestamp, key: &K) -> Result<Option<V>> {
        self.view.get_at(state, time, key)
    }

    /// As [`StateView::rows`].
    ///
    /// # Errors
    /// As there.
    pub fn rows<K: Key, V: Persist>(&self, state: &str) -> Result<Rows<'_, K, V>> {
        self.view.rows(state)
    }

    /// As [`StateView::json_rows`].
    ///
    /// # Errors
    /// As there.
    pub fn json_rows(&self, state: &str) -> Result<JsonRows<'_>> {
        self.view.json_rows(state)
    }

    /// As [`StateView::json_rows_of`].
    ///
    /// # Errors
    /// As there.
    pub fn json_rows_of(&self, state: &str, key: &str) -> Result<impl Iterator<Item = Result<JsonRow>>> {
        self.view.json_rows_of(state, key)
    }

    /// Writes all rows of a state as [`json_rows`](Self::json_rows) gives them, a line each; says how many there were.
    ///
    /// # Errors
    /// As for `json_rows`, and what `into` reports, as [`StateError::Directory`] with the path of the state.
    pub fn export(&self, state: &str, into: &mut impl Write) -> Result<u64> {
        let failed = |source: io::Error| StateError::Directory { path: self.path.clone(), source };
        let mut count = 0;
        for row in self.json_rows(state)? {
            writeln!(into, "{}", row?.line).map_err(failed)?;
            count += 1;
        }
        into.flush().map_err(failed)?;
        Ok(count)
    }
}
