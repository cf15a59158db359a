//! The flags that every example has, and how a program ends.

use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::ExitCode;

use highwater::prelude::*;
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::live::{Live, Shown};

/// How the program runs and where its results go.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Running")]
pub struct RunOptions {
    /// Write each result exactly once to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Keep state here; started again on it after a stop or a kill, the program goes on where it was. Without it
    /// state is in memory and every start begins anew
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Begin with this savepoint, in a --state-dir that has no state yet; the output must be another file, if it holds
    /// more than the savepoint knows of
    #[arg(long, value_name = "DIR", requires = "state_dir")]
    pub from_savepoint: Option<PathBuf>,
    /// When the program ends or is stopped, keep a savepoint in `savepoints` in the --state-dir, called NAME and the
    /// number of its epoch
    #[arg(long, value_name = "NAME", requires = "state_dir")]
    pub savepoint_on_stop: Option<String>,
    /// How many threads work; the results do not depend on it
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub workers: usize,
    /// The time between two commits; results show up in the output at each
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    pub epoch: Duration,
    /// Read at most N records a second, to watch it live
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,
    /// How far a record may be behind the latest one of its input and still be on time
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub lateness: Duration,
}

impl RunOptions {
    /// Refuses an output that is one of the inputs, by whatever name: it would be emptied before it is read.
    ///
    /// # Errors
    /// What to say to the user.
    pub fn check(&self, inputs: &[PathBuf]) -> Result<(), String> {
        let file = |path: &PathBuf| std::fs::metadata(path).ok().map(|about| (about.dev(), about.ino()));
        let Some(output) = self.output.as_ref().and_then(file) else { return Ok(()) };
        match inputs.iter().find(|input| file(input) == Some(output)) {
            Some(input) => {
                Err(format!("the output is also an input ({}); name another file", input.display()))
            }
            None => Ok(()),
        }
    }

    /// Ends a pipeline: what it tells is shown, and goes to the topic, or to the output file, if there is one.
    #[track_caller]
    pub fn deliver<T>(&self, results: Stream<T, Untimed>, topic: Option<(&Kafka, &str)>, live: &Live)
    where
        T: Shown + Serialize + Send + 'static,
    {
        let results = results.inspect(live.show());
        match (topic, &self.output) {
            (Some((kafka, topic)), _) => results.sink("output", kafka.sink(topic, Json::new())),
            (None, Some(path)) => results.sink("output", File::at(path).sink(Json::new())),
            (None, None) => results.sink("output", Blackhole::new()),
        }
    }

    /// Runs a topology to its end, or until SIGINT or SIGTERM, and shows how it goes.
    ///
    /// # Errors
    /// Those of the job.
    pub fn run(&self, topology: Topology, live: &Live) -> Result<(), JobError> {
        let job = self.job(topology);
        let report = live.watch(|| job.run())?;
        self.tell_end(&report);
        Ok(())
    }

    /// The job that runs a topology.
    pub fn job(&self, topology: Topology) -> Job {
        let mut job = Job::new(topology).workers(self.workers).epoch_interval(self.epoch);
        if let Some(directory) = &self.state_dir {
            job = job.state(directory);
        }
        if let Some(rate) = self.rate {
            job = job.rate(rate);
        }
        if let Some(savepoint) = &self.from_savepoint {
            job = job.from_savepoint(savepoint);
        }
        if let Some(name) = &self.savepoint_on_stop {
            job = job.savepoint_on_stop(name);
        }
        job
    }

    /// Says where the savepoint is, and how to go on where the input has not ended.
    pub fn tell_end(&self, report: &Report) {
        tracing::info!(epoch = report.epoch.0, finished = report.finished, "the job has ended");
        if let Some(savepoint) = &report.savepoint {
            eprintln!("The savepoint is {}", savepoint.display());
        }
        if !report.finished && self.from_savepoint.is_some() {
            eprintln!(
                "Stopped before the end of the input; the same command without --from-savepoint goes on from here."
            );
        } else if !report.finished && self.state_dir.is_some() {
            eprintln!("Stopped before the end of the input; the same command goes on from here.");
        } else if !report.finished {
            eprintln!("Stopped before the end of the input; without --state-dir the next start begins anew.");
        }
    }
}

/// Lets the library's warnings go to standard error; `RUST_LOG` says which.
pub fn log_warnings() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let colours = std::io::stderr().is_terminal();
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    // A second call changes nothing.
    let _ = log.try_init();
}

/// What the program says at its end: nothing and 0, or the error and 1.
pub fn exit_code(program: &str, outcome: Result<(), Cause>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
    }
}
