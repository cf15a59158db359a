//! How far the database was synced, noted beside it.
//!
//! A log that ends early is what a crash leaves, and RocksDB takes it for that wherever it ends: a changed byte or a
//! missing end takes with it every epoch behind it, and nothing in the database shows that they were there. So the
//! number of the last synced change stands in a file of its own, which is written after every synced write and not
//! synced itself. Invariant: what is noted was synced, so a database that does not reach it has lost something; after
//! a kill of the process the note is exact, after a power cut it may be some seconds old and shows less.
//!
//! The same goes for the manifest, of which RocksDB takes a missing end for a crash's as well: when the database has
//! been closed, the manifest's number and a hash of it are noted, and compared before it is opened again. After a
//! kill there is no hash, and none of another manifest, with which a start went on that was killed before it noted
//! anything.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::error::{Result, StateError};

/// The file, in the state directory.
pub(crate) const FILE: &str = "SYNCED";
/// The note and its checksum: less than a sector, so that a power cut leaves the old note or the new one.
const BYTES: usize = 32;

/// What is noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Note {
    /// The number of the last synced change.
    number: u64,
    /// The manifest as it was when the database was closed; zeros while it is open, and after a kill.
    manifest: Manifest,
}

/// The list of the database's files, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Manifest {
    number: u64,
    hash: u64,
}

/// The file with the note.
pub(super) struct Synced {
    path: PathBuf,
    database: PathBuf,
    file: Mutex<File>,
    /// As it was found.
    found: Note,
    last: AtomicU64,
}

impl Synced {
    /// Opens the note of a state directory; there is none before the first start.
    pub(super) fn open(directory: &Path, database: &Path) -> Result<Synced> {
        let path = directory.join(FILE);
        let failed = |source| StateError::Directory { path: path.clone(), source };
        let opened = File::options().create(true).read(true).write(true).truncate(false).open(&path);
        let mut file = opened.map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let found = read(&bytes).ok_or_else(|| StateError::Note { path: path.clone() })?;
        check_manifest(found, database, &path)?;
        let database = database.to_owned();
        // Until something is noted there is nothing that the end could confirm.
        Ok(Synced { path, database, file: Mutex::new(file), found, last: AtomicU64::new(0) })
    }

    /// Compares the note with what the database reaches; `logs` are those that it was opened with.
    pub(super) fn check(&self, reached: u64, logs: &[String]) -> Result<()> {
        compare(&self.path, self.found.number, reached, logs)
    }

    /// Notes the number of a change that is synced.
    pub(super) fn note(&self, number: u64) -> Result<()> {
        self.last.store(number, Ordering::Relaxed);
        self.write(Note { number, manifest: Manifest::default() })
    }

    fn write(&self, note: Note) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&write(note)));
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

impl Drop for Synced {
    /// The database has been closed: what is there is all of it, also if the power fails next.
    fn drop(&mut self) {
        let number = self.last.load(Ordering::Relaxed);
        // If any of this fails the note shows less, and nothing that is wrong.
        if number > 0
            && let Ok(manifest) = manifest_of(&self.database)
            && self.write(Note { number, manifest }).is_ok()
        {
            let _ = self.sync();
        }
    }
}

/// The same for a directory that is only looked at: nothing is made there. Compares the manifest before the database is
/// opened; what is given back is compared with what it reaches.
pub(super) fn check_only(
    directory: &Path,
    database: &Path,
) -> Result<impl FnOnce(u64, &[String]) -> Result<()>> {
    let path = directory.join(FILE);
    let found = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Note::default(),
        Err(source) => return Err(StateError::Directory { path, source }),
        Ok(bytes) => read(&bytes).ok_or_else(|| StateError::Note { path: path.clone() })?,
    };
    check_manifest(found, database, &path)?;
    Ok(move |reached, logs: &[String]| compare(&path, found.number, reached, logs))
}

fn check_manifest(found: Note, database: &Path, note: &Path) -> Result<()> {
    match manifest_of(database) {
        Ok(manifest) if manifest.number == found.manifest.number && manifest != found.manifest => {
            Err(StateError::Manifest { database: database.to_owned(), note: note.to_owned() })
        }
        // What cannot be read is refused by RocksDB, which says more of it.
        _ => Ok(()),
    }
}

/// The manifest in use; reads all of it.
fn manifest_of(database: &Path) -> io::Result<Manifest> {
    let current = fs::read_to_string(database.join("CURRENT"))?;
    let number = current.trim_end().strip_prefix("MANIFEST-").and_then(|number| number.parse().ok());
    let number = number.filter(|&number| number > 0).ok_or(io::ErrorKind::InvalidData)?;
    let mut hasher = Xxh3::new();
    let mut file = File::open(database.join(current.trim_end()))?;
    let mut bytes = vec![0; 1 << 16];
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(Manifest { number, hash: hasher.digest() }),
            count => hasher.update(&bytes[..count]),
        }
    }
}

fn compare(note: &Path, synced: u64, reached: u64, logs: &[String]) -> Result<()> {
    if reached >= synced {
        return Ok(());
    }
    let logs = if logs.is_empty() { "none".to_owned() } else { logs.join(", ") };
    Err(StateError::Lost { reached, synced, logs, note: note.to_owned() })
}

fn write(note: Note) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    for (part, number) in [note.number, note.manifest.number, note.manifest.hash].into_iter().enumerate() {
        bytes[8 * part..8 * part + 8].copy_from_slice(&number.to_be_bytes());
    }
    let checksum = xxh3_64(&bytes[..24]);
    bytes[24..].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// What was noted, nothing by a start that was killed before it noted anything; `None` if it is damaged.
fn read(bytes: &[u8]) -> Option<Note> {
    if bytes.is_empty() {
        return Some(Note::default());
    }
    let bytes = <[u8; BYTES]>::try_from(bytes).ok()?;
    let part = |at: usize| Some(u64::from_be_bytes(<[u8; 8]>::try_from(&bytes[8 * at..8 * at + 8]).ok()?));
    let note = Note { number: part(0)?, manifest: Manifest { number: part(1)?, hash: part(2)? } };
    (write(note) == bytes).then_some(note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_or_not_at_all() {
        for number in [0, 1, 77, u64::MAX] {
            let note = Note { number, manifest: Manifest { number: number / 3, hash: number / 5 } };
            let good = write(note);
            assert_eq!(read(&good), Some(note));
            for bit in 0..8 * BYTES {
                let mut bad = good;
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(read(&bad), None, "bit {bit} of the note of {number}");
            }
            assert!((1..BYTES).all(|bytes| read(&good[..bytes]).is_none()));
        }
        assert_eq!(read(&[]), Some(Note::default()));
    }

    #[test]
    fn a_manifest_that_was_changed_since_the_end_is_refused_and_one_that_was_replaced_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let database = directory.path().join("db");
        fs::create_dir(&database).expect("is made");
        let set = |file: &str, text: &str| fs::write(database.join(file), text).expect("is written");
        set("CURRENT", "MANIFEST-1\n");
        set("MANIFEST-1", "all of it");
        let open = || Synced::open(directory.path(), &database);
        let first = open().expect("there is no note");
        first.note(7).expect("is noted");
        drop(first);
        drop(open().expect("nothing was changed"));
        set("MANIFEST-1", "all of");
        assert!(matches!(open(), Err(StateError::Manifest { .. })));
        set("CURRENT", "MANIFEST-2\n");
        set("MANIFEST-2", "a start that was killed made it");
        drop(open().expect("nothing is known of this one"));
        set("CURRENT", "MANIFEST-1\n");
        set("MANIFEST-1", "all of it");
        let killed = open().expect("it is as it was");
        killed.note(8).expect("is noted");
        std::mem::forget(killed);
        set("MANIFEST-1", "all of it, and more");
        let found = open().expect("nothing is known of it").found;
        assert_eq!(found, Note { number: 8, manifest: Manifest::default() });
    }
}
