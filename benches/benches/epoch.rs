//! The end of an epoch in which every row was changed: the barrier, for which records wait; the pieces that the worker
//! writes between records; what the committing thread does, which they do not wait for.
//!
//! Back of the envelope, for one row of a count: it is read where it stands, 10 ns where rows are read one after the
//! other, and encoded with its key of 14 bytes, 30 ns. The encoded rows are sorted, 20 comparisons for a million rows,
//! of two numbers each: 80 ns. The commit copies them into RocksDB's log, 20 bytes, and inserts them into a skip list:
//! 500 ns in the order of the keys. The barrier changes no row.

use std::time::{Duration, Instant};

#[path = "work/table.rs"]
mod table;

use criterion::{
    BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};

use table::Counts;

/// Changes every row and ends the epoch; gives what the barrier took, the pieces, and sorting them.
fn end(counts: &mut Counts, all: &[u64]) -> [Duration; 3] {
    counts.add(all);
    let start = Instant::now();
    let mut delta = counts.barrier();
    let barrier = start.elapsed();
    counts.write(&mut delta);
    let pieces = start.elapsed();
    delta.sort();
    let sorted = start.elapsed();
    assert_eq!(delta.len(), all.len(), "every row was changed");
    assert_eq!(counts.in_memory(), all.len(), "every row is in memory");
    counts.commit(&delta);
    [barrier, pieces - barrier, sorted - pieces]
}

fn epoch(criterion: &mut Criterion) {
    let measures = std::env::args().any(|arg| arg == "--bench");
    let mut group = criterion.benchmark_group("epoch");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    for keys in [1_000u64, 100_000, 1_000_000] {
        let keys = if measures { keys } else { keys.min(1000) };
        let all: Vec<u64> = (0..keys).collect();
        group.throughput(Throughput::Elements(keys));
        let mut counts = Counts::filled(keys, 1 << 30);
        for (what, step) in ["barrier", "pieces", "sort"].into_iter().zip(0..) {
            group.bench_function(BenchmarkId::new(what, keys), |bencher| {
                bencher.iter_custom(|iterations| (0..iterations).map(|_| end(&mut counts, &all)[step]).sum());
            });
        }
        let mut counts = Counts::filled(keys, 1 << 30);
        group.bench_function(BenchmarkId::new("commit", keys), |bencher| {
            counts.add(&all);
            let delta = counts.freeze();
            bencher.iter_batched(|| (), |()| counts.commit(&delta), BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group!(epochs, epoch);
criterion_main!(epochs);
