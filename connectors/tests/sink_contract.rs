//! What every exactly-once sink keeps, held by the file sink here and by a log's in `sink_contract/log.rs`: what is
//! staged is invisible, publishing twice is publishing once, and after a crash at any step a start gives exactly the
//! lines of the committed epochs.

#[path = "sink_contract/log.rs"]
mod log;

use std::fs;
use std::path::{Path, PathBuf};

use highwater_connectors::file::{File, FileSink};
use highwater_operators::batch::Batch;
use highwater_operators::codec::{Json, Reason, Text};
use highwater_operators::error::Cause;
use highwater_operators::sink::{Publish, Sink, Writer};
use highwater_state::Epoch;

const FIRST: &str = "1-0-a\n1-0-b\n1-1-a\n1-1-b\n";
const SECOND: &str = "1-0-a\n1-0-b\n1-1-a\n1-1-b\n2-0-a\n2-0-b\n2-1-a\n2-1-b\n";

type Receipts = Vec<Vec<u8>>;

/// An output, and what a job does with it.
struct Place {
    directory: tempfile::TempDir,
}

/// A run of the job: the sink and the writers of two workers.
struct Run {
    sink: FileSink<Text>,
    writers: Vec<Box<dyn Writer<String>>>,
}

impl Place {
    fn new() -> Result<Self, Cause> {
        Ok(Place { directory: tempfile::tempdir()? })
    }

    /// A copy of all files, as a crash at this moment would leave them.
    fn copy(&self) -> Result<Place, Cause> {
        let copy = Place::new()?;
        if self.output().exists() {
            fs::copy(self.output(), copy.output())?;
        }
        fs::create_dir(copy.staged())?;
        for entry in fs::read_dir(self.staged())? {
            let entry = entry?;
            fs::copy(entry.path(), copy.staged().join(entry.file_name()))?;
        }
        Ok(copy)
    }

    fn output(&self) -> PathBuf {
        self.directory.path().join("out.txt")
    }

    fn staged(&self) -> PathBuf {
        self.directory.path().join(".out.txt.staged")
    }

    fn lines(&self) -> Result<String, Cause> {
        Ok(fs::read_to_string(self.output())?)
    }

    fn start(&self, last: u64, receipts: &[Vec<u8>]) -> Result<Run, Cause> {
        let sink = File::at(self.output()).sink(Text);
        sink.recover(Epoch(last), receipts)?;
        let writers = (0..2).map(|worker| sink.open(worker)).collect::<Result<_, _>>()?;
        Ok(Run { sink, writers })
    }

    fn refused(&self, last: u64, receipts: &[Vec<u8>]) -> String {
        self.start(last, receipts).err().expect("the start is refused").to_string()
    }

    /// The output is `expected` after a start and another one, and the next epoch follows it.
    fn recovers(&self, last: u64, receipts: &[Vec<u8>], expected: &str) -> Result<(), Cause> {
        drop(self.start(last, receipts)?);
        assert_eq!(self.lines()?, expected);
        let mut run = self.start(last, receipts)?;
        assert_eq!(self.lines()?, expected);
        assert_eq!(names(&self.staged())?, ["lock", "marker"]);
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

fn names(directory: &Path) -> Result<Vec<String>, Cause> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
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
    run.sink.publish(Epoch(2), &second)?;
    run.sink.publish(Epoch(1), &first)?;
    assert_eq!(place.lines()?, SECOND);
    assert_eq!(names(&place.staged())?, ["lock", "marker"]);
    Ok(())
}

#[test]
fn a_crash_while_an_epoch_is_written_or_staged_leaves_the_last() -> Result<(), Cause> {
    let place = Place::new()?;
    let mut run = place.start(0, &[])?;
    let first = run.stage(1)?;
    run.sink.publish(Epoch(1), &first)?;
    run.write(2)?;
    place.copy()?.recovers(1, &first, FIRST)?;
    run.writers[0].stage(Epoch(2))?;
    place.copy()?.recovers(1, &first, FIRST)?;
    run.writers[1].stage(Epoch(2))?;
    place.copy()?.recovers(1, &first, FIRST)
}

#[test]
fn a_crash_at_each_step_of_publishing_is_put_right() -> Result<(), Cause> {
    let (before, run, _, second) = staged()?;
    let committed = before.copy()?;
    run.sink.publish(Epoch(2), &second)?;
    let published = before.copy()?;

    committed.copy()?.recovers(2, &second, SECOND)?;
    for appended in FIRST.len()..=SECOND.len() {
        let torn = committed.copy()?; // between append and marker, at every byte
        fs::write(torn.output(), &SECOND[..appended])?;
        torn.recovers(2, &second, SECOND)?;
    }
    let marking = committed.copy()?;
    fs::write(marking.output(), SECOND)?;
    fs::write(marking.staged().join("marker.new"), "{\"epo")?;
    marking.recovers(2, &second, SECOND)?;
    for kept in [&["part-2-0", "part-2-1"][..], &["part-2-1"][..]] {
        let marked = published.copy()?; // between marker and removal
        for part in kept {
            fs::copy(committed.staged().join(part), marked.staged().join(part))?;
        }
        marked.recovers(2, &second, SECOND)?;
    }
    published.recovers(2, &second, SECOND)
}

#[test]
fn the_first_publishing_may_crash_too() -> Result<(), Cause> {
    let place = Place::new()?;
    let first = place.start(0, &[])?.stage(1)?;
    place.copy()?.recovers(0, &[], "")?;
    place.copy()?.recovers(1, &first, FIRST)?;
    let never_marked = place.copy()?;
    fs::remove_file(never_marked.staged().join("marker"))?;
    never_marked.recovers(1, &first, FIRST)?;
    fs::write(place.output(), &FIRST[..9])?;
    place.recovers(1, &first, FIRST)
}

#[test]
fn epochs_without_records_leave_nothing() -> Result<(), Cause> {
    let place = Place::new()?;
    let mut run = place.start(0, &[])?;
    run.writers[0].write(&mut Batch::untimed(Vec::new()))?;
    assert!(run.writers[0].stage(Epoch(1))?.is_empty());
    assert_eq!(names(&place.staged())?, ["lock", "marker"]);
    drop(run);
    place.recovers(7, &[], "")?;
    let fresh = Place::new()?; // a sink that is new in an old job
    fresh.recovers(7, &[], "")
}

#[test]
fn a_job_without_state_begins_anew() -> Result<(), Cause> {
    let (place, run, _, second) = staged()?;
    run.sink.publish(Epoch(2), &second)?;
    drop(run);
    place.recovers(0, &[], "")
}

#[test]
fn an_output_that_does_not_fit_the_state_is_refused_and_left_alone() -> Result<(), Cause> {
    let (before, run, first, second) = staged()?;
    let committed = before.copy()?;
    fs::remove_file(committed.staged().join("part-2-1"))?;
    let error = committed.refused(2, &second);
    assert!(error.contains("part-2-1 is missing or damaged"), "{error}");
    assert_eq!(committed.lines()?, FIRST);

    let damaged = before.copy()?;
    fs::write(damaged.staged().join("part-2-1"), "2-1")?;
    assert!(damaged.refused(2, &second).contains("3 bytes instead of 12"));

    run.sink.publish(Epoch(2), &second)?;
    let error = before.copy()?.refused(1, &first);
    assert!(error.contains("published up to epoch 2, but the state is at epoch 1"), "{error}");

    let shortened = before.copy()?;
    fs::write(shortened.output(), FIRST)?;
    assert!(shortened.refused(2, &second).contains("24 bytes, but 48 were published"));
    fs::remove_file(shortened.output())?;
    assert!(shortened.refused(2, &second).contains("0 bytes, but 48 were published"));

    let unmarked = before.copy()?;
    fs::remove_file(unmarked.staged().join("marker"))?;
    assert!(unmarked.refused(2, &second).contains("marker is missing"));
    assert_eq!(unmarked.lines()?, SECOND);
    fs::write(unmarked.staged().join("marker"), "{}")?;
    assert!(unmarked.refused(2, &second).contains("damaged"));
    Ok(())
}

#[test]
fn bytes_that_others_appended_are_cut_off() -> Result<(), Cause> {
    let (place, run, first, _) = staged()?;
    drop(run);
    fs::write(place.output(), format!("{FIRST}by hand\n"))?;
    place.recovers(1, &first, FIRST)
}

#[test]
fn two_sinks_on_one_file_are_refused() -> Result<(), Cause> {
    let place = Place::new()?;
    let run = place.start(0, &[])?;
    assert!(place.refused(0, &[]).contains("is being written by another sink"));
    run.sink.recover(Epoch(0), &[])?;
    drop(run);
    place.start(0, &[])?;
    Ok(())
}

#[test]
fn a_sink_writes_one_regular_file_in_a_directory_that_exists() -> Result<(), Cause> {
    let directory = tempfile::tempdir()?;
    let two = File::at(["a", "b"]).sink(Text).recover(Epoch(0), &[]).expect_err("two files");
    assert!(two.to_string().contains("2 paths were given"), "{two}");
    let missing = directory.path().join("missing").join("out");
    let missing = File::at(missing).sink(Text).recover(Epoch(0), &[]).expect_err("no directory");
    assert!(missing.to_string().contains("cannot create"), "{missing}");
    for path in [directory.path(), Path::new("/")] {
        let error = File::at(path).sink(Text).recover(Epoch(1), &[]).expect_err("a directory");
        assert!(error.to_string().contains("is not a regular file"), "{error}");
    }
    Ok(())
}

#[test]
fn a_record_that_is_not_one_line_is_named() -> Result<(), Cause> {
    let place = Place::new()?;
    let mut run = place.start(0, &[])?;
    let mut batch = Batch::untimed(vec!["a".to_owned(), "b\nc".to_owned()]);
    let error = run.writers[1].write(&mut batch).expect_err("it has two lines").to_string();
    assert!(error.contains("record 2 of worker 1"), "{error}");
    assert!(error.contains("`b\\nc`"), "{error}");
    drop(run);

    let refuses = |_: &u32, _: &mut Vec<u8>| -> Result<(), Reason> { Err("it is odd".to_owned()) };
    let sink = File::at(place.output()).sink(Refusing(refuses));
    sink.recover(Epoch(0), &[])?;
    let error = sink.open(0)?.write(&mut Batch::untimed(vec![1])).expect_err("it is refused").to_string();
    assert!(error.contains("record 1 of worker 0") && error.ends_with("it is odd"), "{error}");
    Ok(())
}

struct Refusing<F>(F);

impl<F> highwater_operators::codec::Encode<u32> for Refusing<F>
where
    F: Fn(&u32, &mut Vec<u8>) -> Result<(), Reason> + Send + Sync + 'static,
{
    fn encode(&self, value: &u32, into: &mut Vec<u8>) -> Result<(), Reason> {
        (self.0)(value, into)
    }
}

#[test]
fn what_is_written_is_what_the_source_reads() -> Result<(), Cause> {
    use highwater_operators::source::{Polled, Source};

    let place = Place::new()?;
    let sink = File::at(place.output()).sink(Json::<(u32, String)>::new());
    sink.recover(Epoch(0), &[])?;
    let records = vec![(1, "a\nb".to_owned()), (2, "\r".to_owned())];
    let mut writer = sink.open(0)?;
    writer.write(&mut Batch::untimed(records.clone()))?;
    sink.publish(Epoch(1), &[writer.stage(Epoch(1))?])?;
    let source = File::at(place.output()).json_lines::<(u32, String)>();
    let mut polled = Polled::default();
    source.open(&source.splits()?[0], None)?.poll(10, &mut polled)?;
    assert_eq!(polled.values, records);
    Ok(())
}
