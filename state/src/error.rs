//! What can go wrong with state, in words for the person who runs the job.

use std::path::PathBuf;

use thiserror::Error;

/// An error of the state layer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// RocksDB reported an error; the job must stop, because what is on disk may not be what was written.
    #[error(
        "the state store failed while it was {doing}: {reason}; the job stops, and a restart continues from the \
            last committed epoch"
    )]
    Store {
        /// What was being done.
        doing: &'static str,
        /// RocksDB's own words.
        reason: String,
    },
    /// The state directory cannot be used.
    #[error("cannot use the state directory {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database holds less than was synced.
    #[error(
        "the state directory has lost what was committed last: the database reaches change {reached}, and {synced} \
            were synced; a log ({logs}) or the manifest is damaged or cut short, or the database was replaced by an \
            older one: restore the whole directory from a savepoint or a copy, or delete it and compute anew; to go \
            on with what is left of it, at the price that results of the lost epochs are written again, delete {}",
        note.display()
    )]
    Lost {
        /// The number of the last change that is there.
        reached: u64,
        /// The number of the last change that was synced.
        synced: u64,
        /// The logs that were there when it was opened.
        logs: String,
        /// The file that says how much was synced.
        note: PathBuf,
    },
    /// The file that says how much was synced cannot be read.
    #[error(
        "the file {} is damaged, which says how far the state directory was synced; if the disk is sound otherwise, \
            delete it and start again: the database checks itself, except for the end of its log", path.display()
    )]
    Note {
        /// The file.
        path: PathBuf,
    },
    /// The list of the database's files is another one than when it was closed.
    #[error("the database {} is damaged: its manifest is not what it was when the job ended, so rows may be missing; \
            restore the directory from a savepoint or a copy. If it is a copy that was put there by hand, delete {}",
            database.display(), note.display())]
    Manifest {
        /// The folder of the database.
        database: PathBuf,
        /// The file that says so.
        note: PathBuf,
    },
    /// Another process works on the state directory.
    #[error("the state directory {} is in use by another process; stop that one, or give this one a directory of \
            its own", .0.display())]
    InUse(PathBuf),
    /// The directory was written by a version with another layout.
    #[error("the state directory {} has layout {found}, this version reads layout {expected}", path.display())]
    Layout {
        /// The directory.
        path: PathBuf,
        /// The layout on disk.
        found: String,
        /// The layout this version writes.
        expected: u32,
    },
    /// HW-9: a named state was kept as another type than the program now asks for.
    #[error(
        "the state `{name}` was kept as `{kept}` and cannot be read as `{asked}`; declare how it changes with \
            `Job::migrate`, rename the operator to start it empty, or go back to the old type"
    )]
    Shape {
        /// The state's name: the operator's, and the handle's behind a slash.
        name: String,
        /// The shape on disk.
        kept: String,
        /// The shape of the type in the program.
        asked: String,
    },
    /// HW-9: the migrations declared for a state do not lead to the type that the program asks for.
    #[error(
        "the migrations that are declared for the state `{name}` lead to `{reached}`, and the program asks for \
            `{asked}`; nothing was changed: declare the missing step with `Job::migrate`"
    )]
    Migration {
        /// The state's name.
        name: String,
        /// The shape that the declared migrations make of the one on disk; that itself, if none of them applies.
        reached: Box<str>,
        /// The shape of the type in the program.
        asked: Box<str>,
    },
    /// A state that is to be dropped is one that the topology works with.
    #[error(
        "the state `{name}` cannot be dropped, because the topology uses it; take the operator out of the topology, or \
            do not ask for its state to be dropped"
    )]
    Used {
        /// The state's name.
        name: String,
    },
    /// There is no state of this name.
    #[error("there is no state `{name}` in {}; there are: {}", path.display(), known.join(", "))]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The state directory or savepoint.
        path: PathBuf,
        /// The names there are.
        known: Box<[String]>,
    },
    /// A name that cannot be one.
    #[error("a savepoint cannot be called `{name}`: a name has 1 to 200 of the characters A-Z a-z 0-9 . _ -")]
    Name {
        /// The name.
        name: String,
    },
    /// A savepoint is never overwritten.
    #[error("there is something at {} already; a savepoint is never overwritten: give it another name", .0.display())]
    Exists(PathBuf),
    /// What is there is no savepoint, or a damaged one.
    #[error("{} is not a savepoint that can be used: {reason}", path.display())]
    Savepoint {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A savepoint was to become the state of a directory that has state.
    #[error(
        "the state directory {} has state already, and is not overwritten with a savepoint; to go on from that state, \
            start without the savepoint; to go back to the savepoint, name another directory or move this one away",
        .0.display()
    )]
    Occupied(PathBuf),
    /// There is no database in a directory that is only to be read.
    #[error("there is no state in {}: it is neither a state directory nor a savepoint", .0.display())]
    NoState(PathBuf),
    /// The backend cannot copy itself into a directory.
    #[error("state that is in memory has no savepoints; give the job a state directory")]
    NoCheckpoint,
    /// The backend has no way to hold on to its rows as they are now.
    #[error("this store cannot be read while it changes")]
    NoSnapshot,
    /// A cursor was not made by the kind of page that it is to continue.
    #[error("`{cursor}` is no place in such a page: {reason}; begin again without it")]
    Cursor {
        /// What was given.
        cursor: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A key that was given as text is none of the type that the keys of the state have.
    #[error("`{key}` is no key of the state `{name}`, whose keys are `{shape}`: {reason}")]
    Key {
        /// The state's name.
        name: Box<str>,
        /// What was given.
        key: Box<str>,
        /// The shape of its keys.
        shape: Box<str>,
        /// What is wrong with it.
        reason: Box<str>,
    },
    /// A backend that was opened to be read was to change.
    #[error("the state was opened to be read, and cannot be changed")]
    ReadOnly,
    /// A row cannot be decoded although its shape is the right one: it is damaged.
    #[error("a row of the state `{name}` cannot be decoded ({reason}); the state directory is damaged")]
    Row {
        /// The state's name.
        name: String,
        /// The decoder's words.
        reason: String,
    },
    /// A key or value cannot be encoded.
    #[error("a {what} cannot be encoded: {reason}")]
    Encode {
        /// `key` or `value`.
        what: &'static str,
        /// The encoder's words.
        reason: String,
    },
    /// A limit was reached.
    #[error("{what} is {found}, the limit is {limit}; {advice}")]
    Limit {
        /// What is limited, with its unit.
        what: &'static str,
        /// What was found.
        found: u64,
        /// The limit.
        limit: u64,
        /// What to do.
        advice: &'static str,
    },
}

/// The result of an operation on state.
pub type Result<T> = std::result::Result<T, StateError>;
