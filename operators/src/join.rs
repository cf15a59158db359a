//! Joins of two streams with event time: by an interval of time, in windows, and as of a point in time.
//!
//! | verb | a left and a right record of one key belong together when |
//! | --- | --- |
//! | `left.join(right, within(..))` | their times are not too far apart: [`Interval`] |
//! | `left.join(right, tumbling(..))` | they lie in the same window |
//! | `left.join_as_of(right)` | the right one is the last that was valid at the left one's time |
//!
//! Both sides have one meaning of late: a record whose time is smaller than the watermark of its own side when it
//! comes. A late record joins nothing; it goes to a stream of its own ([`JoinedStream::with_late`],
//! [`AsOfStream::with_late`]). What has been settled is settled by the smaller of both watermarks, so a side that
//! stands still holds the join, until it counts as idle. A watermark at the last of all times is the end: what comes
//! after it finds no partner.
//!
//! Invariants: every pair is emitted exactly once, in whatever order the two sides are read and whatever is killed
//! when (HW-1); no result has a time behind the watermark that has left before it (HW-3).

mod as_of;
mod bounds;
mod joined;
mod lateness;
#[cfg(test)]
mod model;
mod side;
#[cfg(test)]
mod tests;
mod timed;

pub use as_of::AsOfStream;
pub use bounds::{Interval, JoinBounds, between_millis, following, preceding, within};
pub use joined::JoinedStream;
