//! The rows of a table in memory, and the index that finds them.
//!
//! What every record touches is packed tightly and apart from the rest: an index of eight bytes an entry; the key, the
//! value and the flags of a row beside each other. What is needed when a row comes, goes or is frozen lies elsewhere.
//! It does not know backends, budgets or epochs' meaning.

use crate::hash::with_time;
use crate::id::Epoch;
use crate::table::ask::ask_for;
use crate::table::index::{BYTES_PER_SLOT, Index};
use crate::table::{RowRef, RowTime, Slot, large};
use crate::time::Timestamp;

/// What is needed when a row comes, goes or is frozen.
pub(super) struct Cold {
    pub(super) hash: u64,
    pub(super) time: Timestamp,
    /// The last epoch that changed the row.
    pub(super) changed: Epoch,
    /// Bytes outside the row itself, estimated by its encoded length.
    pub(super) heap: u32,
    /// The backend holds the row, or will when the frozen epochs are applied.
    pub(super) persisted: bool,
}

/// What every record touches.
struct Hot<K, V, At> {
    key: K,
    at: At,
    /// `None` if the row is known to be absent.
    value: Option<V>,
    flags: u8,
}

/// The two flags of a changed row: one says changed in the running epoch, the other changed in the one that is frozen
/// and not written yet. Which is which turns with every epoch, so that none of them is touched then.
const CHANGED: u8 = 0b101;
const USED: u8 = 0b010;

/// What is written of a row.
pub(super) struct Content<'a, K, V> {
    pub(super) key: &'a K,
    pub(super) value: Option<&'a V>,
    pub(super) cold: &'a mut Cold,
}

impl<K, V, At> Hot<K, V, At> {
    /// Notes a first change in the epoch whose flag is `changed`; gives what is to be written before.
    #[inline]
    fn first_change<'a>(&'a mut self, changed: u8, cold: &'a mut Cold) -> Option<Content<'a, K, V>> {
        let frozen = self.flags & CHANGED != 0;
        self.flags = (self.flags & !CHANGED) | changed;
        frozen.then_some(Content { key: &self.key, value: self.value.as_ref(), cold })
    }
}

pub(super) struct Rows<K, V, At> {
    index: Index,
    /// The flag of rows that were changed in the running epoch.
    changed: u8,
    /// `None` marks a free slot.
    hot: Vec<Option<Hot<K, V, At>>>,
    cold: Vec<Cold>,
    free: Vec<Slot>,
    /// The fewest free slots since the last call of `shrink`.
    least_free: usize,
}

/// Fewer slots than this are not worth the moving of rows.
const FEWEST_GIVEN_BACK: usize = 64;

impl<K: Eq, V, At: RowTime> Rows<K, V, At> {
    /// What a row charges besides its heap: itself and its share of the index.
    pub(super) const ROW_BYTES: usize =
        size_of::<Option<Hot<K, V, At>>>() + size_of::<Cold>() + BYTES_PER_SLOT;

    pub(super) fn new() -> Self {
        Rows {
            index: Index::default(),
            changed: CHANGED & 1,
            hot: Vec::new(),
            cold: Vec::new(),
            free: Vec::new(),
            least_free: 0,
        }
    }

    /// Where each row probably is, from the index alone, and asks the memory for all of them: so the look-ups of a
    /// batch do not wait for each other. [`is`](Rows::is) says whether a guess was right; if it was not,
    /// [`find`](Rows::find) knows. `first_changes`: many of them will be changed for the first time since a barrier.
    #[inline]
    pub(super) fn guess_all<'k>(
        &self,
        first_changes: bool,
        row: impl Fn(usize) -> RowRef<'k, K>,
        slots: &mut [Slot],
    ) where
        K: 'k,
    {
        let hash = |number| {
            let RowRef { hash, time, .. } = row(number);
            index_hash::<At>(hash, time)
        };
        (0..slots.len()).for_each(|number| self.index.ask_for(hash(number)));
        for (number, slot) in slots.iter_mut().enumerate() {
            *slot = self.index.first(hash(number));
            ask_for(&self.hot, *slot as usize);
            if first_changes {
                ask_for(&self.cold, *slot as usize);
            }
        }
    }

    /// Brings into the cache what the removal of these rows will read, many at a time.
    pub(super) fn touch(&self, slots: &[Slot]) {
        let touch =
            |&slot: &Slot| self.cold.get(slot as usize).map(|cold| self.index.first(hash_of::<At>(cold)));
        std::hint::black_box(slots.iter().filter_map(touch).fold(0, |all, slot| all ^ slot));
    }

    /// Whether the slot holds the row; it counts as used then.
    #[inline]
    pub(super) fn is(&mut self, slot: Slot, wanted: &RowRef<'_, K>) -> bool {
        match self.hot.get_mut(slot as usize) {
            Some(Some(row)) if row.key == *wanted.key && row.at == At::of(wanted.time) => {
                row.flags |= USED;
                true
            }
            _ => false,
        }
    }

    /// As [`change`](Rows::change), if the slot holds the row.
    #[inline]
    pub(super) fn change_if(
        &mut self,
        slot: Slot,
        wanted: &RowRef<'_, K>,
        first: impl FnOnce(Option<Content<'_, K, V>>),
    ) -> Option<&mut Option<V>> {
        match self.hot.get_mut(slot as usize) {
            Some(Some(row)) if row.key == *wanted.key && row.at == At::of(wanted.time) => {
                if row.flags & self.changed == 0 {
                    first(row.first_change(self.changed, &mut self.cold[slot as usize]));
                }
                row.flags |= USED;
                Some(&mut row.value)
            }
            _ => None,
        }
    }

    pub(super) fn find(&mut self, wanted: &RowRef<'_, K>) -> Option<Slot> {
        let (hot, at) = (&self.hot, At::of(wanted.time));
        let holds = |slot: Slot| {
            hot[slot as usize].as_ref().is_some_and(|row| row.key == *wanted.key && row.at == at)
        };
        let slot = self.index.find(index_hash::<At>(wanted.hash, wanted.time), holds)?;
        if let Some(row) = &mut self.hot[slot as usize] {
            row.flags |= USED;
        }
        Some(slot)
    }

    /// Puts a row that is not there yet into a slot, without a value.
    pub(super) fn insert(&mut self, cold: Cold, key: K) -> Slot {
        let hash = hash_of::<At>(&cold);
        let hot = Some(Hot { key, at: At::of(cold.time), value: None, flags: USED });
        let slot = match self.free.pop() {
            Some(slot) => {
                self.least_free = self.least_free.min(self.free.len());
                (self.hot[slot as usize], self.cold[slot as usize]) = (hot, cold);
                slot
            }
            None => {
                large::push(&mut self.hot, hot);
                large::push(&mut self.cold, cold);
                let slot = Slot::try_from(self.hot.len() - 1).ok().filter(|&slot| slot < Slot::MAX / 2);
                slot.expect("a table holds fewer than 2^31 rows")
            }
        };
        self.index.insert(hash, slot);
        slot
    }

    /// Frees the slot, and gives what it held.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<(K, Option<V>)> {
        let cold = &mut self.cold[slot as usize];
        self.index.remove(hash_of::<At>(cold), slot);
        cold.heap = 0;
        self.free.push(slot);
        let row = self.hot[slot as usize].take()?;
        Some((row.key, row.value))
    }

    /// The value, to be changed in place. Before the first change of an epoch `first` is called, with what is to be
    /// written before it, if the epoch before is frozen and has not written the row.
    #[inline]
    pub(super) fn change(
        &mut self,
        slot: Slot,
        first: impl FnOnce(Option<Content<'_, K, V>>),
    ) -> &mut Option<V> {
        match &mut self.hot[slot as usize] {
            Some(row) => {
                if row.flags & self.changed == 0 {
                    first(row.first_change(self.changed, &mut self.cold[slot as usize]));
                }
                row.flags |= USED;
                &mut row.value
            }
            None => panic!("a slot is changed that holds no row"),
        }
    }

    /// The key and the value of a row, if the slot holds one.
    #[inline]
    pub(super) fn row(&self, slot: Slot) -> Option<(&K, Option<&V>)> {
        let row = self.hot.get(slot as usize)?.as_ref()?;
        Some((&row.key, row.value.as_ref()))
    }

    /// Sets the value of a row that was read.
    pub(super) fn fill(&mut self, slot: Slot, value: V) {
        if let Some(row) = &mut self.hot[slot as usize] {
            row.value = Some(value);
        }
    }

    pub(super) fn cold(&self, slot: Slot) -> &Cold {
        &self.cold[slot as usize]
    }

    pub(super) fn cold_mut(&mut self, slot: Slot) -> &mut Cold {
        &mut self.cold[slot as usize]
    }

    /// Whether the row was changed and is not written yet.
    pub(super) fn is_changed(&self, slot: Slot) -> bool {
        self.hot[slot as usize].as_ref().is_some_and(|row| row.flags & CHANGED != 0)
    }

    /// What was changed in the running epoch belongs to a frozen one from here on; nothing of an earlier one may be
    /// unwritten.
    pub(super) fn freeze(&mut self) {
        self.changed ^= CHANGED;
    }

    /// The content of a row that is frozen and not written; it counts as written then.
    #[inline]
    pub(super) fn take_frozen(&mut self, slot: Slot) -> Option<Content<'_, K, V>> {
        let frozen = self.changed ^ CHANGED;
        let row = self.hot.get_mut(slot as usize)?.as_mut().filter(|row| row.flags & frozen != 0)?;
        row.flags &= !frozen;
        Some(Content { key: &row.key, value: row.value.as_ref(), cold: &mut self.cold[slot as usize] })
    }

    /// Whether the row was used since the last call of this.
    pub(super) fn take_used(&mut self, slot: Slot) -> bool {
        let Some(row) = &mut self.hot[slot as usize] else { return false };
        let used = row.flags & USED != 0;
        row.flags &= !USED;
        used
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// How many slots there are.
    pub(super) fn slots(&self) -> usize {
        self.hot.len()
    }

    /// Gives the slots back that nothing needed since the last call, if they are most of them. Rows move out of
    /// them, each told to `moved` with the slot it leaves and the one it goes to. Says whether any were given back.
    pub(super) fn shrink(&mut self, mut moved: impl FnMut(Slot, Slot, Timestamp)) -> bool {
        let idle = std::mem::replace(&mut self.least_free, self.free.len());
        if idle < FEWEST_GIVEN_BACK || idle < self.hot.len() / 4 * 3 {
            return false;
        }
        let keep = self.hot.len() - idle;
        self.free.retain(|&slot| (slot as usize) < keep);
        for from in keep..self.hot.len() {
            if self.hot[from].is_none() {
                continue;
            }
            let (hash, time) = (hash_of::<At>(&self.cold[from]), self.cold[from].time);
            let to = self.free.pop().expect("there are fewer rows than slots that were needed");
            self.index.moved(hash, from as Slot, to);
            self.hot.swap(from, to as usize);
            self.cold.swap(from, to as usize);
            moved(from as Slot, to, time);
        }
        self.hot.truncate(keep);
        self.hot.shrink_to_fit();
        self.cold.truncate(keep);
        self.cold.shrink_to_fit();
        self.free.shrink_to(keep);
        self.index.shrink_to(keep);
        self.least_free = self.free.len();
        true
    }
}

/// The top bits of a key's hash are its group, and the same for many keys of one worker: the index gets the low ones.
#[inline]
fn index_hash<At: RowTime>(hash: u64, time: Timestamp) -> u32 {
    if At::ORDERED { with_time(hash, time.as_millis()) as u32 } else { hash as u32 }
}

fn hash_of<At: RowTime>(cold: &Cold) -> u32 {
    index_hash::<At>(cold.hash, cold.time)
}
