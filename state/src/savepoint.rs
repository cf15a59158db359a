//! Savepoints: copies of committed state that are kept under a name.
//!
//! A savepoint is a directory with `db`, a copy of the database as it was between two epochs, and
//! `savepoint.json`, which says what it is of and lists the files with their lengths, with a checksum in its
//! second line. The data is not copied but hard-linked, where it is on the same file system, because files of
//! data never change once they are written.
//!
//! Invariants: a savepoint is there as a whole or not at all, because it is made under another name, synced and
//! renamed; one that is there is never written to again; and what is not complete is refused, never used in part.
//! It does not know which operators its state belongs to: that is in the [`catalog`](crate::catalog), which is
//! copied with everything else.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::backend::Backend;
use crate::backend::rocksdb::{
    DATABASE, ReadOnlyBackend, RocksDbBackend, lock, make_private, sync_directory,
};
use crate::budget::MemoryBudget;
use crate::delta::{Delta, Family};
use crate::error::{Result, StateError};
use crate::id::{Epoch, is_name};
use crate::layout::{BEGUN_KEY, EPOCH_KEY, FORMAT, RECEIPTS, after_prefix};
use crate::persist::decode;
use crate::time::Timestamp;

/// The file that says what a savepoint is of.
const MANIFEST: &str = "savepoint.json";
/// The version of that file.
const VERSION: u32 = 1;
/// The folder of a state directory that named savepoints lie in.
const FOLDER: &str = "savepoints";
/// Where in a state directory a savepoint is put together that is to become its state.
const RESTORING: &str = "restoring";

/// What `savepoint.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    layout: u32,
    topology: String,
    epoch: Epoch,
    made_at_millis: i64,
    /// Every file of the database, and how long it is.
    files: BTreeMap<String, u64>,
}

/// A savepoint that has been made, or opened and found to be complete.
///
/// To be rid of one, delete its directory. It may be moved and copied like any directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Savepoint {
    path: PathBuf,
    manifest: Manifest,
}

impl Savepoint {
    /// Where a savepoint of this name lies: `savepoints/<name>` in the state directory.
    ///
    /// # Errors
    /// [`StateError::Name`] if it cannot be a name.
    pub fn path_of(state: &Path, name: &str) -> Result<PathBuf> {
        if !is_name(name) {
            return Err(StateError::Name { name: name.to_owned() });
        }
        Ok(state.join(FOLDER).join(name))
    }

    /// Makes a savepoint at `path` of what is committed in the backend, for its owner only (mode 0700). To be
    /// called where no commit runs.
    ///
    /// Costs a flush of the write buffers, a hard link for each file, and three syncs; a copy of all data where
    /// `path` is on another file system.
    ///
    /// # Errors
    /// [`StateError::Exists`] if there is anything at `path`; [`StateError::NoCheckpoint`] if the backend is in memory;
    /// [`StateError::Directory`] and [`StateError::Store`] if it cannot be written, after which nothing is left of it.
    pub fn make(backend: &dyn Backend, path: &Path, topology: &str, made_at: Timestamp) -> Result<Savepoint> {
        let epoch = Savepoint::epoch_of(backend)?;
        if path.symlink_metadata().is_ok() {
            return Err(StateError::Exists(path.to_owned()));
        }
        let making = beside(path)?;
        let made = write(backend, &making, |files| Manifest {
            version: VERSION,
            layout: FORMAT,
            topology: topology.to_owned(),
            epoch,
            made_at_millis: made_at.as_millis(),
            files,
        });
        let made = made.and_then(|manifest| {
            fs::rename(&making, path).map_err(at(path))?;
            sync_directory(path).map_err(at(path))?;
            Ok(Savepoint { path: path.to_owned(), manifest })
        });
        if made.is_err() {
            // What is left would only take room; why it failed is worth more than why that did.
            let _ = fs::remove_dir_all(&making);
        }
        made
    }

    /// The last epoch that a backend holds: that of a savepoint of it. One in which nothing happened leaves no trace.
    ///
    /// # Errors
    /// What the backend reports.
    pub fn epoch_of(backend: &dyn Backend) -> Result<Epoch> {
        let row = backend.get(Family::Meta, EPOCH_KEY)?;
        row.map_or(Ok(Epoch(0)), |bytes| decode("epoch", &bytes))
    }

    /// Whether a directory says that it is a savepoint, complete or not.
    pub fn is_at(path: &Path) -> bool {
        path.join(MANIFEST).symlink_metadata().is_ok()
    }

    /// Opens a savepoint, and looks whether it is complete: all its files are there, as long as they were.
    ///
    /// Costs a look at each file, not at what is in it: a block that has changed is found when it is read, by its
    /// checksum.
    ///
    /// # Errors
    /// [`StateError::Savepoint`] if there is none, or it is not as it was made; [`StateError::Layout`] if another
    /// version made it.
    pub fn open(path: &Path) -> Result<Savepoint> {
        let refused = |reason: String| StateError::Savepoint { path: path.to_owned(), reason };
        let text = fs::read_to_string(path.join(MANIFEST))
            .map_err(|error| refused(format!("its file `{MANIFEST}` cannot be read: {error}")))?;
        let damaged = || refused(format!("its file `{MANIFEST}` is damaged"));
        let (body, checksum) = text.trim_end_matches('\n').split_once('\n').ok_or_else(damaged)?;
        if format!("{:016x}", xxh3_64(body.as_bytes())) != checksum {
            return Err(damaged());
        }
        let manifest: Manifest = serde_json::from_str(body)
            .map_err(|error| refused(format!("its file `{MANIFEST}` cannot be read: {error}")))?;
        if manifest.version != VERSION {
            return Err(refused(format!("it has version {}, this is version {VERSION}", manifest.version)));
        }
        if manifest.layout != FORMAT {
            let found = manifest.layout.to_string();
            return Err(StateError::Layout { path: path.to_owned(), found, expected: FORMAT });
        }
        for (name, &bytes) in &manifest.files {
            // A savepoint may come from anywhere, and restoring it writes files of these names.
            if Path::new(name).file_name() != Some(OsStr::new(name)) {
                let name = name.escape_debug();
                return Err(refused(format!(
                    "its file `{MANIFEST}` lists `{name}`, which is no name of a file"
                )));
            }
            match fs::metadata(path.join(DATABASE).join(name)) {
                Ok(found) if found.len() == bytes => {}
                Ok(found) => {
                    return Err(refused(format!(
                        "its file `{DATABASE}/{name}` has {} bytes instead of {bytes}",
                        found.len()
                    )));
                }
                Err(error) => {
                    return Err(refused(format!("its file `{DATABASE}/{name}` cannot be found: {error}")));
                }
            }
        }
        Ok(Savepoint { path: path.to_owned(), manifest })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the topology that made it.
    pub fn topology(&self) -> &str {
        &self.manifest.topology
    }

    /// The last epoch that is in it.
    pub fn epoch(&self) -> Epoch {
        self.manifest.epoch
    }

    /// When it was made, by the clock of the machine that made it.
    pub fn made_at(&self) -> Timestamp {
        Timestamp::from_millis(self.manifest.made_at_millis)
    }

    /// Makes it the state of a directory that has none; the savepoint stays as it is, and may be used again. Does
    /// nothing where that has been done and no epoch has been committed since.
    ///
    /// What sinks had staged for its last epoch has been published since, and is forgotten. A crash leaves the
    /// directory without state, or with all of it. Costs a hard link for each file of data, or a copy where the
    /// directory is on another file system.
    ///
    /// # Errors
    /// [`StateError::Occupied`] if the directory has state; [`StateError::InUse`] if a process works on it;
    /// [`StateError::Directory`] and [`StateError::Store`] if it cannot be written, or the savepoint is damaged.
    pub fn restore_into(&self, state: &Path) -> Result<()> {
        make_private(state).map_err(at(state))?;
        if self.is_where(state)? {
            return Ok(());
        }
        let lock = lock(state)?;
        let database = state.join(DATABASE);
        match fs::read_dir(&database) {
            Ok(mut found) => match found.next() {
                None => fs::remove_dir(&database).map_err(at(&database))?,
                Some(_) => return Err(StateError::Occupied(state.to_owned())),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(&database)(error)),
        }
        let restoring = state.join(RESTORING);
        remove_if_there(&restoring)?;
        let copy = restoring.join(DATABASE);
        make_private(&copy).map_err(at(&copy))?;
        for name in self.manifest.files.keys() {
            link_or_copy(&self.path.join(DATABASE).join(name), &copy.join(name))?;
        }
        self.begin(&restoring)?;
        File::open(&copy).and_then(|copy| copy.sync_all()).map_err(at(&copy))?;
        fs::rename(&copy, &database).map_err(at(&database))?;
        sync_directory(&database).map_err(at(state))?;
        remove_if_there(&restoring)?;
        drop(lock);
        Ok(())
    }

    /// Whether a state directory began with this savepoint, and no epoch has been committed since.
    fn is_where(&self, state: &Path) -> Result<bool> {
        let backend = match ReadOnlyBackend::open(state) {
            Ok(backend) => backend,
            Err(StateError::NoState(_)) => return Ok(false),
            // Whatever it is, it is state.
            Err(StateError::Store { .. } | StateError::Layout { .. }) => {
                return Err(StateError::Occupied(state.to_owned()));
            }
            Err(error) => return Err(error),
        };
        let begun = backend.get(Family::Meta, BEGUN_KEY)?;
        Ok(begun == Some(self.manifest.checksum()) && Savepoint::epoch_of(&backend)? == self.epoch())
    }

    /// Deletes what sinks had staged for the last epoch: a savepoint is made when that has been published. Where the
    /// sink's files are others now, there is nothing that could be published again.
    fn begin(&self, directory: &Path) -> Result<()> {
        let memory = MemoryBudget::of(MemoryBudget::MIN_BYTES)?;
        let backend = RocksDbBackend::open(directory, &memory)?;
        let mut delta = Delta::default();
        backend.scan(Family::Meta, RECEIPTS, &after_prefix(RECEIPTS), &mut |key, _| {
            delta.delete(Family::Meta, key);
            ControlFlow::Continue(())
        })?;
        delta.put(Family::Meta, BEGUN_KEY, &self.manifest.checksum());
        backend.commit(&delta)
    }
}

impl Manifest {
    fn body(&self) -> String {
        serde_json::to_string(self).expect("a manifest is texts and numbers")
    }

    fn checksum(&self) -> Vec<u8> {
        xxh3_64(self.body().as_bytes()).to_be_bytes().to_vec()
    }
}

/// Fills the directory in which a savepoint is made, and syncs it.
fn write(
    backend: &dyn Backend,
    making: &Path,
    manifest: impl FnOnce(BTreeMap<String, u64>) -> Manifest,
) -> Result<Manifest> {
    remove_if_there(making)?;
    make_private(making).map_err(at(making))?;
    let database = making.join(DATABASE);
    backend.checkpoint(&database)?;
    let files = files_of(&database).map_err(at(&database))?;
    let manifest = manifest(files);
    let body = manifest.body();
    let text = format!("{body}\n{:016x}\n", xxh3_64(body.as_bytes()));
    let path = making.join(MANIFEST);
    let mut file = File::create_new(&path).map_err(at(&path))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(at(&path))?;
    for directory in [&database, making] {
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(at(directory))?;
    }
    Ok(manifest)
}

/// The name under which a savepoint is made: beside its own, so that it can be renamed.
fn beside(path: &Path) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(StateError::Name { name: path.display().to_string() });
    };
    let parent = path.parent().unwrap_or(Path::new(""));
    if !parent.as_os_str().is_empty() {
        make_private(parent).map_err(at(parent))?;
    }
    let hidden: OsString = [".".as_ref(), name, ".making".as_ref()].into_iter().collect();
    Ok(path.with_file_name(hidden))
}

fn files_of(database: &Path) -> io::Result<BTreeMap<String, u64>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(database)? {
        let entry = entry?;
        let name = entry.file_name().into_string();
        let name =
            name.map_err(|name| io::Error::other(format!("`{}` is no name of RocksDB", name.display())))?;
        files.insert(name, entry.metadata()?.len());
    }
    Ok(files)
}

/// Files of data are linked, as they never change; RocksDB writes to others, which are copied.
fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    let is_data = from.extension().is_some_and(|ending| ending == "sst");
    if is_data && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    let copy = || -> io::Result<()> {
        fs::copy(from, to)?;
        File::open(to)?.sync_all()
    };
    copy().map_err(at(from))
}

fn remove_if_there(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(directory)(error)),
        _ => Ok(()),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StateError {
    move |source| StateError::Directory { path: path.to_owned(), source }
}
