//! How long a program of sixty steps takes to compile, once its dependencies are.
//!
//! A crate with such a program is written into a temporary directory, with its own workspace and the library as a
//! dependency; it is built once, so that the dependencies are there, then touched and built again. Six times ten steps:
//! each has record types and closures of its own, so nothing that is made for one type is used twice.
//!
//! Back of the envelope: the library is generic where a record's type matters, so that is what is compiled again for
//! each step: an operator, an outbox, an edge, some 3 000 lines of LLVM's language. At 100 000 lines a second for one
//! thread that optimises, sixty steps are 2 s, and those with state several times more.
//!
//! CPU time is that of `cargo` and all that it starts; a linker takes some of it: RocksDB is linked in.
//!
//! | argument | meaning |
//! | --- | --- |
//! | `--runs 3` | how often it is built |
//! | `--keep DIRECTORY` | writes the crate there, and leaves it |

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use highwater_benches::cpu::children_time;
use highwater_benches::spread::Spread;

/// Times ten steps.
const PARTS: usize = 6;

const MANIFEST: &str = r#"[package]
name = "sixty-steps"
version = "0.1.0"
edition = "2024"

[workspace]
resolver = "3"

[dependencies]
highwater = { path = "LIBRARY" }
serde = { version = "1", features = ["derive"] }

[profile.release]
debug = false
"#;

const BEGINNING: &str = r#"use highwater::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record0 {
    key: u64,
    at: i64,
    value: i64,
    text: String,
}

fn main() -> Result<(), JobError> {
    let records = (0..1000).map(|n| Record0 { key: n % 7, at: n as i64, value: 1, text: n.to_string() });
    let topology = Topology::new("sixty-steps");
    let stream = topology
        .source("records", Memory::source(records))
        .event_time(|record| Timestamp::from_millis(record.at), Duration::from_millis(10));
"#;

const PART: &str = r#"
    #[derive(Clone, Debug, Serialize, Deserialize)]
    struct RecordNEXT {
        key: u64,
        at: i64,
        value: i64,
        text: String,
    }
    #[derive(Clone, Debug, Serialize, Deserialize)]
    struct ReadNEXT {
        key: u64,
        value: i64,
        text: String,
    }
    let read = stream
        .filter(|record: &RecordTHIS| record.value >= THIS)
        .map(|record| ReadNEXT { key: record.key + THIS, value: record.value + record.at, text: record.text })
        .flat_map(|read| [read.clone(), read]);
    let sums = read
        .clone()
        .key_by(|read| read.key)
        .aggregate("sums-NEXT", |a| (a.count(), a.sum(|read| read.value), a.max(|read| read.value)))
        .to_stream()
        .map(|(key, (count, sum, max))| (key, count, sum + max.max(NEXT)));
    let windows = read
        .key_by(|read| read.text.clone())
        .window(tumbling(Duration::from_millis(100 + NEXT)))
        .aggregate("windows-NEXT", |a| (a.count(), a.mean(|read| read.value as f64)))
        .map(|window| (window.key.len() as u64, window.window.end.as_millis(), window.value));
    let stream = sums
        .key_by(|sum| sum.0)
        .join(windows.key_by(|window| window.0), within(Duration::from_millis(50)))
        .inner("joined-NEXT")
        .values()
        .map(|(sum, window)| RecordNEXT { key: sum.0, at: window.1, value: sum.2, text: sum.1.to_string() });
"#;

const END: &str = r#"
    let out = Memory::sink();
    stream.sink("out", out.clone());
    let report = Job::new(topology).run()?;
    println!("{} records, {} nodes", out.take().len(), report.nodes.len());
    Ok(())
}
"#;

fn main() -> Result<(), String> {
    let (mut runs, mut keep, mut measures) = (3, None, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => measures = true,
            "--test" => measures = false,
            "--runs" => runs = args.next().and_then(|runs| runs.parse().ok()).ok_or("--runs N")?,
            "--keep" => keep = Some(PathBuf::from(args.next().ok_or("--keep DIRECTORY")?)),
            _ => return Err(format!("{arg} is none of --runs --keep")),
        }
    }
    if !measures && keep.is_none() {
        println!("nothing is built without `--bench`");
        return Ok(());
    }
    let temporary = tempfile::tempdir().map_err(|error| error.to_string())?;
    let directory = keep.as_deref().unwrap_or(temporary.path());
    write_crate(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    if measures { build(directory, runs) } else { Ok(()) }
}

fn write_crate(directory: &Path) -> std::io::Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    fs::create_dir_all(directory.join("src"))?;
    let library = workspace.join("engine").display().to_string();
    fs::write(directory.join("Cargo.toml"), MANIFEST.replace("LIBRARY", &library))?;
    // The versions that the library is tested with, whose builds are there already.
    fs::copy(workspace.join("Cargo.lock"), directory.join("Cargo.lock"))?;
    fs::write(directory.join("src/main.rs"), program())
}

/// The program, with ten verbs in each part.
fn program() -> String {
    let mut program = BEGINNING.to_owned();
    for part in 0..PARTS {
        let part = PART.replace("THIS", &part.to_string()).replace("NEXT", &(part + 1).to_string());
        let _ = write!(program, "{part}");
    }
    program + END
}

fn build(directory: &Path, runs: usize) -> Result<(), String> {
    cargo(directory)?;
    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    let source = directory.join("src/main.rs");
    for run in 0..runs.max(1) {
        let touched = format!("{}// {run}\n", program());
        fs::write(&source, touched).map_err(|error| error.to_string())?;
        let (began, before) = (Instant::now(), children_time());
        cargo(directory)?;
        wall.push(began.elapsed().as_secs_f64());
        cpu.push((children_time() - before).max(Duration::ZERO).as_secs_f64());
    }
    println!("{} steps, seconds: median of {runs} [least .. most]\n", 10 * PARTS);
    println!("{:20} {:>28}", "on the clock", Spread::of(wall).to_string());
    println!("{:20} {:>28}", "CPU time", Spread::of(cpu).to_string());
    Ok(())
}

fn cargo(directory: &Path) -> Result<(), String> {
    let mut cargo = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    cargo.args(["build", "--release", "--quiet", "--offline"]).current_dir(directory);
    // What this build was made with, so that the dependencies are those that are there.
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    if let Some(target) = own.ancestors().nth(3) {
        cargo.env("CARGO_TARGET_DIR", target);
    }
    let status = cargo.status().map_err(|error| format!("cargo does not start: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo ended with {status}")) }
}
