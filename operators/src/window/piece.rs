//! Pieces of event time within which records may be combined before they reach their windows.

use highwater_state::{TimeRange, Timestamp};

use crate::window::AlignedWindows;

/// A piece of event time all of whose points lie in the same windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The piece.
    pub range: TimeRange,
    /// The end of the window that fires first among those that the piece lies in: before the watermark has reached
    /// it, no record of the piece is late.
    pub first_end: Timestamp,
}

/// Windows whose records may be combined before they reach them, as
/// [`two_stage`](crate::keyed::KeyedStream::two_stage) does.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be computed in two stages: which window a record is in depends on other records",
    label = "`two_stage` is for windows that are aligned in time: `tumbling(..)`, `sliding(..)`"
)]
pub trait Combinable: AlignedWindows {
    /// The piece that a record with this event time lies in.
    #[doc(hidden)]
    fn piece_of(&self, time: Timestamp) -> Piece;
}
