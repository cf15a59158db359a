//! Typed handles to the state of a user's operator: a name and a type; the context supplies the key.
//!
//! Each handle is a table of its own with one row per key. What a handle gives is the decoded value itself, to
//! be changed in place; it is encoded once per epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::time::Duration;

use highwater_state::delta::Family;
use highwater_state::error::Result;
use highwater_state::{Key, Persist};

use crate::keyed::process::Context;
use crate::keyed::process::expiry::Expiry;
use crate::keyed::process::state::{Moment, State, StateTable};
use crate::opening::{NodeOpening, OpenError};
use crate::operator::Fault;

/// Declares the state of an operator; given to the closure of `process`.
pub struct States<'a, K> {
    opening: &'a NodeOpening<'a>,
    tables: Vec<Box<dyn StateTable<K>>>,
    names: BTreeSet<String>,
    failed: std::result::Result<(), OpenError>,
}

impl<'a, K: Key> States<'a, K> {
    pub(crate) fn new(opening: &'a NodeOpening<'a>) -> Self {
        // The timers of the operator itself are filed beside its handles.
        let names = BTreeSet::from(["timers".to_owned()]);
        States { opening, tables: Vec::new(), names, failed: Ok(()) }
    }

    /// One value per key, kept until it is cleared.
    pub fn value<V: Persist>(&mut self, name: &str) -> Value<V> {
        self.declare(name, None)
    }

    /// A list per key, kept as one row: reading or changing any of it costs as much as all of it, once per
    /// epoch and key.
    pub fn list<V: Persist>(&mut self, name: &str) -> List<V> {
        List(self.declare(name, None))
    }

    /// A small ordered map per key, kept as one row; as for [`list`](States::list).
    pub fn map<M: Persist + Ord, V: Persist>(&mut self, name: &str) -> Map<M, V> {
        Map(self.declare(name, None))
    }

    /// Declares state that dies when it has not been written for `ttl` in event time: `states.ttl(hour).value("seen")`.
    ///
    /// What a key's handle holds was last written at the [`time`](Context::time) of the record or timer that wrote
    /// it: by `set` or `get_mut`, whether that changed it or not. It is seen by records and timers whose time is at
    /// most `ttl` later (or earlier than that time), as long as the watermark is at most `ttl` later too; when the
    /// watermark has gone further, it is deleted. So nobody sees what a record writes that comes more than `ttl`
    /// behind the watermark. This does not depend on how records are batched.
    ///
    /// Whoever does not see what is there finds nothing, and writes from nothing. A `ttl` of zero keeps what was
    /// written until the watermark passes its time: for the records of that time and of earlier ones that come in
    /// between. A timer of the same key and time as the last moment of what it looks for still sees it.
    ///
    /// Costs a second row and a timer per key, and nothing for handles without it. What a handle held before it was
    /// given a ttl lives until it is written again. A ttl may be changed between two runs; what is there already lives
    /// by the new one.
    pub fn ttl(&mut self, ttl: Duration) -> StatesWithTtl<'_, 'a, K> {
        StatesWithTtl { states: self, ttl }
    }

    fn declare<V: Persist>(&mut self, name: &str, ttl: Option<Duration>) -> Value<V> {
        match self.open::<V>(name, ttl) {
            Ok(state) => self.tables.push(Box::new(state)),
            Err(error) => self.failed = Err(error),
        }
        Value { table: self.tables.len().saturating_sub(1), marker: PhantomData }
    }

    fn open<V: Persist>(
        &mut self,
        name: &str,
        ttl: Option<Duration>,
    ) -> std::result::Result<State<K, V>, OpenError> {
        // Two tables over the same rows would each write what the other does not know.
        let parts = if ttl.is_some() { &["", ".written", ".timers"][..] } else { &[""] };
        for part in parts.iter().map(|part| format!("{name}{part}")) {
            if let Some(taken) = self.names.replace(part) {
                let reason = match taken.as_str() {
                    "timers" => "a handle cannot be called `timers`, where the operator keeps its own; \
                                 give it another name"
                        .to_owned(),
                    _ => format!("a second handle would keep its state as `{taken}`; give it another name"),
                };
                return Err(Fault::Failed(reason.into()));
            }
        }
        let place = self.opening.store::<K, V>(Some(name), Family::Values)?;
        let expiry = ttl.map(|ttl| Expiry::open(self.opening, name, ttl)).transpose()?;
        Ok(State::open(place, self.opening.committed(), expiry)?)
    }

    pub(crate) fn finish(self) -> std::result::Result<Vec<Box<dyn StateTable<K>>>, OpenError> {
        self.failed.map(|()| self.tables)
    }
}

/// Declares state with a time to live; see [`States::ttl`].
#[must_use = "a ttl does nothing until a handle is declared with it"]
pub struct StatesWithTtl<'s, 'a, K> {
    states: &'s mut States<'a, K>,
    ttl: Duration,
}

impl<K: Key> StatesWithTtl<'_, '_, K> {
    /// As [`States::value`].
    pub fn value<V: Persist>(&mut self, name: &str) -> Value<V> {
        self.states.declare(name, Some(self.ttl))
    }

    /// As [`States::list`]; the whole list lives from its last write.
    pub fn list<V: Persist>(&mut self, name: &str) -> List<V> {
        List(self.states.declare(name, Some(self.ttl)))
    }

    /// As [`States::map`]; the whole map lives from its last write.
    pub fn map<M: Persist + Ord, V: Persist>(&mut self, name: &str) -> Map<M, V> {
        Map(self.states.declare(name, Some(self.ttl)))
    }
}

/// One value per key. It survives a restart as it was at the end of the last committed epoch.
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
        let (state, moment, _) = self.state(context);
        state.get(&moment)
    }

    /// The value, to be changed in place; `None` deletes it. The row is written at the end of the epoch whether
    /// it is changed or not, and has a new time to live, if the handle has one.
    ///
    /// # Errors
    /// If the state store fails.
    pub fn get_mut<'c, K: Key, O>(&self, context: &'c mut Context<'_, K, O>) -> Result<&'c mut Option<V>>
    where
        V: Persist,
    {
        let (state, moment, overdue) = self.state(context);
        let (value, dead) = state.get_mut(&moment)?;
        *overdue |= dead;
        Ok(value)
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
        let (state, moment, _) = self.state(context);
        state.clear(&moment)
    }

    fn state<'c, K: Key, O>(
        &self,
        context: &'c mut Context<'_, K, O>,
    ) -> (&'c mut State<K, V>, Moment<'c, K>, &'c mut bool)
    where
        V: Persist,
    {
        let &mut Context { key, hash, time, reached, .. } = context;
        let state = context.tables[self.table].as_any().downcast_mut::<State<K, V>>();
        let state = state.expect("a handle is used in the operator that declared it");
        (state, Moment { key, hash, time, reached }, &mut context.overdue)
    }
}

/// A list per key. It survives a restart, as a [`Value`] does.
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

/// A small ordered map per key. It survives a restart, as a [`Value`] does.
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
