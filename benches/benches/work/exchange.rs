//! A count per key by one worker, and by two that send each other half of the records.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use highwater::prelude::*;
use highwater_benches::compare::{Comparison, run};
use highwater_benches::feed::Feed;
use highwater_benches::input::{self, Click};
use highwater_benches::tally::{Tally, TallySink};
use highwater_benches::two::Two;

fn hand(feed: Feed<Click>) -> Tally {
    let mut counts: HashMap<u64, u64, RandomState> = HashMap::default();
    let mut tally = Tally::default();
    feed.for_each_batch(|batch| {
        for click in batch {
            let count = counts.entry(click.page).or_default();
            *count += 1;
            tally.add(&(click.page, *count));
        }
    });
    tally
}

fn engine(feed: Feed<Click>, workers: usize) -> Tally {
    let (topology, sink) = (Topology::new("count"), TallySink::default());
    topology
        .source("pool", Two(feed))
        .key_by(|click| click.page)
        .count("clicks")
        .to_stream()
        .sink("out", sink.clone());
    run(Job::new(topology).workers(workers));
    sink.tally()
}

/// The comparisons of this file.
pub fn comparisons() -> Vec<Comparison> {
    vec![Comparison::over(
        "exchange",
        input::clicks(),
        hand,
        &[("1 worker", |feed| engine(feed, 1)), ("2 workers", |feed| engine(feed, 2))],
    )]
}
