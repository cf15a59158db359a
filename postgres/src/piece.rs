//! Rows on their way, in the binary form of `COPY`.
//!
//! Where a sink keeps one row for each key, a row that a later one of the piece replaces is left out: an aggregate
//! that changes with every record would send each change otherwise. Invariant: of the rows with the same bytes as their
//! key the last is sent. Keys that the server takes for equal and that have other bytes are its business.

use std::collections::HashMap;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

/// What the binary form of `COPY` begins with: its name, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Columns of the sink's own before those of the record: instance, worker, part, number.
pub(crate) const OWN_COLUMNS: usize = 4;

/// Rows that were not sent yet.
pub(crate) struct Piece {
    /// The rows, one behind the other.
    pub(crate) bytes: BytesMut,
    /// Which columns of a record are the key; empty where every row counts.
    keys: Vec<usize>,
    /// Where each row is; `None` if it was replaced.
    rows: Vec<Option<Range<usize>>>,
    /// Which row a key has.
    latest: HashMap<Vec<u8>, usize>,
    key: Vec<u8>,
}

impl Piece {
    pub(crate) fn of(keys: Vec<usize>) -> Piece {
        Piece { bytes: BytesMut::new(), keys, rows: Vec::new(), latest: HashMap::new(), key: Vec::new() }
    }

    /// The row that began here is complete.
    pub(crate) fn end_row(&mut self, start: usize) {
        let number = self.rows.len();
        self.rows.push(Some(start..self.bytes.len()));
        if self.keys.is_empty() {
            return;
        }
        self.key.clear();
        let (mut column, mut left) = (0, &self.bytes[start + 2..]);
        while let Some((length, rest)) = left.split_first_chunk::<4>() {
            // A length of -1 stands for null, which no key column holds.
            let bytes = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
            if column >= OWN_COLUMNS && self.keys.contains(&(column - OWN_COLUMNS)) {
                self.key.extend_from_slice(length);
                self.key.extend_from_slice(&rest[..bytes]);
            }
            (column, left) = (column + 1, &rest[bytes..]);
        }
        match self.latest.get_mut(self.key.as_slice()) {
            Some(latest) => self.rows[std::mem::replace(latest, number)] = None,
            None => {
                self.latest.insert(self.key.clone(), number);
            }
        }
    }

    /// Takes the rows out, as one `COPY`, and how many they are.
    pub(crate) fn take(&mut self) -> (Bytes, u64) {
        let rows = self.rows.iter().flatten();
        let size: usize = rows.clone().map(|row| row.len()).sum();
        let mut piece = BytesMut::with_capacity(HEADER.len() + size + 2);
        piece.extend_from_slice(HEADER);
        let mut count = 0;
        for row in rows {
            piece.extend_from_slice(&self.bytes[row.clone()]);
            count += 1;
        }
        piece.put_i16(-1);
        self.bytes.clear();
        self.rows.clear();
        self.latest.clear();
        (piece.freeze(), count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(piece: &mut Piece, columns: [&[u8]; 2]) {
        let start = piece.bytes.len();
        piece.bytes.put_i16(6);
        for column in [&[][..], &[0, 0, 0, 1], &[7], &[]].into_iter().chain(columns) {
            piece.bytes.put_i32(column.len() as i32);
            piece.bytes.extend_from_slice(column);
        }
        piece.end_row(start);
    }

    #[test]
    fn the_last_row_of_each_key_is_sent_and_every_row_where_there_are_no_keys() {
        for (keys, sent) in [(vec![0], 3), (vec![], 5), (vec![1], 4), (vec![0, 1], 5)] {
            let mut piece = Piece::of(keys.clone());
            for columns in [[&b"a"[..], b"1"], [b"b", b"2"], [b"a", b"3"], [b"", b"a4"], [b"a", b"2"]] {
                row(&mut piece, columns);
            }
            let (bytes, rows) = piece.take();
            assert_eq!(rows, sent, "{keys:?}");
            assert!(bytes.starts_with(b"PGCOPY") && bytes.ends_with(&[255, 255]));
            assert_eq!(piece.take().1, 0);
        }
    }
}
