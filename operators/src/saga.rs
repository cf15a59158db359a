//! Sagas: several participants, one after the other, and back again if one of them cannot.
//!
//! A [`Saga`] is a list of steps. Each is a request to a participant; a step that may have to be undone has a
//! compensation, which is a request too. The verb [`saga`](crate::keyed::KeyedStream::saga) runs one for each key: it
//! sends a request, waits for the reply, repeats what fails or is not answered in time, and goes on with the next step.
//! When a step is given up, the steps before it are undone, the last one first.
//!
//! Invariants: one request of a saga is on its way at a time; no step is asked for after the first compensation; a
//! compensation is asked for only when those of all later steps are done; each saga ends once, in one of three ways.
//! What a saga stands at is kept with the epoch, so a crash between any two of these changes nothing. It knows no
//! clock: timeouts are timers in the time of the stream, which
//! [`processing_time`](crate::stream::Stream::processing_time) makes that of the clock.

mod definition;
mod messages;
mod operator;
mod run;

pub use definition::Saga;
pub use messages::{Direction, SagaAnswer, SagaEnd, SagaInput, SagaOutcome, SagaReply, SagaRequest};
pub use operator::SagaStreams;
pub use run::UnknownStep;
