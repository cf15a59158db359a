//! Files with any content: lines, JSON lines and CSV, read in one go, in small steps, and from the middle on.

use std::cell::RefCell;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use highwater::connectors::file::FilePosition;
use highwater::operators::source::{Poll, Polled, Source};
use highwater::prelude::*;
use highwater::state::persist;
use highwater_examples::iot;
use tempfile::TempDir;

thread_local! {
    /// One folder for all inputs of a thread: making one costs more than an input.
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

fn file_of(content: &[u8]) -> PathBuf {
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| tempfile::tempdir().expect("a folder can be made"));
        let path = folder.path().join("input");
        std::fs::write(&path, content).expect("a file can be written");
        path
    })
}

type Records = Vec<Result<String, Vec<u8>>>;

/// Good and bad records in their order; a good one as text, because `NaN` is not equal to itself.
fn told<T: Debug>(polled: Polled<T>) -> Records {
    let mut records: Records = polled.values.iter().map(|value| Ok(format!("{value:?}"))).collect();
    for (before, bad) in polled.bad.into_iter().rev() {
        records.insert(before, Err(bad.raw));
    }
    records
}

/// Reads to the end, `limit` records at a time; each part with the position behind it.
fn read<S>(source: &S, from: Option<FilePosition>, limit: usize) -> Option<Vec<(Records, FilePosition)>>
where
    S: Source<Position = FilePosition>,
    S::Item: Debug,
{
    let splits = source.splits().expect("the file is there");
    let mut reader = source.open(&splits[0], from).ok()?;
    let mut parts = Vec::new();
    loop {
        let mut polled = Polled::default();
        let outcome = reader.poll(limit, &mut polled).expect("the file can be read");
        parts.push((told(polled), reader.position()));
        if outcome == Poll::Finished {
            return Some(parts);
        }
    }
}

fn all(parts: &[(Records, FilePosition)]) -> Records {
    parts.iter().flat_map(|(records, _)| records.clone()).collect()
}

/// However the file is read, the records are the same, also from any position on that was reached; and a position
/// that never was is refused or read from.
fn try_source<S>(source: S, limit: usize, position: &[u8])
where
    S: Source<Position = FilePosition>,
    S::Item: Debug,
{
    if let Ok(position) = persist::decode::<FilePosition>("position", position) {
        read(&source, Some(position), 1000);
    }
    let Some(parts) = read(&source, None, limit) else { return };
    let whole = all(&parts);
    let from_the_start = read(&source, None, 1000).expect("it was opened before");
    assert_eq!(all(&from_the_start), whole);
    let (before, behind) = parts.split_at(parts.len() / 2);
    let Some((_, position)) = before.last() else { return };
    let rest = read(&source, Some(*position), 1000).expect("a position that was reached can be read from");
    assert_eq!(all(&rest), all(behind));
}

fn longest(byte: u8) -> usize {
    if byte < 128 { usize::from(byte) } else { 1 << 20 }
}

fn file(path: &Path, longest_line: u8) -> File {
    File::at(path).max_line_bytes(longest(longest_line))
}

/// CSV: rows of texts and numbers, and those of a sensor.
pub fn csv(bytes: &[u8]) {
    let (which, bytes) = super::first(bytes);
    let (longest_line, bytes) = super::first(bytes);
    let (position, content) = super::part(bytes);
    let path = file_of(content);
    let limit = usize::from(which >> 4) + 1;
    match which % 3 {
        0 => try_source(file(&path, longest_line).csv::<(String, u32)>(), limit, position),
        1 => try_source(file(&path, longest_line).csv::<iot::Row>(), limit, position),
        _ => {
            type Row = std::collections::BTreeMap<String, Option<f64>>;
            try_source(file(&path, longest_line).csv::<Row>(), limit, position);
        }
    }
}

/// Lines as they are, as text, and as JSON.
pub fn lines(bytes: &[u8]) {
    let (which, bytes) = super::first(bytes);
    let (longest_line, bytes) = super::first(bytes);
    let (position, content) = super::part(bytes);
    let path = file_of(content);
    let limit = usize::from(which >> 4) + 1;
    match which % 3 {
        0 => try_source(file(&path, longest_line).lines::<Vec<u8>, _>(Raw), limit, position),
        1 => try_source(file(&path, longest_line).lines::<String, _>(Text), limit, position),
        _ => try_source(file(&path, longest_line).json_lines::<(u32, Option<String>)>(), limit, position),
    }
}
