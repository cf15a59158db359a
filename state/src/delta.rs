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

#[derive(Clone, Copy, Debug)]
struct Entry {
    family: Family,
    kind: Kind,
    start: usize,
    middle: usize,
    end: usize,
}

/// An ordered list of changes; a later one wins over an earlier one of the same row.
///
/// All bytes lie in one buffer: a delta of a million rows is three allocations, and crosses to the thread that
/// commits it as one pointer.
///
/// ```
/// use highwater_state::delta::{Change, Delta, Family};
///
/// let mut delta = Delta::default();
/// delta.put(Family::Values, b"k", b"v");
/// assert_eq!(delta.changes().next(), Some((Family::Values, Change::Put { key: b"k", value: b"v" })));
/// ```
#[derive(Debug, Default)]
pub struct Delta {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Delta {
    /// Records that `key` now has `value`.
    pub fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.push(family, Kind::Put, key, value);
    }

    /// Records that `key` is gone.
    pub fn delete(&mut self, family: Family, key: &[u8]) {
        self.push(family, Kind::Delete, key, &[]);
    }

    /// Records that all rows with `from <= key < to` are gone.
    pub fn delete_range(&mut self, family: Family, from: &[u8], to: &[u8]) {
        self.push(family, Kind::DeleteRange, from, to);
    }

    /// Appends a row whose key and value are written by closures straight into the delta's buffer.
    pub fn put_with<E>(
        &mut self,
        family: Family,
        key: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
        value: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        let written = key(&mut self.bytes).and_then(|()| {
            let middle = self.bytes.len();
            value(&mut self.bytes).map(|()| middle)
        });
        match written {
            Ok(middle) => {
                let end = self.bytes.len();
                self.entries.push(Entry { family, kind: Kind::Put, start, middle, end });
                Ok(())
            }
            Err(error) => {
                self.bytes.truncate(start);
                Err(error)
            }
        }
    }

    /// Appends all changes of `other`, after those already here.
    pub fn append(&mut self, other: &Delta) {
        let base = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.entries.extend(other.entries.iter().map(|entry| Entry {
            start: entry.start + base,
            middle: entry.middle + base,
            end: entry.end + base,
            ..*entry
        }));
    }

    /// The changes in the order in which they were recorded.
    pub fn changes(&self) -> impl Iterator<Item = (Family, Change<'_>)> {
        self.entries.iter().map(|entry| {
            let first = &self.bytes[entry.start..entry.middle];
            let second = &self.bytes[entry.middle..entry.end];
            let change = match entry.kind {
                Kind::Put => Change::Put { key: first, value: second },
                Kind::Delete => Change::Delete { key: first },
                Kind::DeleteRange => Change::DeleteRange { from: first, to: second },
            };
            (entry.family, change)
        })
    }

    /// Orders the changes from number `from` on by family and key; they must be of different rows. A store that
    /// takes rows in the order of their keys takes them several times faster.
    pub fn sort_from(&mut self, from: usize) {
        let bytes = &self.bytes;
        let key = |entry: &Entry| (entry.family, &bytes[entry.start..entry.middle]);
        self.entries[from..].sort_unstable_by(|a, b| key(a).cmp(&key(b)));
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The size of all keys and values, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn push(&mut self, family: Family, kind: Kind, first: &[u8], second: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(first);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(second);
        self.entries.push(Entry { family, kind, start, middle, end: self.bytes.len() });
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
        first.append(&second);
        let changes: Vec<_> = first.changes().collect();
        assert_eq!(changes[1], (Family::Values, Change::Delete { key: b"a" }));
        assert_eq!(changes[2], (Family::Windows, Change::DeleteRange { from: b"b", to: b"c" }));
    }

    #[test]
    fn a_failed_row_leaves_no_bytes_behind() {
        let mut delta = Delta::default();
        let failed = delta.put_with(
            Family::Values,
            |bytes| {
                bytes.push(1);
                Ok(())
            },
            |_| Err("no"),
        );
        assert_eq!(failed, Err("no"));
        assert_eq!((delta.len(), delta.bytes()), (0, 0));
    }
}
