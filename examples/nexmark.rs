//! An auction house under the questions of the Nexmark benchmark, one at a time, as fast as it goes.
//!
//! The queries are in `src/nexmark/q*.rs`. The events are made up, or come from a file.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use std::{fmt, fs};

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser};
use highwater::prelude::*;
use highwater_examples::nexmark::{Events, Nexmark, Query, Results};
use highwater_examples::options::{RunOptions, exit_code, log_warnings};

/// A query of the Nexmark benchmark over an auction house's events
///
/// Makes events up as the benchmark's generator does (1 person, 3 auctions and 46 bids of 50 events), or
/// reads them, runs a query over them and says at its end how many events it dealt with a second. Results go
/// to --output; without it they are made and dropped.
#[derive(Parser)]
#[command(name = "nexmark", after_long_help = FORMATS)]
struct Options {
    /// Which query; without it the events are only written down
    #[arg(long, required_unless_present = "dump")]
    query: Option<Query>,
    /// Read these events and make none up; may be given several times
    #[arg(long, value_name = "FILE", conflicts_with_all = MADE_UP)]
    input: Vec<PathBuf>,
    /// How many events to make up
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    events: u64,
    /// What chance begins with; the same seed gives the same events
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How long after later ones an event may come
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    disorder: Duration,
    /// How many events happen in a second of their own time
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u64).range(1..))]
    event_rate: u64,
    /// Into how many parts the events are divided to be made at the same time, as many as workers if not
    /// given; stays as it is when the program goes on from a --state-dir
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    splits: Option<u32>,
    /// Before the query, write all events to this file in the order in which they come, one JSON object a
    /// line
    #[arg(long, value_name = "FILE")]
    dump: Option<PathBuf>,
    /// Of a query that changes a table, tell the table at the end and not each change; on standard output
    /// without --output, and so of the other queries all rows
    #[arg(long = "final", requires = "query")]
    final_table: bool,
    #[command(flatten)]
    run: RunOptions,
}

/// The flags for events that are made up.
const MADE_UP: [&str; 6] = ["dump", "events", "seed", "disorder", "event_rate", "splits"];

const FORMATS: &str = r#"Events, one JSON object a line, times in milliseconds since 1970:
  {"person":{"id":1000,"name":"...","emailAddress":"...","creditCard":"...","city":"...","state":"OR",
   "dateTime":1436918400000,"extra":"..."}}
  {"auction":{"id":1000,"itemName":"...","description":"...","initialBid":100,"reserve":200,
   "dateTime":1436918400000,"expires":1436918401000,"seller":1000,"category":10,"extra":"..."}}
  {"bid":{"auction":1000,"bidder":1000,"price":100,"channel":"...","url":"...","dateTime":1436918400000,
   "extra":"..."}}

Output, one JSON object a line, with the columns of the benchmark's SQL (nexmark/nexmark), times as above.
Queries with windows (q5, q7, q8, q11, q12) tell a row when its window closes. Those with a table (q4, q6, q9,
q15 to q19) tell a row whenever it changes. Averages are whole, the rest cut off; q1 has prices with three decimal
places.

Events that come later than --lateness after later ones are left out of windows. --lateness is 4s, or as much as
--disorder if that is more."#;

fn main() -> ExitCode {
    log_warnings();
    let command = Options::command()
        .mut_arg("lateness", |lateness| lateness.default_value("4s"))
        .mut_arg("state_dir", |directory| directory.visible_alias("state"));
    let given = command.get_matches();
    let mut options = Options::from_arg_matches(&given).unwrap_or_else(|error| error.exit());
    if given.value_source("lateness") == Some(ValueSource::DefaultValue) {
        options.run.lateness = options.run.lateness.max(options.disorder);
    }
    exit_code("nexmark", run(&options))
}

fn run(options: &Options) -> Result<(), Cause> {
    let nexmark =
        Nexmark::new(options.seed, options.events).per_second(options.event_rate).disorder(options.disorder);
    options.run.check(&options.input)?;
    if let Some(file) = &options.dump {
        write_down(&nexmark, file).map_err(|error| format!("{}: {error}", file.display()))?;
        options.run.check(std::slice::from_ref(file))?;
    }
    let Some(query) = options.query else { return Ok(()) };

    let topology = Topology::new(&format!("nexmark-{}", query.name()));
    let events = if options.input.is_empty() {
        let splits = options.splits.unwrap_or_else(|| u32::try_from(options.run.workers).unwrap_or(u32::MAX));
        topology.source("generator", nexmark.source(splits))
    } else {
        topology.source("events", File::at(options.input.clone()).lines(Json::new()))
    };
    let results = Results { output: options.run.output.clone(), final_table: options.final_table };
    query.over(Events::new(events, options.run.lateness), &results);

    let start = Instant::now();
    let report = options.run.job(topology).run()?;
    let seconds = start.elapsed().as_secs_f64();
    let told = Told { query, report: &report, seconds }.to_string();
    // Where the table is told, nothing else is.
    if options.final_table && options.run.output.is_none() {
        eprintln!("{told}");
    } else {
        println!("{told}");
    }
    options.run.tell_end(&report);
    Ok(())
}

/// Writes the events down in the order in which they come.
fn write_down(nexmark: &Nexmark, file: &Path) -> io::Result<()> {
    let mut lines = BufWriter::new(fs::File::create(file)?);
    for event in nexmark.events() {
        serde_json::to_writer(&mut lines, &event)?;
        lines.write_all(b"\n")?;
    }
    lines.flush()
}

/// What is told of a run.
struct Told<'a> {
    query: Query,
    report: &'a Report,
    seconds: f64,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |verb: &str, of: fn(&NodeReport) -> u64| -> u64 {
            self.report.nodes.iter().filter(|node| node.verb == verb).map(of).sum()
        };
        let (events, results) = (sum("source", |node| node.records_out), sum("sink", |node| node.records_in));
        let rate = (events as f64 / self.seconds.max(0.001)) as u64;
        let name = self.query.name();
        write!(f, "{name}: {events} events in {:.3} s, {rate} events/s; {results} results", self.seconds)?;
        match sum("window", |node| node.records_aside) {
            0 => Ok(()),
            late => write!(f, "; {late} records were too late for their window: give more --lateness"),
        }
    }
}
