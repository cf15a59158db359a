//! State, read without changing it: of a savepoint, or of a state directory that no job works on.
//!
//! Rows are read as the types that the program has, if they are at hand, or as JSON by the shape that was kept
//! with them. Invariants: nothing on disk changes; HW-9 holds here, too: a row is not read as a type that it was
//! not kept as. It reads rows in chunks, however many there are. It does not know operators: a state is named as
//! the operator is, or like it with a part of its own behind a slash.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::backend::Backend;
use crate::backend::rocksdb::ReadOnlyBackend;
use crate::catalog::Catalog;
use crate::delta::Family;
use crate::error::{Result, StateError};
use crate::hash::key_hash;
use crate::id::{Epoch, KeyGroup, StoreId};
use crate::layout::{VALUE_PREFIX_LEN, split_time_row, store_range, time_prefix, value_prefix};
use crate::persist::{Key, Persist, decode, encode};
use crate::savepoint::Savepoint;
use crate::shape::{RowShape, hex, shape_of};
use crate::time::Timestamp;

/// How many rows are read at once.
const CHUNK_ROWS: usize = 1024;
/// From how many bytes on a chunk is not made longer: 4 MiB.
const CHUNK_BYTES: usize = 4 << 20;

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

/// A row with its types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<K, V> {
    /// When it is due, in states that are ordered by time: the end of a window, the time of a timer.
    pub time: Option<Timestamp>,
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
}

/// Whatever shows the rows of named states as they were at one committed epoch.
///
/// A [`StateReader`] does, of a state directory that no job works on and of a savepoint; what reads the state of a job
/// that runs may be another.
pub trait Committed {
    /// The rows.
    fn backend(&self) -> &dyn Backend;

    /// The epoch that they belong to.
    fn epoch(&self) -> Epoch;

    /// Under which number, in which family and as which shape a state is kept.
    ///
    /// # Errors
    /// [`StateError::Unknown`] if there is no such state.
    fn state(&self, name: &str) -> Result<(StoreId, Family, String)>;

    /// Every state's name and shape, in the order of names.
    fn states(&self) -> Vec<(String, String)>;
}

impl Committed for StateReader {
    fn backend(&self) -> &dyn Backend {
        &self.backend
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn state(&self, name: &str) -> Result<(StoreId, Family, String)> {
        let Kept { id, family, shape } = self.find(name)?;
        Ok((id, family, shape))
    }

    fn states(&self) -> Vec<(String, String)> {
        self.catalog.names().into_iter().map(|(name, _, shape)| (name, shape)).collect()
    }
}

/// A state directory or a savepoint that is being read; jobs are kept out of a directory meanwhile.
pub struct StateReader {
    path: PathBuf,
    backend: ReadOnlyBackend,
    catalog: Catalog,
    epoch: Epoch,
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
        let backend = ReadOnlyBackend::open(directory)?;
        let catalog = Catalog::open(&backend)?;
        let epoch = Savepoint::epoch_of(&backend)?;
        Ok(StateReader { path: directory.to_owned(), backend, catalog, epoch, savepoint })
    }

    /// The last committed epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
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
        let used = self.catalog.last_used();
        let mut states = Vec::new();
        for (name, family, shape) in self.catalog.names() {
            let (mut rows, mut bytes) = (0, 0);
            let (from, to) = store_range(self.find(&name)?.id);
            self.backend.scan(family, &from, &to, &mut |key, value| {
                rows += 1;
                bytes += (key.len() + value.len()) as u64;
                ControlFlow::Continue(())
            })?;
            let used = used.as_ref().map(|used| used.contains(&name));
            states.push(StateSummary { name, family: family.name(), shape, rows, bytes, used });
        }
        Ok(states)
    }

    /// The names of the states that the program which ran last did not have; `None` if that is not known, because
    /// a version that did not note it wrote the directory.
    pub fn orphans(&self) -> Option<Vec<String>> {
        let used = self.catalog.last_used()?;
        let names = self.catalog.names().into_iter().map(|(name, ..)| name);
        Some(names.filter(|name| !used.contains(name)).collect())
    }

    /// The value of one key in a state that is not ordered by time. Costs one lookup.
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
    /// [`StateError::Unknown`] if there is no such state; [`StateError::Shape`] if it was kept as other types, or
    /// is ordered by time.
    pub fn get<K: Key, V: Persist>(&self, state: &str, key: &K) -> Result<Option<V>> {
        let kept = self.typed::<K, V>(state)?;
        if kept.family != Family::Values {
            return Err(StateError::Shape {
                name: state.to_owned(),
                kept: format!("{} in the family {}", kept.shape, kept.family.name()),
                asked: format!("{} -> {} in the family values", shape_of::<K>(), shape_of::<V>()),
            });
        }
        self.lookup(&kept, state, None, key)
    }

    /// The value of one key and time in a state that is ordered by time: for windows, the time is their end.
    ///
    /// # Errors
    /// As for [`get`](Self::get), with the families the other way round.
    pub fn get_at<K: Key, V: Persist>(&self, state: &str, time: Timestamp, key: &K) -> Result<Option<V>> {
        let kept = self.typed::<K, V>(state)?;
        if kept.family == Family::Values {
            return Err(StateError::Shape {
                name: state.to_owned(),
                kept: format!("{} in the family values", kept.shape),
                asked: format!("{} -> {} ordered by time", shape_of::<K>(), shape_of::<V>()),
            });
        }
        self.lookup(&kept, state, Some(time), key)
    }

    fn lookup<K: Key, V: Persist>(
        &self,
        kept: &Kept,
        name: &str,
        time: Option<Timestamp>,
        key: &K,
    ) -> Result<Option<V>> {
        let group = KeyGroup::of_hash(key_hash(key));
        let mut row = Vec::new();
        match time {
            Some(time) => time_prefix(kept.id, group, time, &mut row),
            None => value_prefix(kept.id, group, &mut row),
        }
        encode("key", key, &mut row)?;
        self.backend.get(kept.family, &row)?.map(|value| decode(name, &value)).transpose()
    }

    /// All rows of a state, by key group, in each by time if it is ordered by time, then by the bytes of their keys.
    ///
    /// # Errors
    /// [`StateError::Unknown`] if there is no such state; [`StateError::Shape`] if it was kept as other types.
    pub fn rows<K: Key, V: Persist>(&self, state: &str) -> Result<Rows<'_, K, V>> {
        let kept = self.typed::<K, V>(state)?;
        Ok(Rows { name: state.to_owned(), raw: self.raw(&kept), types: PhantomData })
    }

    /// All rows of a state as JSON, one object for each: `{"key":…,"value":…}`, with `"time"` before them in
    /// states that are ordered by time. Where nothing is known of the types, `"key_hex"` and `"value_hex"` are
    /// the bytes.
    ///
    /// # Errors
    /// [`StateError::Unknown`] if there is no such state. Each row: [`StateError::Row`] if it is damaged.
    pub fn json_rows(&self, state: &str) -> Result<JsonRows<'_>> {
        let kept = self.find(state)?;
        let shape = RowShape::parse(&kept.shape).filter(|shape| !shape.is_opaque());
        Ok(JsonRows { name: state.to_owned(), raw: self.raw(&kept), shape })
    }

    /// The rows of one key as JSON, in a state ordered by time one for each time. `key` is JSON, too; what is
    /// none is taken for a text. Costs a read of all rows, because nothing is known of how the key's type is
    /// hashed.
    ///
    /// # Errors
    /// As for [`json_rows`](Self::json_rows).
    pub fn json_rows_of(&self, state: &str, key: &str) -> Result<impl Iterator<Item = Result<JsonRow>>> {
        let as_text = serde_json::Value::from(key);
        let wanted = serde_json::from_str(key).unwrap_or_else(|_| as_text.clone());
        let key = key.to_owned();
        let is_wanted = move |row: &JsonRow| {
            let found = || serde_json::from_str::<serde_json::Value>(&row.key);
            row.key == key || found().is_ok_and(|found| found == wanted || found == as_text)
        };
        Ok(self.json_rows(state)?.filter(move |row| row.as_ref().map_or(true, &is_wanted)))
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

    fn find(&self, name: &str) -> Result<Kept> {
        let unknown = || StateError::Unknown {
            name: name.to_owned(),
            path: self.path.clone(),
            known: self.catalog.names().into_iter().map(|(name, ..)| name).collect(),
        };
        let (id, family, shape) = self.catalog.find(name).ok_or_else(unknown)?;
        Ok(Kept { id, family, shape })
    }

    fn typed<K: Key, V: Persist>(&self, name: &str) -> Result<Kept> {
        let kept = self.find(name)?;
        let asked = format!("{} -> {}", shape_of::<K>(), shape_of::<V>());
        // How it is filed may stand behind the shape.
        match kept.shape.strip_prefix(&asked) {
            Some(rest) if rest.is_empty() || rest.starts_with([' ', ',']) => Ok(kept),
            _ => Err(StateError::Shape { name: name.to_owned(), kept: kept.shape, asked }),
        }
    }

    fn raw(&self, kept: &Kept) -> RawRows<'_> {
        let (from, to) = store_range(kept.id);
        let family = kept.family;
        RawRows { backend: &self.backend, family, from: Some(from), to, chunk: VecDeque::new() }
    }
}

/// A state as the catalog has it.
struct Kept {
    id: StoreId,
    family: Family,
    shape: String,
}

/// Rows as bytes, read in chunks.
struct RawRows<'r> {
    backend: &'r ReadOnlyBackend,
    family: Family,
    /// Where the next chunk begins; `None` behind the last.
    from: Option<Vec<u8>>,
    to: Vec<u8>,
    chunk: VecDeque<(Vec<u8>, Vec<u8>)>,
}

impl RawRows<'_> {
    fn next(&mut self) -> Option<Result<(Vec<u8>, Vec<u8>)>> {
        if let Some(from) = self.from.take_if(|_| self.chunk.is_empty()) {
            let (mut bytes, mut next) = (0, None);
            let chunk = &mut self.chunk;
            let read = self.backend.scan(self.family, &from, &self.to, &mut |key, value| {
                bytes += key.len() + value.len();
                chunk.push_back((key.to_vec(), value.to_vec()));
                if chunk.len() < CHUNK_ROWS && bytes < CHUNK_BYTES {
                    return ControlFlow::Continue(());
                }
                next = Some([key, &[0][..]].concat());
                ControlFlow::Break(())
            });
            if let Err(error) = read {
                chunk.clear();
                return Some(Err(error));
            }
            self.from = next;
        }
        self.chunk.pop_front().map(Ok)
    }

    /// The time and the user's key out of a row's key.
    fn split<'k>(&self, name: &str, key: &'k [u8]) -> Result<(Option<Timestamp>, &'k [u8])> {
        let short = || StateError::Row { name: name.to_owned(), reason: "its key is too short".to_owned() };
        if self.family == Family::Values {
            return Ok((None, key.get(VALUE_PREFIX_LEN..).ok_or_else(short)?));
        }
        let (time, key) = split_time_row(key).ok_or_else(short)?;
        Ok((Some(time), key))
    }
}

/// The rows of a state, with their types; made by [`StateReader::rows`].
pub struct Rows<'r, K, V> {
    name: String,
    raw: RawRows<'r>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Key, V: Persist> Iterator for Rows<'_, K, V> {
    type Item = Result<Row<K, V>>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.raw.next()?;
        Some(read.and_then(|(key, value)| {
            let (time, key) = self.raw.split(&self.name, &key)?;
            Ok(Row { time, key: decode(&self.name, key)?, value: decode(&self.name, &value)? })
        }))
    }
}

/// A row as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonRow {
    /// The whole row.
    pub line: String,
    /// Its key alone, by which it is found; bytes as a text of hexadecimal digits where nothing is known of its type.
    pub key: String,
}

/// The rows of a state as JSON; made by [`StateReader::json_rows`].
pub struct JsonRows<'r> {
    name: String,
    raw: RawRows<'r>,
    shape: Option<RowShape>,
}

impl JsonRows<'_> {
    fn row(&self, key: &[u8], value: &[u8]) -> Result<JsonRow> {
        let (time, key) = self.raw.split(&self.name, key)?;
        let time = time.map(|time| format!("\"time\":{},", serde_json::Value::from(time.to_string())));
        let time = time.unwrap_or_default();
        let Some(shape) = &self.shape else {
            let (key, value) = (format!("\"{}\"", hex(key)), hex(value));
            let line = format!("{{{time}\"key_hex\":{key},\"value_hex\":\"{value}\"}}");
            return Ok(JsonRow { line, key });
        };
        let damaged = |reason| StateError::Row { name: self.name.clone(), reason };
        let key = shape.key_json(key).map_err(damaged)?;
        let value = shape.value_json(value).map_err(damaged)?;
        Ok(JsonRow { line: format!("{{{time}\"key\":{key},\"value\":{value}}}"), key })
    }
}

impl Iterator for JsonRows<'_> {
    type Item = Result<JsonRow>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.raw.next()?;
        Some(read.and_then(|(key, value)| self.row(&key, &value)))
    }
}
