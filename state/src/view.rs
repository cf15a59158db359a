//! Named states in whatever holds rows: a savepoint, a directory, or a moment of a job that runs.
//!
//! Rows are read as the types that the program has, if they are at hand, or as JSON by the shape that was kept with
//! them. Invariants: everything that one view says is of one epoch; HW-9 holds here, too: a row is not read as a type
//! that it was not kept as. It reads rows in chunks, however many there are. It does not know operators: a state is
//! named as the operator is, or like it with a part of its own behind a slash.

mod committed;
mod page;
mod sorted;
mod timed;

use std::any::TypeId;
use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::backend::Backend;
use crate::catalog::Catalog;
use crate::delta::Family;
use crate::error::{Result, StateError};
use crate::hash::key_hash;
use crate::id::{Epoch, KeyGroup, StoreId};
use crate::layout::{self, VALUE_PREFIX_LEN, split_time_row, store_range, time_prefix, value_prefix};
use crate::persist::{Key, Persist, decode, encode};
use crate::savepoint::Savepoint;
use crate::shape::{RowShape, hex, shape_of};
use crate::time::Timestamp;

pub use committed::Committed;
pub use page::{Cursor, PAGE_BYTES_MAX, PAGE_ROWS_MAX, Page, Part};

/// How many rows are read at once.
const CHUNK_ROWS: usize = 1024;
/// From how many bytes on a chunk is not made longer: 4 MiB.
const CHUNK_BYTES: usize = 4 << 20;

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

/// How far one split of a source had been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitPosition {
    /// The source's name.
    pub source: String,
    /// The split's name.
    pub split: String,
    /// The position, encoded; its type is the source's.
    pub position: Vec<u8>,
}

/// How far event time had come in one split of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitWatermark {
    /// The source's name.
    pub source: String,
    /// The split's name.
    pub split: String,
    /// The watermark.
    pub watermark: Timestamp,
}

/// The states of one epoch.
pub struct StateView {
    rows: Arc<dyn Backend>,
    catalog: Catalog,
    epoch: Epoch,
    place: PathBuf,
}

impl StateView {
    /// The states in `rows`, which must not change: a [snapshot](Backend::snapshot), or what is only read. `place` is
    /// what errors say of where they are. Costs a read of the catalog.
    ///
    /// # Errors
    /// [`StateError::Row`] if the catalog is damaged; what the backend reports.
    pub fn of(rows: Arc<dyn Backend>, place: &Path) -> Result<StateView> {
        let catalog = Catalog::open(&*rows)?;
        let epoch = Savepoint::epoch_of(&*rows)?;
        Ok(StateView { rows, catalog, epoch, place: place.to_owned() })
    }

    /// The last epoch in which anything changed.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The names, families and shapes of the states.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Whether the rows of a family are there to be read; they are not where a job keeps its state decoded only.
    pub fn keeps(&self, family: Family) -> bool {
        self.rows.keeps(family)
    }

    /// How far every split of every source had been read, in the order of their names.
    ///
    /// # Errors
    /// What the backend reports.
    pub fn positions(&self) -> Result<Vec<SplitPosition>> {
        let (prefix, mut found) = (layout::POSITIONS, Vec::new());
        self.rows.scan(Family::Meta, prefix, &layout::after_prefix(prefix), &mut |key, position| {
            let name = String::from_utf8_lossy(&key[prefix.len()..]);
            // A source's name has no slash in it.
            if let Some((source, split)) = name.split_once('/') {
                let (source, split) = (source.to_owned(), split.to_owned());
                found.push(SplitPosition { source, split, position: position.to_vec() });
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// How far event time had come in every split below an `event_time`; where a source has several of those, once for
    /// each.
    ///
    /// # Errors
    /// [`StateError::Row`] if a row is damaged; what the backend reports.
    pub fn split_watermarks(&self) -> Result<Vec<SplitWatermark>> {
        let (prefix, mut found) = (layout::watermark_key("event_time/"), Vec::new());
        self.rows.scan(Family::Meta, &prefix, &layout::after_prefix(&prefix), &mut |key, watermark| {
            let name = String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
            found.push((name, watermark.to_vec()));
            ControlFlow::Continue(())
        })?;
        let split = |(name, watermark): (String, Vec<u8>)| {
            let watermark = decode(&name, &watermark);
            // Source, which `event_time` of the source it is, split.
            let mut parts = name.splitn(3, '/').map(str::to_owned);
            let (source, _, split) = (parts.next()?, parts.next()?, parts.next()?);
            Some(watermark.map(|watermark| SplitWatermark { source, split, watermark }))
        };
        found.into_iter().filter_map(split).collect()
    }

    /// How many rows a state has, and how many bytes their keys and values have. Costs a read of all rows.
    ///
    /// # Errors
    /// [`StateError::Unknown`] if there is no such state; what the backend reports.
    pub fn size(&self, state: &str) -> Result<(u64, u64)> {
        let kept = self.find(state)?;
        let ((from, to), mut rows, mut bytes) = (store_range(kept.id), 0, 0);
        self.rows.scan(kept.family, &from, &to, &mut |key, value| {
            rows += 1;
            bytes += (key.len() + value.len()) as u64;
            ControlFlow::Continue(())
        })?;
        Ok((rows, bytes))
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
        self.rows.get(kept.family, &row)?.map(|value| decode(name, &value)).transpose()
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

    fn find(&self, name: &str) -> Result<Kept> {
        let unknown = || StateError::Unknown {
            name: name.to_owned(),
            path: self.place.clone(),
            known: self.catalog.names().into_iter().map(|(name, ..)| name).collect(),
        };
        let (id, family, shape) = self.catalog.find(name).ok_or_else(unknown)?;
        Ok(Kept { id, family, shape })
    }

    fn typed<K: Key, V: Persist>(&self, name: &str) -> Result<Kept> {
        let kept = self.find(name)?;
        let asked = row_shape_of::<K, V>();
        // How it is filed may stand behind the shape.
        match kept.shape.strip_prefix(&*asked) {
            Some(rest) if rest.is_empty() || rest.starts_with([' ', ',']) => Ok(kept),
            _ => {
                let (name, asked) = (name.to_owned(), (*asked).to_owned());
                Err(StateError::Shape { name, kept: kept.shape, asked })
            }
        }
    }

    fn raw(&self, kept: &Kept) -> RawRows<'_> {
        let (from, to) = store_range(kept.id);
        let family = kept.family;
        RawRows { backend: &*self.rows, family, from: Some(from), to, chunk: VecDeque::new() }
    }
}

/// A state as the catalog has it.
struct Kept {
    id: StoreId,
    family: Family,
    shape: String,
}

/// The shape of rows with these types, as the catalog has it. Found once for each pair of types: to look at one takes
/// as long as some hundred lookups.
fn row_shape_of<K: Key, V: Persist>() -> Arc<str> {
    static FOUND: RwLock<BTreeMap<TypeId, Arc<str>>> = RwLock::new(BTreeMap::new());
    let types = TypeId::of::<(K, V)>();
    let found = FOUND.read().unwrap_or_else(PoisonError::into_inner).get(&types).cloned();
    found.unwrap_or_else(|| {
        let shape: Arc<str> = format!("{} -> {}", shape_of::<K>(), shape_of::<V>()).into();
        FOUND.write().unwrap_or_else(PoisonError::into_inner).insert(types, Arc::clone(&shape));
        shape
    })
}

/// Rows as bytes, read in chunks.
struct RawRows<'r> {
    backend: &'r dyn Backend,
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
}

/// The time and the user's key out of a row's key.
fn split_row<'k>(name: &str, family: Family, key: &'k [u8]) -> Result<(Option<Timestamp>, &'k [u8])> {
    let short = || StateError::Row { name: name.to_owned(), reason: "its key is too short".to_owned() };
    if family == Family::Values {
        return Ok((None, key.get(VALUE_PREFIX_LEN..).ok_or_else(short)?));
    }
    let (time, key) = split_time_row(key).ok_or_else(short)?;
    Ok((Some(time), key))
}

/// The rows of a state, with their types; made by [`StateView::rows`].
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
            let (time, key) = split_row(&self.name, self.raw.family, &key)?;
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

/// The rows of a state as JSON; made by [`StateView::json_rows`].
pub struct JsonRows<'r> {
    name: String,
    raw: RawRows<'r>,
    shape: Option<RowShape>,
}

/// Writes rows of one state as JSON.
struct JsonWriter<'n> {
    name: &'n str,
    family: Family,
    /// The shape of the rows, if it is known.
    shape: Option<&'n RowShape>,
}

impl JsonWriter<'_> {
    fn row(&self, key: &[u8], value: &[u8]) -> Result<JsonRow> {
        let (time, key) = split_row(self.name, self.family, key)?;
        let time = time.map(|time| format!("\"time\":{},", serde_json::Value::from(time.to_string())));
        let time = time.unwrap_or_default();
        let Some(shape) = self.shape else {
            let (key, value) = (format!("\"{}\"", hex(key)), hex(value));
            let line = format!("{{{time}\"key_hex\":{key},\"value_hex\":\"{value}\"}}");
            return Ok(JsonRow { line, key });
        };
        let damaged = |reason| StateError::Row { name: self.name.to_owned(), reason };
        let key = shape.key_json(key).map_err(damaged)?;
        let value = shape.value_json(value).map_err(damaged)?;
        Ok(JsonRow { line: format!("{{{time}\"key\":{key},\"value\":{value}}}"), key })
    }
}

impl Iterator for JsonRows<'_> {
    type Item = Result<JsonRow>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.raw.next()?;
        let writer = JsonWriter { name: &self.name, family: self.raw.family, shape: self.shape.as_ref() };
        Some(read.and_then(|(key, value)| writer.row(&key, &value)))
    }
}
