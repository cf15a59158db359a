//! What a log finds in its directory when it is opened, and the receipts that its sinks are given.
//!
//! A journal has checksums that begin with a random number, so bytes from nothing get nowhere: the input says what is
//! changed in one that was written a moment ago.

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use highwater::operators::batch::Batch;
use highwater::operators::sink::{Publish, Sink};
use highwater::prelude::*;
use highwater::state::Epoch;
use tempfile::TempDir;

const PARTITIONS: u32 = 2;

thread_local! {
    static WRITTEN: RefCell<Option<Written>> = const { RefCell::new(None) };
}

/// A log of some appends, a published epoch and a staged one.
struct Written {
    folder: TempDir,
    journal: Vec<u8>,
    note: Vec<u8>,
    /// The values of each partition.
    values: Vec<Vec<Vec<u8>>>,
    receipt: Vec<u8>,
}

fn write() -> Written {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let log = Log::open(folder.path()).expect("a log can be made");
    log.topic("t", PARTITIONS).expect("a topic can be made");
    let sink = log.producer("job").sink("t", Raw);
    sink.recover(Epoch(0), &[]).expect("it begins");
    let mut writer = sink.open(0).expect("it opens");
    let mut stage = |epoch: u64| {
        let records = (0..3).map(|number| vec![epoch as u8, number]).collect();
        writer.write(&mut Batch::untimed(records)).expect("it takes them");
        writer.stage(Epoch(epoch)).expect("it stages them")
    };
    let first = stage(1);
    log.append_all("t", [(Some("key"), "one"), (None, "two"), (None, "three")]).expect("there is room");
    sink.publish(Epoch(1), &[first]).expect("it publishes");
    log.append("t", None, b"four").expect("there is room");
    let receipt = stage(2);
    let values = values_of(&log);
    let read = |name: &str| fs::read(folder.path().join(name)).expect("it is there");
    let (journal, note) = (read("journal"), read("synced"));
    Written { folder, journal, note, values, receipt }
}

fn values_of(log: &Log) -> Vec<Vec<Vec<u8>>> {
    let partition = |number| {
        let records = log.read("t", number, 0, usize::MAX).expect("what a log opens with can be read");
        records.into_iter().map(|record| record.value).collect()
    };
    (0..PARTITIONS).map(partition).collect()
}

/// Whatever is changed, cut off or added: a log is refused, or holds the first records of what was written; and
/// whatever receipts say, nothing is in it that was not.
pub fn journal(bytes: &[u8]) {
    WRITTEN.with_borrow_mut(|written| {
        let written = written.get_or_insert_with(write);
        let (changes, bytes) = super::part(bytes);
        let (added, bytes) = super::part(bytes);
        let (cut, bytes) = super::part(bytes);
        let (noted, bytes) = super::first(bytes);
        let (receipt, bytes) = super::part(bytes);

        let mut journal = written.journal.clone();
        for change in changes.chunks_exact(3) {
            let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % journal.len();
            journal[at] ^= change[2];
        }
        journal.truncate(journal.len().saturating_sub(cut.iter().copied().map(usize::from).sum()));
        journal.extend_from_slice(added);
        let folder = written.folder.path();
        fs::write(folder.join("journal"), &journal).expect("a file can be written");
        match noted % 4 {
            0 => fs::remove_file(folder.join("synced")).unwrap_or_default(),
            1 => fs::write(folder.join("synced"), bytes).expect("a file can be written"),
            _ => fs::write(folder.join("synced"), &written.note).expect("a file can be written"),
        }
        let receipts = match noted / 4 % 2 {
            0 => [receipt.to_vec(), bytes.to_vec()],
            _ => [written.receipt.clone(), receipt.to_vec()],
        };
        open(folder, written, &receipts);
    });
}

fn open(folder: &Path, written: &Written, receipts: &[Vec<u8>]) {
    let Ok(log) = Log::open(folder) else { return };
    if log.topics().is_empty() {
        return;
    }
    let found = values_of(&log);
    for (found, all) in found.iter().zip(&written.values) {
        assert!(all.starts_with(found), "{found:?} are not the first of {all:?}");
    }
    let recovered = log.producer("job").sink::<Vec<u8>>("t", Raw).recover(Epoch(2), receipts);
    let values = values_of(&log);
    for (found, before) in values.iter().zip(&found) {
        assert!(found.starts_with(before), "something is gone");
        assert!(found.len() <= before.len() + 3 && (recovered.is_ok() || found == before), "something came");
    }
}
