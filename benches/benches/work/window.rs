//! A count per key and tumbling second.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use highwater::prelude::*;
use highwater_benches::compare::{Case, Comparison, run};
use highwater_benches::feed::Feed;
use highwater_benches::input::{self, Click, JITTER_MILLIS};
use highwater_benches::tally::{Tally, TallySink};

const SECOND: i64 = 1000;

type Counts = HashMap<u64, u64, RandomState>;

/// One map per open window; a watermark after every batch.
#[derive(Default)]
struct ByHand {
    open: BTreeMap<i64, Counts>,
    /// The window of the last record, out of `open` while records fall into it.
    current: (i64, Counts),
    /// The last map that was emptied.
    spare: Counts,
    tally: Tally,
}

impl ByHand {
    fn turn_to(&mut self, end: i64) {
        let spare = &mut self.spare;
        let counts = self.open.remove(&end).unwrap_or_else(|| std::mem::take(spare));
        let (before, counts) = std::mem::replace(&mut self.current, (end, counts));
        if counts.is_empty() {
            self.spare = counts;
        } else {
            self.open.insert(before, counts);
        }
    }

    fn watermark(&mut self, watermark: i64) {
        if self.current.0 <= watermark {
            self.turn_to(i64::MAX);
        }
        while let Some(first) = self.open.first_entry().filter(|first| *first.key() <= watermark) {
            let (end, mut counts) = first.remove_entry();
            let window = TimeRange { start: at(end - SECOND), end: at(end) };
            counts.drain().for_each(|(key, value)| {
                self.tally.add(&Windowed { key, window, value, timing: Timing::OnTime })
            });
            self.spare = counts;
        }
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn hand(feed: Feed<Click>) -> Tally {
    let mut state = ByHand::default();
    let mut latest = i64::MIN;
    feed.for_each_batch(|batch| {
        for click in batch {
            let millis = click.at.as_millis();
            let end = millis - millis.rem_euclid(SECOND) + SECOND;
            if end != state.current.0 {
                state.turn_to(end);
            }
            *state.current.1.entry(click.page).or_default() += 1;
            latest = latest.max(millis);
        }
        state.watermark(latest - JITTER_MILLIS as i64);
    });
    state.watermark(i64::MAX);
    state.tally
}

fn engine(feed: Feed<Click>, job: fn(Job) -> u64) -> Tally {
    let (topology, sink) = (Topology::new("window"), TallySink::default());
    topology
        .source("pool", feed)
        .event_time(|click| click.at, Duration::from_millis(JITTER_MILLIS))
        .key_by(|click| click.page)
        .window(tumbling(Duration::from_secs(1)))
        .count("clicks")
        .sink("out", sink.clone());
    job(Job::new(topology));
    sink.tally()
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
    vec![Comparison {
        name: "window".to_owned(),
        feed: case("feed", |feed| {
            let mut tally = Tally::default();
            feed.for_each_batch(|batch| tally.count += std::hint::black_box(batch).len() as u64);
            tally
        }),
        hand: case("hand", hand),
        engine: vec![
            case("memory", |feed| engine(feed, run)),
            case("rocksdb", |feed| engine(feed, on_rocksdb)),
        ],
    }]
}
