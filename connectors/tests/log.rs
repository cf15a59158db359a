//! A log on its own: topics, offsets, limits, who may open it; held to a naive model, and read while it is written.
//!
//! Where these fail, programs that talk through a log lose records, see them twice or out of order, or see halves.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use highwater_connectors::log::{Log, LogError, LogSink, PARTITIONS_MAX, RECORD_BYTES_MAX};
use highwater_operators::batch::Batch;
use highwater_operators::codec::Raw;
use highwater_operators::error::Cause;
use highwater_operators::sink::{Publish, Sink};
use highwater_operators::source::{Poll, Polled, Source};
use highwater_state::Epoch;

#[path = "log/model.rs"]
mod model;

fn values(log: &Log, topic: &str, partition: u32) -> Result<Vec<String>, LogError> {
    let records = log.read(topic, partition, 0, usize::MAX)?;
    Ok(records.into_iter().map(|record| String::from_utf8_lossy(&record.value).into_owned()).collect())
}

#[test]
fn offsets_are_dense_and_survive_the_process() -> Result<(), Cause> {
    let directory = tempfile::tempdir()?;
    let log = Log::open(directory.path().join("made/anew"))?;
    log.topic("a", 2)?;
    log.topic("b", 1)?;
    log.topic("a", 2)?;
    // Without a key in turn.
    let places: Vec<_> = (0..4).map(|_| log.append("a", None, b"x")).collect::<Result<_, _>>()?;
    assert_eq!(places, [(0, 0), (1, 0), (0, 1), (1, 1)]);
    let (partition, offset) = log.append("a", Some(b""), b"with an empty key")?;
    assert_eq!(offset, 2);
    log.append_all("b", [(Some("k"), "one"), (None, "two")])?;
    log.append_all::<&str, &str>("b", [])?;
    let holds = |log: &Log| -> Result<(), LogError> {
        assert_eq!(log.topics(), ["a", "b"]);
        assert_eq!((log.end("a", partition)?, log.end("b", 0)?), (3, 2));
        assert_eq!(log.read("a", partition, 2, 9)?[0].key, Some(Vec::new()));
        assert_eq!(values(log, "b", 0)?, ["one", "two"]);
        assert_eq!(log.read("b", 0, 1, 1)?[0].offset, 1);
        assert!(log.read("b", 0, 2, 1)?.is_empty());
        assert!(log.read("b", 0, 0, 0)?.is_empty());
        Ok(())
    };
    holds(&log)?;
    drop(log);
    holds(&Log::open(directory.path().join("made/anew"))?)?;
    Ok(())
}

#[test]
fn what_cannot_be_is_refused() -> Result<(), Cause> {
    let log = Log::in_memory();
    log.topic("a", 2)?;
    let refused = |outcome: Result<(), LogError>| outcome.expect_err("it is refused").to_string();
    assert!(refused(log.topic("a", 3)).contains("`a` has 2 partitions, not 3"));
    for name in ["", "a b", "a/b", "ä", &"x".repeat(201)] {
        assert!(refused(log.topic(name, 1)).contains("cannot be a name"), "{name}");
    }
    for partitions in [0, PARTITIONS_MAX + 1] {
        assert!(refused(log.topic("b", partitions)).contains("a topic has 1 to 1024"));
    }
    assert!(refused(log.append("b", None, b"").map(|_| ())).contains("no topic `b`"));
    assert!(refused(log.append_all::<&str, &str>("b", [])).contains("no topic `b`"));
    assert!(refused(log.end("a", 2).map(|_| ())).contains("no `partition-2`"));
    assert!(refused(log.read("a", 0, 1, 1).map(|_| ())).contains("ends at offset 0, and 1 was asked for"));
    let position = highwater_connectors::log::LogPosition { next_offset: 1 };
    let opened = log.source("a", Raw).open("partition-0", Some(position));
    assert!(opened.err().expect("it is refused").to_string().contains("older copy"));
    Ok(())
}

#[test]
fn limits_refuse_and_nothing_is_half_taken() -> Result<(), Cause> {
    let directory = tempfile::tempdir()?;
    for log in [Log::in_memory(), Log::open(directory.path())?] {
        log.topic("a", 1)?;
        let large = vec![b'x'; RECORD_BYTES_MAX];
        log.append("a", None, &large)?;
        let error = log.append("a", Some(b"k"), &large).expect_err("it is too large");
        assert!(matches!(error, LogError::RecordTooLarge { bytes, .. } if bytes == RECORD_BYTES_MAX + 1));
        let error = log.append_all("a", [(None, &b"fits"[..]), (Some(&b"k"[..]), &large)]);
        assert!(error.is_err());
        assert_eq!(log.end("a", 0)?, 1);

        let log = log.topic_bytes(RECORD_BYTES_MAX as u64 + 16 + 3 * 20);
        let sink = log.producer("job").sink("a", Raw);
        sink.recover(Epoch(0), &[])?;
        let mut writer = sink.open(0)?;
        writer.write(&mut Batch::untimed(vec![b"four".to_vec(); 2]))?;
        let receipt = writer.stage(Epoch(1))?;
        log.append("a", None, b"four")?;
        // What is staged has its room.
        let error = log.append("a", None, b"").expect_err("it is full");
        assert!(matches!(error, LogError::Full { .. }), "{error}");
        writer.write(&mut Batch::untimed(vec![b"four".to_vec()]))?;
        let error = writer.stage(Epoch(2)).expect_err("it is full").to_string();
        assert!(error.contains("raise the limit"), "{error}");
        sink.publish(Epoch(1), &[receipt])?;
        assert_eq!(log.end("a", 0)?, 4);
        drop(writer);
        sink.recover(Epoch(1), &[])?;
        let log = log.topic_bytes(1 << 30);
        log.append("a", None, b"four")?;
        let mut writer = sink.open(0)?;
        let error = writer.write(&mut Batch::untimed(vec![b"ok".to_vec(), vec![0; RECORD_BYTES_MAX + 1]]));
        let error = error.expect_err("it is too large").to_string();
        assert!(error.contains("record 2 of worker 0 for topic `a`"), "{error}");
    }
    Ok(())
}

#[test]
fn one_opens_a_directory_at_a_time() -> Result<(), Cause> {
    let directory = tempfile::tempdir()?;
    let log = Log::open(directory.path())?;
    let error = Log::open(directory.path()).expect_err("it is open").to_string();
    assert!(error.contains("is open already"), "{error}");
    let clone = log.clone();
    drop(log);
    assert!(Log::open(directory.path()).is_err());
    drop(clone);
    Log::open(directory.path())?;
    let other = tempfile::tempdir()?;
    fs::write(other.path().join("journal"), "something else that is as long as a header\n")?;
    let error = Log::open(other.path()).expect_err("it is no log").to_string();
    assert!(error.contains("does not begin as a journal"), "{error}");
    Ok(())
}

#[test]
fn a_log_is_its_owners_only() -> Result<(), Cause> {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir()?;
    let made = directory.path().join("log");
    let _log = Log::open(&made)?;
    assert_eq!(fs::metadata(&made)?.permissions().mode() & 0o777, 0o700);
    Ok(())
}

#[test]
fn a_source_begins_at_the_end_once_and_waits_for_what_comes() -> Result<(), Cause> {
    let log = Log::in_memory();
    log.topic("a", 1)?;
    log.append("a", None, b"before")?;
    let source = log.source("a", Raw).from_latest();
    let mut reader = source.open("partition-0", None)?;
    let mut polled = Polled::default();
    assert_eq!(reader.poll(10, &mut polled)?, Poll::Pending);
    log.append("a", None, b"after")?;
    assert_eq!(reader.poll(10, &mut polled)?, Poll::Pending);
    assert_eq!(reader.poll(1, &mut polled)?, Poll::Pending);
    assert_eq!(polled.values, [b"after"]);
    // A job that fails before its first epoch begins once more, and leaves nothing out.
    let mut again = Polled::default();
    source.open("partition-0", None)?.poll(10, &mut again)?;
    assert_eq!(again.values, [b"after"]);
    let mut first = Polled::default();
    assert_eq!(log.source("a", Raw).open("partition-0", None)?.poll(2, &mut first)?, Poll::Ready);
    assert_eq!(first.values.len(), 2);
    Ok(())
}

/// The number of records of each partition, the last one first.
fn ends(log: &Log, partitions: u32) -> Result<Vec<u64>, LogError> {
    (0..partitions).rev().map(|partition| log.end("a", partition)).collect()
}

#[test]
fn many_append_while_many_read() -> Result<(), Cause> {
    const WRITERS: usize = 4;
    const EACH: u64 = 200;
    let directory = tempfile::tempdir()?;
    let log = Log::open(directory.path())?;
    log.topic("a", 3)?;
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let log = log.clone();
            scope.spawn(move || {
                for number in 0..EACH {
                    let key = format!("{writer}-{}", number % 5);
                    let value = format!("{writer} {number}");
                    let (partition, offset) =
                        log.append("a", Some(key.as_bytes()), value.as_bytes()).unwrap();
                    // It is there for whoever knows of it.
                    assert_eq!(log.read("a", partition, offset, 1).unwrap()[0].value, value.as_bytes());
                }
            });
        }
        for _ in 0..2 {
            let log = log.clone();
            scope.spawn(move || {
                let (mut next, mut seen) = ([0; 3], BTreeMap::new());
                while next.iter().sum::<u64>() < WRITERS as u64 * EACH {
                    for (partition, next) in next.iter_mut().enumerate() {
                        for record in log.read("a", partition as u32, *next, 7).unwrap() {
                            assert_eq!(record.offset, *next);
                            *next += 1;
                            let text = String::from_utf8(record.value).unwrap();
                            let number: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
                            let last = seen.insert(record.key, number);
                            assert!(last.is_none_or(|last| last < number), "the order of a key");
                        }
                    }
                }
            });
        }
    });
    drop(log);
    let log = Log::open(directory.path())?;
    assert_eq!(ends(&log, 3)?.iter().sum::<u64>(), WRITERS as u64 * EACH);
    Ok(())
}

#[test]
fn an_epoch_shows_in_all_partitions_at_once() -> Result<(), Cause> {
    let directory = tempfile::tempdir()?;
    let log = Log::open(directory.path())?;
    log.topic("a", 4)?;
    let sink: LogSink<Vec<u8>> = log.producer("job").sink("a", Raw);
    sink.recover(Epoch(0), &[])?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<(), Cause> {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // Looked at from the last to the first: what is seen later is not less.
                let ends = ends(&log, 4).unwrap();
                assert!(ends.is_sorted(), "{ends:?}");
            }
        });
        let mut writer = sink.open(0)?;
        let outcome = (1..=300).try_for_each(|epoch| -> Result<(), Cause> {
            writer.write(&mut Batch::untimed(vec![b"x".to_vec(); 4]))?;
            let receipt = writer.stage(Epoch(epoch))?;
            sink.publish(Epoch(epoch), &[receipt])
        });
        done.store(true, Ordering::Relaxed);
        outcome
    })?;
    assert_eq!(ends(&log, 4)?, [300; 4]);
    Ok(())
}

/// A copy of a log's files, as a kill would leave them.
fn copy_of(directory: &Path) -> Result<tempfile::TempDir, Cause> {
    let copy = tempfile::tempdir()?;
    for name in ["journal", "synced"] {
        fs::copy(directory.join(name), copy.path().join(name))?;
    }
    Ok(copy)
}

/// What was appended and returned is there after a kill, and a cut inside the last record takes that one only.
#[test]
fn an_append_that_returned_is_durable_and_one_that_did_not_is_whole_or_not_there() -> Result<(), Cause> {
    let directory = tempfile::tempdir()?;
    let log = Log::open(directory.path())?;
    log.topic("a", 1)?;
    log.append("a", None, b"first")?;
    let before = copy_of(directory.path())?;
    log.append_all("a", [(None::<&str>, "second"), (None, "third")])?;
    let after = copy_of(directory.path())?;
    let journal = fs::read(after.path().join("journal"))?;
    let length = fs::read(before.path().join("journal"))?.len();
    let note = fs::read(after.path().join("synced"))?;
    assert_eq!(note[..8], (journal.len() as u64).to_le_bytes(), "what has returned is synced");
    for end in length..=journal.len() {
        fs::write(before.path().join("journal"), &journal[..end])?;
        let log = Log::open(before.path())?;
        let whole = end == journal.len();
        let expected: &[&str] = if whole { &["first", "second", "third"] } else { &["first"] };
        assert_eq!(values(&log, "a", 0)?, expected);
        assert_eq!(log.append("a", None, b"next")?, (0, expected.len() as u64));
        // Back to what the kill left.
        drop(log);
        fs::remove_file(before.path().join("synced"))?;
    }
    assert_eq!(values(&Log::open(after.path())?, "a", 0)?.len(), 3);
    Ok(())
}
