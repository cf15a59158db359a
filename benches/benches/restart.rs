//! How long a job with a gigabyte of state takes from its start to its first record.
//!
//! A child process builds the state once and stops; then children are started on it. Each is timed from the beginning
//! of `main` until an operator that keeps state has taken its first record, which draws a key that is on disk: after
//! a clean stop, and after a kill in the middle of epochs that change rows. The state directory is in the kernel's
//! cache of files where there is room for it: what the disk takes is not measured.
//!
//! Back of the envelope: RocksDB reads its list of files and opens 20 of them, some ms; it replays its log, which a
//! kill leaves as long as a clean stop does: 100 MiB a second, more where its rows are in files already. A table
//! looks for the first row of each of its 128 key groups, 30 us each; no row is loaded.
//!
//! | argument | meaning |
//! | --- | --- |
//! | `--mib 1024` | the size of the state, encoded |
//! | `--runs 5` | how many starts of each kind |
//! | `--memory 512` | the memory budget in MiB |

#[path = "work/texts.rs"]
mod texts;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use highwater::job::{Job, RunningJob};
use highwater_benches::spread::Spread;

use texts::{TEXT_BYTES, Texts, topology};

/// What a row of a text has on disk, its key and the lengths included.
const ROW_BYTES: u64 = TEXT_BYTES as u64 + 12;
/// For how long keys are drawn before the process is killed: some epochs.
const BEFORE_THE_KILL: Duration = Duration::from_secs(3);

struct Options {
    child: Option<(String, String)>,
    mib: u64,
    runs: usize,
    memory: usize,
}

impl Options {
    fn read() -> Result<Options, String> {
        let mut options = Options { child: None, mib: 1024, runs: 5, memory: 512 };
        let mut measures = false;
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            let wrong = |error: std::num::ParseIntError| format!("{arg}: {error}");
            match arg.as_str() {
                "--bench" => measures = true,
                "--test" => measures = false,
                "--child" => options.child = Some((value()?, value()?)),
                "--mib" => options.mib = value()?.parse().map_err(wrong)?,
                "--runs" => options.runs = value()?.parse().map_err(wrong)?,
                "--memory" => options.memory = value()?.parse().map_err(wrong)?,
                _ => return Err(format!("{arg} is none of --mib --runs --memory")),
            }
        }
        if !measures && options.child.is_none() {
            (options.mib, options.runs) = (4, 1);
        }
        Ok(options)
    }

    fn keys(&self) -> u64 {
        (self.mib << 20) / ROW_BYTES
    }
}

fn main() -> Result<(), String> {
    let began = Instant::now();
    let options = Options::read()?;
    if let Some((what, directory)) = &options.child {
        child(what, Path::new(directory), &options, began);
        return Ok(());
    }
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let filled = run("fill", directory.path(), &options)?;
    println!("{} MiB of state, {} rows, filled in {filled:.0} ms\n", options.mib, options.keys());
    println!("{:28} {:>32}", "started after", "ms to the first record");
    let mut stopped = Vec::new();
    for _ in 0..options.runs {
        stopped.push(run("first", directory.path(), &options)?);
    }
    println!("{:28} {:>32}", "a stop", Spread::of(stopped).to_string());
    let mut killed = Vec::new();
    for _ in 0..options.runs {
        kill(directory.path(), &options)?;
        killed.push(run("first", directory.path(), &options)?);
    }
    println!("{:28} {:>32}", "a kill", Spread::of(killed).to_string());
    Ok(())
}

fn start(what: &str, directory: &Path, options: &Options) -> Result<Child, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(own);
    command.args(["--child", what]).arg(directory);
    command.args(["--mib", &options.mib.to_string(), "--memory", &options.memory.to_string()]);
    command.stdout(Stdio::piped()).spawn().map_err(|error| error.to_string())
}

/// Runs a child to its end; gives the milliseconds that it says.
fn run(what: &str, directory: &Path, options: &Options) -> Result<f64, String> {
    let ended = start(what, directory, options)?.wait_with_output().map_err(|error| error.to_string())?;
    if !ended.status.success() {
        return Err(format!("the child that was to do `{what}` ended with {}", ended.status));
    }
    let said = String::from_utf8_lossy(&ended.stdout);
    said.trim().parse().map_err(|_| format!("a child said `{said}`"))
}

/// Draws keys for a while and kills the process that does.
fn kill(directory: &Path, options: &Options) -> Result<(), String> {
    let mut child = start("draw", directory, options)?;
    let stdout = child.stdout.take().ok_or("the child has no output")?;
    // It says when it has begun.
    let began = BufReader::new(stdout).read_line(&mut String::new());
    began.map_err(|error| error.to_string())?;
    std::thread::sleep(BEFORE_THE_KILL);
    child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;
    Ok(())
}

/// Goes on from where the last one ended. All of them have the same input, which gets longer: first a record for each
/// key, then draws, and so many that it does not end.
fn child(what: &str, directory: &Path, options: &Options, began: Instant) {
    let keys = options.keys();
    let draws = if what == "fill" { 0 } else { u64::MAX / 4 };
    let first = Arc::new(AtomicU64::new(0));
    let taken = Arc::new(AtomicU64::new(0));
    let topology = {
        let (first, taken) = (Arc::clone(&first), Arc::clone(&taken));
        topology(Texts { keys, draws, ends: false }, move |_| {
            if taken.fetch_add(1, Ordering::Relaxed) == 0 {
                first.store(began.elapsed().as_micros() as u64, Ordering::Relaxed);
            }
        })
    };
    let job = Job::new(topology).state(directory).memory(options.memory << 20);
    let running = job.start().unwrap_or_else(|error| panic!("the job does not start: {error}"));
    wait_until(&running, || taken.load(Ordering::Relaxed) >= if what == "fill" { keys } else { 1 });
    let first = first.load(Ordering::Relaxed) as f64 / 1e3;
    match what {
        "fill" => println!("{}", began.elapsed().as_millis()),
        _ => println!("{first:.1}"),
    }
    wait_until(&running, || what != "draw");
    running.stop();
    running.wait().unwrap_or_else(|error| panic!("the job failed: {error}"));
}

fn wait_until(running: &RunningJob, is_so: impl Fn() -> bool) {
    while !is_so() {
        assert!(!running.is_finished(), "the job has ended");
        std::thread::sleep(Duration::from_millis(1));
    }
}
