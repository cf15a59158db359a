//! How often is each word said? The hello world of stream processing.
//!
//! Lines come from the topic `lines`, counts go to the topic `words`. The topics are in memory, or where the flags say.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Parser;
use highwater::prelude::*;
use highwater_examples::options::{exit_code, log_warnings};
use highwater_examples::topics::TopicOptions;

/// Counts the words of some lines, and prints how often each was said
///
/// Reads the topic `lines`, whose records are JSON strings; if it is empty, it gets four lines to begin with. Writes
/// the topic `words`: ["to",1], and ["to",2] when it is said again.
#[derive(Parser)]
#[command(name = "word_count")]
struct Options {
    #[command(flatten)]
    topics: TopicOptions,
}

const LINES: [&str; 4] =
    ["To be, or not to be:", "that is the question.", "To die, to sleep;", "to sleep, perchance to dream."];

fn main() -> ExitCode {
    log_warnings();
    exit_code("word_count", run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Cause> {
    let topics = options.topics.open()?;
    topics.create("lines", 2)?;
    topics.create("words", 2)?;
    topics.fill("lines", LINES.map(str::to_owned), String::clone)?;

    let topology = Topology::new("word-count");
    let counting = topics.of("word-count");
    counting
        .stream(&topology, "lines")
        .flat_map(words)
        .key_by(String::clone)
        .count("counts")
        .to_stream()
        .sink("words", counting.sink("words").key(|(word, _): &(String, u64)| word.clone()));
    topics.run([counting.job(topology)])?;

    let last: BTreeMap<String, u64> = topics.records("words")?.into_iter().collect();
    last.into_iter().for_each(|(word, count)| println!("{count:>3} {word}"));
    Ok(())
}

fn words(line: String) -> Vec<String> {
    let letters = |character: char| !character.is_alphanumeric();
    line.split(letters).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}
