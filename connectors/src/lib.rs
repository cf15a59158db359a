//! The outside world: where records come from and go to.
//!
//! Every connector keeps the contracts of [`Source`](highwater_operators::source::Source) and
//! [`Sink`](highwater_operators::sink::Sink), and one suite for each judges them all
//! (`tests/source_contract.rs`, `tests/sink_contract.rs`). It knows neither workers nor epochs beyond what those
//! traits say; records in memory are in [`highwater_operators::memory`].

pub mod blackhole;
pub mod file;
pub mod generator;
pub mod kafka;
pub mod log;
pub mod stdio;
