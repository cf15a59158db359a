//! What every source keeps: reading in one go equals reading with a restart after every poll, the end is final, and
//! bad records say where they came from.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use highwater_connectors::file::File;
use highwater_connectors::generator::{Generator, RngExt};
use highwater_connectors::log::Log;
use highwater_operators::codec::Text;
use highwater_operators::error::Cause;
use highwater_operators::source::{Poll, Polled, Source};
use serde::Deserialize;

/// Holds every split of the source to the contract, and gives what it delivered in one go.
fn check<S>(source: &S) -> Result<Vec<Polled<S::Item>>, Cause>
where
    S: Source,
    S::Item: Debug + PartialEq,
    S::Position: Debug + PartialEq,
{
    let mut splits = Vec::new();
    for split in source.splits()? {
        let whole = in_one_go(source, &split)?;
        for records in [1, 3, 7] {
            let parts = with_restarts(source, &split, records)?;
            assert_eq!(parts.values, whole.values, "{split} with a restart after {records} records");
            assert_eq!(parts.bad, whole.bad, "{split} with a restart after {records} records");
        }
        splits.push(whole);
    }
    assert!(source.open("no such split", None).is_err());
    Ok(splits)
}

fn in_one_go<S: Source>(source: &S, split: &str) -> Result<Polled<S::Item>, Cause>
where
    S::Position: Debug + PartialEq,
{
    let mut polled = Polled::default();
    let mut reader = source.open(split, None)?;
    while reader.poll(1_000_000, &mut polled)? != Poll::Finished {}
    let (position, records) = (reader.position(), polled.len());
    assert_eq!(reader.poll(10, &mut polled)?, Poll::Finished, "the end is final");
    assert_eq!((reader.position(), polled.len()), (position, records), "the end is final");
    Ok(polled)
}

fn with_restarts<S: Source>(source: &S, split: &str, records: usize) -> Result<Polled<S::Item>, Cause>
where
    S::Position: Debug + PartialEq,
{
    let mut all = Polled::default();
    let mut from = None;
    loop {
        let mut reader = source.open(split, from.take())?;
        let before = all.len();
        let poll = reader.poll(records, &mut all)?;
        assert!(all.len() - before <= records, "a poll keeps to its limit");
        let kept = serde_json::to_vec(&reader.position())?;
        let position: S::Position = serde_json::from_slice(&kept)?;
        assert_eq!(position, reader.position());
        if poll == Poll::Finished {
            let mut reader = source.open(split, Some(position))?;
            assert_eq!(reader.poll(10, &mut all)?, Poll::Finished, "nothing follows the end after a restart");
            return Ok(all);
        }
        from = Some(position);
    }
}

fn file(directory: &Path, name: &str, bytes: impl AsRef<[u8]>) -> Result<PathBuf, Cause> {
    let path = directory.join(name);
    std::fs::write(&path, bytes)?;
    Ok(path)
}

/// The bad records: how many good ones were before each, its bytes and where it came from, without the directory.
fn bad<T>(polled: &Polled<T>) -> Vec<(usize, &[u8], String)> {
    polled
        .bad
        .iter()
        .map(|(at, bad)| {
            let origin = bad.origin.to_string();
            let name = origin.rfind('/').map_or(0, |slash| slash + 1);
            (*at, bad.raw.as_slice(), origin[name..].to_owned())
        })
        .collect()
}

#[test]
fn lines() -> Result<(), Cause> {
    let directory = tempfile::tempdir()?;
    let many: String = (0..40).map(|number| format!("line {number}\r\n")).collect();
    let paths = [
        file(directory.path(), "a.log", "one\n\nüwo\r\nthree")?,
        file(directory.path(), "b.log", b"one\n\n\xFFtwo\r\n\nthree")?,
        file(directory.path(), "empty.log", "")?,
        file(directory.path(), "many.log", &many)?,
    ];
    let polled = check(&File::at(&paths[..]).lines::<String, _>(Text))?;
    assert_eq!(polled[0].values, ["one", "", "üwo", "three"]);
    assert_eq!(polled[1].values, ["one", "", "", "three"]);
    assert_eq!(bad(&polled[1]), [(2, &b"\xFFtwo"[..], "b.log line 3".to_owned())]);
    assert!(polled[2].is_empty());
    assert_eq!((polled[3].values.len(), polled[3].values[39].as_str()), (40, "line 39"));
    Ok(())
}

#[test]
fn lines_that_are_too_long() -> Result<(), Cause> {
    let directory = tempfile::tempdir()?;
    let huge = "x".repeat(1_000_000);
    let path = file(directory.path(), "long.log", format!("one\n{huge}\ntwo\n{huge}"))?;
    let polled = check(&File::at(path).max_line_bytes(10_000).lines::<String, _>(Text))?.remove(0);
    assert_eq!(polled.values, ["one", "two"]);
    let start = &huge.as_bytes()[..4096];
    assert_eq!(
        bad(&polled),
        [(1, start, "long.log line 2".to_owned()), (2, start, "long.log line 4".to_owned())]
    );
    assert!(
        polled.bad[0].1.reason.contains("1000001 bytes with its line end, more than the 10000"),
        "{}",
        polled.bad[0].1.reason
    );
    Ok(())
}

#[test]
fn json_lines() -> Result<(), Cause> {
    let directory = tempfile::tempdir()?;
    let path = file(directory.path(), "n.jsonl", "1\n\n 2 \r\n{\n \t\n3\n4\n5\n6\n7\n8\n\"x\"\n9\n\n")?;
    let polled = check(&File::at(path).json_lines::<u32>())?.remove(0);
    assert_eq!(polled.values, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(
        bad(&polled),
        [(2, &b"{"[..], "n.jsonl line 4".to_owned()), (8, &b"\"x\""[..], "n.jsonl line 12".to_owned())]
    );
    Ok(())
}

#[derive(Debug, PartialEq, Deserialize)]
struct Trip {
    city: String,
    minutes: Option<u32>,
}

#[test]
fn csv() -> Result<(), Cause> {
    let directory = tempfile::tempdir()?;
    let rows =
        "minutes,city\n1,Bern\n\n2,\"Genf,\n\n\"\"GE\"\"\"\n,Chur\nx,Biel\n3,Thun,4\n5,\"Zug\n6,Visp\n7,Brig";
    let path = file(directory.path(), "trips.csv", rows)?;
    let polled = check(&File::at([path]).csv::<Trip>())?.remove(0);
    let trip = |city: &str, minutes| Trip { city: city.to_owned(), minutes };
    let expected = [
        trip("Bern", Some(1)),
        trip("Genf,\n\n\"GE\"", Some(2)),
        trip("Chur", None),
        trip("Visp", Some(6)),
        trip("Brig", Some(7)),
    ];
    assert_eq!(polled.values, expected);
    let expected: [(usize, &[u8], &str); 3] = [
        (3, b"x,Biel", "trips.csv line 8"),
        (3, b"3,Thun,4", "trips.csv line 9"),
        (3, b"5,\"Zug", "trips.csv line 10"),
    ];
    assert_eq!(bad(&polled), expected.map(|(at, raw, origin)| (at, raw, origin.to_owned())));
    Ok(())
}

#[test]
fn csv_with_nothing_but_columns_or_nothing() -> Result<(), Cause> {
    let directory = tempfile::tempdir()?;
    for text in ["", "minutes,city", "minutes,city\n", "\n\nminutes,city\n\n"] {
        let path = file(directory.path(), "none.csv", text)?;
        assert!(check(&File::at(path).csv::<Trip>())?.remove(0).is_empty());
    }
    Ok(())
}

#[test]
fn generator() -> Result<(), Cause> {
    let polled = check(&Generator::new(3, 4, |random, number| (number, random.random::<u64>())).count(101))?;
    let counts: Vec<_> = polled.iter().map(Polled::len).collect();
    assert_eq!(counts, [26, 25, 25, 25]);
    check(&Generator::new(3, 4, |_, number| number).count(0))?;
    Ok(())
}

/// A topic of three partitions: one with records and bad ones, written in pieces of different sizes; the others of one
/// record and none.
fn fill(log: &Log) -> Result<(), Cause> {
    log.topic("words", 3)?;
    let keys = keys_of_partitions(log)?;
    let append = |words: &[&[u8]]| {
        log.append_all("words", words.iter().map(|word| (Some(keys[0].to_string()), *word)))
    };
    append(&[b"one", b"two", b"\xFFthree", b""])?;
    append(&[b"four"])?;
    append(&[b"five", b"six", b"seven", b"\xFF"])?;
    log.append("words", Some(keys[1].to_string().as_bytes()), b"alone")?;
    Ok(())
}

/// A key of each partition of `words`, from another log.
fn keys_of_partitions(log: &Log) -> Result<Vec<u32>, Cause> {
    let (other, mut keys) = (Log::in_memory(), vec![None; log.partitions("words")? as usize]);
    other.topic("words", log.partitions("words")?)?;
    for key in 0_u32..100 {
        let (partition, _) = other.append("words", Some(key.to_string().as_bytes()), b"")?;
        keys[partition as usize].get_or_insert(key);
    }
    Ok(keys.into_iter().map(|key| key.expect("a hundred keys hit three partitions")).collect())
}

#[test]
fn a_log() -> Result<(), Cause> {
    let directory = tempfile::tempdir()?;
    let on_disk = Log::open(directory.path())?;
    fill(&on_disk)?;
    drop(on_disk);
    let in_memory = Log::in_memory();
    fill(&in_memory)?;
    for log in [in_memory, Log::open(directory.path())?] {
        let polled = check(&log.source("words", Text).until_end())?;
        assert_eq!(polled[0].values, ["one", "two", "", "four", "five", "six", "seven"]);
        assert_eq!(
            bad(&polled[0]),
            [
                (2, &b"\xFFthree"[..], "words partition 0 offset 2".to_owned()),
                (7, &b"\xFF"[..], "words partition 0 offset 8".to_owned())
            ]
        );
        assert_eq!(polled[1].values, ["alone"]);
        assert!(polled[2].is_empty());
    }
    Ok(())
}

mod any_bytes {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is in a file: no panic, no difference by restarts, and each line is a record or a bad one.
        #[test]
        fn are_read_whole(text in "[a1,\"\r\n]{0,60}", longest in 1_usize..20) {
            let directory = tempfile::tempdir().expect("a directory");
            let path = file(directory.path(), "any", &text).expect("a file");
            let source = || File::at(&path).max_line_bytes(longest);
            let lines = check(&source().lines::<String, _>(Text)).expect("lines").remove(0);
            prop_assert_eq!(lines.len(), text.split_inclusive('\n').count());
            check(&source().json_lines::<u32>()).expect("JSON lines");
            let csv = source().csv::<(String, String)>();
            if csv.open(&path.to_string_lossy(), None).is_ok() {
                check(&csv).expect("CSV");
            }
        }
    }
}
