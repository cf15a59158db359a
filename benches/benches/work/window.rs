//! A count per key and tumbling second.

use std::collections::BTreeMap;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use highwater::prelude::*;
use highwater_benches::compare::{Comparison, run, run_on_rocksdb};
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

/// The comparisons of this file.
pub fn comparisons() -> Vec<Comparison> {
    vec![Comparison::over(
        "window",
        input::clicks(),
        hand,
        &[("memory", |feed| engine(feed, run)), ("rocksdb", |feed| engine(feed, run_on_rocksdb))],
    )]
}
