//! Event sourcing: an aggregate's events are what is kept, and its state is what they make.
//!
//! An [`EventSourced`] type decides what a command makes happen and says how each event changes it. The verb
//! [`event_sourced`](crate::keyed::KeyedStream::event_sourced) runs it: commands in, events and replies out, and all
//! of it with the epoch, once (HW-1). Beside the state of each aggregate, which is found without a look at its past,
//! every event stays as a row of its own; an [`EventStore`] reads them: from a version on, as of a version or a time,
//! or all, into a projection. Events of an earlier type are brought up to the present one on the way.
//!
//! Invariants: the events of an aggregate are numbered from 1 without a gap, and its state is what they make in that
//! order; an event that cannot be read is refused with its place and never passed over; the same commands in the same
//! order make the same events, ids included (HW-7). It knows no clock: an event has the event time of its command.
//!
//! | state | rows |
//! | --- | --- |
//! | `name/events` | an event each, by aggregate and version |
//! | `name/state` | the present state of each aggregate, as any keyed state is kept |
//! | `name/snapshots` | its state every so many events, by aggregate and version, the latest first |
//! | `name/event.Kind.v1` | none: the shape of what was written as this kind and version of an event |

mod codec;
mod command;
mod definition;
mod envelope;
mod error;
mod operator;
mod row;
mod store;
mod upcast;

pub use command::{Accepted, Command, Conflict, Denial, Reply};
pub use definition::{EventSourced, Sourcing};
pub use envelope::{Envelope, EventId};
pub use error::{Fault as EventFault, SourcingError};
pub use operator::{EventStream, ReplyStream};
pub use store::{EventStore, Moment, Versioned};
