//! The end of an epoch in a table: what was changed is set apart at once, and written in pieces while records go on.
//!
//! At the barrier the flag that says "changed" gets another meaning for all rows at once ([`Rows::freeze`]); no row is
//! touched. From there on a row of the frozen epoch is written when its turn comes, or before its first change, or
//! before it is taken out, whatever comes first. Invariants:
//!
//! - what is written of a frozen epoch is what the rows held at its barrier, each once;
//! - a row that is not written is not let go, and its slot is not given to another;
//! - one epoch is written at a time: the next one is frozen when all of it is.
//!
//! It does not know who asks for pieces or how large they are; sorting them is the committing thread's work.

use crate::delta::{Delta, Part, Piece};
use crate::error::{Result, StateError};
use crate::id::{Epoch, KeyGroup};
use crate::layout::{time_prefix, value_prefix};
use crate::panes::Filing;
use crate::persist::{Key, Persist, encode};
use crate::table::rows::{Cold, Content};
use crate::table::{Place, RowTime, Slot, Table};

/// Where a part is full: small enough that its buffer is not copied for long when it grows.
const PART_BYTES: usize = 1 << 20;

/// How much of a piece's room a row takes beside its bytes, and a slot that is passed over.
const BYTES_PER_ROW: usize = 64;
const BYTES_PER_SLOT: usize = 8;

/// A table is gone through in the order of its slots if so many of them were changed, one in so many: reading rows
/// one after the other costs much less than as they were changed.
const ONE_IN: usize = 8;

/// The frozen epoch, as far as it is not written.
#[derive(Default)]
pub(super) struct Freezing {
    epoch: Option<Epoch>,
    /// The slots that were changed, unless they were too many.
    slots: Vec<Slot>,
    /// What is left: positions in `slots`, or slots.
    next: usize,
    end: usize,
    listed: bool,
    /// How many rows were changed.
    rows: usize,
    parts: Vec<Part>,
    bytes: usize,
    failed: Option<StateError>,
}

/// What became of a row when it was written.
enum Written {
    /// It stays.
    Kept,
    /// The backend is told that it is gone; it stays until that knows.
    Deleted,
    /// It is absent, and the backend holds nothing of it.
    Absent,
}

impl Freezing {
    /// How many rows are not written, or fewer.
    pub(super) fn left(&self) -> usize {
        self.rows.min(self.end - self.next)
    }

    /// How many bytes are written and not handed over.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes the row of a slot as it stands, before it is changed or taken out. What fails is told with the next
    /// piece.
    #[cold]
    #[inline(never)]
    pub(super) fn write_before<K: Key, V: Persist>(
        &mut self,
        place: &Place,
        slot: Slot,
        row: Content<'_, K, V>,
        held: &mut usize,
        deleted: &mut Vec<(Epoch, Slot)>,
    ) {
        match self.write(place, row, held) {
            Ok(Written::Deleted) => deleted.extend(self.epoch.map(|epoch| (epoch, slot))),
            Ok(Written::Kept | Written::Absent) => {}
            Err(error) => _ = self.failed.get_or_insert(error),
        }
    }

    /// Writes a row; `held` is what the table holds, in bytes.
    fn write<K: Key, V: Persist>(
        &mut self,
        place: &Place,
        Content { key, value, cold }: Content<'_, K, V>,
        held: &mut usize,
    ) -> Result<Written> {
        let Some(epoch) = self.epoch else { return Ok(Written::Kept) };
        if value.is_none() && !cold.persisted {
            return Ok(Written::Absent);
        }
        if self.parts.last().is_none_or(|part| part.bytes() >= PART_BYTES) {
            // The buffers of a few changes are not as large as those of many.
            let full = self.parts.last().map(Part::len);
            self.parts.push(full.map_or_else(Part::default, |rows| Part::with_room(PART_BYTES, rows)));
        }
        let Some(part) = self.parts.last_mut() else { return Ok(Written::Kept) };
        let before = part.bytes();
        let row_key = |into: &mut Vec<u8>| row_key(place, key, cold, into);
        match value {
            Some(value) => part.put_with(place.family, row_key, |into| encode("value", value, into))?,
            None => part.delete_with(place.family, row_key)?,
        }
        let bytes = part.bytes() - before;
        self.bytes += bytes;
        let heap = u32::try_from(bytes).unwrap_or(u32::MAX);
        *held = *held + heap as usize - cold.heap as usize;
        (cold.heap, cold.changed, cold.persisted) = (heap, epoch, value.is_some());
        Ok(if value.is_some() { Written::Kept } else { Written::Deleted })
    }
}

/// The key on disk of a row.
pub(super) fn row_key<K: Key>(place: &Place, key: &K, cold: &Cold, into: &mut Vec<u8>) -> Result<()> {
    let group = KeyGroup::of_hash(cold.hash);
    if place.family == crate::delta::Family::Values {
        value_prefix(place.store, group, into);
    } else {
        time_prefix(place.store, group, cold.time, into);
    }
    encode("key", key, into)
}

impl<K: Key, V: Persist, At: RowTime> Table<K, V, At> {
    /// Writes what changed since the last freeze into the delta, all of it; from here on the changes belong to `epoch`.
    /// Its worker stands still meanwhile.
    pub fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<()> {
        self.begin_freeze(epoch, delta);
        self.write_frozen(&mut Piece::rest(delta))?;
        delta.sort();
        Ok(())
    }

    /// Sets apart what changed since the last freeze: it belongs to `epoch` from here on. Costs the same whatever
    /// changed, unless memory is given back. [`write_frozen`](Table::write_frozen) writes it; until then the delta is
    /// [awaited](Delta::is_awaited).
    ///
    /// # Panics
    /// If the epoch before is not written.
    pub fn begin_freeze(&mut self, epoch: Epoch, delta: &mut Delta) {
        let before = self.freezing.epoch;
        assert!(before.is_none(), "{:?} of `{}` is not written yet", before, self.place.name);
        self.filing = Filing::default();
        self.pins.freeze(epoch);
        self.shrink();
        let freezing = &mut self.freezing;
        std::mem::swap(&mut self.dirty, &mut freezing.slots);
        self.dirty.clear();
        let rows = freezing.slots.len();
        if rows == 0 {
            self.settle();
            return;
        }
        freezing.listed = rows < self.rows.slots() / ONE_IN;
        let end = if freezing.listed { rows } else { self.rows.slots() };
        (freezing.epoch, freezing.rows, freezing.next, freezing.end) = (Some(epoch), rows, 0, end);
        self.rows.freeze();
        delta.await_parts();
        self.settle();
    }

    /// Writes frozen rows as long as there is room; the last of them hand the delta all that was written.
    ///
    /// # Errors
    /// If a row cannot be encoded; the epoch cannot be committed then.
    pub fn write_frozen(&mut self, piece: &mut Piece<'_>) -> Result<()> {
        let Some(epoch) = self.freezing.epoch else { return Ok(()) };
        while self.freezing.next < self.freezing.end && !piece.is_full() {
            let next = self.freezing.next;
            self.freezing.next += 1;
            let slot = if self.freezing.listed { self.freezing.slots[next] } else { next as Slot };
            let before = self.freezing.bytes;
            let room = if self.write_row(slot, epoch)? { BYTES_PER_ROW } else { BYTES_PER_SLOT };
            piece.take(room + self.freezing.bytes - before);
        }
        if let Some(error) = self.freezing.failed.take() {
            return Err(error);
        }
        if self.freezing.next == self.freezing.end {
            let freezing = &mut self.freezing;
            freezing.epoch = None;
            (freezing.next, freezing.end) = (0, 0);
            self.account.freeze(epoch, freezing.rows, std::mem::take(&mut freezing.bytes));
            freezing.slots.clear();
            piece.delta().arrive(freezing.parts.drain(..));
        }
        self.settle();
        Ok(())
    }

    /// Writes the row of a slot, if it is frozen and not written; says whether it was.
    fn write_row(&mut self, slot: Slot, epoch: Epoch) -> Result<bool> {
        let Some(row) = self.rows.take_frozen(slot) else { return Ok(false) };
        if !self.is_kept && row.value.is_some() {
            return Ok(true);
        }
        let changed = row.cold.changed;
        match self.freezing.write(&self.place, row, &mut self.bytes)? {
            Written::Kept => {}
            Written::Deleted => self.deleted.push((epoch, slot)),
            // An older row may still stand in the backend, until the epoch that deletes it is applied: this one must
            // go on to shadow it, and is let go by `applied`.
            Written::Absent if changed > self.applied => {}
            Written::Absent => self.let_go(slot),
        }
        Ok(true)
    }

    /// Writes the row of a slot as it stands, if it is frozen and not written, because it is to be taken out.
    pub(super) fn write_before_taking(&mut self, slot: Slot) {
        if let Some(row) = self.rows.take_frozen(slot).filter(|_| self.is_kept) {
            self.freezing.write_before(&self.place, slot, row, &mut self.bytes, &mut self.deleted);
        }
    }

    /// Gives the slots back that nothing needed since the last freeze, if they are most of the table; nothing is
    /// frozen now.
    fn shrink(&mut self) {
        let (ordered, filing) = (At::ORDERED, &mut self.filing);
        let shrunk = self.rows.shrink(|from, to, time| {
            if ordered {
                filing.moved.push((from, to, time));
            }
        });
        if shrunk {
            let waits = |&slot: &Slot| {
                let absent = self.rows.row(slot).is_some_and(|(_, value)| value.is_none());
                absent && self.rows.cold(slot).changed > self.applied
            };
            let slots = 0..self.rows.slots() as Slot;
            self.deleted =
                slots.clone().filter(waits).map(|slot| (self.rows.cold(slot).changed, slot)).collect();
            self.dirty.clear();
            self.dirty.extend(slots.filter(|&slot| self.rows.is_changed(slot)));
            self.dirty.shrink_to(self.rows.slots());
            self.freezing.slots = Vec::new();
            self.missing.shrink_to(self.rows.slots());
        }
    }
}
