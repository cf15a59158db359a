//! The rows of a table in memory, and the index that finds them.
//!
//! What every record touches is packed tightly and apart from the rest: the index with a check in each entry, so
//! that a mismatch costs no look at the row; the key beside its value; one byte of flags. What is needed when a
//! row comes, goes or is frozen lies elsewhere. It does not know backends, budgets or epochs' meaning.

use hashbrown::HashTable;

use crate::hash::with_time;
use crate::id::Epoch;
use crate::table::{RowRef, Slot};
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

/// `None` marks a free slot, an inner `None` a row that is known to be absent.
type Hot<K, V> = Option<(K, Option<V>)>;

const DIRTY: u8 = 1;
const USED: u8 = 2;

#[derive(Clone, Copy)]
struct Entry {
    slot: Slot,
    check: u32,
}

pub(super) struct Rows<K, V> {
    ordered: bool,
    index: HashTable<Entry>,
    hot: Vec<Hot<K, V>>,
    flags: Vec<u8>,
    /// The rows' times, if they are ordered by time.
    times: Vec<Timestamp>,
    cold: Vec<Cold>,
    free: Vec<Slot>,
    /// The fewest free slots since the last call of `shrink`.
    least_free: usize,
}

/// Fewer slots than this are not worth the moving of rows.
const FEWEST_GIVEN_BACK: usize = 64;

impl<K: Eq, V> Rows<K, V> {
    /// What a row charges besides its heap: itself and its share of the index.
    pub(super) const ROW_BYTES: usize =
        size_of::<Hot<K, V>>() + size_of::<Cold>() + 1 + size_of::<Timestamp>() + 12;

    pub(super) fn new(ordered: bool) -> Self {
        Rows {
            ordered,
            index: HashTable::new(),
            hot: Vec::new(),
            flags: Vec::new(),
            times: Vec::new(),
            cold: Vec::new(),
            free: Vec::new(),
            least_free: 0,
        }
    }

    /// Where the row probably is, from the index alone: so the look-ups of a batch do not wait for each other's
    /// rows. [`is`](Rows::is) says whether it was right; if it was not, [`find`](Rows::find) knows.
    #[inline]
    pub(super) fn guess(&self, wanted: &RowRef<'_, K>) -> Slot {
        let hash = index_hash(wanted.hash, wanted.time, self.ordered);
        let check = check_of(hash);
        self.index.find(hash, |entry| entry.check == check).map_or(Slot::MAX, |entry| entry.slot)
    }

    /// Whether the slot holds the row; it counts as used then.
    #[inline]
    pub(super) fn is(&mut self, slot: Slot, wanted: &RowRef<'_, K>) -> bool {
        let is = self.holds(slot, wanted);
        if is {
            self.flags[slot as usize] |= USED;
        }
        is
    }

    pub(super) fn find(&mut self, wanted: &RowRef<'_, K>) -> Option<Slot> {
        let hash = index_hash(wanted.hash, wanted.time, self.ordered);
        let check = check_of(hash);
        let found = self.index.find(hash, |entry| entry.check == check && self.holds(entry.slot, wanted));
        let slot = found?.slot;
        self.flags[slot as usize] |= USED;
        Some(slot)
    }

    #[inline]
    fn holds(&self, slot: Slot, wanted: &RowRef<'_, K>) -> bool {
        let Some(Some((key, _))) = self.hot.get(slot as usize) else { return false };
        key == wanted.key && (!self.ordered || self.times[slot as usize] == wanted.time)
    }

    /// Puts a row that is not there yet into a slot, without a value.
    pub(super) fn insert(&mut self, cold: Cold, key: K) -> Slot {
        let hash = index_hash(cold.hash, cold.time, self.ordered);
        let slot = match self.free.pop() {
            Some(slot) => {
                let at = slot as usize;
                self.least_free = self.least_free.min(self.free.len());
                (self.hot[at], self.flags[at]) = (Some((key, None)), USED);
                if self.ordered {
                    self.times[at] = cold.time;
                }
                self.cold[at] = cold;
                slot
            }
            None => {
                self.hot.push(Some((key, None)));
                self.flags.push(USED);
                if self.ordered {
                    self.times.push(cold.time);
                }
                self.cold.push(cold);
                Slot::try_from(self.hot.len() - 1).expect("a table holds fewer than 2^32 rows")
            }
        };
        let (cold, ordered) = (&self.cold, self.ordered);
        let entry = Entry { slot, check: check_of(hash) };
        self.index.insert_unique(hash, entry, |entry| hash_of(&cold[entry.slot as usize], ordered));
        slot
    }

    /// Frees the slot, and gives what it held.
    pub(super) fn remove(&mut self, slot: Slot) -> Hot<K, V> {
        let hash = hash_of(&self.cold[slot as usize], self.ordered);
        if let Ok(entry) = self.index.find_entry(hash, |entry| entry.slot == slot) {
            entry.remove();
        }
        self.flags[slot as usize] = 0;
        self.cold[slot as usize].heap = 0;
        self.free.push(slot);
        self.hot[slot as usize].take()
    }

    /// The value, to be changed in place, and whether it was unchanged before.
    #[inline]
    pub(super) fn change(&mut self, slot: Slot) -> (&mut Option<V>, bool) {
        let flags = &mut self.flags[slot as usize];
        let first = *flags & DIRTY == 0;
        *flags |= DIRTY | USED;
        match &mut self.hot[slot as usize] {
            Some((_, value)) => (value, first),
            None => panic!("a slot is changed that holds no row"),
        }
    }

    /// The key and the value of a row, if the slot holds one.
    #[inline]
    pub(super) fn row(&self, slot: Slot) -> Option<(&K, Option<&V>)> {
        let (key, value) = self.hot.get(slot as usize)?.as_ref()?;
        Some((key, value.as_ref()))
    }

    /// Sets the value of a row that was read.
    pub(super) fn fill(&mut self, slot: Slot, value: V) {
        if let Some((_, kept)) = &mut self.hot[slot as usize] {
            *kept = Some(value);
        }
    }

    pub(super) fn cold(&self, slot: Slot) -> &Cold {
        &self.cold[slot as usize]
    }

    pub(super) fn cold_mut(&mut self, slot: Slot) -> &mut Cold {
        &mut self.cold[slot as usize]
    }

    pub(super) fn is_dirty(&self, slot: Slot) -> bool {
        self.flags[slot as usize] & DIRTY != 0
    }

    pub(super) fn clean(&mut self, slot: Slot) {
        self.flags[slot as usize] &= !DIRTY;
    }

    /// Whether the row was used since the last call of this.
    pub(super) fn take_used(&mut self, slot: Slot) -> bool {
        let flags = &mut self.flags[slot as usize];
        let used = *flags & USED != 0;
        *flags &= !USED;
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
            let (hash, time) = (hash_of(&self.cold[from], self.ordered), self.cold[from].time);
            let to = self.free.pop().expect("there are fewer rows than slots that were needed");
            if let Some(entry) = self.index.find_mut(hash, |entry| entry.slot as usize == from) {
                entry.slot = to;
            }
            self.hot.swap(from, to as usize);
            self.flags.swap(from, to as usize);
            self.cold.swap(from, to as usize);
            if self.ordered {
                self.times.swap(from, to as usize);
            }
            moved(from as Slot, to, time);
        }
        self.hot.truncate(keep);
        self.hot.shrink_to_fit();
        self.flags.truncate(keep);
        self.flags.shrink_to_fit();
        self.times.truncate(keep);
        self.times.shrink_to_fit();
        self.cold.truncate(keep);
        self.cold.shrink_to_fit();
        self.free.shrink_to(keep);
        let (cold, ordered) = (&self.cold, self.ordered);
        self.index.shrink_to(keep, |entry| hash_of(&cold[entry.slot as usize], ordered));
        self.least_free = self.free.len();
        true
    }
}

/// The top bits of a key's hash are its group, and the same for many keys of one worker; hash tables use the top
/// bits too, hence the rotation.
#[inline]
fn index_hash(hash: u64, time: Timestamp, ordered: bool) -> u64 {
    if ordered { with_time(hash, time.as_millis()) } else { hash.rotate_left(32) }
}

fn hash_of(cold: &Cold, ordered: bool) -> u64 {
    index_hash(cold.hash, cold.time, ordered)
}

/// Bits that the index itself does not look at first.
#[inline]
fn check_of(index_hash: u64) -> u32 {
    (index_hash >> 25) as u32
}
