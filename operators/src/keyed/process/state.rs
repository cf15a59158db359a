//! What stands behind a handle: a table with one row per key, and what its time to live needs, if it has one.

use std::any::Any;

use highwater_state::error::Result;
use highwater_state::table::{Place, RowRef, Slot, Table};
use highwater_state::{Delta, Epoch, Key, Persist, Piece, Timestamp};

use crate::keyed::process::expiry::Expiry;

/// Who looks at a state, and when.
pub(crate) struct Moment<'a, K> {
    pub(crate) key: &'a K,
    pub(crate) hash: u64,
    /// The time of the record or timer.
    pub(crate) time: Timestamp,
    /// How far time has come: the watermark, or while timers fire the latest that has.
    pub(crate) reached: Timestamp,
}

impl<K> Moment<'_, K> {
    /// The key's row in a table that is not ordered by time.
    pub(crate) fn row(&self) -> RowRef<'_, K> {
        RowRef { hash: self.hash, time: Timestamp::MIN, key: self.key }
    }
}

/// A state whose value type only its handle knows.
pub trait StateTable<K> {
    /// Loads the rows of the keys in one call.
    fn prefetch(&mut self, keys: &[K], hashes: &[u64]) -> Result<()>;
    /// Deletes what is dead when the watermark is at `through`; costs nothing without a time to live.
    fn expire(&mut self, through: Timestamp) -> Result<()>;
    /// As [`Table::begin_freeze`].
    fn begin_freeze(&mut self, epoch: Epoch, delta: &mut Delta);
    /// As [`Table::write_frozen`].
    fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<()>;
    /// As [`Table::applied`].
    fn applied(&mut self, epoch: Epoch);
    /// The state itself, for its handle.
    fn as_any(&mut self) -> &mut dyn Any;
}

pub(super) struct State<K, V> {
    values: Table<K, V>,
    expiry: Option<Expiry<K>>,
    slots: Vec<Slot>,
}

impl<K: Key, V: Persist> State<K, V> {
    pub(super) fn open(place: Place, committed: Epoch, expiry: Option<Expiry<K>>) -> Result<Self> {
        Ok(State { values: Table::open(place, committed)?, expiry, slots: Vec::new() })
    }

    pub(super) fn get(&mut self, moment: &Moment<'_, K>) -> Result<Option<&V>> {
        let slot = self.values.resolve_one(&moment.row())?;
        if let Some(expiry) = &mut self.expiry
            && self.values.value(slot).is_some()
            && !expiry.is_seen(moment)?
        {
            return Ok(None);
        }
        Ok(self.values.value(slot))
    }

    /// The value, written now, and whether what is written is dead already.
    pub(super) fn get_mut(&mut self, moment: &Moment<'_, K>) -> Result<(&mut Option<V>, bool)> {
        let slot = self.values.resolve_one(&moment.row())?;
        let Some(expiry) = &mut self.expiry else { return Ok((self.values.value_mut(slot), false)) };
        let (seen, dead) = expiry.write(moment)?;
        let value = self.values.value_mut(slot);
        if !seen {
            *value = None;
        }
        Ok((value, dead))
    }

    /// Deletes the value, also one that is not seen.
    pub(super) fn clear(&mut self, moment: &Moment<'_, K>) -> Result<()> {
        let slot = self.values.resolve_one(&moment.row())?;
        if self.values.value(slot).is_some() {
            *self.values.value_mut(slot) = None;
        }
        self.expiry.as_mut().map_or(Ok(()), |expiry| expiry.forget(moment))
    }
}

impl<K: Key, V: Persist> StateTable<K> for State<K, V> {
    fn prefetch(&mut self, keys: &[K], hashes: &[u64]) -> Result<()> {
        let row = |index: usize| RowRef { hash: hashes[index], time: Timestamp::MIN, key: &keys[index] };
        self.values.resolve(keys.len(), row, &mut self.slots)?;
        self.expiry.as_mut().map_or(Ok(()), |expiry| expiry.prefetch(keys, hashes))
    }

    fn expire(&mut self, through: Timestamp) -> Result<()> {
        let Some(expiry) = &mut self.expiry else { return Ok(()) };
        while let Some(dead) = expiry.take_dead(through)? {
            let row =
                |index: usize| RowRef { hash: dead[index].1, time: Timestamp::MIN, key: &dead[index].0 };
            self.values.resolve(dead.len(), row, &mut self.slots)?;
            for &slot in &self.slots {
                if self.values.value(slot).is_some() {
                    *self.values.value_mut(slot) = None;
                }
            }
        }
        Ok(())
    }

    fn begin_freeze(&mut self, epoch: Epoch, delta: &mut Delta) {
        self.values.begin_freeze(epoch, delta);
        if let Some(expiry) = &mut self.expiry {
            expiry.begin_freeze(epoch, delta);
        }
    }

    fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<()> {
        self.values.write_frozen(piece)?;
        self.expiry.as_mut().map_or(Ok(()), |expiry| expiry.write_frozen(piece))
    }

    fn applied(&mut self, epoch: Epoch) {
        self.values.applied(epoch);
        if let Some(expiry) = &mut self.expiry {
            expiry.applied(epoch);
        }
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
