//! A count per key, for ever: told with every record, or only kept.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use highwater::prelude::*;
use highwater_benches::compare::{Comparison, run, run_on_rocksdb};
use highwater_benches::feed::Feed;
use highwater_benches::input::{self, Click};
use highwater_benches::tally::{Tally, TallySink};

type Counts = HashMap<u64, u64, RandomState>;

fn hand_told(feed: Feed<Click>) -> Tally {
    let mut counts = Counts::default();
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

fn hand_kept(feed: Feed<Click>) -> Tally {
    let mut counts = Counts::default();
    feed.for_each_batch(|batch| {
        for click in batch {
            *counts.entry(click.page).or_default() += 1;
        }
    });
    // What is kept is not read by the engine's twin, so only its size is compared; `told` compares the counts.
    Tally { count: counts.values().sum(), sum: 0 }
}

fn counts(topology: &Topology, feed: Feed<Click>) -> Table<u64, u64, Untimed> {
    topology.source("pool", feed).key_by(|click| click.page).count("clicks")
}

fn timed_counts(topology: &Topology, feed: Feed<Click>) -> Table<u64, u64> {
    let clicks = topology.source("pool", feed).event_time(|click| click.at, Duration::from_millis(100));
    clicks.key_by(|click| click.page).count("clicks")
}

fn told<C: 'static>(
    build: fn(&Topology, Feed<Click>) -> Table<u64, u64, C>,
    feed: Feed<Click>,
    job: Backed,
) -> Tally
where
    Table<u64, u64, C>: Told,
{
    let (topology, sink) = (Topology::new("count"), TallySink::default());
    build(&topology, feed).tell(sink.clone());
    job(Job::new(topology));
    sink.tally()
}

/// A table with or without event time.
trait Told {
    fn tell(self, sink: TallySink);
}

impl Told for Table<u64, u64> {
    fn tell(self, sink: TallySink) {
        self.to_stream().sink("out", sink);
    }
}

impl Told for Table<u64, u64, Untimed> {
    fn tell(self, sink: TallySink) {
        self.to_stream().sink("out", sink);
    }
}

fn kept(feed: Feed<Click>, job: Backed) -> Tally {
    let topology = Topology::new("count");
    counts(&topology, feed).keep();
    Tally { count: job(Job::new(topology)), sum: 0 }
}

type Backed = fn(Job) -> u64;

/// The comparisons of this file.
pub fn comparisons() -> Vec<Comparison> {
    vec![
        Comparison::over(
            "keyed_count",
            input::clicks(),
            hand_told,
            &[
                ("memory", |feed| told(counts, feed, run)),
                ("memory-timed", |feed| told(timed_counts, feed, run)),
                ("rocksdb", |feed| told(counts, feed, run_on_rocksdb)),
                ("rocksdb-timed", |feed| told(timed_counts, feed, run_on_rocksdb)),
            ],
        ),
        Comparison::over(
            "keyed_count_kept",
            input::clicks(),
            hand_kept,
            &[("memory", |feed| kept(feed, run)), ("rocksdb", |feed| kept(feed, run_on_rocksdb))],
        ),
    ]
}
