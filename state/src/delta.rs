//! What one epoch changed, as bytes: the one thing that is ever written to a backend.
//!
//! Invariant: a delta holds absolute values, so applying it twice gives the same as applying it once. It does
//! not know types; [`table`](crate::table) encodes into it.

/// The kind of data a row is; each is a column family of its own, because they are read and dropped
/// differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// One row a key: aggregates, values of user operators. Read by point lookups.
    Values,
    /// One row a window and key, ordered by the window's end. Dropped by ranges.
    Windows,
    /// One row a timer, ordered by time.
    Timers,
    /// Epochs, positions, watermarks, receipts, the catalog of names.
    Meta,
    /// The delta of an epoch that is not decided yet; see [`redo`](crate::redo).
    Redo,
}

impl Family {
    /// Every family.
    pub const ALL: [Family; 5] =
        [Family::Values, Family::Windows, Family::Timers, Family::Meta, Family::Redo];

    /// The family's name on disk.
    pub fn name(self) -> &'static str {
        match self {
            Family::Values => "values",
            Family::Windows => "windows",
            Family::Timers => "timers",
            Family::Meta => "meta",
            Family::Redo => "redo",
        }
    }
}

/// One change of one row, or of a range of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// The row has this value now.
    Put {
        /// The row's key.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// The row is gone.
    Delete {
        /// The row's key.
        key: &'a [u8],
    },
    /// All rows with `from <= key < to` are gone.
    DeleteRange {
        /// The first key that is gone.
        from: &'a [u8],
        /// The first key after them.
        to: &'a [u8],
    },
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Put,
    Delete,
    DeleteRange,
}

/// A change begins where the one before it ends: sixteen bytes are kept of it, as rows are often no larger themselves.
#[derive(Clone, Copy, Debug)]
struct Entry {
    end: usize,
    /// The length of a key; RocksDB takes no longer ones.
    key_bytes: u32,
    family: Family,
    kind: Kind,
}

/// A list of changes; a later one wins over an earlier one of the same row.
///
/// A delta of a million rows is a few allocations, and crosses to the thread that commits it as one pointer. What
/// tables write into it while their worker goes on ([`Table::begin_freeze`](crate::table::Table::begin_freeze)) comes
/// in parts, behind all other changes; no row is in two of them.
///
/// ```
/// use highwater_state::delta::{Change, Delta, Family};
///
/// let mut delta = Delta::default();
/// delta.put(Family::Values, b"k", b"v");
/// assert_eq!(delta.changes().next(), Some((Family::Values, Change::Put { key: b"k", value: b"v" })));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Delta {
    first: Part,
    parts: Vec<Part>,
    /// In which order the changes of the parts are told, by the numbers of part and change; empty where it is the one
    /// in which they were recorded.
    order: Vec<(u32, u32)>,
    /// How many tables have not written all of theirs yet.
    awaited: usize,
}

impl Delta {
    /// Records that `key` now has `value`.
    pub fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.first.push(family, Kind::Put, key, value);
    }

    /// Records that `key` is gone.
    pub fn delete(&mut self, family: Family, key: &[u8]) {
        self.first.push(family, Kind::Delete, key, &[]);
    }

    /// Records that all rows with `from <= key < to` are gone.
    pub fn delete_range(&mut self, family: Family, from: &[u8], to: &[u8]) {
        self.first.push(family, Kind::DeleteRange, from, to);
    }

    /// Appends a row whose key and value are written by closures straight into the delta's buffer.
    pub fn put_with<E>(
        &mut self,
        family: Family,
        key: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
        value: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.first.put_with(family, key, value)
    }

    /// Appends all changes of `other`: none of its parts may have a row that is here. Parts are not copied.
    pub fn append(&mut self, other: Delta) {
        self.first.append(&other.first);
        self.order.clear();
        self.parts.extend(other.parts);
        self.awaited += other.awaited;
    }

    /// The changes in the order in which they were recorded, or in that of [`sort`](Delta::sort).
    pub fn changes(&self) -> impl Iterator<Item = (Family, Change<'_>)> {
        let sorted = self.order.chunks(READ_AT_ONCE).flat_map(|some| {
            self.touch(some);
            some.iter().map(|&(part, number)| self.parts[part as usize].change(number as usize))
        });
        let recorded = if self.order.is_empty() { &self.parts[..] } else { &[] };
        let recorded = recorded.iter().flat_map(Part::changes);
        self.first.changes().chain(sorted).chain(recorded)
    }

    /// Orders what tables wrote by its key. A store that takes rows in the order of their keys takes them several
    /// times faster; it is left to the thread that commits, because it costs as much as encoding them.
    pub fn sort(&mut self) {
        let mut rows: Vec<_> = Vec::with_capacity(self.parts.iter().map(|part| part.entries.len()).sum());
        for (number, part) in self.parts.iter().enumerate() {
            let of_part = part.entries.iter().enumerate();
            rows.extend(of_part.map(|(at, _)| (leading(part.key(at)), number as u32, at as u32)));
        }
        let key = |part: u32, at: u32| self.parts[part as usize].key(at as usize);
        rows.sort_unstable_by(|one, other| {
            one.0.cmp(&other.0).then_with(|| key(one.1, one.2).cmp(key(other.1, other.2)))
        });
        self.order = rows.into_iter().map(|(_, part, at)| (part, at)).collect();
    }

    /// Brings sorted changes into the cache, many at a time: they lie where they were written.
    fn touch(&self, some: &[(u32, u32)]) {
        let first_byte = |&(part, number): &(u32, u32)| {
            let part = &self.parts[part as usize];
            part.bytes.get(part.start(number as usize))
        };
        std::hint::black_box(some.iter().filter_map(first_byte).fold(0, |all, byte| all ^ byte));
    }

    /// Whether a table has rows of this epoch that it has not written yet: the delta is not whole.
    pub fn is_awaited(&self) -> bool {
        self.awaited > 0
    }

    /// A table says that its rows follow in parts.
    pub(crate) fn await_parts(&mut self) {
        self.awaited += 1;
    }

    /// The parts of a table that had said that they follow.
    pub(crate) fn arrive(&mut self, parts: impl IntoIterator<Item = Part>) {
        debug_assert!(self.awaited > 0, "parts arrive that nobody awaits");
        self.awaited = self.awaited.saturating_sub(1);
        self.order.clear();
        self.parts.extend(parts);
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.first.entries.len() + self.parts.iter().map(|part| part.entries.len()).sum::<usize>()
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The size of all keys and values, in bytes.
    pub fn bytes(&self) -> usize {
        self.first.bytes.len() + self.parts.iter().map(Part::bytes).sum::<usize>()
    }
}

/// How many changes are read together when they are told in the order of their keys.
const READ_AT_ONCE: usize = 64;

/// The first sixteen bytes of a key as numbers that sort as they do; most keys differ in them.
fn leading(key: &[u8]) -> (u64, u64) {
    let mut bytes = [0; 16];
    let known = key.len().min(bytes.len());
    bytes[..known].copy_from_slice(&key[..known]);
    let number = u128::from_be_bytes(bytes);
    ((number >> 64) as u64, number as u64)
}

/// Changes in the order in which they were recorded; all bytes lie in one buffer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Part {
    /// A part with room for so many bytes and changes, and some more.
    pub(crate) fn with_room(bytes: usize, changes: usize) -> Part {
        Part {
            bytes: Vec::with_capacity(bytes + bytes / 8),
            entries: Vec::with_capacity(changes + changes / 8),
        }
    }

    /// How many changes there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Appends a row whose key and value are written by closures straight into the buffer.
    pub(crate) fn put_with<E>(
        &mut self,
        family: Family,
        key: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
        value: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.record(family, Kind::Put, key, value)
    }

    /// Appends that a row is gone whose key is written by a closure.
    pub(crate) fn delete_with<E>(
        &mut self,
        family: Family,
        key: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.record(family, Kind::Delete, key, |_| Ok(()))
    }

    /// The size of all keys and values, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn record<E>(
        &mut self,
        family: Family,
        kind: Kind,
        key: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
        value: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        let written = key(&mut self.bytes).and_then(|()| {
            let middle = self.bytes.len();
            value(&mut self.bytes).map(|()| middle)
        });
        match written {
            Ok(middle) => self.end(family, kind, middle - start),
            Err(_) => self.bytes.truncate(start),
        }
        written.map(|_| ())
    }

    fn push(&mut self, family: Family, kind: Kind, first: &[u8], second: &[u8]) {
        self.bytes.extend_from_slice(first);
        self.bytes.extend_from_slice(second);
        self.end(family, kind, first.len());
    }

    /// The bytes of a change, which are written, end here.
    fn end(&mut self, family: Family, kind: Kind, key_bytes: usize) {
        let key_bytes = u32::try_from(key_bytes).expect("a key has less than 4 GiB");
        self.entries.push(Entry { end: self.bytes.len(), key_bytes, family, kind });
    }

    fn append(&mut self, other: &Part) {
        let base = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.entries.extend(other.entries.iter().map(|entry| Entry { end: entry.end + base, ..*entry }));
    }

    fn start(&self, number: usize) -> usize {
        number.checked_sub(1).map_or(0, |before| self.entries[before].end)
    }

    fn key(&self, number: usize) -> &[u8] {
        let start = self.start(number);
        &self.bytes[start..start + self.entries[number].key_bytes as usize]
    }

    fn change(&self, number: usize) -> (Family, Change<'_>) {
        let entry = &self.entries[number];
        let first = self.key(number);
        let second = &self.bytes[self.start(number) + first.len()..entry.end];
        let change = match entry.kind {
            Kind::Put => Change::Put { key: first, value: second },
            Kind::Delete => Change::Delete { key: first },
            Kind::DeleteRange => Change::DeleteRange { from: first, to: second },
        };
        (entry.family, change)
    }

    fn changes(&self) -> impl Iterator<Item = (Family, Change<'_>)> {
        (0..self.entries.len()).map(|number| self.change(number))
    }
}

/// Where rows of a frozen epoch are written to, and how many now.
///
/// What is left stays in its table until the next piece. Room is counted in bytes, among which every row that is looked
/// at has a share, so that a piece takes about as long whatever the rows hold.
pub struct Piece<'a> {
    delta: &'a mut Delta,
    room: usize,
}

impl<'a> Piece<'a> {
    /// A piece of about `room` bytes: the last row that it takes may be longer.
    pub fn of(room: usize, delta: &'a mut Delta) -> Self {
        Piece { delta, room }
    }

    /// All that is left.
    pub fn rest(delta: &'a mut Delta) -> Self {
        Piece { delta, room: usize::MAX }
    }

    /// Whether nothing more is to be written now.
    pub fn is_full(&self) -> bool {
        self.room == 0
    }

    /// Takes so many bytes of the room.
    pub(crate) fn take(&mut self, bytes: usize) {
        self.room = self.room.saturating_sub(bytes);
    }

    /// The delta, for a table that has written all of its parts.
    pub(crate) fn delta(&mut self) -> &mut Delta {
        self.delta
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn append_keeps_the_order_of_changes() {
        let mut first = Delta::default();
        first.put(Family::Values, b"a", b"1");
        let mut second = Delta::default();
        second.delete(Family::Values, b"a");
        second.delete_range(Family::Windows, b"b", b"c");
        first.append(second);
        let changes: Vec<_> = first.changes().collect();
        assert_eq!(changes[1], (Family::Values, Change::Delete { key: b"a" }));
        assert_eq!(changes[2], (Family::Windows, Change::DeleteRange { from: b"b", to: b"c" }));
    }

    #[test]
    fn a_failed_row_leaves_no_bytes_behind() {
        let mut part = Part::default();
        let failed = part.put_with(
            Family::Values,
            |bytes| {
                bytes.push(1);
                Ok(())
            },
            |_| Err("no"),
        );
        assert_eq!(failed, Err("no"));
        assert_eq!((part.entries.len(), part.bytes()), (0, 0));
    }

    fn part(rows: &[(&[u8], &[u8])]) -> Part {
        let mut part = Part::default();
        rows.iter().for_each(|(key, value)| part.push(Family::Values, Kind::Put, key, value));
        part
    }

    #[test]
    fn what_tables_wrote_is_sorted_over_all_parts_and_comes_behind_the_rest() {
        let mut delta = Delta::default();
        delta.await_parts();
        delta.await_parts();
        let long = [7u8; 40];
        delta.arrive([part(&[(b"b", b"1"), (&long[..30], b"2")]), part(&[(b"a\0", b"3"), (b"a", b"4")])]);
        assert!(delta.is_awaited());
        delta.arrive([part(&[(&long, b"5"), (b"", b"6")])]);
        assert!(!delta.is_awaited());
        delta.put(Family::Meta, b"z", b"7");
        let values = |delta: &Delta| {
            let value = |(_, change): (Family, Change<'_>)| match change {
                Change::Put { value, .. } => value[0],
                _ => 0,
            };
            delta.changes().map(value).collect::<Vec<_>>()
        };
        assert_eq!(values(&delta), b"7123456");
        delta.sort();
        assert_eq!(values(&delta), b"7625431");
        assert_eq!((delta.len(), delta.bytes()), (7, 1 + 30 + 2 + 1 + 40 + 1 + 7));
        let mut more = Delta::default();
        more.put(Family::Meta, b"y", b"8");
        more.append(delta);
        assert_eq!(values(&more), b"87123456");
    }
}
