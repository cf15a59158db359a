//! `emit_early`: what a window holds before it is complete.
//!
//! A window that has changed has a timer at the next multiple of the interval, and none if it has not: so a watermark
//! costs what has changed and never what is open. Invariant: an early result is of a window that the watermark has not
//! reached the end of, and holds everything that was in it then.
//!
//! It does not know windows: an operator says which piece of time has changed (a window by its end, a slice by its
//! start), and is told when to emit it.
//!
//! Memory: one row per key and interval in which it changed, with a time for each piece that changed.

use std::time::Duration;

use highwater_state::delta::Family;
use highwater_state::hash::key_hash;
use highwater_state::panes::Panes;
use highwater_state::table::{RowRef, Slot};
use highwater_state::time::duration_millis;
use highwater_state::{Delta, Epoch, Key, Timestamp};

use crate::data::{Data, HasEventTime};
use crate::opening::{NodeOpening, OpenError};
use crate::operator::Fault;
use crate::window::{Firing, WindowedStream, Windows};

/// Windows that can emit before they are complete.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot emit early",
    label = "`emit_early` is for `tumbling(..)` and `sliding(..)`"
)]
pub trait EarlyWindows: Windows {}

impl<K: Key, T: Data, W: EarlyWindows, C: HasEventTime> WindowedStream<K, T, W, C> {
    /// Emits what a window holds before it is complete, marked [`Timing::Early`](super::Timing::Early): whenever the
    /// watermark reaches a multiple of `every`, counted from 1970, each open window that has had records of
    /// earlier times since it last emitted. When the watermark reaches its end it emits as without this.
    ///
    /// What an early result holds depends on what has come by then, and so on how records of several splits interleave
    /// and how they are batched. The results on time and the late ones do not.
    ///
    /// ```
    /// # use highwater_operators::testkit::{Harness, at};
    /// # use highwater_operators::window::{Timing, tumbling};
    /// # use std::time::Duration;
    /// let mut harness = Harness::new(|letters| {
    ///     let windows = letters.key_by(|letter: &char| *letter).window(tumbling(Duration::from_secs(60)));
    ///     windows.emit_early(Duration::from_secs(10)).count("letters").map(|w| (w.timing, w.value))
    /// });
    /// harness.record('a', at(3_000));
    /// harness.watermark(at(12_000));
    /// harness.record('a', at(13_000));
    /// harness.watermark(at(60_000));
    /// let counts: Vec<_> = harness.take().into_iter().map(|(count, _)| count).collect();
    /// assert_eq!(counts, [(Timing::Early, 1), (Timing::OnTime, 2)]);
    /// ```
    #[track_caller]
    pub fn emit_early(mut self, every: Duration) -> Self {
        if duration_millis(every) == 0 {
            let place = crate::stream::here("emit_early", None);
            self.wire
                .refuse(&place, "early results need an interval of at least one millisecond between them");
        }
        self.firing.early_every = Some(every);
        self
    }
}

/// What has changed and when it is to be emitted.
pub(super) struct Early<K> {
    every_millis: i64,
    /// By the time of emitting: the pieces of time of a key that have changed.
    changed: Panes<K, Vec<Timestamp>>,
    most: usize,
    /// The number of a record's key, when to emit, and what.
    noted: Vec<(usize, Timestamp, Timestamp)>,
    slots: Vec<Slot>,
    due: Vec<(K, Vec<Timestamp>)>,
}

impl<K: Key> Early<K> {
    /// Opens it if windows emit early.
    pub(super) fn open(firing: &Firing, opening: &NodeOpening<'_>) -> Result<Option<Self>, OpenError> {
        let Some(every) = firing.early_every else { return Ok(None) };
        let store = opening.store::<K, Vec<Timestamp>>(Some("early"), Family::Timers)?;
        Ok(Some(Early {
            every_millis: duration_millis(every),
            changed: Panes::open(store, opening.committed())?,
            most: opening.batch_records(),
            noted: Vec::new(),
            slots: Vec::new(),
            due: Vec::new(),
        }))
    }

    /// Notes that a piece of time has changed, by record `index` of the batch, at `now`; `end` is that of its last
    /// window.
    pub(super) fn note(&mut self, index: usize, piece: Timestamp, now: Timestamp, end: Timestamp) {
        let into = now.as_millis().rem_euclid(self.every_millis);
        let at = now.as_millis().checked_add(self.every_millis - into).map(Timestamp::from_millis);
        if let Some(at) = at.filter(|&at| at < end) {
            self.noted.push((index, at, piece));
        }
    }

    /// Files what was noted of a batch.
    pub(super) fn arm(&mut self, keys: &[K], hashes: &[u64]) -> Result<(), Fault> {
        let noted = std::mem::take(&mut self.noted);
        let row = |number: usize| {
            let (index, time, _) = noted[number];
            RowRef { hash: hashes[index], time, key: &keys[index] }
        };
        self.changed.resolve(noted.len(), row, &mut self.slots)?;
        for (&(_, _, piece), &slot) in noted.iter().zip(&self.slots) {
            let pieces = self.changed.value(slot).map(Vec::as_slice).unwrap_or_default();
            if let Err(position) = pieces.binary_search(&piece) {
                self.changed.value_mut(slot).get_or_insert_default().insert(position, piece);
            }
        }
        self.noted = noted;
        self.noted.clear();
        Ok(())
    }

    /// A key and its pieces of time that have changed, in order, and are to be emitted now, if there are any.
    ///
    /// Where the watermark has reached several multiples of the interval, what they hold is emitted with the last.
    pub(super) fn next_due(&mut self, watermark: Timestamp) -> Result<Option<(K, Vec<Timestamp>)>, Fault> {
        let last = watermark.as_millis() - watermark.as_millis().rem_euclid(self.every_millis);
        while self.due.is_empty() {
            let Some(time) = self.changed.due(watermark)? else { return Ok(None) };
            self.changed.take(time, self.most, &mut self.due)?;
            if watermark == Timestamp::MAX {
                // No window is open at the end of time.
                self.due.clear();
            } else if time.as_millis() < last {
                self.put_off(Timestamp::from_millis(last))?;
            }
        }
        Ok(self.due.pop())
    }

    fn put_off(&mut self, until: Timestamp) -> Result<(), Fault> {
        let (keys, pieces): (Vec<K>, Vec<Vec<Timestamp>>) = self.due.drain(..).unzip();
        let hashes: Vec<u64> = keys.iter().map(key_hash).collect();
        let numbered = pieces.into_iter().enumerate();
        self.noted
            .extend(numbered.flat_map(|(index, pieces)| pieces.into_iter().map(move |p| (index, until, p))));
        self.arm(&keys, &hashes)
    }

    pub(super) fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        debug_assert!(self.due.is_empty(), "no barrier comes while a watermark is dealt with");
        Ok(self.changed.freeze(epoch, delta)?)
    }

    pub(super) fn applied(&mut self, epoch: Epoch) {
        self.changed.applied(epoch);
    }
}
