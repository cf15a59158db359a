//! The second noun, [`KeyedStream`], and its verbs: what is kept per key.

mod dedup;
mod key_by;
pub mod process;
mod running;
mod sorted;
mod ttl;
pub mod two_stage;

use std::marker::PhantomData;

use crate::stream::{EventTime, Wire};

/// Records grouped by key: all records of a key pass one worker, in the order of their source (HW-4).
#[must_use = "a stream does nothing until it reaches a sink"]
pub struct KeyedStream<K, T, C = EventTime> {
    pub(crate) wire: Wire,
    marker: PhantomData<fn() -> (K, T, C)>,
}

impl<K, T, C> KeyedStream<K, T, C> {
    pub(crate) fn at(wire: Wire) -> Self {
        KeyedStream { wire, marker: PhantomData }
    }
}
