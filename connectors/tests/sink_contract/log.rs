//! The contract of sinks, held by a log's: in a directory, where a crash is a copy of its files, and in memory, where
//! it is the end of a run.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

use highwater_connectors::log::{Log, LogSink};
use highwater_operators::batch::Batch;
use highwater_operators::codec::Text;
use highwater_operators::error::Cause;
use highwater_operators::sink::{Publish, Sink, Writer};
use highwater_state::{Epoch, Timestamp};

use crate::{FIRST, Receipts, SECOND};

/// How long the journal's own header is.
const FILE_HEADER: usize = 24;

/// A log in a directory, and what a job does with it.
struct Place {
    directory: tempfile::TempDir,
    /// Opened when it is looked at.
    log: RefCell<Option<Log>>,
}

/// A run of the job: the sink and the writers of two workers.
struct Run {
    sink: LogSink<String>,
    writers: Vec<Box<dyn Writer<String>>>,
}

impl Place {
    fn new() -> Result<Self, Cause> {
        let place = Place { directory: tempfile::tempdir()?, log: RefCell::default() };
        place.log()?.topic("out", 1)?;
        Ok(place)
    }

    fn log(&self) -> Result<Log, Cause> {
        let mut log = self.log.borrow_mut();
        match &*log {
            Some(log) => Ok(log.clone()),
            None => Ok(log.insert(Log::open(self.directory.path())?).clone()),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn journal(&self) -> Result<Vec<u8>, Cause> {
        Ok(fs::read(self.file("journal"))?)
    }

    /// Whether all that was written is synced, as the note says.
    fn is_synced(&self) -> Result<bool, Cause> {
        let note = fs::read(self.file("synced"))?;
        let noted = note.first_chunk().map(|noted| u64::from_le_bytes(*noted));
        Ok(noted == Some(self.journal()?.len() as u64))
    }

    /// A copy of all files, as a crash at this moment would leave them.
    fn copy(&self) -> Result<Place, Cause> {
        let copy = Place { directory: tempfile::tempdir()?, log: RefCell::default() };
        for name in ["journal", "synced"] {
            fs::copy(self.file(name), copy.file(name))?;
        }
        Ok(copy)
    }

    /// A copy with another journal.
    fn with_journal(&self, journal: &[u8]) -> Result<Place, Cause> {
        let copy = self.copy()?;
        fs::write(copy.file("journal"), journal)?;
        Ok(copy)
    }

    fn lines(&self) -> Result<String, Cause> {
        let records = self.log()?.read("out", 0, 0, usize::MAX)?;
        Ok(records
            .into_iter()
            .map(|record| String::from_utf8_lossy(&record.value).into_owned() + "\n")
            .collect())
    }

    fn start(&self, last: u64, receipts: &[Vec<u8>]) -> Result<Run, Cause> {
        self.start_as("job", last, receipts)
    }

    fn start_as(&self, name: &str, last: u64, receipts: &[Vec<u8>]) -> Result<Run, Cause> {
        let sink = self.log()?.producer(name).sink("out", Text);
        sink.recover(Epoch(last), receipts)?;
        let writers = (0..2).map(|worker| sink.open(worker)).collect::<Result<_, _>>()?;
        Ok(Run { sink, writers })
    }

    fn refused(&self, last: u64, receipts: &[Vec<u8>]) -> String {
        self.start(last, receipts).err().expect("the start is refused").to_string()
    }

    /// The topic is `expected` after a start and another one, and the next epoch follows it.
    fn recovers(&self, last: u64, receipts: &[Vec<u8>], expected: &str) -> Result<(), Cause> {
        drop(self.start(last, receipts)?);
        assert_eq!(self.lines()?, expected);
        self.log.borrow_mut().take();
        let mut run = self.start(last, receipts)?;
        assert_eq!(self.lines()?, expected);
        let receipts = run.stage(last + 1)?;
        assert_eq!(self.lines()?, expected);
        run.sink.publish(Epoch(last + 1), &receipts)?;
        let next: String = ["0-a", "0-b", "1-a", "1-b"].map(|line| format!("{}-{line}\n", last + 1)).concat();
        assert_eq!(self.lines()?, format!("{expected}{next}"));
        Ok(())
    }
}

impl Run {
    fn write(&mut self, epoch: u64) -> Result<(), Cause> {
        for (worker, writer) in self.writers.iter_mut().enumerate() {
            let line = |name: &str| format!("{epoch}-{worker}-{name}");
            let mut batch = Batch::untimed(vec![line("a"), line("b")]);
            writer.write(&mut batch)?;
            assert!(batch.is_empty());
        }
        Ok(())
    }

    fn stage(&mut self, epoch: u64) -> Result<Receipts, Cause> {
        self.write(epoch)?;
        self.writers.iter_mut().map(|writer| writer.stage(Epoch(epoch))).collect()
    }
}

/// A place where epoch 1 is published and epoch 2 is staged; the receipts of both.
fn staged() -> Result<(Place, Run, Receipts, Receipts), Cause> {
    let place = Place::new()?;
    let mut run = place.start(0, &[])?;
    let first = run.stage(1)?;
    run.sink.publish(Epoch(1), &first)?;
    let second = run.stage(2)?;
    Ok((place, run, first, second))
}

#[test]
fn what_is_staged_is_invisible_and_publishing_twice_is_publishing_once() -> Result<(), Cause> {
    let (place, run, first, second) = staged()?;
    assert_eq!(place.lines()?, FIRST);
    run.sink.publish(Epoch(2), &second)?;
    assert_eq!(place.lines()?, SECOND);
    let journal = place.journal()?;
    run.sink.publish(Epoch(2), &second)?;
    run.sink.publish(Epoch(1), &first)?;
    assert_eq!(place.lines()?, SECOND);
    assert_eq!(place.journal()?, journal);
    Ok(())
}

/// Every step of two epochs, each cut at every byte that it had written: what a kill leaves.
#[test]
fn a_crash_at_every_byte_of_every_step_leaves_whole_epochs() -> Result<(), Cause> {
    let place = Place::new()?;
    let (mut before, mut cuts) = (place.copy()?, 0);
    let mut run = place.start(0, &[])?;
    let mut step = |place: &Place, last: u64, receipts: &[Vec<u8>], expected: &str| -> Result<(), Cause> {
        let journal = place.journal()?;
        for end in before.journal()?.len()..=journal.len() {
            before.with_journal(&journal[..end])?.recovers(last, receipts, expected)?;
            cuts += 1;
        }
        place.copy()?.recovers(last, receipts, expected)?;
        before = place.copy()?;
        Ok(())
    };
    step(&place, 0, &[], "")?;
    let (mut committed, mut expected) = (Vec::new(), String::new());
    for epoch in 1..=2 {
        run.write(epoch)?;
        step(&place, epoch - 1, &committed, &expected)?;
        let mut receipts = Vec::new();
        for worker in 0..2 {
            receipts.push(run.writers[worker].stage(Epoch(epoch))?);
            assert!(place.is_synced()?, "what is staged is durable");
            step(&place, epoch - 1, &committed, &expected)?;
        }
        committed = receipts;
        expected += &["0-a", "0-b", "1-a", "1-b"].map(|line| format!("{epoch}-{line}\n")).concat();
        run.sink.publish(Epoch(epoch), &committed)?;
        assert!(place.is_synced()?, "what is published is durable");
        step(&place, epoch, &committed, &expected)?;
    }
    assert!(cuts > 500, "{cuts}");
    Ok(())
}

/// What was synced is there, or the log is refused with the place: whatever byte changes, wherever it is cut.
#[test]
fn damage_to_what_was_synced_is_refused_at_its_place() -> Result<(), Cause> {
    let (place, run, _, second) = staged()?;
    run.sink.publish(Epoch(2), &second)?;
    let journal = place.journal()?;
    let refused = |journal: &[u8]| -> Result<String, Cause> {
        let place = place.with_journal(journal)?;
        let error = Log::open(place.directory.path()).expect_err("it is refused").to_string();
        assert!(error.contains("journal is damaged at byte "), "{error}");
        assert_eq!(place.journal()?, journal, "nothing is changed");
        Ok(error)
    };
    for at in 0..journal.len() {
        let mut damaged = journal.clone();
        damaged[at] ^= 0x20;
        let error = refused(&damaged)?;
        let said: usize =
            error.split("byte ").nth(1).and_then(|said| said.split(':').next()).unwrap().parse()?;
        assert!(said <= at && at < said + 400, "{error}, and it is {at}");
        if at >= FILE_HEADER {
            refused(&journal[..at])?;
        }
    }
    let mut note = fs::read(place.file("synced"))?;
    note[3] ^= 1;
    let damaged = place.copy()?;
    fs::write(damaged.file("synced"), note)?;
    let error = Log::open(damaged.directory.path()).expect_err("it is refused").to_string();
    assert!(error.contains("synced is damaged"), "{error}");
    Ok(())
}

/// Without the note, as after a power cut, later frames tell what was durable; behind that it is a torn end.
#[test]
fn what_a_power_cut_leaves_behind_the_last_sync_is_cut_off() -> Result<(), Cause> {
    let (place, run, first, second) = staged()?;
    let staged = place.copy()?;
    run.sink.publish(Epoch(2), &second)?;
    let (short, long) = (staged.journal()?.len(), place.journal()?);
    let open = |journal: &[u8]| -> Result<Place, Cause> {
        let place = place.with_journal(journal)?;
        fs::remove_file(place.file("synced"))?;
        place.log()?;
        Ok(place)
    };
    let mut zeros = long[..short].to_vec();
    zeros.resize(long.len() + 5_000, 0);
    for at in short..long.len() {
        let mut torn = long.clone();
        torn[at] ^= 0x20;
        assert_eq!(open(&torn)?.lines()?, FIRST, "the last frame, at {at}");
    }
    let cut = open(&zeros)?;
    assert_eq!(cut.journal()?.len(), short);
    cut.recovers(2, &second, SECOND)?;
    for at in FILE_HEADER..short {
        // The frame before the last two is known to be durable by the last one.
        let mut damaged = long.clone();
        damaged[at] ^= 0x20;
        assert!(open(&damaged).is_err(), "byte {at}");
    }
    // Two frames that were written without a sync between them: the first may be torn though the second is whole.
    let unsynced = Place::new()?;
    let mut run = unsynced.start(0, &[])?;
    let large = || Batch::untimed(vec!["x".repeat(600_000), "y".repeat(600_000)]);
    let before = unsynced.journal()?.len();
    run.writers[0].write(&mut large())?;
    run.writers[0].write(&mut large())?;
    let mut journal = unsynced.journal()?;
    assert!(journal.len() > before + 2_400_000);
    journal[before + 700_000] ^= 1;
    let torn = unsynced.with_journal(&journal)?;
    torn.recovers(0, &[], "")?;
    drop((run, first));
    Ok(())
}

#[test]
fn the_first_publishing_may_crash_too() -> Result<(), Cause> {
    let place = Place::new()?;
    let first = place.start(0, &[])?.stage(1)?;
    place.copy()?.recovers(0, &[], "")?;
    place.copy()?.recovers(1, &first, FIRST)?;
    place.recovers(1, &first, FIRST)
}

#[test]
fn epochs_without_records_leave_nothing() -> Result<(), Cause> {
    let place = Place::new()?;
    let mut run = place.start(0, &[])?;
    let before = place.journal()?;
    run.writers[0].write(&mut Batch::untimed(Vec::new()))?;
    assert!(run.writers[0].stage(Epoch(1))?.is_empty());
    assert_eq!(place.journal()?, before);
    drop(run);
    place.recovers(7, &[], "")?;
    let fresh = Place::new()?; // a sink that is new in an old job
    fresh.recovers(7, &[], "")
}

#[test]
fn a_job_without_state_begins_anew_behind_what_is_there() -> Result<(), Cause> {
    let (place, run, _, second) = staged()?;
    run.sink.publish(Epoch(2), &second)?;
    drop(run);
    place.recovers(0, &[], SECOND)?;
    let place = Place::new()?;
    place.log()?.append("out", None, b"of somebody else")?;
    place.recovers(0, &[], "of somebody else\n")
}

#[test]
fn a_log_that_does_not_fit_the_state_is_refused_and_left_alone() -> Result<(), Cause> {
    let (place, run, first, second) = staged()?;
    let staged = place.copy()?;
    run.sink.publish(Epoch(2), &second)?;
    drop(run);
    let error = place.refused(1, &first);
    assert!(error.contains("`job/out` has published up to epoch 2, but the state is at epoch 1"), "{error}");
    assert_eq!(place.lines()?, SECOND);

    let fresh = Place::new()?;
    let error = fresh.refused(2, &second);
    assert!(error.contains("what `job/out` staged for epoch 2 is not in this log"), "{error}");

    // Somebody began anew under this name: an epoch that is not published yet is not taken for theirs.
    let mut other = staged.start(0, &[])?;
    for epoch in 1..=2 {
        let receipts = other.stage(epoch)?;
        other.sink.publish(Epoch(epoch), &receipts)?;
    }
    drop(other);
    let error = staged.refused(2, &second);
    assert!(error.contains("is not in this log"), "{error}");

    for receipt in [&b"{}"[..], b"part-2-0", &second[0][..9]] {
        let error = place.refused(2, &[receipt.to_vec()]);
        assert!(error.contains("a receipt of `job/out` cannot be read"), "{error}");
    }
    let error = place.refused(2, &[second[0].clone(), second[0].clone()]);
    assert!(error.contains("is named twice"), "{error}");
    Ok(())
}

#[test]
fn an_older_copy_of_the_log_is_refused() -> Result<(), Cause> {
    let place = Place::new()?;
    let mut run = place.start(0, &[])?;
    let first = run.stage(1)?;
    run.sink.publish(Epoch(1), &first)?;
    let old = place.copy()?;
    let second = run.stage(2)?;
    let error = old.refused(2, &second);
    assert!(error.contains("has lost what `job/out` staged for epoch 2"), "{error}");
    assert_eq!(old.lines()?, FIRST);
    Ok(())
}

#[test]
fn two_sinks_of_one_name_on_one_topic_are_refused() -> Result<(), Cause> {
    let place = Place::new()?;
    let run = place.start(0, &[])?;
    assert!(place.refused(0, &[]).contains("`job/out` writes already"));
    run.sink.recover(Epoch(0), &[])?;
    let other = place.start_as("other", 0, &[])?;
    drop((run, other));
    place.start(0, &[])?;
    let error = place.start_as("a/b", 0, &[]).err().expect("it is no name").to_string();
    assert!(error.contains("`a/b` cannot be a name"), "{error}");
    let error = place.log()?.producer("job").sink("none", Text).recover(Epoch(0), &[]);
    let error = error.expect_err("there is none").to_string();
    assert!(error.contains("no topic `none`"), "{error}");
    Ok(())
}

#[test]
fn what_is_written_is_what_is_read_in_memory_too() -> Result<(), Cause> {
    let directory = tempfile::tempdir()?;
    for log in [Log::in_memory(), Log::open(directory.path())?] {
        log.topic("out", 2)?;
        let sink = log.producer("job").sink("out", Text).key(|line: &String| line.as_bytes()[..1].to_vec());
        sink.recover(Epoch(0), &[])?;
        let mut writer = sink.open(0)?;
        let at = Timestamp::from_millis;
        let values = ["a1", "b1", "a2", "c1"].map(str::to_owned).to_vec();
        let mut batch = Batch { times: vec![at(1), at(2), at(3), at(4)], ..Batch::untimed(values) };
        writer.write(&mut batch)?;
        let receipts = [writer.stage(Epoch(1))?];
        // A run that ends here has staged what nobody will see.
        writer.write(&mut Batch::untimed(vec!["lost".to_owned()]))?;
        writer.stage(Epoch(2))?;
        drop(writer);
        sink.recover(Epoch(1), &receipts)?;
        let mut found = Vec::new();
        for partition in 0..2 {
            found.extend(log.read("out", partition, 0, 10)?);
        }
        assert!(found.iter().all(|record| record.key.as_deref() == Some(&record.value[..1])));
        let mut found: Vec<_> = found.into_iter().map(|record| (record.timestamp, record.value)).collect();
        found.sort();
        let expected = [(1, "a1"), (2, "b1"), (3, "a2"), (4, "c1")];
        assert_eq!(found, expected.map(|(time, value)| (at(time), value.as_bytes().to_vec())));
    }
    Ok(())
}
