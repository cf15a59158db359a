//! What epochs cost a job over RocksDB in which every key is changed in every epoch: the delay that they put on
//! records, and the share of its throughput.
//!
//! Records come at half of the greatest rate, each with the time when it was due, and a count per key tells the sink
//! how late they are. `an epoch's worst` is the largest delay of all records of an epoch, as the median and the most of
//! all epochs: the pause, with what it took to make up for it, and with what others of the machine took. `pause in CPU
//! time` is the longest time of its own that the worker spent between two batches at the sink, in the same form, to
//! 0.2 ms. Throughput is that with an epoch every second beside that without, in turns, by the records that came in.
//!
//! Back of the envelope: a million counts of 20 bytes are encoded in 100 ns each, most of it waiting for far memory:
//! 100 ms a second, one part in ten of a worker. All at once they would hold every record up for as long; in pieces of
//! 1400 rows, for 0.15 ms.

use std::time::Duration;

use highwater::prelude::*;
use highwater_benches::paced::{Course, Found, Paced};
use highwater_benches::spread::Spread;

/// Room for a million rows that are changed and not committed.
const MEMORY: usize = 6 << 30;
/// No epoch but the last.
const NEVER: Duration = Duration::from_secs(86_400);

struct Options {
    seconds: f64,
    rounds: usize,
    keys: Vec<u64>,
    /// Records a second, in place of half of the greatest rate.
    rate: Option<f64>,
}

fn options() -> Result<Options, String> {
    let mut options = Options { seconds: 20.0, rounds: 5, keys: vec![1_000, 100_000, 1_000_000], rate: None };
    let mut measures = false;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--bench" => measures = true,
            "--test" => measures = false,
            "--seconds" => options.seconds = value()?.parse().map_err(|error| format!("{arg}: {error}"))?,
            "--rounds" => options.rounds = value()?.parse().map_err(|error| format!("{arg}: {error}"))?,
            "--keys" => options.keys = vec![value()?.parse().map_err(|error| format!("{arg}: {error}"))?],
            "--rate" => {
                options.rate = Some(value()?.parse().map_err(|error| format!("{arg}: {error}"))?);
            }
            _ => return Err(format!("{arg} is none of --seconds --rounds --keys --rate")),
        }
    }
    if !measures {
        options = Options { seconds: 0.6, rounds: 1, keys: vec![1_000], rate: None };
    }
    Ok(options)
}

/// Runs a count per key for so many seconds; gives the records a second, and how late they were.
fn run(keys: u64, seconds: f64, rate: Option<f64>, interval: Duration) -> (f64, Found) {
    let length = Duration::from_secs_f64(seconds);
    let paced = Paced::new(Course { length, warm_up: length.mul_f64(0.3), rate, keys, splits: 1 });
    let (topology, delays) = (Topology::new("pause"), paced.delays());
    let counts = topology.source("due", paced.clone()).key_by(|record| record.key);
    counts
        .aggregate("count", |a| (a.count(), a.max(|record| record.at)))
        .to_stream()
        .sink("out", delays.clone());
    let directory = tempfile::tempdir().expect("a directory for the state");
    let job = Job::new(topology).state(directory.path()).epoch_interval(interval).memory(MEMORY);
    job.run().unwrap_or_else(|error| panic!("the job failed: {error}"));
    (paced.rate(), delays.found())
}

fn millis(nanos: u64) -> String {
    format!("{:.2}", nanos as f64 / 1e6)
}

/// The median and the most of what was found for each epoch.
fn median_and_most(mut nanos: Vec<u64>) -> String {
    nanos.sort_unstable();
    let at = |number: usize| millis(nanos.get(number).copied().unwrap_or_default());
    format!("{} .. {}", at(nanos.len() / 2), at(nanos.len().saturating_sub(1)))
}

fn main() -> Result<(), String> {
    let options = options()?;
    let second = Duration::from_secs_f64((options.seconds / 5.0).min(1.0));
    println!("records a second, {} runs in turns: median [least .. most]\n", options.rounds);
    println!(
        "{:>9} {:>30} {:>30} {:>22}",
        "keys", "no epochs, M/s", "an epoch a second, M/s", "with / without"
    );
    let mut rates = Vec::new();
    for &keys in &options.keys {
        let length = (options.seconds / 2.0).max(0.5);
        let rounds = (0..options.rounds).map(|_| {
            let without = run(keys, length, None, NEVER).0 / 1e6;
            (without, run(keys, length, None, second).0 / 1e6)
        });
        let rounds: Vec<(f64, f64)> = rounds.collect();
        let without = Spread::of(rounds.iter().map(|round| round.0));
        let with = Spread::of(rounds.iter().map(|round| round.1));
        let ratio = Spread::of(rounds.iter().map(|round| round.1 / round.0));
        rates.push(with.median * 1e6);
        println!("{keys:>9} {:>30} {:>30} {:>22}", without.to_string(), with.to_string(), ratio.to_string());
    }
    let told = options.rate.map_or("half of that rate".to_owned(), |rate| format!("{rate} records a second"));
    println!("\ndelay of records at {told}, in ms\n");
    println!(
        "{:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9} {:>20} {:>18}",
        "keys", "M/s", "50 %", "99 %", "99.9 %", "most", "epochs", "an epoch's worst", "pause in CPU time"
    );
    for (&keys, rate) in options.keys.iter().zip(rates) {
        let (rate, Found { records, epochs, pauses }) =
            run(keys, options.seconds, Some(options.rate.unwrap_or(rate / 2.0)), second);
        let quantiles = [0.5, 0.99, 0.999].map(|part| millis(records.quantile(part)));
        let [half, most_of, nearly_all] = quantiles;
        println!(
            "{keys:>9} {:>8.2} {half:>8} {most_of:>8} {nearly_all:>8} {:>8} {:>9} {:>20} {:>18}",
            rate / 1e6,
            millis(records.most()),
            epochs.len(),
            median_and_most(epochs),
            median_and_most(pauses),
        );
    }
    Ok(())
}
