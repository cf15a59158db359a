//! A count per key in a table over RocksDB: with all keys in memory, and with ten times more keys than there is memory
//! for; beside a get and a put in RocksDB for each record, with the same settings and on the same rows.
//!
//! An epoch is committed after every 100 000 records, keys drawn at random. Back of the envelope, for one record:
//!
//! - a hit finds the row through the index, two lines of memory: 8 ns. Its share of the epoch is a row that is encoded,
//!   50 ns, and written into RocksDB's log and memtable by another thread, 1 us, once for all records of the key in the
//!   epoch: here every record has a key of its own nearly, so all of that is paid, in the worst case;
//! - a miss reads the row from RocksDB, with those of its batch: 2 to 5 us, where the block is in its cache or the
//!   system's, and lets another row go;
//! - without a table each record is a get, 2 to 8 us, and a put through the log, 3 us.
//!
//! `--rounds N` sets how often each side does 200 000 records, in turn; `--only all` or `--only tenth` does one of
//! the two.

#[path = "work/table.rs"]
mod table;

use highwater::state::Backend;
use highwater::state::delta::{Delta, Family};
use highwater::state::hash::key_hash;
use highwater::state::{KeyGroup, StoreId, layout, persist};
use highwater_benches::cpu::{Taken, measure};
use highwater_benches::spread::Spread;

use table::Counts;

/// Records of an epoch.
const EPOCH: usize = 100_000;
/// Records of one round.
const ROUND: usize = 2 * EPOCH;

/// How many keys, and how much memory: a row takes some 95 bytes of the half that tables get.
struct Case {
    name: &'static str,
    keys: u64,
    memory: usize,
}

const CASES: [Case; 2] = [
    Case { name: "all keys in memory", keys: 100_000, memory: 64 << 20 },
    Case { name: "a tenth of the keys in memory", keys: 2_000_000, memory: 32 << 20 },
];

fn main() -> Result<(), String> {
    let (mut rounds, mut only, mut measures) = (7, String::new(), false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => measures = true,
            "--test" => measures = false,
            "--rounds" => rounds = args.next().and_then(|rounds| rounds.parse().ok()).ok_or("--rounds N")?,
            "--only" => only = args.next().ok_or("--only PART OF A NAME")?,
            _ => return Err(format!("{arg} is none of --rounds --only")),
        }
    }
    let (round, part) = if measures { (ROUND, 1) } else { (ROUND / 100, 100) };
    println!("us a record: median [least .. most] of {rounds} rounds of {round} records\n");
    println!("{:34} {:>26} {:>26}", "case", "CPU of the process", "on the clock");
    for case in CASES.iter().filter(|case| case.name.contains(&only)) {
        run(case, case.keys / part, round, if measures { rounds } else { 1 });
    }
    Ok(())
}

fn run(case: &Case, keys: u64, round: usize, rounds: usize) {
    let mut table = Counts::filled(keys, case.memory);
    let naive = Counts::filled(keys, case.memory);
    let mut scattered = Scattered { state: 1, below: keys };
    let (mut of_table, mut of_naive) = (Vec::new(), Vec::new());
    let mut in_memory = 0;
    // The first round is not counted: it finds what filling left in memory.
    for _ in 0..=rounds {
        let drawn = scattered.take(round);
        let ((), taken) = measure(|| {
            for some in drawn.chunks(EPOCH) {
                table.add(some);
                let delta = table.freeze();
                table.commit(&delta);
            }
        });
        of_table.push(taken);
        in_memory = table.in_memory();
        let ((), taken) = measure(|| drawn.iter().for_each(|key| get_and_put(&*naive.backend, *key)));
        of_naive.push(taken);
    }
    println!("{}: {in_memory} of {keys} rows", case.name);
    let a_record = |taken: &Taken| (micros(taken.cpu, round), micros(taken.wall, round));
    for (name, taken) in [("table", &of_table), ("get and put", &of_naive)] {
        let (cpu, wall): (Vec<f64>, Vec<f64>) = taken[1..].iter().map(a_record).unzip();
        println!("  {name:32} {:>26} {:>26}", Spread::of(cpu).to_string(), Spread::of(wall).to_string());
    }
    let ratios =
        of_table[1..].iter().zip(&of_naive[1..]).map(|(table, naive)| (a_record(table), a_record(naive)));
    let (cpu, wall): (Vec<f64>, Vec<f64>) =
        ratios.map(|(table, naive)| (naive.0 / table.0.max(1e-3), naive.1 / table.1.max(1e-3))).unzip();
    println!("  {:32} {:>26} {:>26}", "times", Spread::of(cpu).to_string(), Spread::of(wall).to_string());
}

fn micros(time: std::time::Duration, records: usize) -> f64 {
    time.as_secs_f64() * 1e6 / records as f64
}

/// Numbers below a bound that follow no order.
struct Scattered {
    state: u64,
    below: u64,
}

impl Scattered {
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
    let mut row = Vec::with_capacity(24);
    layout::value_prefix(StoreId(1), KeyGroup::of_hash(key_hash(&key)), &mut row);
    persist::encode("key", &key, &mut row).expect("a key is encoded");
    let found = backend.get(Family::Values, &row).expect("it is read").expect("every key has a row");
    let count: u64 = persist::decode("count", &found).expect("it is a count");
    let (mut value, mut delta) = (Vec::with_capacity(10), Delta::default());
    persist::encode("count", &(count + 1), &mut value).expect("a count is encoded");
    delta.put(Family::Values, &row, &value);
    backend.apply(&delta).expect("there is room");
}
