//! The directory beside an output in which committed records wait to be published.
//!
//! For an output `out.jsonl` it is `.out.jsonl.staged`, with
//!
//! - `open-<worker>-<number>`: the part that a writer is filling;
//! - `part-<epoch>-<worker>`: a part that is durable and belongs to an epoch;
//! - `marker`: the epoch that was published last and how long the output was then;
//! - `lock`: held while a sink lives.
//!
//! The directory is its owner's only (mode 0700); the output gets what the process gives to new files.
//!
//! Invariant: the first `marker.bytes` bytes of the output are the records of the epochs up to `marker.epoch`, and
//! no other part of the output counts. The marker is replaced in one step (written aside, synced, renamed), so
//! every crash leaves the old state or the new. It knows neither records nor codecs.

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use highwater_state::Epoch;
use serde::{Deserialize, Serialize};

use super::error::FileError;

/// What was published last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    pub(super) epoch: Epoch,
    /// How long the output was then.
    pub(super) bytes: u64,
}

/// What a writer staged for one epoch; committed with the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Receipt {
    /// The part's file name; [`names_a_part`](Receipt::names_a_part) says whether it is one.
    pub(super) part: String,
    /// How long it is.
    pub(super) bytes: u64,
}

impl Receipt {
    /// What the writer of a worker staged for an epoch.
    pub(super) fn of(epoch: Epoch, worker: usize, bytes: u64) -> Receipt {
        Receipt { part: format!("part-{}-{worker}", epoch.0), bytes }
    }

    /// Whether the part's name is one that [`of`](Receipt::of) gives. A receipt comes from disk: any other name could
    /// lead out of the directory, to a file that would be published and removed.
    pub(super) fn names_a_part(&self) -> bool {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let numbers = self.part.strip_prefix("part-").and_then(|numbers| numbers.split_once('-'));
        numbers.is_some_and(|(epoch, worker)| is_number(epoch) && is_number(worker))
    }
}

/// What a start has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// Empty the output and forget everything.
    Begin,
    /// Go on from what the marker says.
    Continue(Marker),
}

/// The output and its staging directory.
#[derive(Debug)]
pub(super) struct Staging {
    pub(super) output: PathBuf,
    directory: PathBuf,
    lock: Mutex<Option<fs::File>>,
}

impl Staging {
    /// The staging directory of `output`; nothing is touched.
    pub(super) fn of(output: PathBuf) -> Result<Self, FileError> {
        let Some(name) = output.file_name() else {
            return Err(FileError::NotAFile { path: output });
        };
        // As it is, also where it is no text: two outputs never share a directory.
        let staged: OsString = [OsStr::new("."), name, OsStr::new(".staged")].into_iter().collect();
        let directory = output.with_file_name(staged);
        Ok(Staging { output, directory, lock: Mutex::new(None) })
    }

    /// A file in the directory.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Makes renames and removals in the directory durable.
    pub(super) fn sync(&self) -> Result<(), FileError> {
        sync_directory(&self.directory)
    }

    /// What every start does; see `Publish::recover`.
    pub(super) fn recover(&self, last: Epoch, receipts: &[Receipt]) -> Result<(), FileError> {
        self.prepare()?;
        let bytes = self.output_bytes()?;
        match self.plan(last, self.marker()?, bytes)? {
            Plan::Begin => {
                self.sweep()?;
                self.write_marker(Marker::default())?;
                self.cut(0)?;
            }
            Plan::Continue(marker) => {
                if bytes == 0 {
                    self.write_marker(marker)?; // a new sink of an old job has none yet
                }
                if !receipts.is_empty() {
                    self.publish(last, receipts)?;
                }
                let published = self.marker()?.unwrap_or_default().bytes;
                self.cut(published)?;
                self.sweep()?;
            }
        }
        sync_directory(parent(&self.output))
    }

    /// Decides from what was found.
    fn plan(&self, last: Epoch, marker: Option<Marker>, bytes: u64) -> Result<Plan, FileError> {
        if last == Epoch(0) {
            return Ok(Plan::Begin);
        }
        let path = self.output.clone();
        match marker {
            None if bytes == 0 => Ok(Plan::Continue(Marker::default())),
            None => Err(FileError::NoMarker { path, marker: self.file("marker"), bytes }),
            Some(Marker { epoch: published, .. }) if published > last => {
                Err(FileError::Ahead { path, published, last })
            }
            Some(Marker { bytes: published, .. }) if published > bytes => {
                Err(FileError::Shortened { path, bytes, published })
            }
            Some(marker) => Ok(Plan::Continue(marker)),
        }
    }

    /// Appends the parts to the output, once; see `Publish::publish`. Costs a copy of the parts and three syncs.
    pub(super) fn publish(&self, epoch: Epoch, receipts: &[Receipt]) -> Result<(), FileError> {
        let marker = self.marker()?.unwrap_or_default();
        if marker.epoch >= epoch {
            return Ok(());
        }
        let mut parts = Vec::with_capacity(receipts.len());
        for receipt in receipts {
            parts.push(self.part(epoch, receipt)?); // all of them, before the output is touched
        }
        let bytes = self.append(marker.bytes, parts)?;
        self.write_marker(Marker { epoch, bytes })?;
        for receipt in receipts {
            let part = self.file(&receipt.part);
            fs::remove_file(&part).map_err(FileError::system("remove", part))?;
        }
        Ok(())
    }

    fn part(&self, epoch: Epoch, receipt: &Receipt) -> Result<fs::File, FileError> {
        let part = self.file(&receipt.part);
        let file = fs::File::open(&part).and_then(|file| Ok((file.metadata()?.len(), file)));
        match file {
            Ok((bytes, file)) if bytes == receipt.bytes => Ok(file),
            Ok((bytes, _)) => {
                let reason = format!("it has {bytes} bytes instead of {}", receipt.bytes);
                Err(FileError::Part { part, epoch, reason })
            }
            Err(cause) => Err(FileError::Part { part, epoch, reason: cause.to_string() }),
        }
    }

    /// Puts the parts behind the first `published` bytes of the output; how long it is then.
    fn append(&self, published: u64, parts: Vec<fs::File>) -> Result<u64, FileError> {
        let path = &self.output;
        let mut output = self.open_output()?;
        let bytes = output.metadata().map_err(FileError::system("look at", path))?.len();
        if bytes < published {
            return Err(FileError::Shortened { path: path.clone(), bytes, published });
        }
        let write = || -> io::Result<u64> {
            output.set_len(published)?;
            output.seek(SeekFrom::Start(published))?;
            for mut part in parts {
                io::copy(&mut part, &mut output)?;
            }
            output.sync_all()?;
            output.stream_position()
        };
        write().map_err(FileError::system("append to", path))
    }

    /// Cuts the output off where nothing was published.
    fn cut(&self, published: u64) -> Result<(), FileError> {
        let path = &self.output;
        let output = self.open_output()?;
        let bytes = output.metadata().map_err(FileError::system("look at", path))?.len();
        if bytes > published {
            if published > 0 {
                tracing::warn!(output = %path.display(), bytes, published, "cutting off what was never published");
            }
            output.set_len(published).map_err(FileError::system("truncate", path))?;
        }
        output.sync_all().map_err(FileError::system("sync", path))
    }

    fn open_output(&self) -> Result<fs::File, FileError> {
        let path = &self.output;
        let output = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        output.map_err(FileError::system("open", path))
    }

    fn output_bytes(&self) -> Result<u64, FileError> {
        match fs::metadata(&self.output) {
            Ok(found) if found.is_file() => Ok(found.len()),
            Ok(_) => Err(FileError::NotAFile { path: self.output.clone() }),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(cause) => Err(FileError::system("open", &self.output)(cause)),
        }
    }

    /// Makes the directory and takes the lock, which the system gives back when the process dies.
    fn prepare(&self) -> Result<(), FileError> {
        make_private(&self.directory)?;
        sync_directory(parent(&self.output))?;
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            let path = self.file("lock");
            let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
            let lock = lock.map_err(FileError::system("open", &path))?;
            match lock.try_lock() {
                Ok(()) => *held = Some(lock),
                Err(TryLockError::WouldBlock) => return Err(FileError::Locked { path: self.output.clone() }),
                Err(TryLockError::Error(cause)) => return Err(FileError::system("lock", path)(cause)),
            }
        }
        Ok(())
    }

    pub(super) fn marker(&self) -> Result<Option<Marker>, FileError> {
        let path = self.file("marker");
        match fs::read(&path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(FileError::system("read", path)(cause)),
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| FileError::Damaged {
                what: path.display().to_string(),
                reason: error.to_string(),
            }),
        }
    }

    fn write_marker(&self, marker: Marker) -> Result<(), FileError> {
        let path = self.file("marker");
        let aside = self.file("marker.new");
        let bytes = serde_json::to_vec(&marker).expect("a marker is two numbers");
        let write = || -> io::Result<()> {
            let mut file = fs::File::create(&aside)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&aside, &path)
        };
        write().map_err(FileError::system("write", &path))?;
        self.sync()
    }

    /// Removes all parts: those of the last epoch are published, and later ones were never committed.
    fn sweep(&self) -> Result<(), FileError> {
        let entries = fs::read_dir(&self.directory).map_err(FileError::system("list", &self.directory))?;
        for entry in entries {
            let entry = entry.map_err(FileError::system("list", &self.directory))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("part-") || name.starts_with("open-") || name == "marker.new" {
                fs::remove_file(entry.path()).map_err(FileError::system("remove", entry.path()))?;
            }
        }
        self.sync()
    }
}

/// Makes a directory that is its owner's only (mode 0700), as the records in it may be less public than the output
/// will be; one that is there becomes so.
///
/// A link in its place is refused, and a directory of somebody else cannot be changed: the output may lie where others
/// may make files, and what they put there must not get our records.
fn make_private(directory: &Path) -> Result<(), FileError> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(directory) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
        created => return created.map_err(FileError::system("create", directory)),
    }
    let found = fs::symlink_metadata(directory).map_err(FileError::system("look at", directory))?;
    if !found.is_dir() {
        return Err(FileError::NotADirectory { path: directory.to_owned() });
    }
    #[cfg(unix)]
    {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(directory, private).map_err(FileError::system("make private", directory))?;
    }
    Ok(())
}

/// The directory that holds `path`.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the names in a directory durable.
fn sync_directory(directory: &Path) -> Result<(), FileError> {
    let synced = fs::File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(FileError::system("sync", directory))
}
