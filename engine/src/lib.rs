//! Highwater: a stream processor that is a library.
//!
//! A program writes a topology with the verbs of [`Stream`](operators::stream::Stream) and runs it as a
//! [`Job`](job::Job). This crate is the machine: threads, channels, clocks, epochs, files; and the facade, so
//! that a program needs no other. `use highwater::prelude::*` is all that it writes.
//!
//! The engine has no type parameter: types end at the edges of [`operators`], and here a batch is a box.

pub mod alert;
mod allocator;
mod attempt;
mod boundary;
mod channels;
mod commit;
mod config;
mod coordinator;
pub mod error;
mod executor;
pub mod job;
pub mod limited;
mod pace;
mod parts;
pub mod prelude;
mod progress;
pub mod query;
mod recovery;
pub mod report;
mod shutdown;
pub mod simulate;
pub mod step;
mod worker;

pub use highwater_connectors as connectors;
pub use highwater_operators as operators;
pub use highwater_state as state;

/// The README's program, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

/// The guide to event sourcing, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/event-sourcing.md")]
pub struct EventSourcing;

/// The guide to dead letters, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/dead-letters.md")]
pub struct DeadLetters;

/// The guide to sagas, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/sagas.md")]
pub struct Sagas;
