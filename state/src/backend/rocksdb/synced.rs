//! How far the database was synced, noted beside it.
//!
//! A log that ends early is what a crash leaves, and RocksDB takes it for that wherever it ends: a changed byte or a
//! missing end takes with it every epoch behind it, and nothing in the database shows that they were there. So the
//! number of the last synced change stands in a file of its own, which is written after every synced write and not
//! synced itself. Invariant: what is noted was synced, so a database that does not reach it has lost something; after
//! a kill of the process the note is exact, after a power cut it may be some seconds old and shows less.
//!
//! The same goes for the manifest, of which RocksDB takes a missing end for a crash's as well: when the database has been
//! closed, a hash of the manifest is noted, and compared before it is opened again. After a kill there is none.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::error::{Result, StateError};

/// The file, in the state directory.
pub(crate) const FILE: &str = "SYNCED";
/// The number, the hash of the manifest or 0, and a checksum of both: less than a sector, so that a power cut leaves the
/// old note or the new one.
const BYTES: usize = 24;

/// What is noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Note {
    /// The number of the last synced change.
    number: u64,
    /// A hash of the manifest as it was when the database was closed; 0 while it is open, and after a kill.
    manifest: u64,
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
        self.write(Note { number, manifest: 0 })
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
            && let Ok(manifest) = hash_of_manifest(&self.database)
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
    if found.manifest == 0 {
        return Ok(());
    }
    match hash_of_manifest(database) {
        Ok(hash) if hash != found.manifest => {
            Err(StateError::Manifest { database: database.to_owned(), note: note.to_owned() })
        }
        // What cannot be read is refused by RocksDB, which says more of it.
        _ => Ok(()),
    }
}

/// A hash of the name and the bytes of the manifest in use; never 0. Reads all of it.
fn hash_of_manifest(database: &Path) -> io::Result<u64> {
    let current = fs::read_to_string(database.join("CURRENT"))?;
    let mut hasher = Xxh3::new();
    hasher.update(current.as_bytes());
    let mut manifest = File::open(database.join(current.trim_end()))?;
    let mut bytes = vec![0; 1 << 16];
    loop {
        match manifest.read(&mut bytes)? {
            0 => return Ok(hasher.digest().max(1)),
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
    bytes[..8].copy_from_slice(&note.number.to_be_bytes());
    bytes[8..16].copy_from_slice(&note.manifest.to_be_bytes());
    let checksum = xxh3_64(&bytes[..16]);
    bytes[16..].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// What was noted, nothing by a start that was killed before it noted anything; `None` if it is damaged.
fn read(bytes: &[u8]) -> Option<Note> {
    if bytes.is_empty() {
        return Some(Note::default());
    }
    let bytes = <[u8; BYTES]>::try_from(bytes).ok()?;
    let part = |from: usize| Some(u64::from_be_bytes(<[u8; 8]>::try_from(&bytes[from..from + 8]).ok()?));
    let note = Note { number: part(0)?, manifest: part(8)? };
    (write(note) == bytes).then_some(note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_or_not_at_all() {
        for number in [0, 1, 77, u64::MAX] {
            let note = Note { number, manifest: number / 3 };
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
        set("MANIFEST-1", "all of it");
        let killed = open().expect("it is as it was");
        killed.note(8).expect("is noted");
        std::mem::forget(killed);
        set("MANIFEST-1", "all of it, and more");
        assert_eq!(open().expect("nothing is known of it").found, Note { number: 8, manifest: 0 });
    }
}
