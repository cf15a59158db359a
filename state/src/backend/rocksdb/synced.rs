//! How far the database was synced, noted beside it.
//!
//! A log that ends early is what a crash leaves, and RocksDB takes it for that wherever it ends: a changed byte or a
//! missing end takes with it every epoch behind it, and nothing in the database shows that they were there. So the
//! number of the last synced change stands in a file of its own, which is written after every synced write and not
//! synced itself. Invariant: what is noted was synced, so a database that does not reach it has lost something; after
//! a kill of the process the note is exact, after a power cut it may be some seconds old and shows less. It does not
//! know which file is damaged.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Result, StateError};

/// The file, in the state directory.
pub(crate) const FILE: &str = "SYNCED";
/// The number and its checksum: less than a sector, so that a power cut leaves the old note or the new one.
const BYTES: usize = 16;

/// The file with the note.
pub(super) struct Synced {
    path: PathBuf,
    file: Mutex<File>,
    /// The number of the last synced change, as it was found.
    found: u64,
}

impl Synced {
    /// Opens the note of a state directory; there is none before the first start.
    pub(super) fn open(directory: &Path) -> Result<Synced> {
        let path = directory.join(FILE);
        let failed = |source| StateError::Directory { path: path.clone(), source };
        let opened = File::options().create(true).read(true).write(true).truncate(false).open(&path);
        let mut file = opened.map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let found = read(&bytes).ok_or_else(|| StateError::Note { path: path.clone() })?;
        Ok(Synced { path, file: Mutex::new(file), found })
    }

    /// Compares the note with what the database reaches; `logs` are those that it was opened with.
    pub(super) fn check(&self, reached: u64, logs: &[String]) -> Result<()> {
        compare(&self.path, self.found, reached, logs)
    }

    /// Notes the number of a change that is synced.
    pub(super) fn note(&self, number: u64) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&write(number)));
        written.map_err(|source| self.failed(source))
    }

    /// Makes the note itself durable.
    pub(super) fn sync(&self) -> Result<()> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.sync_data().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> StateError {
        StateError::Directory { path: self.path.clone(), source }
    }
}

/// The same for a directory that is only looked at: nothing is made there.
pub(super) fn check_only(directory: &Path, reached: u64, logs: &[String]) -> Result<()> {
    let path = directory.join(FILE);
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(StateError::Directory { path, source }),
        Ok(bytes) => match read(&bytes) {
            Some(found) => compare(&path, found, reached, logs),
            None => Err(StateError::Note { path }),
        },
    }
}

fn compare(note: &Path, synced: u64, reached: u64, logs: &[String]) -> Result<()> {
    if reached >= synced {
        return Ok(());
    }
    let logs = if logs.is_empty() { "none".to_owned() } else { logs.join(", ") };
    Err(StateError::Lost { reached, synced, logs, note: note.to_owned() })
}

fn write(number: u64) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes[8..].copy_from_slice(&xxh3_64(&number.to_be_bytes()).to_be_bytes());
    bytes
}

/// The number that was noted, 0 by a start that was killed before it noted anything; `None` if it is damaged.
fn read(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return Some(0);
    }
    let bytes = <[u8; BYTES]>::try_from(bytes).ok()?;
    let number = u64::from_be_bytes(<[u8; 8]>::try_from(&bytes[..8]).ok()?);
    (write(number) == bytes).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_or_not_at_all() {
        for number in [0, 1, 77, u64::MAX] {
            let good = write(number);
            assert_eq!(read(&good), Some(number));
            for bit in 0..8 * BYTES {
                let mut bad = good;
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(read(&bad), None, "bit {bit} of the note of {number}");
            }
            assert!((1..BYTES).all(|bytes| read(&good[..bytes]).is_none()));
        }
        assert_eq!(read(&[]), Some(0));
    }
}
