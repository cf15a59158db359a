//! The time to live of one handle: when each key's state was last written, and timers to delete it.
//!
//! A key has one timer at most. A later write does not move it: when it fires, it is set anew for what was written
//! last; so a key that is written all the time costs a timer per ttl. Invariants: what has been written has a timer at
//! or before the point at which it dies, unless it lives to the end of time; and whether it is seen is a matter of
//! times alone, never of whether it has been deleted yet.
//!
//! Memory: a row and a timer per key that was written and lives.

use std::time::Duration;

use highwater_state::delta::Family;
use highwater_state::error::Result;
use highwater_state::hash::key_hash;
use highwater_state::panes::Panes;
use highwater_state::table::{RowRef, Slot, Table};
use highwater_state::{Delta, Epoch, Key, Piece, Timestamp};
use serde::{Deserialize, Serialize};

use crate::keyed::process::state::Moment;
use crate::keyed::ttl::Ttl;
use crate::opening::NodeOpening;

/// When the state of a key was last written, and when its timer fires, if it has one.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Written {
    at: Timestamp,
    timer: Option<Timestamp>,
}

/// When what one handle holds was written, by key.
pub(super) struct Expiry<K> {
    ttl: Ttl,
    written: Table<K, Written>,
    timers: Panes<K, ()>,
    most: usize,
    slots: Vec<Slot>,
    due: Vec<(K, ())>,
    /// Keys whose state has died, with their hashes.
    dead: Vec<(K, u64)>,
}

impl<K: Key> Expiry<K> {
    pub(super) fn open(opening: &NodeOpening<'_>, handle: &str, ttl: Duration) -> Result<Self> {
        let written = opening.store::<K, Written>(Some(&format!("{handle}.written")), Family::Values)?;
        let timers = opening.store::<K, ()>(Some(&format!("{handle}.timers")), Family::Timers)?;
        Ok(Expiry {
            ttl: Ttl::new(ttl),
            written: Table::open(written, opening.committed())?,
            timers: Panes::open(timers, opening.committed())?,
            most: opening.batch_records(),
            slots: Vec::new(),
            due: Vec::new(),
            dead: Vec::new(),
        })
    }

    pub(super) fn prefetch(&mut self, keys: &[K], hashes: &[u64]) -> Result<()> {
        let row = |index: usize| RowRef { hash: hashes[index], time: Timestamp::MIN, key: &keys[index] };
        self.written.resolve(keys.len(), row, &mut self.slots)
    }

    /// Whether what the key's state holds is seen. What was there before the handle had a ttl is.
    pub(super) fn is_seen(&mut self, moment: &Moment<'_, K>) -> Result<bool> {
        let slot = self.written.resolve_one(&moment.row())?;
        Ok(self.written.value(slot).is_none_or(|written| self.lives(written, moment)))
    }

    fn lives(&self, written: &Written, moment: &Moment<'_, K>) -> bool {
        let dead = |expiry| moment.time >= expiry || moment.reached >= expiry;
        !self.ttl.expiry(written.at).is_some_and(dead)
    }

    /// Notes that the key's state is written. Says whether what it held was seen until now, and whether it is dead
    /// already.
    pub(super) fn write(&mut self, moment: &Moment<'_, K>) -> Result<(bool, bool)> {
        let slot = self.written.resolve_one(&moment.row())?;
        let before = self.written.value(slot).copied();
        let seen = before.is_none_or(|written| self.lives(&written, moment));
        let expiry = self.ttl.expiry(moment.time);
        let timer = match before.and_then(|written| written.timer) {
            Some(set) if expiry.is_none_or(|expiry| set <= expiry) => Some(set),
            set => {
                self.set_timer(moment, set, None)?;
                self.set_timer(moment, expiry, Some(()))?;
                expiry
            }
        };
        let written = Written { at: moment.time, timer };
        if before != Some(written) {
            *self.written.value_mut(slot) = Some(written);
        }
        Ok((seen, expiry.is_some_and(|expiry| expiry <= moment.reached)))
    }

    /// Notes that the key has no state any more.
    pub(super) fn forget(&mut self, moment: &Moment<'_, K>) -> Result<()> {
        let slot = self.written.resolve_one(&moment.row())?;
        if let Some(&Written { timer, .. }) = self.written.value(slot) {
            self.set_timer(moment, timer, None)?;
            *self.written.value_mut(slot) = None;
        }
        Ok(())
    }

    fn set_timer(&mut self, moment: &Moment<'_, K>, at: Option<Timestamp>, set: Option<()>) -> Result<()> {
        let Some(time) = at else { return Ok(()) };
        self.timers.resolve(1, |_| RowRef { time, ..moment.row() }, &mut self.slots)?;
        let slot = self.slots[0];
        if self.timers.value(slot).copied() != set {
            *self.timers.value_mut(slot) = set;
        }
        Ok(())
    }

    /// Forgets some keys whose state has died when the watermark is at `through`, and gives them with their hashes;
    /// `None` if there are no more.
    pub(super) fn take_dead(&mut self, through: Timestamp) -> Result<Option<&[(K, u64)]>> {
        let Some(time) = self.timers.due(through)? else { return Ok(None) };
        self.due.clear();
        self.dead.clear();
        self.timers.take(time, self.most, &mut self.due)?;
        let due = self.due.drain(..).map(|(key, ())| (key_hash(&key), key));
        let due: Vec<(u64, K)> = due.collect();
        let row = |index: usize| RowRef { hash: due[index].0, time: Timestamp::MIN, key: &due[index].1 };
        self.written.resolve(due.len(), row, &mut self.slots)?;
        let mut later = Vec::new();
        for ((hash, key), &slot) in due.into_iter().zip(&self.slots) {
            let Some(&Written { at, .. }) = self.written.value(slot) else { continue };
            let expiry = self.ttl.expiry(at);
            if expiry.is_some_and(|expiry| expiry <= through) {
                *self.written.value_mut(slot) = None;
                self.dead.push((key, hash));
            } else {
                *self.written.value_mut(slot) = Some(Written { at, timer: expiry });
                later.extend(expiry.map(|expiry| (key, hash, expiry)));
            }
        }
        let row = |index: usize| {
            let (key, hash, time): &(K, u64, Timestamp) = &later[index];
            RowRef { hash: *hash, time: *time, key }
        };
        self.timers.resolve(later.len(), row, &mut self.slots)?;
        self.slots.iter().for_each(|&slot| *self.timers.value_mut(slot) = Some(()));
        Ok(Some(&self.dead))
    }

    pub(super) fn begin_freeze(&mut self, epoch: Epoch, delta: &mut Delta) {
        self.written.begin_freeze(epoch, delta);
        self.timers.begin_freeze(epoch, delta);
    }

    pub(super) fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<()> {
        self.written.write_frozen(piece)?;
        self.timers.write_frozen(piece)
    }

    pub(super) fn applied(&mut self, epoch: Epoch) {
        self.written.applied(epoch);
        self.timers.applied(epoch);
    }
}
