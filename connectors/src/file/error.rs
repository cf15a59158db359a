//! What can go wrong with files, in words for the person who runs the job: which file, and what to do.
//!
//! A record that cannot be decoded is not among them: it is a bad record, and the source's policy decides.

use std::io;
use std::path::PathBuf;

use highwater_state::Epoch;
use thiserror::Error;

/// A file source or sink that cannot go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The operating system refused.
    #[error("cannot {doing} {}: {cause}", path.display())]
    System {
        /// What was tried: `open`, `read`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A directory, pipe or device where a file should be.
    #[error("{} is not a regular file; name the files themselves, and read a pipe as standard input", path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// Something else where the staging directory of an output should be.
    #[error(
        "{} is where the output's records wait to be published, and it is no directory but a file or a link; move it \
         away",
        path.display()
    )]
    NotADirectory {
        /// Where the staging directory should be.
        path: PathBuf,
    },
    /// The source has no file.
    #[error("the file source has no path; give it at least one")]
    NoPath,
    /// The sink has no path, or several.
    #[error("a file sink writes one file, and {count} paths were given; make a sink for each")]
    NotOnePath {
        /// How many there were.
        count: usize,
    },
    /// One file was named twice.
    #[error("{first} and {second} are the same file, which would be read twice; name it once")]
    Duplicate {
        /// The first name.
        first: String,
        /// The second name.
        second: String,
    },
    /// A split that is not among the paths.
    #[error(
        "the state knows a file {split}, which is not among the paths of the source; name it again as before"
    )]
    UnknownSplit {
        /// The name of the split.
        split: String,
    },
    /// The file ends before the position that a restart continues from.
    #[error(
        "{} has {bytes} bytes, but {offset} were read before: it was truncated or replaced; put the old file back, \
         or give the new one a new name",
        path.display()
    )]
    Shorter {
        /// The file.
        path: PathBuf,
        /// How long it is now.
        bytes: u64,
        /// How many bytes of it were read.
        offset: u64,
    },
    /// The position that a restart continues from is inside a line.
    #[error(
        "{} was read up to byte {offset}, which is now inside a line: the file was replaced, or its last line was \
         continued after it had been read; put the old file back, or give the new one a new name",
        path.display()
    )]
    InsideLine {
        /// The file.
        path: PathBuf,
        /// How many bytes of it were read.
        offset: u64,
    },
    /// The first row of a CSV file does not name the columns.
    #[error("{} line 1 does not name the columns: {reason}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A record that has no bytes.
    #[error("record {number} of worker {worker} for {} cannot be encoded: {reason}", path.display())]
    Encode {
        /// The output.
        path: PathBuf,
        /// The worker that had the record.
        worker: usize,
        /// Which record of the worker since it started, counted from 1.
        number: u64,
        /// What the codec said.
        reason: String,
    },
    /// A record that holds a line end and would become two lines.
    #[error(
        "record {number} of worker {worker} for {} holds a line end and would become two lines: `{start}`; encode \
         it as JSON, or replace the line ends before the sink",
        path.display()
    )]
    LineEnd {
        /// The output.
        path: PathBuf,
        /// The worker that had the record.
        worker: usize,
        /// Which record of the worker since it started, counted from 1.
        number: u64,
        /// The first 200 bytes of the record.
        start: String,
    },
    /// Another sink, of this process or another, writes the same file.
    #[error("{} is being written by another sink, of this job or of one that still runs", path.display())]
    Locked {
        /// The output.
        path: PathBuf,
    },
    /// The output is newer than the state.
    #[error(
        "{} was published up to {published}, but the state is at {last}: the state is older than the output; start \
         from the newer state; or, to go on from this one, as after going back to a savepoint, give the sink another \
         file, which will hold what comes after {last}; or delete the state to begin anew (the output is then written \
         anew too)",
        path.display()
    )]
    Ahead {
        /// The output.
        path: PathBuf,
        /// What the output holds.
        published: Epoch,
        /// What the state holds.
        last: Epoch,
    },
    /// The output lost bytes.
    #[error(
        "{} has {bytes} bytes, but {published} were published: it was truncated, replaced or removed; put the old \
         file back, or delete the state to begin anew",
        path.display()
    )]
    Shortened {
        /// The output.
        path: PathBuf,
        /// How long it is now.
        bytes: u64,
        /// How long it was.
        published: u64,
    },
    /// The output has bytes, and nothing says how many of them were published.
    #[error(
        "{} has {bytes} bytes, but {} is missing, which says how many of them were published; put it back, or move \
         the output away so that a new one begins",
        path.display(),
        marker.display()
    )]
    NoMarker {
        /// The output.
        path: PathBuf,
        /// Where the marker should be.
        marker: PathBuf,
        /// How long the output is.
        bytes: u64,
    },
    /// The marker or a receipt is not what the sink wrote.
    #[error("{what} cannot be read: {reason}; it was written by another program or damaged")]
    Damaged {
        /// The marker's path, or the receipt.
        what: String,
        /// Why.
        reason: String,
    },
    /// A part that was committed and not published is gone.
    #[error(
        "{} is missing or damaged: it holds committed records of {epoch} that are not yet in the output ({reason}); \
         put it back, or delete the state to begin anew",
        part.display()
    )]
    Part {
        /// The part.
        part: PathBuf,
        /// Its epoch.
        epoch: Epoch,
        /// What is wrong with it.
        reason: String,
    },
}

impl FileError {
    /// Says for `map_err` what was tried with which file.
    pub(super) fn system(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> FileError {
        let path = path.into();
        move |cause| FileError::System { doing, path, cause }
    }
}
