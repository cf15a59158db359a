//! Encoding and decoding of what stands in state, beside the same bytes put together by hand.
//!
//! Back of the envelope, for one row: a count and a mean are 24 bytes in memory and some 15 encoded, a session with a
//! name some 40. By hand that is a handful of stores without a check, 2 ns; the codec writes integers with as many
//! bytes as they need, a loop and a branch for each, 3 ns an integer; decoding a name allocates it, 20 ns.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use highwater::state::persist::{decode, encode};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    count: u64,
    sum: f64,
    last: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Session {
    user: String,
    clicks: u32,
    first: i64,
    last: i64,
}

const ROWS: usize = 1024;

fn numbers() -> Vec<Kept> {
    let row = |number: u64| Kept { count: number * 37, sum: number as f64 / 3.0, last: 1_700_000_000_000 };
    (0..ROWS as u64).map(row).collect()
}

fn sessions() -> Vec<Session> {
    let row = |number: u32| Session {
        user: format!("user-{number}"),
        clicks: number % 50,
        first: 1_700_000_000_000,
        last: 1_700_000_060_000,
    };
    (0..ROWS as u32).map(row).collect()
}

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(ROWS as u64));
    let rows = numbers();
    group.bench_function("numbers/encode/hand", |bencher| {
        let mut bytes = Vec::new();
        bencher.iter(|| {
            bytes.clear();
            for row in black_box(&rows) {
                bytes.extend_from_slice(&row.count.to_le_bytes());
                bytes.extend_from_slice(&row.sum.to_le_bytes());
                bytes.extend_from_slice(&row.last.to_le_bytes());
            }
            black_box(bytes.len())
        });
    });
    encode_and_decode(&mut group, "numbers", &rows);
    encode_and_decode(&mut group, "sessions", &sessions());
    group.finish();
}

fn encode_and_decode<T>(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: &str,
    rows: &[T],
) where
    T: Serialize + for<'a> Deserialize<'a> + PartialEq + std::fmt::Debug,
{
    let encoded: Vec<Vec<u8>> = rows.iter().map(|row| bytes_of(row)).collect();
    group.bench_function(format!("{name}/encode/engine"), |bencher| {
        let mut bytes = Vec::new();
        bencher.iter(|| {
            bytes.clear();
            for row in black_box(rows) {
                encode("row", row, &mut bytes).expect("a row is encoded");
            }
            black_box(bytes.len())
        });
    });
    let back: Vec<T> = encoded.iter().map(|bytes| decode("row", bytes).expect("it was encoded")).collect();
    assert_eq!(back, rows, "what is decoded is what was encoded");
    group.bench_function(format!("{name}/decode/engine"), |bencher| {
        bencher.iter(|| {
            for bytes in black_box(&encoded) {
                black_box(decode::<T>("row", bytes).expect("it was encoded"));
            }
        });
    });
}

fn bytes_of<T: Serialize>(row: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode("row", row, &mut bytes).expect("a row is encoded");
    bytes
}

criterion_group!(codecs, codec);
criterion_main!(codecs);
