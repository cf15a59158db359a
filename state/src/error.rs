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
