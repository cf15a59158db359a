//! The second noun, [`KeyedStream`], and its verbs: what is kept per key.

mod dedup;
mod filter;
mod key_by;
mod map_values;
pub mod process;
mod running;
pub(crate) mod sorted;
mod ttl;
pub mod two_stage;

use std::marker::PhantomData;

use crate::batch::KeyedBatch;
use crate::stream::{EventTime, Wire};

/// Records grouped by key: all records of a key pass one worker, in the order of their source (HW-4).
///
/// Behind a second `key_by` with another key the order is that of each worker that sends: the records of one key may
/// come from several. [`sorted`](KeyedStream::sorted) puts them in the order of event time.
///
/// Cloning a keyed stream lets several verbs take it: records move to the worker of their key once, and are cloned
/// there for all verbs but one. Other verbs that look at one record at a time than [`filter`](KeyedStream::filter) and
/// [`map_values`](KeyedStream::map_values) stand before `key_by`, or behind
/// [`values`](KeyedStream::values) or [`entries`](KeyedStream::entries), and so does `sink`.
///
/// ```
/// # use highwater_operators::testkit::output_of;
/// let both = output_of([3, 5], |numbers| {
///     let numbers = numbers.key_by(|_| ());
///     let counts = numbers.clone().count("counts").to_stream().map(|(_, count)| format!("{count} numbers"));
///     let sums = numbers.aggregate("sums", |a| a.sum(|number: &u64| *number)).to_stream();
///     counts.merge(sums.map(|(_, sum)| format!("{sum} in all")))
/// });
/// assert!(both.contains(&"2 numbers".to_owned()) && both.contains(&"8 in all".to_owned()));
/// ```
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

impl<K: Clone + 'static, T: Clone + 'static, C> Clone for KeyedStream<K, T, C> {
    fn clone(&self) -> Self {
        let copy: fn(&KeyedBatch<K, T>) -> KeyedBatch<K, T> = KeyedBatch::clone;
        let mut graph = self.wire.graph.borrow_mut();
        graph.ports.entry(self.wire.port).or_default().copy = Some(Box::new(copy));
        drop(graph);
        KeyedStream::at(self.wire.clone())
    }
}
