//! Runs conformance cases, which say as data what operators must emit, and tells what the operators here emit.
//!
//! It compares nothing: that is the caller's work.

use std::fs;
use std::io::{BufWriter, Write as _, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use highwater::prelude::*;
use highwater_examples::conformance::{How, told};
use highwater_examples::options::{exit_code, log_warnings};
use serde_json::Value;

/// Runs conformance cases and prints one JSON line for each with what the operators emitted
///
/// A case that cannot be run gives a line with an `error`; the program ends with 0 when all cases were tried.
#[derive(Parser)]
#[command(name = "conformance")]
struct Options {
    /// One JSON array of cases
    file: PathBuf,
    /// Run each case as a job with so many workers; without this the reference interpreter runs it
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
}

fn main() -> ExitCode {
    log_warnings();
    exit_code("conformance", run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Cause> {
    let file = options.file.display();
    let text = fs::read(&options.file).map_err(|error| format!("{file} cannot be read: {error}"))?;
    let cases: Vec<Value> =
        serde_json::from_slice(&text).map_err(|error| format!("{file} is no array of cases: {error}"))?;
    let how = options.workers.map_or(How::Interpreter, |workers| How::Job { workers });
    let mut out = BufWriter::new(stdout().lock());
    for case in &cases {
        writeln!(out, "{}", told(case, how))?;
    }
    out.flush()?;
    Ok(())
}
