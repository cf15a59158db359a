//! What may flow, and whether it carries event time.

use crate::stream::{EventTime, Untimed};

/// A record that may flow through a topology.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot flow through a topology",
    label = "a record moves from thread to thread",
    note = "a record must be `Send` and own what it holds"
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
    label = "this verb needs event time",
    note = "call `.event_time(|record| record.at, out_of_orderness)` on the stream first, before `key_by`"
)]
pub trait HasEventTime: Clock {}

impl HasEventTime for EventTime {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::EventTime {}
    impl Sealed for super::Untimed {}
}
