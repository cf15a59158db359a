//! A count per key in a table over RocksDB: with all keys in memory, and with ten times more keys than there is memory
//! for; beside a map in memory, and beside a get and a put in RocksDB for each record.
//!
//! An epoch is committed after every 100 000 records. Back of the envelope, for one record:
//!
//! - a map of 100 000 keys: 5 to 10 ns;
//! - a hit finds the row through the index, two lines of memory: 8 ns. Its share of the epoch is a row that is encoded,
//!   50 ns, and written into RocksDB's log and memtable by another thread, 1 us, once for all records of the key in the
//!   epoch: here every record has a key of its own nearly, so all of that is paid, in the worst case;
//! - a miss reads the row from RocksDB, with those of its batch: 3 to 5 us, where the block is in its cache or the
//!   system's, and lets another row go;
//! - without a table each record is a get, 2 to 5 us, and a put through the log, 3 us.

#[path = "work/table.rs"]
mod table;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use highwater::state::Backend;
use highwater::state::delta::{Delta, Family};

use table::Counts;

/// Records of an epoch.
const RECORDS: usize = 100_000;
const MEMORY_BYTES: usize = 64 << 20;

fn state_cache(criterion: &mut Criterion) {
    let measures = std::env::args().any(|arg| arg == "--bench");
    let records = if measures { RECORDS } else { RECORDS / 100 };
    for (name, keys) in [("all keys in memory", 100_000), ("a tenth of the keys in memory", 3_000_000)] {
        let keys = if measures { keys } else { keys / 100 };
        let mut group = criterion.benchmark_group(name);
        group
            .sampling_mode(SamplingMode::Flat)
            .sample_size(10)
            .throughput(Throughput::Elements(records as u64));
        group.bench_function("map", |bencher| {
            let mut scattered = Scattered::below(keys);
            let mut map: HashMap<u64, u64, RandomState> = (0..keys).map(|key| (key, 1)).collect();
            bencher.iter_batched_ref(
                || scattered.take(records),
                |some| some.iter().for_each(|key| *map.entry(*key).or_default() += 1),
                criterion::BatchSize::PerIteration,
            );
        });
        group.bench_function("table", |bencher| {
            let mut scattered = Scattered::below(keys);
            let mut counts = Counts::filled(keys, MEMORY_BYTES);
            bencher.iter_batched_ref(
                || scattered.take(records),
                |some| {
                    counts.add(some);
                    let delta = counts.freeze();
                    counts.commit(&delta);
                },
                criterion::BatchSize::PerIteration,
            );
            println!("{} of {keys} rows are in memory", counts.in_memory());
        });
        group.bench_function("get and put", |bencher| {
            let mut scattered = Scattered::below(keys);
            let counts = Counts::filled(keys, MEMORY_BYTES);
            bencher.iter_batched_ref(
                || scattered.take(records),
                |some| some.iter().for_each(|key| get_and_put(&*counts.backend, *key)),
                criterion::BatchSize::PerIteration,
            );
        });
        group.finish();
    }
}

/// Numbers below a bound that follow no order.
struct Scattered {
    state: u64,
    below: u64,
}

impl Scattered {
    /// Numbers below `below`.
    fn below(below: u64) -> Scattered {
        Scattered { state: 1, below }
    }

    /// So many of them.
    fn take(&mut self, count: usize) -> Vec<u64> {
        let mut next = || {
            self.state = self.state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            ((u128::from(self.state) * u128::from(self.below)) >> 64) as u64
        };
        (0..count).map(|_| next()).collect()
    }
}

/// The count of a key as RocksDB has it, one more; not synced.
fn get_and_put(backend: &dyn Backend, key: u64) {
    let row = [&[0; 6][..], &key.to_be_bytes()].concat();
    let found = backend.get(Family::Values, &row).expect("it is read");
    let count = found.and_then(|bytes| <[u8; 8]>::try_from(&bytes[..]).ok()).map_or(0, u64::from_be_bytes);
    let mut delta = Delta::default();
    delta.put(Family::Values, &row, &(count + 1).to_be_bytes());
    backend.apply(&delta).expect("there is room");
}

criterion_group!(caches, state_cache);
criterion_main!(caches);
