//! Highwater's side: the very queries of the example `nexmark`, with their results summed up.

use std::borrow::Borrow;

use highwater::prelude::*;
use highwater::state::{Key, Persist};
use highwater_benches::compare;
use highwater_benches::input::JITTER_MILLIS;
use highwater_benches::tally::Tally;
use highwater_examples::nexmark::{Event, Events, Outlet, Query};
use serde::Serialize;

use super::feed::{Handed, Pool, Splits};
use super::sums::SumsSink;
use crate::total::Total;

/// Runs the query over events that are the engine's own, or lent to it.
pub fn run<E: Handed + Borrow<Event>>(query: Query, pool: Pool, workers: usize, on_rocksdb: bool) -> Tally {
    let (topology, total) = (Topology::new(&query.name()), Total::default());
    let events = topology.source("pool", Splits::<E>::new(pool, workers));
    let lateness = Duration::from_millis(JITTER_MILLIS);
    query.over(Events::new(events, lateness), &Summed(total.clone()));
    let job = Job::new(topology).workers(workers);
    if on_rocksdb {
        compare::run_on_rocksdb(job);
    } else {
        compare::run(job);
    }
    total.tally()
}

/// Results that are summed up.
struct Summed(Total);

impl Outlet for Summed {
    fn rows<T: Serialize + Send + 'static>(&self, rows: Stream<T>) {
        rows.sink("sum", SumsSink::rows(&self.0));
    }

    /// Changes as they are told: the rows that they make are for those who read them.
    fn table<K, V, R>(&self, changes: Stream<(K, V)>, _: fn(K, V) -> R)
    where
        K: Key,
        V: Persist + Clone,
        R: Serialize + Send + 'static,
    {
        changes.sink("sum", SumsSink::table(&self.0));
    }
}
