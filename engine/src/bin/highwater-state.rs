//! What is in a state directory or a savepoint, on the command line.
//!
//! Invariant: it changes nothing, except where it is told to drop states, and never works on a directory that a
//! job uses. It knows no types: it shows rows as JSON by the shapes that were kept with them.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use highwater::state::catalog::drop_orphans;
use highwater::state::reader::StateSummary;
use highwater::state::{StateError, StateReader};

const USAGE: &str = "\
What is in the state directory of a stopped job, or in a savepoint

Usage:
  highwater-state list DIR               every state: rows, bytes, and the shape of keys and values
  highwater-state read DIR NAME [KEY]    the rows of a key (JSON, or text as it is); without one, the first 20 rows
  highwater-state export DIR NAME        all rows, one JSON object a line
  highwater-state orphans DIR            the states that the program which ran last did not have
  highwater-state drop DIR NAME...       deletes such states from a state directory

Rows: {\"key\":...,\"value\":...}, with \"time\" before it in windows (their end) and timers. Where nothing is known
of the types, \"key_hex\" and \"value_hex\".
";

/// How many rows `read` shows without a key.
const ROWS_SHOWN: usize = 20;

/// Why there is nothing more to say.
enum Failure {
    Usage(String),
    State(StateError),
    Output(io::Error),
    Nothing(String),
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Failure::State(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Output(error)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|it| it.to_string_lossy().into_owned()).collect();
    let mut out = BufWriter::new(io::stdout().lock());
    let done = run(&arguments, &mut out).and_then(|()| Ok(out.flush()?));
    let message = match done {
        Ok(()) => return ExitCode::SUCCESS,
        // Whoever read has read enough.
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => {
            eprintln!("highwater-state: {message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
        Err(Failure::State(error)) => error.to_string(),
        Err(Failure::Output(error)) => format!("the output cannot be written: {error}"),
        Err(Failure::Nothing(message)) => message,
    };
    eprintln!("highwater-state: {message}");
    ExitCode::FAILURE
}

fn run(arguments: &[String], out: &mut impl Write) -> Result<(), Failure> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["--help" | "-h" | "help", ..] | [_, "--help" | "-h"] => Ok(write!(out, "{USAGE}")?),
        ["--version" | "-V"] => Ok(writeln!(out, "highwater-state {}", env!("CARGO_PKG_VERSION"))?),
        ["list", directory] => list(&StateReader::open(Path::new(directory))?, out),
        ["read", directory, name] => first_rows(&StateReader::open(Path::new(directory))?, name, out),
        ["read", directory, name, key] => rows_of(&StateReader::open(Path::new(directory))?, name, key, out),
        ["export", directory, name] => {
            for row in StateReader::open(Path::new(directory))?.json_rows(name)? {
                writeln!(out, "{}", row?.line)?;
            }
            Ok(())
        }
        ["orphans", directory] => orphans(&StateReader::open(Path::new(directory))?, out),
        ["drop", directory, names @ ..] if !names.is_empty() => drop_states(directory, names, out),
        [] => Err(Failure::Usage("say what to do".to_owned())),
        [command, ..] => Err(Failure::Usage(format!("`{command}` with these arguments is no command"))),
    }
}

fn list(reader: &StateReader, out: &mut impl Write) -> Result<(), Failure> {
    if let Some(savepoint) = reader.savepoint() {
        let (of, made_at) = (savepoint.topology(), savepoint.made_at());
        writeln!(out, "savepoint of the topology `{of}`, made {made_at}")?;
    }
    writeln!(out, "epoch {}", reader.epoch().0)?;
    let states = reader.states()?;
    let width = states.iter().map(|state| state.name.len()).max().unwrap_or(0).max("STATE".len());
    writeln!(out, "{:width$}  {:8}  {:>12}  {:>14}  SHAPE", "STATE", "FAMILY", "ROWS", "BYTES")?;
    for StateSummary { name, family, shape, rows, bytes, used } in &states {
        let orphan = if *used == Some(false) { "  (orphan)" } else { "" };
        writeln!(out, "{name:width$}  {family:8}  {rows:>12}  {bytes:>14}  {shape}{orphan}")?;
    }
    Ok(())
}

fn first_rows(reader: &StateReader, name: &str, out: &mut impl Write) -> Result<(), Failure> {
    let mut rows = reader.json_rows(name)?;
    for row in rows.by_ref().take(ROWS_SHOWN) {
        writeln!(out, "{}", row?.line)?;
    }
    if rows.next().is_some() {
        out.flush()?;
        eprintln!("There are more than {ROWS_SHOWN} rows; `export` writes all of them.");
    }
    Ok(())
}

fn rows_of(reader: &StateReader, name: &str, key: &str, out: &mut impl Write) -> Result<(), Failure> {
    let mut found = false;
    for row in reader.json_rows_of(name, key)? {
        writeln!(out, "{}", row?.line)?;
        found = true;
    }
    if found {
        Ok(())
    } else {
        Err(Failure::Nothing(format!("the state `{name}` has no row of the key {key}")))
    }
}

fn orphans(reader: &StateReader, out: &mut impl Write) -> Result<(), Failure> {
    let Some(orphans) = reader.orphans() else {
        let reason =
            "it is not known which states the program has that ran last; start it once with this version";
        return Err(Failure::Nothing(reason.to_owned()));
    };
    orphans.iter().try_for_each(|name| writeln!(out, "{name}"))?;
    Ok(())
}

fn drop_states(directory: &str, names: &[&str], out: &mut impl Write) -> Result<(), Failure> {
    if highwater::state::Savepoint::is_at(Path::new(directory)) {
        return Err(Failure::Nothing(
            "a savepoint is not changed; drop states from a state directory".to_owned(),
        ));
    }
    let known = StateReader::open(Path::new(directory))?;
    for name in names {
        // A name that is not there is a mistake here, and dropping the others would hide it.
        known.json_rows(name)?;
    }
    drop(known);
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    for name in drop_orphans(Path::new(directory), &names)? {
        writeln!(out, "dropped {name}")?;
    }
    Ok(())
}
