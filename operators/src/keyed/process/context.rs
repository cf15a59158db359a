//! What a user's operator sees of the record or timer that it is called for.

use highwater_state::error::Result;
use highwater_state::panes::Panes;
use highwater_state::table::RowRef;
use highwater_state::{Key, Timestamp};

use crate::batch::KeyedBatch;
use crate::keyed::process::state::StateTable;
use crate::outbox::Outbox;

/// The key, the time, the state and the output of one call.
pub struct Context<'a, K, O> {
    pub(crate) key: &'a K,
    pub(crate) hash: u64,
    pub(crate) time: Timestamp,
    pub(crate) watermark: Timestamp,
    /// How far time has come: unlike the watermark, it does not depend on how records are batched while timers fire.
    pub(crate) reached: Timestamp,
    /// A timer was set that is due already, or state was written that is dead already.
    pub(crate) overdue: bool,
    pub(crate) tables: &'a mut [Box<dyn StateTable<K>>],
    pub(crate) timers: &'a mut Panes<K, ()>,
    pub(crate) out: &'a mut Outbox<KeyedBatch<K, O>>,
}

impl<K: Key, O: 'static> Context<'_, K, O> {
    /// The key whose state the handles read and write.
    pub fn key(&self) -> &K {
        self.key
    }

    /// The event time of the record, or the time of the timer.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The watermark that the record meets; a record with a smaller time is late.
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// Emits a record under the same key, with the time of the record or timer.
    pub fn emit(&mut self, record: O) {
        self.out.push_keyed(self.key.clone(), self.hash, record, self.time);
    }

    /// Sets a timer of this key. It fires when the watermark reaches `at`, or right after this call if it has; a
    /// second one of the same time changes nothing. It survives a restart.
    ///
    /// How far the watermark has come when a record arrives depends on how records are batched: a record may meet a
    /// timer of an earlier time that has not fired yet. Compare with [`time`](Context::time) what depends on it.
    ///
    /// # Errors
    /// If the state store fails.
    pub fn set_timer(&mut self, at: Timestamp) -> Result<()> {
        self.overdue |= at <= self.watermark;
        self.timer(at, Some(()))
    }

    /// Takes a timer of this key back; nothing happens if there is none.
    ///
    /// # Errors
    /// If the state store fails.
    pub fn delete_timer(&mut self, at: Timestamp) -> Result<()> {
        self.timer(at, None)
    }

    fn timer(&mut self, at: Timestamp, set: Option<()>) -> Result<()> {
        let (hash, key) = (self.hash, self.key);
        let mut slot = Vec::with_capacity(1);
        self.timers.resolve(1, |_| RowRef { hash, time: at, key }, &mut slot)?;
        if self.timers.value(slot[0]).copied() != set {
            *self.timers.value_mut(slot[0]) = set;
        }
        Ok(())
    }
}
