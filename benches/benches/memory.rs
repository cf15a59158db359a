//! Resident memory of a job whose state is ten times as large as its memory budget.
//!
//! A child process fills the state, a text for each key, and then changes keys that are drawn at random, so that nearly
//! every record reads a row from disk and lets another one go. What the process has in memory is looked at a hundred
//! times a second: all of it, also code, stacks, and what the allocator does not give back. `peak` is the most it ever
//! had; `steady` the median while keys are drawn.
//!
//! Back of the envelope: a row of 210 bytes on disk takes 310 in a table, so half of the budget holds a thirtieth of
//! the keys. A record costs a look-up on disk, 5 to 10 us, and its share of a commit, 2 us, and of compaction. Ten
//! times 256 MiB are 12.8 million rows: some minutes.
//!
//! | argument | meaning |
//! | --- | --- |
//! | `--budgets 64,256` | the budgets, in MiB |
//! | `--times 10` | how much larger than the budget the state is |
//! | `--workers 1` | how many workers |

#[path = "work/texts.rs"]
mod texts;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use highwater::job::Job;
use highwater_benches::resident::Resident;

use texts::{TEXT_BYTES, Texts, topology};

/// How often it is looked what is in memory.
const LOOK: Duration = Duration::from_millis(10);
/// What a row of a text has on disk, its key and the lengths included.
const ROW_BYTES: u64 = TEXT_BYTES as u64 + 12;

/// One in so many keys is drawn after the state is filled.
const DRAWN: u64 = 16;

struct Options {
    child: Option<(String, u64)>,
    budgets: Vec<u64>,
    times: f64,
    workers: usize,
}

impl Options {
    fn read() -> Result<Options, String> {
        let mut options = Options { child: None, budgets: vec![64, 256], times: 10.0, workers: 1 };
        let mut measures = false;
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            let wrong = |error: &dyn std::fmt::Display| format!("{arg}: {error}");
            match arg.as_str() {
                "--bench" => measures = true,
                "--test" => measures = false,
                "--child" => {
                    let directory = value()?;
                    options.child = Some((directory, value()?.parse().map_err(|error| wrong(&error))?));
                }
                "--budgets" => {
                    let budgets = value()?;
                    let budgets =
                        budgets.split(',').map(|budget| budget.parse().map_err(|error| wrong(&error)));
                    options.budgets = budgets.collect::<Result<_, _>>()?;
                }
                "--times" => options.times = value()?.parse().map_err(|error| wrong(&error))?,
                "--workers" => options.workers = value()?.parse().map_err(|error| wrong(&error))?,
                _ => return Err(format!("{arg} is none of --budgets --times --workers")),
            }
        }
        if !measures && options.child.is_none() {
            (options.budgets, options.times) = (vec![32], 0.5);
        }
        Ok(options)
    }
}

fn main() -> Result<(), String> {
    let options = Options::read()?;
    if let Some((directory, budget)) = &options.child {
        child(Path::new(directory), *budget << 20, &options);
        return Ok(());
    }
    println!("MiB of the process, and times the budget; state is {} times the budget\n", options.times);
    println!(
        "{:>7} {:>10} {:>8} {:>7} {:>12} {:>12} {:>10} {:>10}",
        "budget", "encoded", "on disk", "before", "peak", "steady", "fill us", "draw us"
    );
    for budget in &options.budgets {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(own);
        command.arg("--child").arg(directory.path()).arg(budget.to_string());
        command.args(["--times", &options.times.to_string(), "--workers", &options.workers.to_string()]);
        let status = command.status().map_err(|error| error.to_string())?;
        if !status.success() {
            return Err(format!("the child with {budget} MiB ended with {status}"));
        }
    }
    Ok(())
}

/// Fills the state and draws keys, and prints a line of what came of it.
fn child(directory: &Path, budget: u64, options: &Options) {
    let before = Resident::read();
    let keys = (budget as f64 * options.times) as u64 / ROW_BYTES;
    let texts = Texts { keys, draws: keys / DRAWN, ends: true };
    let (kept, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let start = Instant::now();
    let looking = {
        let (kept, over) = (Arc::clone(&kept), Arc::clone(&over));
        std::thread::spawn(move || {
            let (mut filled, mut steady) = (None, Vec::new());
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK);
                if kept.load(Ordering::Relaxed) >= keys {
                    filled.get_or_insert_with(|| start.elapsed());
                    steady.push(Resident::read().now);
                }
            }
            (filled.unwrap_or_default(), steady)
        })
    };
    let counts = Arc::clone(&kept);
    let topology = topology(texts, move |_| {
        counts.fetch_add(1, Ordering::Relaxed);
    });
    let job = Job::new(topology).state(directory).memory(budget as usize).workers(options.workers);
    let report = job.run().unwrap_or_else(|error| panic!("the job failed: {error}"));
    assert!(report.finished, "the job was stopped");
    let taken = start.elapsed();
    over.store(true, Ordering::Relaxed);
    let (filled, mut steady) = looking.join().expect("it looks");
    steady.sort_unstable();
    let steady = steady.get(steady.len() / 2).copied().unwrap_or(0);
    let (peak, mib) = (Resident::read().peak, |bytes: u64| bytes as f64 / f64::from(1 << 20));
    let of_budget = |bytes: usize| format!("{:.0} ({:.2})", mib(bytes as u64), bytes as f64 / budget as f64);
    let a_record = |time: Duration, records: u64| time.as_secs_f64() * 1e6 / records.max(1) as f64;
    println!(
        "{:>7.0} {:>10.0} {:>8.0} {:>7.0} {:>12} {:>12} {:>10.2} {:>10.2}",
        mib(budget),
        mib(keys * ROW_BYTES),
        mib(size_of_directory(directory)),
        mib(before.now as u64),
        of_budget(peak),
        of_budget(steady),
        a_record(filled, keys),
        a_record(taken.saturating_sub(filled), keys / DRAWN)
    );
}

/// What the files in a directory, and in those in it, have together.
fn size_of_directory(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size_of_directory(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
