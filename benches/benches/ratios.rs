//! Engine against loop: every case of every comparison, one after the other, again and again, so that what the
//! machine's other guests do meets all of them alike. Prints medians of CPU time per record and the ratio to the
//! loop of the same round, with the smallest and the largest.
//!
//! Back of the envelope: in the other files of this directory. A run takes a second, which `/proc/self/stat`
//! knows to two per cent, and one that keeps state on RocksDB holds at least one epoch of 1 s then; with
//! `--seconds 3` it holds three.

#[path = "work/chain.rs"]
mod chain;
#[path = "work/dedup.rs"]
mod dedup;
#[path = "work/exchange.rs"]
mod exchange;
#[path = "work/join.rs"]
mod join;
#[path = "work/keyed_count.rs"]
mod keyed_count;
#[path = "work/session.rs"]
mod session;
#[path = "work/window.rs"]
mod window;

use highwater_benches::compare::Comparison;
use highwater_benches::cpu::Taken;
use highwater_benches::spread::Spread;

/// Records with which the outputs are compared, and all there are where nothing is measured.
const RECORDS_TO_CHECK: u64 = 200_000;
/// Records with which the speed of the loop is found out.
const RECORDS_TO_TRY: u64 = 4 << 20;

struct Options {
    only: String,
    profile: Option<String>,
    runs: usize,
    seconds: f64,
    records: Option<u64>,
}

impl Options {
    fn read() -> Result<Options, String> {
        let mut options =
            Options { only: String::new(), profile: None, runs: 7, seconds: 1.0, records: None };
        let mut measures = false;
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            let wrong = |error: &dyn std::fmt::Display| format!("{arg}: {error}");
            match arg.as_str() {
                "--bench" => measures = true,
                "--test" => measures = false,
                "--only" => options.only = value()?,
                "--profile" => options.profile = Some(value()?),
                "--runs" => options.runs = value()?.parse().map_err(|error| wrong(&error))?,
                "--seconds" => options.seconds = value()?.parse().map_err(|error| wrong(&error))?,
                "--records" => options.records = Some(value()?.parse().map_err(|error| wrong(&error))?),
                _ => return Err(format!("{arg} is none of --only --profile --runs --seconds --records")),
            }
        }
        if !measures && options.profile.is_none() {
            (options.runs, options.records) = (1, Some(RECORDS_TO_CHECK));
        }
        options.runs = options.runs.max(1);
        Ok(options)
    }
}

fn main() -> Result<(), String> {
    let options = Options::read()?;
    let comparisons = [
        chain::comparisons(),
        keyed_count::comparisons(),
        window::comparisons(),
        session::comparisons(),
        join::comparisons(),
        dedup::comparisons(),
        exchange::comparisons(),
    ];
    let comparisons: Vec<Comparison> = comparisons.into_iter().flatten().collect();
    if let Some(wanted) = &options.profile {
        return profile(&comparisons, wanted, options.records.unwrap_or(RECORDS_TO_TRY));
    }
    println!("CPU time of the process in ns a record: median of {} runs [least .. most]\n", options.runs);
    println!("{:32} {:>24} {:>28} {:>12}", "case", "CPU ns a record", "times the loop", "wall ns");
    for comparison in comparisons.iter().filter(|comparison| comparison.name.contains(&options.only)) {
        comparison.check(RECORDS_TO_CHECK);
        compare(comparison, &options);
        println!();
    }
    Ok(())
}

fn profile(comparisons: &[Comparison], wanted: &str, records: u64) -> Result<(), String> {
    for comparison in comparisons {
        for case in comparison.cases() {
            if format!("{}/{}", comparison.name, case.name) == wanted {
                let (tally, taken) = case.run(records);
                println!("{wanted}: {records} records, {tally:?}, {taken:?}");
                return Ok(());
            }
        }
    }
    let names = comparisons.iter().flat_map(|comparison| {
        comparison.cases().map(move |case| format!("{}/{}", comparison.name, case.name))
    });
    Err(format!("{wanted} is none of {}", names.collect::<Vec<_>>().join(" ")))
}

/// How many records take the loop three quarters of the time that a run is to take: the engine takes longer.
fn records_of_a_run(comparison: &Comparison, options: &Options) -> u64 {
    let by_time = || {
        let (_, taken) = comparison.hand.run(RECORDS_TO_TRY);
        let a_second = RECORDS_TO_TRY as f64 / taken.cpu.as_secs_f64().max(1e-2);
        (a_second * options.seconds * 0.75) as u64
    };
    options.records.unwrap_or_else(by_time)
}

fn compare(comparison: &Comparison, options: &Options) {
    let records = records_of_a_run(comparison, options);
    let cases: Vec<_> = comparison.cases().collect();
    let mut taken: Vec<Vec<Taken>> = vec![Vec::new(); cases.len()];
    for _ in 0..options.runs {
        for (case, taken) in cases.iter().zip(&mut taken) {
            taken.push(case.run(records).1);
        }
    }
    let a_record = |nanos: u128| nanos as f64 / records as f64;
    let hand: Vec<f64> = taken[1].iter().map(|taken| a_record(taken.cpu.as_nanos())).collect();
    for (case, taken) in cases.iter().zip(&taken) {
        let cpu: Vec<f64> = taken.iter().map(|taken| a_record(taken.cpu.as_nanos())).collect();
        let wall = Spread::of(taken.iter().map(|taken| a_record(taken.wall.as_nanos())));
        let ratio = Spread::of(cpu.iter().zip(&hand).map(|(case, hand)| case / hand.max(0.01)));
        let name = format!("{}/{}", comparison.name, case.name);
        let (cpu, ratio) = (Spread::of(cpu).to_string(), ratio.to_string());
        println!("{name:32} {cpu:>24} {ratio:>28} {:>12.2}", wall.median);
    }
}
