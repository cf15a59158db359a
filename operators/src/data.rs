//! What may flow, and whether it carries event time.

use highwater_state::Timestamp;

use crate::stream::{EventTime, Untimed};

/// A record that may flow through a topology.
///
/// Asked for where a type of records begins (`map`, not `filter`), so that one mistake is one error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot flow through a topology",
    label = "a record must be `Send` and own what it holds",
    note = "records move from thread to thread: use `Arc` and not `Rc`, `String` and not `&str`"
)]
pub trait Data: Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Send + 'static> Data for T {}

/// Whether a stream carries event time: [`EventTime`] or [`Untimed`].
pub trait Clock: sealed::Sealed + 'static {}

impl Clock for EventTime {}
impl Clock for Untimed {}

/// A stream whose records have event times.
#[diagnostic::on_unimplemented(
    message = "this stream has no event time, and a window, a timer or an order in time needs it",
    label = "needs `.event_time(..)` earlier in the chain, before `key_by`",
    note = "for example `.event_time(|record| record.at, Duration::from_secs(5)).key_by(..)`"
)]
pub trait HasEventTime: Clock {}

#[diagnostic::do_not_recommend]
impl HasEventTime for EventTime {}

/// What [`event_time`](crate::stream::Stream::event_time) takes for a point in time: a [`Timestamp`] or whatever
/// becomes one, such as `chrono::DateTime<Utc>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a point in time",
    label = "the closure must return a `Timestamp` or a `chrono::DateTime<Utc>`",
    note = "from milliseconds since 1970: `Timestamp::from_millis(record.at)`"
)]
pub trait PointInTime: Into<Timestamp> {}

#[diagnostic::do_not_recommend]
impl<W: Into<Timestamp>> PointInTime for W {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::EventTime {}
    impl Sealed for super::Untimed {}
}
