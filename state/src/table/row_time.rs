//! Tables whose rows are ordered by time keep it in each row; the others have no room for it there. Which of the two a
//! table is stands in its type, so that a look-up compares no time where there is none.

use crate::time::Timestamp;

/// What tells apart two rows of one key: nothing, or the time, where rows are ordered by it.
pub trait RowTime: Copy + Eq + 'static {
    /// Whether the rows are ordered by time.
    const ORDERED: bool;

    /// What is kept of a row's time.
    fn of(time: Timestamp) -> Self;
}

impl RowTime for () {
    const ORDERED: bool = false;

    #[inline]
    fn of(_: Timestamp) {}
}

impl RowTime for Timestamp {
    const ORDERED: bool = true;

    #[inline]
    fn of(time: Timestamp) -> Timestamp {
        time
    }
}
