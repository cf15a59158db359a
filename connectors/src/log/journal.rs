//! The file of a log on disk: frames behind each other, and a note of how far they were synced.
//!
//! The directory holds `journal`, which is only ever appended to; `synced`, how far it was synced, with a checksum, 16
//! bytes that are written in place after each sync; and `lock`, held while the log is open. The journal begins with
//! its version and the log's number, which is random, and is written aside first, so that a half one is never found.
//!
//! Invariant: what was once synced is there at every later start, or the start is refused, naming the place. Behind
//! what was synced a crash may leave anything; that is cut off. Two things tell them apart where a frame cannot be
//! read: the note, and every later frame, which says in its header how far the journal was synced when it was written.
//!
//! It knows bytes, and not what frames mean.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::error::LogError;
use super::frame::{HEADER_BYTES, Header, Kind, MAGIC};

/// The first bytes of a journal: what it is, and the version of what follows.
const FILE_MAGIC: [u8; 8] = *b"HWlog\0\0\x01";
/// How long the journal's own header is: magic, the log's number, a checksum.
pub(super) const FILE_HEADER_BYTES: u64 = 24;
/// How much of what cannot be read is looked through at a time.
const LOOK_BYTES: usize = 1 << 20;

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    /// Tells the log from all others.
    pub(super) log: u64,
    path: PathBuf,
    file: File,
    note: File,
    _lock: File,
}

impl Journal {
    /// Opens the journal of a directory, or begins one; hands each frame over with its place. Gives the end of what
    /// counts; what was behind it is cut off.
    pub(super) fn open(
        directory: &Path,
        random: u64,
        mut each: impl FnMut(u64, Kind, &[u8]) -> Result<(), String>,
    ) -> Result<(Journal, u64), LogError> {
        make_private(directory).map_err(LogError::system("create", directory))?;
        let lock = lock(directory)?;
        let path = directory.join("journal");
        if !path.exists() {
            create(directory, &path, random).map_err(LogError::system("create", &path))?;
        }
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.map_err(LogError::system("open", &path))?;
        let note_path = directory.join("synced");
        let note = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&note_path);
        let note = note.map_err(LogError::system("open", &note_path))?;
        let log = number_of(&file, &path)?;
        let journal = Journal { log, path, file, note, _lock: lock };
        let noted = journal.noted(&note_path)?;
        let end = journal.replay(noted, &mut each)?;
        journal.cut(end)?;
        journal.sync(end)?;
        journal.note.sync_all().map_err(LogError::system("sync", &note_path))?;
        sync_directory(directory).map_err(LogError::system("sync", directory))?;
        Ok((journal, end))
    }

    /// Writes a frame at the journal's end. If that fails, the journal ends where it ended before.
    pub(super) fn write(&self, at: u64, kind: Kind, body: &[u8], synced: u64) -> Result<u64, LogError> {
        let header = Header::of(kind, body, synced, self.log, at).encode(self.log, at);
        let written = self.file.write_all_at(&header, at);
        let written = written.and_then(|()| self.file.write_all_at(body, at + HEADER_BYTES as u64));
        if let Err(cause) = written {
            // Should this fail, too, the rest of the frame is a torn end, which the next frame is written over.
            let _ = self.file.set_len(at);
            return Err(LogError::system("write", &self.path)(cause));
        }
        Ok(at + (HEADER_BYTES + body.len()) as u64)
    }

    /// Makes everything before `end` durable, and notes it.
    pub(super) fn sync(&self, end: u64) -> Result<(), LogError> {
        self.file.sync_data().map_err(LogError::system("sync", &self.path))?;
        let mut note = [0; 16];
        note[..8].copy_from_slice(&end.to_le_bytes());
        note[8..].copy_from_slice(&xxh3_64_with_seed(&end.to_le_bytes(), self.log).to_le_bytes());
        self.note.write_all_at(&note, 0).map_err(LogError::system("write the note beside", &self.path))
    }

    /// Reads some bytes.
    pub(super) fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), LogError> {
        self.file.read_exact_at(bytes, at).map_err(LogError::system("read", &self.path))
    }

    pub(super) fn damaged(&self, at: u64, reason: impl Into<String>) -> LogError {
        LogError::Damaged { path: self.path.clone(), at, reason: reason.into() }
    }

    /// How far the journal was synced, as the note says; 0 without one.
    fn noted(&self, path: &Path) -> Result<u64, LogError> {
        let mut bytes = Vec::new();
        (&self.note).take(17).read_to_end(&mut bytes).map_err(LogError::system("read", path))?;
        let noted = bytes.first_chunk::<8>().map(|end| u64::from_le_bytes(*end));
        match noted {
            None if bytes.is_empty() => Ok(0),
            Some(end) if bytes[8..] == xxh3_64_with_seed(&bytes[..8], self.log).to_le_bytes() => Ok(end),
            _ => {
                let reason =
                    "it is not what was written; remove it to open the log with what is left".to_owned();
                Err(LogError::Damaged { path: path.to_owned(), at: 0, reason })
            }
        }
    }

    /// Goes through all frames; where they end.
    fn replay(
        &self,
        noted: u64,
        each: &mut impl FnMut(u64, Kind, &[u8]) -> Result<(), String>,
    ) -> Result<u64, LogError> {
        let bytes = self.file.metadata().map_err(LogError::system("look at", &self.path))?.len();
        let (mut at, mut body) = (FILE_HEADER_BYTES, Vec::new());
        while at < bytes {
            let rest = bytes - at;
            let mut header = [0; HEADER_BYTES];
            let header = match rest >= HEADER_BYTES as u64 {
                true => {
                    self.read(at, &mut header)?;
                    Header::decode(&header, self.log, at)
                }
                false => None,
            };
            let Some(header) = header.filter(|header| header.body_bytes <= rest - HEADER_BYTES as u64) else {
                break;
            };
            // Not longer than the file.
            body.resize(header.body_bytes as usize, 0);
            self.read(at + HEADER_BYTES as u64, &mut body)?;
            if !header.fits(&body, self.log, at) {
                break;
            }
            each(at, header.kind, &body).map_err(|reason| self.damaged(at, reason))?;
            at += HEADER_BYTES as u64 + header.body_bytes;
        }
        if noted > at {
            let reason = format!("what follows cannot be read, and was synced up to byte {noted}");
            return Err(self.damaged(at, reason));
        }
        if at < bytes && self.is_synced_behind(at, bytes)? {
            return Err(self.damaged(at, "what follows cannot be read, and later frames can"));
        }
        Ok(at)
    }

    /// Whether any frame behind `at` was written when the journal had been synced further than that.
    fn is_synced_behind(&self, at: u64, bytes: u64) -> Result<bool, LogError> {
        let mut from = at + 1;
        let mut chunk = vec![0; LOOK_BYTES + HEADER_BYTES];
        while from < bytes {
            let length = (bytes - from).min(chunk.len() as u64) as usize;
            self.read(from, &mut chunk[..length])?;
            let found = chunk[..length].windows(HEADER_BYTES).take(LOOK_BYTES).enumerate();
            let mut frames = found.filter(|(_, window)| window[..4] == MAGIC);
            let tells = |(offset, window): (usize, &[u8])| {
                Header::decode(window, self.log, from + offset as u64)
                    .is_some_and(|header| header.synced > at)
            };
            if frames.any(tells) {
                return Ok(true);
            }
            from += LOOK_BYTES as u64;
        }
        Ok(false)
    }

    /// Cuts off what a crash has left behind the last frame.
    fn cut(&self, end: u64) -> Result<(), LogError> {
        let bytes = self.file.metadata().map_err(LogError::system("look at", &self.path))?.len();
        if bytes > end {
            tracing::warn!(journal = %self.path.display(), bytes, end, "cutting off what was never synced");
            self.file.set_len(end).map_err(LogError::system("truncate", &self.path))?;
        }
        Ok(())
    }
}

/// Writes a journal without frames aside, and gives it its name.
fn create(directory: &Path, path: &Path, random: u64) -> io::Result<()> {
    let aside = directory.join("journal.new");
    let mut file = File::create(&aside)?;
    file.write_all(&file_header(random))?;
    file.sync_all()?;
    // A note without its journal is of no journal.
    match fs::remove_file(directory.join("synced")) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        _ => {}
    }
    fs::rename(&aside, path)?;
    sync_directory(directory)
}

fn file_header(log: u64) -> [u8; FILE_HEADER_BYTES as usize] {
    let mut header = [0; FILE_HEADER_BYTES as usize];
    header[..8].copy_from_slice(&FILE_MAGIC);
    header[8..16].copy_from_slice(&log.to_le_bytes());
    let hash = xxh3_64_with_seed(&header[..16], 0);
    header[16..].copy_from_slice(&hash.to_le_bytes());
    header
}

/// The log's number, from the journal's own header.
fn number_of(file: &File, path: &Path) -> Result<u64, LogError> {
    let mut header = [0; FILE_HEADER_BYTES as usize];
    let whole = file.read_exact_at(&mut header, 0);
    let number = header[8..16].first_chunk::<8>().map_or(0, |number| u64::from_le_bytes(*number));
    if whole.is_err() || header != file_header(number) {
        let reason = "it does not begin as a journal of this version does".to_owned();
        return Err(LogError::Damaged { path: path.to_owned(), at: 0, reason });
    }
    Ok(number)
}

/// Makes a directory that is its owner's only (mode 0700). One that is there keeps its mode.
fn make_private(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// One process at a time; the system gives the lock back when it ends.
fn lock(directory: &Path) -> Result<File, LogError> {
    let path = directory.join("lock");
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let lock = lock.map_err(LogError::system("open", &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(LogError::InUse { directory: directory.to_owned() }),
        Err(TryLockError::Error(cause)) => Err(LogError::system("lock", path)(cause)),
    }
}

/// Makes the names in a directory durable.
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
