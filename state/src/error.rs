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
            were synced; a log ({logs}) or the manifest is damaged or cut short, or the database was replaced by an older \
            one: restore the whole directory from a savepoint or a copy, or delete it and compute anew; to go on with \
            what is left of it, at the price that results of the lost epochs are written again, delete {}",
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
        "the state `{name}` was kept as `{kept}` and cannot be read as `{asked}`; rename the operator to start it \
            empty, or go back to the old type"
    )]
    Shape {
        /// The state's name: the operator's, and the handle's behind a slash.
        name: String,
        /// The shape on disk.
        kept: String,
        /// The shape of the type in the program.
        asked: String,
    },
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
