//! The delta of an epoch that somebody else decides: kept before the decision, applied or dropped after it.
//!
//! Where a transaction in the outside world is the decision (`docs/decisions/0012-kafka-decides-redo-follows.md`),
//! the delta is first written here, synced, where no table reads it. After a crash it is applied if the outside says
//! that its epoch was committed, and dropped if not. Invariants: at most one record is kept; what is read back is
//! what was written, or an error that says so (a checksum over all of it), never part of it; applying it twice gives
//! the same as once, as for every [`Delta`]. It does not know who decides.
//!
//! On disk: rows of the family `redo`, one with the length and the checksum, and the record in pieces behind it.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::backend::Backend;
use crate::delta::{Change, Delta, Family};
use crate::error::{Result, StateError};
use crate::id::Epoch;
use crate::persist;

/// The row that says what the pieces are.
const HEAD: &[u8] = b"head";
const PIECE: &[u8] = b"piece/";
/// Bytes in one piece: 1 MiB, so that no row is as large as a whole epoch's changes.
const PIECE_BYTES: usize = 1 << 20;
/// What the record is called in errors.
const NAME: &str = "prepared epoch";

/// Bytes of a change beside its key and value.
const CHANGE_BYTES: usize = 10;

const PUT: u8 = 0;
const DELETE: u8 = 1;
const DELETE_RANGE: u8 = 2;

/// What the row `head` holds.
#[derive(Serialize, Deserialize)]
struct Head {
    bytes: u64,
    checksum: u128,
}

/// A delta that was prepared and neither applied nor dropped.
#[derive(Debug)]
pub struct Redo {
    /// The epoch that it belongs to.
    pub epoch: Epoch,
    /// Which instance of the program prepared it: two of one epoch are different when a copy of the state went on.
    pub instance: u64,
    /// What the epoch changed.
    pub delta: Delta,
    pieces: usize,
}

/// How many rows a prepared record takes; what [`forget`] has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pieces(usize);

/// Keeps the delta, synced, where nothing reads it; a record that was kept before is replaced.
///
/// Costs one synced write of the delta's size, and twice as much memory again while it is written: the pieces, and the
/// backend's write of them.
///
/// # Errors
/// What the backend reports; nothing has changed then.
pub fn prepare(backend: &dyn Backend, epoch: Epoch, instance: u64, delta: &Delta) -> Result<Pieces> {
    let mut record = Record::default();
    record.write(&epoch.0.to_le_bytes());
    record.write(&instance.to_le_bytes());
    each_part(delta, |part| record.write(part));
    let (rows, pieces) = record.finish()?;
    backend.commit(&rows)?;
    Ok(Pieces(pieces))
}

/// A record on its way into rows, a piece at a time.
#[derive(Default)]
struct Record {
    rows: Delta,
    piece: Vec<u8>,
    pieces: usize,
    bytes: u64,
    checksum: Xxh3,
}

impl Record {
    fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.piece.len()));
            self.piece.extend_from_slice(now);
            if self.piece.len() == PIECE_BYTES {
                self.end_piece();
            }
            bytes = later;
        }
    }

    fn end_piece(&mut self) {
        self.checksum.update(&self.piece);
        self.bytes += self.piece.len() as u64;
        self.rows.put(Family::Redo, &piece_key(self.pieces), &self.piece);
        self.pieces += 1;
        self.piece.clear();
    }

    /// The rows, and how many pieces are among them.
    fn finish(mut self) -> Result<(Delta, usize)> {
        if !self.piece.is_empty() {
            self.end_piece();
        }
        let head = Head { bytes: self.bytes, checksum: self.checksum.digest128() };
        let mut row = Vec::new();
        persist::encode("value", &head, &mut row)?;
        self.rows.put(Family::Redo, HEAD, &row);
        Ok((self.rows, self.pieces))
    }
}

/// What is kept, if anything is.
///
/// # Errors
/// [`StateError::Row`] if it is damaged: torn, cut short or changed; what the backend reports.
pub fn read(backend: &dyn Backend) -> Result<Option<Redo>> {
    let Some(head) = backend.get(Family::Redo, HEAD)? else { return Ok(None) };
    let head: Head = persist::decode(NAME, &head)?;
    let mut record = Vec::new();
    let mut pieces = 0;
    let end = crate::layout::after_prefix(PIECE);
    backend.scan(Family::Redo, PIECE, &end, &mut |_, piece| {
        // Pieces behind the record's end belong to an older, longer one.
        if (record.len() as u64) < head.bytes {
            record.extend_from_slice(piece);
        }
        pieces += 1;
        ControlFlow::Continue(())
    })?;
    if record.len() as u64 != head.bytes || xxh3_128(&record) != head.checksum {
        return Err(damaged(format!("{} of {} bytes, or other ones, are there", record.len(), head.bytes)));
    }
    let cut = || damaged("it has no epoch".to_owned());
    let (epoch, rest) = record.split_first_chunk::<8>().ok_or_else(cut)?;
    let (instance, rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
    let (epoch, instance) = (Epoch(u64::from_le_bytes(*epoch)), u64::from_le_bytes(*instance));
    Ok(Some(Redo { epoch, instance, delta: decode(rest)?, pieces }))
}

impl Redo {
    /// The rows that it takes.
    pub fn pieces(&self) -> Pieces {
        Pieces(self.pieces)
    }
}

/// Lets the record go with whatever else `delta` does.
pub fn forget(pieces: Pieces, delta: &mut Delta) {
    delta.delete(Family::Redo, HEAD);
    (0..pieces.0).for_each(|piece| delta.delete(Family::Redo, &piece_key(piece)));
}

fn piece_key(piece: usize) -> Vec<u8> {
    [PIECE, &(piece as u32).to_be_bytes()].concat()
}

fn damaged(reason: String) -> StateError {
    StateError::Row { name: NAME.to_owned(), reason }
}

/// Appends the delta as bytes: per change its family, its kind, two lengths and the two byte strings.
pub fn encode(delta: &Delta, record: &mut Vec<u8>) {
    each_part(delta, |part| record.extend_from_slice(part));
}

/// Calls `write` with what [`encode`] appends, in parts.
fn each_part(delta: &Delta, mut write: impl FnMut(&[u8])) {
    for (family, change) in delta.changes() {
        let (kind, first, second): (u8, &[u8], &[u8]) = match change {
            Change::Put { key, value } => (PUT, key, value),
            Change::Delete { key } => (DELETE, key, &[]),
            Change::DeleteRange { from, to } => (DELETE_RANGE, from, to),
        };
        let mut head = [0; CHANGE_BYTES];
        (head[0], head[1]) = (family as u8, kind);
        head[2..6].copy_from_slice(&(first.len() as u32).to_le_bytes());
        head[6..].copy_from_slice(&(second.len() as u32).to_le_bytes());
        [&head[..], first, second].into_iter().for_each(&mut write);
    }
}

/// The delta that [`encode`] wrote.
///
/// # Errors
/// [`StateError::Row`] if the bytes are no delta. Allocates no more than the bytes ask for.
pub fn decode(mut record: &[u8]) -> Result<Delta> {
    let mut delta = Delta::default();
    while !record.is_empty() {
        let change = take_change(&mut record).ok_or_else(|| damaged("a change is cut short".to_owned()))?;
        let (family, kind, first, second) = change;
        let family = Family::ALL.into_iter().find(|known| *known as u8 == family);
        let family = family.ok_or_else(|| damaged("a change is of no family".to_owned()))?;
        match kind {
            PUT => delta.put(family, first, second),
            DELETE if second.is_empty() => delta.delete(family, first),
            DELETE_RANGE => delta.delete_range(family, first, second),
            _ => return Err(damaged("a change is of no kind".to_owned())),
        }
    }
    Ok(delta)
}

fn take_change<'a>(record: &mut &'a [u8]) -> Option<(u8, u8, &'a [u8], &'a [u8])> {
    let (head, rest) = record.split_first_chunk::<CHANGE_BYTES>()?;
    let length = |from: usize| -> Option<usize> {
        let bytes: [u8; 4] = head.get(from..from + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let (first, rest) = rest.split_at_checked(length(2)?)?;
    let (second, rest) = rest.split_at_checked(length(6)?)?;
    *record = rest;
    Some((head[0], head[1], first, second))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backend::memory::MemoryBackend;

    fn delta_of(changes: &[(u8, u8, Vec<u8>, Vec<u8>)]) -> Delta {
        let mut delta = Delta::default();
        for (family, kind, first, second) in changes {
            let family = Family::ALL[usize::from(*family) % Family::ALL.len()];
            match kind % 3 {
                0 => delta.put(family, first, second),
                1 => delta.delete(family, first),
                _ => delta.delete_range(family, first, second),
            }
        }
        delta
    }

    proptest! {
        #[test]
        fn a_delta_comes_back_and_one_that_was_changed_or_cut_does_not(
            changes in prop::collection::vec((any::<u8>(), any::<u8>(), any::<Vec<u8>>(), any::<Vec<u8>>()), 1..9),
            at in any::<prop::sample::Index>(),
            flip in 1u8..,
        ) {
            let delta = delta_of(&changes);
            let mut bytes = Vec::new();
            encode(&delta, &mut bytes);
            let back = decode(&bytes).expect("was just encoded");
            prop_assert!(delta.changes().eq(back.changes()));

            let backend = MemoryBackend::new();
            prepare(&backend, Epoch(7), 3, &delta).expect("a backend in memory commits");
            let redo = read(&backend).expect("is whole").expect("is there");
            prop_assert_eq!((redo.epoch, redo.instance), (Epoch(7), 3));
            prop_assert!(delta.changes().eq(redo.delta.changes()));

            let mut torn = backend.get(Family::Redo, &piece_key(0)).expect("reads").expect("is there");
            let at = at.index(torn.len());
            torn[at] ^= flip;
            let mut damage = Delta::default();
            damage.put(Family::Redo, &piece_key(0), &torn);
            backend.commit(&damage).expect("commits");
            let refused = read(&backend).expect_err("is damaged").to_string();
            prop_assert!(refused.contains("prepared epoch"), "{}", refused);
            torn.truncate(at);
            let mut damage = Delta::default();
            damage.put(Family::Redo, &piece_key(0), &torn);
            backend.commit(&damage).expect("commits");
            prop_assert!(read(&backend).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn a_record_of_many_pieces_is_replaced_by_a_shorter_one_and_goes_as_a_whole() {
        let backend = MemoryBackend::new();
        let mut long = Delta::default();
        long.put(Family::Values, b"k", &vec![7; 3 * PIECE_BYTES]);
        prepare(&backend, Epoch(1), 1, &long).expect("commits");
        assert_eq!(read(&backend).expect("reads").expect("is there").pieces(), Pieces(4));
        let mut short = Delta::default();
        short.put(Family::Values, b"k", b"v");
        prepare(&backend, Epoch(2), 1, &short).expect("commits");
        let redo = read(&backend).expect("reads").expect("is there");
        assert_eq!((redo.epoch, redo.delta.len()), (Epoch(2), 1));
        let mut gone = Delta::default();
        forget(redo.pieces(), &mut gone);
        backend.commit(&gone).expect("commits");
        assert!(backend.is_empty(Family::Redo));
        assert!(read(&backend).expect("reads").is_none());
    }
}
