//! Prints the table: every engine's CPU and wall time for a record beside the loop's, on this machine, now.
//!
//! Back of the envelope: in the files of the work. A round of everything takes some ten seconds, most of it Renoir's
//! windows; with the 5 rounds and the one that warms up, a minute or two.

use highwater_peers::{WORK, table};

struct Options {
    only: String,
    rounds: usize,
    records: Option<u64>,
    workers: usize,
}

impl Options {
    fn read() -> Result<Options, String> {
        let mut options = Options { only: String::new(), rounds: 5, records: None, workers: 1 };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            match arg.as_str() {
                "--only" => options.only = value()?,
                "--runs" => options.rounds = number(&arg, &value()?)?,
                "--records" => options.records = Some(number(&arg, &value()?)?),
                "--workers" => options.workers = number(&arg, &value()?)?,
                _ => return Err(format!("{arg} is none of --only --runs --records --workers")),
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
    let chosen: Vec<_> = WORK.iter().filter(|(name, _)| name.contains(&options.only)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = WORK.iter().map(|(name, _)| *name).collect();
        return Err(format!("--only {} is part of none of {}", options.only, names.join(" ")));
    }
    println!("{}", table::head(options.workers, options.rounds));
    for (_, prepare) in chosen {
        let comparison = prepare();
        let records = options.records.unwrap_or(comparison.records);
        let taken = comparison.run(records, options.workers, options.rounds)?;
        println!("{}", table::rows(&comparison, &taken, records));
    }
    Ok(())
}
