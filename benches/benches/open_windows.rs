//! What a record costs while many windows are open: a count per key and tumbling second, 1000 keys, ten records for
//! each window. All runs read the same records; they differ in how long the watermark lets windows stay open: 1, 10,
//! 100 and 1000 seconds, and so in how many are open at a time: 2000 to a million.
//!
//! Back of the envelope: an open window is one row of some 100 bytes, found by its hash. With 2000 of them the rows
//! stay in the second-level cache; with a million every record misses it two or three times (index, row, pane), some
//! 50 to 100 ns more on a machine whose memory answers in 80 ns. Nothing is walked: a watermark costs what it closes.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use highwater::prelude::*;
use highwater_benches::feed::{Feed, Repeat};
use highwater_benches::tally::TallySink;

const KEYS: u64 = 1000;
const RECORDS_PER_SECOND: i64 = 10_000;
/// Records in the pool: 100 seconds.
const POOL_RECORDS: i64 = 1_000_000;

#[derive(Clone, Copy)]
struct Visit {
    page: u64,
    at: i64,
}

impl Repeat for Visit {
    fn repeated(self, round: u64) -> Self {
        Visit { at: self.at + round as i64 * POOL_RECORDS / RECORDS_PER_SECOND * 1000, ..self }
    }
}

fn counts(feed: Feed<Visit>, open_for: Duration) -> u64 {
    let (topology, sink) = (Topology::new("open-windows"), TallySink::default());
    topology
        .source("pool", feed)
        .event_time(|visit| Timestamp::from_millis(visit.at), open_for)
        .key_by(|visit| visit.page)
        .window(tumbling(Duration::from_secs(1)))
        .count("visits")
        .sink("out", sink.clone());
    Job::new(topology).run().expect("the job runs");
    sink.tally().count
}

fn bench(criterion: &mut Criterion) {
    let measures = std::env::args().any(|arg| arg == "--bench");
    let visit = |number: i64| {
        // A permutation of the pages in every hundredth of a second, so that each second has ten of each.
        let page = (number as u64).wrapping_mul(387) % KEYS;
        Visit { page, at: number * 1000 / RECORDS_PER_SECOND }
    };
    let pool = Arc::new((0..POOL_RECORDS).map(visit).collect());
    let mut group = criterion.benchmark_group("open windows");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    for seconds in [1, 10, 100, 1000] {
        // As long again as it takes until the watermark begins to close windows.
        let seconds_of_records = if measures { 2 * 1000 } else { 20 };
        let records = seconds_of_records * RECORDS_PER_SECOND as u64;
        group.throughput(Throughput::Elements(records));
        let open = KEYS * (seconds + 1);
        group.bench_with_input(BenchmarkId::from_parameter(open), &seconds, |bencher, &seconds| {
            bencher.iter(|| {
                let windows = counts(Feed::new(&pool, records), Duration::from_secs(seconds));
                assert_eq!(windows, seconds_of_records * KEYS);
            });
        });
    }
    group.finish();
}

criterion_group!(open_windows, bench);
criterion_main!(open_windows);
