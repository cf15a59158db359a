//! Prints the table: every engine's CPU and wall time for a record beside the loop's, on this machine, now.
//!
//! Back of the envelope: in the files of the work. A round of everything takes some ten seconds, most of it Renoir's
//! windows; with the 5 rounds and the one that warms up, a minute or two. A round of Nexmark takes as long.

use highwater_peers::{WORK, nexmark, table};

struct Options {
    /// The queries of Nexmark, and not the other work.
    nexmark: bool,
    only: String,
    rounds: usize,
    records: Option<u64>,
    /// With each of these numbers of workers, one after the other.
    workers: Vec<usize>,
}

impl Options {
    fn read() -> Result<Options, String> {
        let mut args = std::env::args().skip(1).peekable();
        let nexmark = args.next_if(|arg| arg == "nexmark").is_some();
        let workers = if nexmark { vec![1, 2] } else { vec![1] };
        let mut options = Options { nexmark, only: String::new(), rounds: 5, records: None, workers };
        let records = if nexmark { "--events" } else { "--records" };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            match arg.as_str() {
                "--only" => options.only = value()?,
                "--runs" => options.rounds = number(&arg, &value()?)?,
                "--workers" => options.workers = vec![number(&arg, &value()?)?],
                _ if arg == records => options.records = Some(number(&arg, &value()?)?),
                _ => return Err(format!("{arg} is none of --only --runs {records} --workers")),
            }
        }
        Ok(options)
    }
}

/// A number of at least one.
fn number<N: TryFrom<u64>>(option: &str, text: &str) -> Result<N, String> {
    let number: u64 = text.parse().map_err(|error| format!("{option} {text}: {error}"))?;
    let number = if number == 0 { None } else { N::try_from(number).ok() };
    number.ok_or(format!("{option} {text}: not a number from 1 to what this machine can count"))
}

fn main() -> Result<(), String> {
    let options = Options::read()?;
    if options.nexmark { queries(&options) } else { work(&options) }
}

fn work(options: &Options) -> Result<(), String> {
    let chosen: Vec<_> = WORK.iter().filter(|(name, _)| name.contains(&options.only)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = WORK.iter().map(|(name, _)| *name).collect();
        return Err(format!("--only {} is part of none of {}", options.only, names.join(" ")));
    }
    for workers in &options.workers {
        println!("{}", table::head(*workers, options.rounds, ""));
        for (_, prepare) in &chosen {
            let comparison = prepare();
            let records = options.records.unwrap_or(comparison.records);
            let taken = comparison.run(records, *workers, options.rounds)?;
            println!("{}", table::rows(&comparison, &taken, records));
        }
    }
    Ok(())
}

fn queries(options: &Options) -> Result<(), String> {
    let events = options.records.unwrap_or(nexmark::EVENTS);
    let comparisons = nexmark::comparisons(events, &options.only);
    if comparisons.is_empty() {
        let names: Vec<String> = nexmark::names().collect();
        return Err(format!("--only {} is none of {}", options.only, names.join(" ")));
    }
    let about = format!("{events} events; the loop that all are compared with gets them owned; ");
    for workers in &options.workers {
        println!("{}", table::head(*workers, options.rounds, &about));
        for comparison in &comparisons {
            let taken = comparison.run(events, *workers, options.rounds)?;
            println!("{}", table::rows(comparison, &taken, events));
        }
        println!();
    }
    Ok(())
}
