//! A filter and a map over records of 64 bytes.

use highwater::prelude::*;
use highwater_benches::compare::{Comparison, run};
use highwater_benches::feed::Feed;
use highwater_benches::input::{self, Wide};
use highwater_benches::tally::{Tally, TallySink};

#[inline]
fn keep(record: &Wide) -> bool {
    record.kind != 0
}

#[inline]
fn convert(mut record: Wide) -> Wide {
    record.amount = record.amount.wrapping_mul(3) / 2;
    record
}

fn hand(feed: Feed<Wide>) -> Tally {
    let mut tally = Tally::default();
    feed.for_each_batch(|batch| {
        for record in batch.iter().filter(|record| keep(record)) {
            tally.add(&convert(*record));
        }
    });
    tally
}

fn engine(build: impl FnOnce(&Topology, TallySink)) -> Tally {
    let (topology, sink) = (Topology::new("chain"), TallySink::default());
    build(&topology, sink.clone());
    run(Job::new(topology));
    sink.tally()
}

fn timed(topology: &Topology, feed: Feed<Wide>) -> Stream<Wide> {
    topology.source("pool", feed).event_time(|record| record.at, Duration::ZERO)
}

/// The comparisons of this file.
pub fn comparisons() -> Vec<Comparison> {
    vec![Comparison::over(
        "chain",
        input::wide(),
        hand,
        &[
            ("verbs", |feed| {
                engine(|topology, sink| timed(topology, feed).filter(keep).map(convert).sink("out", sink))
            }),
            ("fused", |feed| {
                engine(|topology, sink| {
                    timed(topology, feed).fused(|records| records.filter(keep).map(convert)).sink("out", sink)
                })
            }),
            ("verbs-untimed", |feed| {
                engine(|topology, sink| {
                    topology.source("pool", feed).filter(keep).map(convert).sink("out", sink)
                })
            }),
            ("fused-untimed", |feed| {
                engine(|topology, sink| {
                    let records = topology.source("pool", feed);
                    records.fused(|records| records.filter(keep).map(convert)).sink("out", sink)
                })
            }),
        ],
    )]
}
