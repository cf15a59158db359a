//! Typed handles to the state of a user's operator: a name and a type; the context supplies the key.
//!
//! Each handle is a table of its own with one row per key. What a handle gives is the decoded value itself, to
//! be changed in place; it is encoded once per epoch.

use std::any::Any;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use highwater_state::delta::Family;
use highwater_state::error::Result;
use highwater_state::table::{RowRef, Slot, Table};
use highwater_state::{Delta, Epoch, Key, Persist, Timestamp};

use crate::keyed::process::Context;
use crate::opening::NodeOpening;

/// Declares the state of an operator; given to the closure of `process`.
pub struct States<'a, K> {
    opening: &'a NodeOpening<'a>,
    tables: Vec<Box<dyn StateTable<K>>>,
    failed: Result<()>,
}

impl<'a, K: Key> States<'a, K> {
    pub(crate) fn new(opening: &'a NodeOpening<'a>) -> Self {
        States { opening, tables: Vec::new(), failed: Ok(()) }
    }

    /// One value per key.
    pub fn value<V: Persist>(&mut self, name: &str) -> Value<V> {
        Value { table: self.table::<V>(name), marker: PhantomData }
    }

    /// A list per key, kept as one row: reading or changing any of it costs as much as all of it, once per
    /// epoch and key.
    pub fn list<V: Persist>(&mut self, name: &str) -> List<V> {
        List(self.value(name))
    }

    /// A small ordered map per key, kept as one row; as for [`list`](States::list).
    pub fn map<M: Persist + Ord, V: Persist>(&mut self, name: &str) -> Map<M, V> {
        Map(self.value(name))
    }

    fn table<V: Persist>(&mut self, name: &str) -> usize {
        let opened = self.opening.store::<K, V>(Some(name), Family::Values);
        match opened.and_then(|place| Table::<K, V>::open(place, self.opening.committed())) {
            Ok(table) => self.tables.push(Box::new(table)),
            Err(error) => self.failed = Err(error),
        }
        self.tables.len().saturating_sub(1)
    }

    pub(crate) fn finish(self) -> Result<Vec<Box<dyn StateTable<K>>>> {
        self.failed.map(|()| self.tables)
    }
}

/// A table whose value type only its handle knows.
pub trait StateTable<K> {
    /// Loads the rows of the keys in one call.
    fn prefetch(&mut self, keys: &[K], hashes: &[u64]) -> Result<()>;
    /// As [`Table::freeze`].
    fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<()>;
    /// As [`Table::applied`].
    fn applied(&mut self, epoch: Epoch);
    /// The table itself, for its handle.
    fn as_any(&mut self) -> &mut dyn Any;
}

impl<K: Key, V: Persist> StateTable<K> for Table<K, V> {
    fn prefetch(&mut self, keys: &[K], hashes: &[u64]) -> Result<()> {
        let row = |index: usize| RowRef { hash: hashes[index], time: Timestamp::MIN, key: &keys[index] };
        self.resolve(keys.len(), row, &mut Vec::with_capacity(keys.len()))
    }

    fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<()> {
        Table::freeze(self, epoch, delta)
    }

    fn applied(&mut self, epoch: Epoch) {
        Table::applied(self, epoch);
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// One value per key.
pub struct Value<V> {
    table: usize,
    marker: PhantomData<fn() -> V>,
}

impl<V> Value<V> {
    /// The value of the key that the context stands at.
    ///
    /// # Errors
    /// If the state store fails.
    pub fn get<'c, K: Key, O>(&self, context: &'c mut Context<'_, K, O>) -> Result<Option<&'c V>>
    where
        V: Persist,
    {
        let (table, slot) = self.row(context)?;
        Ok(table.value(slot))
    }

    /// The value, to be changed in place; `None` deletes it. The row is written at the end of the epoch whether
    /// it is changed or not.
    ///
    /// # Errors
    /// If the state store fails.
    pub fn get_mut<'c, K: Key, O>(&self, context: &'c mut Context<'_, K, O>) -> Result<&'c mut Option<V>>
    where
        V: Persist,
    {
        let (table, slot) = self.row(context)?;
        Ok(table.value_mut(slot))
    }

    /// Sets the value.
    ///
    /// # Errors
    /// If the state store fails.
    pub fn set<K: Key, O>(&self, context: &mut Context<'_, K, O>, value: V) -> Result<()>
    where
        V: Persist,
    {
        *self.get_mut(context)? = Some(value);
        Ok(())
    }

    /// Deletes the value.
    ///
    /// # Errors
    /// If the state store fails.
    pub fn clear<K: Key, O>(&self, context: &mut Context<'_, K, O>) -> Result<()>
    where
        V: Persist,
    {
        if self.get(context)?.is_some() {
            *self.get_mut(context)? = None;
        }
        Ok(())
    }

    fn row<'c, K: Key, O>(&self, context: &'c mut Context<'_, K, O>) -> Result<(&'c mut Table<K, V>, Slot)>
    where
        V: Persist,
    {
        let (hash, key) = (context.hash, context.key);
        let table = context.tables[self.table].as_any().downcast_mut::<Table<K, V>>();
        let table = table.expect("a handle is used in the operator that declared it");
        let slot = table.resolve_one(&RowRef { hash, time: Timestamp::MIN, key })?;
        Ok((table, slot))
    }
}

/// A list per key.
pub struct List<V>(Value<Vec<V>>);

impl<V> List<V> {
    /// The list of the key that the context stands at; empty if there is none.
    ///
    /// # Errors
    /// If the state store fails.
    pub fn get<'c, K: Key, O>(&self, context: &'c mut Context<'_, K, O>) -> Result<&'c [V]>
    where
        V: Persist,
    {
        Ok(self.0.get(context)?.map(Vec::as_slice).unwrap_or_default())
    }

    /// The list, to be changed in place.
    ///
    /// # Errors
    /// If the state store fails.
    pub fn get_mut<'c, K: Key, O>(&self, context: &'c mut Context<'_, K, O>) -> Result<&'c mut Vec<V>>
    where
        V: Persist,
    {
        Ok(self.0.get_mut(context)?.get_or_insert_default())
    }

    /// Deletes the list.
    ///
    /// # Errors
    /// If the state store fails.
    pub fn clear<K: Key, O>(&self, context: &mut Context<'_, K, O>) -> Result<()>
    where
        V: Persist,
    {
        self.0.clear(context)
    }
}

/// A small ordered map per key.
pub struct Map<M, V>(Value<BTreeMap<M, V>>);

impl<M, V> Map<M, V> {
    /// One entry of the map of the key that the context stands at.
    ///
    /// # Errors
    /// If the state store fails.
    pub fn get<'c, K: Key, O>(&self, context: &'c mut Context<'_, K, O>, entry: &M) -> Result<Option<&'c V>>
    where
        M: Persist + Ord,
        V: Persist,
    {
        Ok(self.0.get(context)?.and_then(|map| map.get(entry)))
    }

    /// The map, to be changed in place.
    ///
    /// # Errors
    /// If the state store fails.
    pub fn get_mut<'c, K: Key, O>(&self, context: &'c mut Context<'_, K, O>) -> Result<&'c mut BTreeMap<M, V>>
    where
        M: Persist + Ord,
        V: Persist,
    {
        Ok(self.0.get_mut(context)?.get_or_insert_default())
    }

    /// Deletes the map.
    ///
    /// # Errors
    /// If the state store fails.
    pub fn clear<K: Key, O>(&self, context: &mut Context<'_, K, O>) -> Result<()>
    where
        M: Persist + Ord,
        V: Persist,
    {
        self.0.clear(context)
    }
}
