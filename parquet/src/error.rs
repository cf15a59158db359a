//! What goes wrong with files on a store, for the person who runs the job.

use highwater::operators::error::{Cause, TryAgain};
use highwater::state::Epoch;
use thiserror::Error;

/// An error of a sink.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ParquetError {
    /// The place cannot be used.
    #[error("{place} cannot be used: {reason}")]
    Place {
        /// The place.
        place: String,
        /// Why not.
        reason: String,
    },
    /// The store fails.
    #[error("{place}: cannot {what} `{object}`: {reason}")]
    Store {
        /// The place.
        place: String,
        /// What was to be done.
        what: &'static str,
        /// With which object.
        object: String,
        /// What the store said.
        reason: String,
        /// Whether it is over a network, so that it may go well later.
        remote: bool,
    },
    /// The columns cannot be those of a file.
    #[error("{place}: {reason}")]
    Columns {
        /// The place.
        place: String,
        /// What is wrong with them.
        reason: String,
    },
    /// Values cannot be encoded, or a segment cannot be decoded.
    #[error(
        "{place}: `{object}` is no Parquet file of this sink: {reason}; it was changed or cut by somebody else"
    )]
    Format {
        /// The place.
        place: String,
        /// Which object.
        object: String,
        /// What is wrong.
        reason: String,
    },
    /// Another instance has taken over.
    #[error(
        "another instance has taken over {place}: either this job was started again elsewhere, and this instance is \
            over; or two sinks write there, then give each a place of its own"
    )]
    Fenced {
        /// The place.
        place: String,
    },
    /// The files are ahead of the state.
    #[error(
        "{place} holds `{object}`, of a later epoch than the job's state, which is at {last}: the state was restored \
            from an older copy; start from the newest state, or write to another place, and what followed {last} is \
            written once more"
    )]
    Ahead {
        /// The place.
        place: String,
        /// The file.
        object: String,
        /// What the state says.
        last: Epoch,
    },
    /// What was staged is not there.
    #[error(
        "{place}: the rows of {epoch} that the job's state counts as written are not there: {reason}; bring the \
            objects back, or write to another place and accept that the rows are missing"
    )]
    Lost {
        /// The place.
        place: String,
        /// The epoch.
        epoch: Epoch,
        /// What was found.
        reason: String,
    },
    /// A receipt or the owner's note cannot be read.
    #[error("{place}: {what} is damaged: {reason}")]
    Damaged {
        /// The place.
        place: String,
        /// What it is.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl ParquetError {
    /// As the engine takes it: what a network did may pass, and the epoch is done again.
    pub(crate) fn into_cause(self) -> Cause {
        match self {
            ParquetError::Store { remote: true, .. } => Box::new(TryAgain(Box::new(self))),
            error => Box::new(error),
        }
    }
}
