//! Records for examples: a letter with a number, written as `a1 b20`. It does not know what is looked for among them.

use std::time::Duration;

use highwater_operators::keyed::KeyedStream;
use highwater_operators::pattern::{One, Pattern};
use highwater_operators::stream::Stream;
use highwater_operators::testkit::timed_output_of;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    pub letter: char,
    pub number: i64,
}

/// Reads `a1 b20`; `b` alone is `b0`.
pub fn letters(text: &str) -> Vec<Letter> {
    let read = |word: &str| {
        let (letter, number) = word.split_at(1);
        let letter = letter.chars().next().expect("a word is not empty");
        Letter { letter, number: if number.is_empty() { 0 } else { number.parse().expect("a number") } }
    };
    text.split_whitespace().map(read).collect()
}

/// A record each millisecond, from 0 on.
pub fn each_millisecond(text: &str) -> Vec<(i64, Letter)> {
    letters(text).into_iter().zip(0..).map(|(letter, time)| (time, letter)).collect()
}

pub fn is(letter: char) -> impl Fn(&Letter) -> bool + Clone + Send + Sync + 'static {
    move |record| record.letter == letter
}

/// A stage called by the letter that it takes.
pub fn begin(letter: char) -> Pattern<Letter, (), One> {
    Pattern::begin(&letter.to_string(), is(letter))
}

pub fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn show(record: &Letter) -> String {
    format!("{}{}", record.letter, record.number)
}

pub fn show_all(records: &[&Letter]) -> String {
    records.iter().map(|record| show(record)).collect::<Vec<_>>().join(" ")
}

/// `-` for none.
pub fn show_maybe(record: Option<&Letter>) -> String {
    record.map_or("-".to_owned(), show)
}

/// What is found among records that come each millisecond, all of one key; sorted, because matches of one time have no
/// order.
pub fn found(
    text: &str,
    search: impl FnOnce(KeyedStream<(), Letter>) -> KeyedStream<(), String>,
) -> Vec<String> {
    let found = found_at(each_millisecond(text), search);
    let mut found: Vec<String> = found.into_iter().map(|(_, found)| found).collect();
    found.sort();
    found
}

/// The same of records with times; each match with its own.
pub fn found_at(
    records: Vec<(i64, Letter)>,
    search: impl FnOnce(KeyedStream<(), Letter>) -> KeyedStream<(), String>,
) -> Vec<(i64, String)> {
    timed_output_of(records, |stream: Stream<Letter>| search(stream.key_by(|_| ())).values())
}
