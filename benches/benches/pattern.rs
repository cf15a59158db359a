//! Patterns of three kinds beside a loop written by hand: three records in a row; a record, three others with some
//! between, and a third kind; a record that is not followed by another within 2.5 s. Each with 1, 1000 and a million
//! keys, all of which have a live run most of the time; and what a record costs with 1 to 1000 live runs of its key.
//!
//! Back of the envelope, for one record:
//!
//! - the loop finds its key (5 ns while the keys are in the near caches, 80 ns and more with a million) and looks at
//!   one byte;
//! - the engine sorts by event time: a record that is in order moves through a list, 10 ns; it finds the key's runs,
//!   20 to 100 ns; looks at the edges of the states where they stand, 10 ns a run; and a run that begins, takes a
//!   record or ends writes nodes and a timer, 100 ns;
//! - live runs of one key are walked: 10 to 30 ns for each and record, in proportion to their number;
//! - with a million keys, index, rows, nodes and timers are misses: four to six of 80 ns.

#[path = "work/group.rs"]
mod group;
#[path = "work/pattern.rs"]
mod pattern;

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use highwater::prelude::*;
use highwater_benches::feed::{Feed, Repeat};
use highwater_benches::tally::TallySink;

fn kinds(criterion: &mut Criterion) {
    let measures = std::env::args().any(|arg| arg == "--bench");
    for keys in pattern::KEYS {
        // Where nothing is measured, a million keys would only take time.
        let keys = if measures { keys } else { keys.min(10_000) };
        let comparisons = pattern::comparisons(keys);
        group::measure_checked(criterion, &comparisons, pattern::once_around(keys).max(20_000));
    }
}

/// A number that begins a run, or none that any run waits for.
#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
struct Number(u64);

impl Repeat for Number {
    fn repeated(self, round: u64) -> Self {
        Number(self.0 + round * (1 << 16))
    }
}

fn live_runs(criterion: &mut Criterion) {
    let measures = std::env::args().any(|arg| arg == "--bench");
    let records = if measures { 1 << 16 } else { 1 << 12 };
    let mut group = criterion.benchmark_group("live runs of a key");
    group.sampling_mode(SamplingMode::Flat).sample_size(10).throughput(Throughput::Elements(records));
    let pool = Arc::new((0..1 << 16).map(Number).collect());
    for runs in [1u64, 10, 100, 1000] {
        group.bench_with_input(BenchmarkId::from_parameter(runs), &runs, |bencher, &runs| {
            bencher.iter(|| {
                let (topology, sink) = (Topology::new("live-runs"), TallySink::default());
                let pattern = Pattern::begin("first", move |number: &Number| number.0 < runs)
                    .followed_by_any("last", move |number| number.0 == records - 1);
                topology
                    .source("pool", Feed::new(&pool, records))
                    .event_time(|number| Timestamp::from_millis(number.0 as i64), Duration::ZERO)
                    .key_by(|_| 0u64)
                    .pattern(pattern)
                    .select("matches", |_, (first, last)| (first.0, last.0))
                    .values()
                    .sink("out", sink.clone());
                Job::new(topology).run().expect("the job runs");
                assert_eq!(sink.tally().count, runs);
            });
        });
    }
    group.finish();
}

criterion_group!(patterns, kinds, live_runs);
criterion_main!(patterns);
