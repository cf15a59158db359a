//! The end of an epoch in which every row was changed: what the worker does, which its records wait for, and the
//! commit, which they do not wait for.
//!
//! Back of the envelope, for one row of a count: it is read where it stands, 10 ns, encoded with its key of 14 bytes,
//! 30 ns, and the encoded rows are sorted, 20 comparisons of 14 bytes for a million rows: 200 ns. The commit copies
//! it into RocksDB's log, 20 bytes, and inserts it into a skip list: 500 ns in the order of the keys.

#[path = "work/table.rs"]
mod table;

use criterion::{
    BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};

use table::Counts;

fn epoch(criterion: &mut Criterion) {
    let measures = std::env::args().any(|arg| arg == "--bench");
    let mut group = criterion.benchmark_group("epoch");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    for keys in [1_000u64, 100_000, 1_000_000] {
        let keys = if measures { keys } else { keys.min(1000) };
        let all: Vec<u64> = (0..keys).collect();
        group.throughput(Throughput::Elements(keys));
        let mut counts = Counts::filled(keys, 1 << 30);
        group.bench_function(BenchmarkId::new("freeze", keys), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut taken = std::time::Duration::ZERO;
                for _ in 0..iterations {
                    counts.add(&all);
                    let start = std::time::Instant::now();
                    let delta = counts.freeze();
                    taken += start.elapsed();
                    assert_eq!(delta.len() as u64, keys, "every row was changed");
                    assert_eq!(counts.in_memory() as u64, keys, "every row is in memory");
                    counts.commit(&delta);
                }
                taken
            });
        });
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
