//! A count per key, for ever: told with every record, or only kept.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use highwater::prelude::*;
use highwater_benches::compare::{Case, Comparison, run};
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

fn feed_alone(feed: Feed<Click>) -> Tally {
    let mut tally = Tally::default();
    feed.for_each_batch(|batch| tally.count += std::hint::black_box(batch).len() as u64);
    tally
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

fn in_memory(job: Job) -> u64 {
    run(job)
}

fn on_rocksdb(job: Job) -> u64 {
    let directory = tempfile::tempdir().expect("a directory for the state");
    run(job.state(directory.path()).epoch_interval(Duration::from_secs(1)))
}

/// The comparisons of this file.
pub fn comparisons() -> Vec<Comparison> {
    let pool = Arc::new(input::clicks());
    let case = |name, run: fn(Feed<Click>) -> Tally| {
        let pool = Arc::clone(&pool);
        Case::new(name, move |records| run(Feed::new(&pool, records)))
    };
    vec![
        Comparison {
            name: "keyed_count".to_owned(),
            feed: case("feed", feed_alone),
            hand: case("hand", hand_told),
            engine: vec![
                case("memory", |feed| told(counts, feed, in_memory)),
                case("memory-timed", |feed| told(timed_counts, feed, in_memory)),
                case("rocksdb", |feed| told(counts, feed, on_rocksdb)),
                case("rocksdb-timed", |feed| told(timed_counts, feed, on_rocksdb)),
            ],
        },
        Comparison {
            name: "keyed_count_kept".to_owned(),
            feed: case("feed", feed_alone),
            hand: case("hand", hand_kept),
            engine: vec![
                case("memory", |feed| kept(feed, in_memory)),
                case("rocksdb", |feed| kept(feed, on_rocksdb)),
            ],
        },
    ]
}
