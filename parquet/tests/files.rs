//! Parquet files of a sink, step by step as the engine drives it and by whole jobs that are killed. If one of these
//! fails, a reader of the directory sees a file that is cut, rows twice or not at all, or rows that were never
//! committed; or other programs cannot read the files.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use highwater::operators::batch::Batch;
use highwater::operators::interpret::interpret;
use highwater::operators::sink::{Publish, Sink, Writer};
use highwater::prelude::{Cause, Duration, Job, Memory, Stream, Timestamp, Topology, Untimed};
use highwater::state::Epoch;
use highwater::step::{Moment, Step};
use highwater_parquet::object_store::memory::InMemory;
use highwater_parquet::{Parquet, ParquetSink};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde::{Deserialize, Serialize};

const ORDERS: &str = "HIGHWATER_TEST_PARQUET";
const RECORDS: i64 = 5_000;
const PATIENCE: Duration = Duration::from_secs(120);
const STEPS: [Step; 6] = [Step::Recover, Step::Order, Step::Gather, Step::Write, Step::Publish, Step::Tell];

/// A number, its half if it is even, a time, a share.
type Row = (i64, Option<String>, i64, f64);

fn row(number: i64) -> Row {
    (number, (number % 2 == 0).then(|| format!("{}½", number / 2)), number * 1000, number as f64 / 4.0)
}

fn sink(place: &Parquet) -> ParquetSink<Row> {
    let rows = place.rows::<Row>().column("number", |row| row.0).column("half", |row| row.1.clone());
    rows.column("at", |row| Timestamp::from_millis(row.2)).column("share", |row| row.3).sink()
}

/// A place in a directory that makes files of every epoch.
fn directory(path: &Path) -> Parquet {
    Parquet::directory(path).unwrap().roll_after(Duration::ZERO)
}

fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// What a reader sees that lists a directory; every file has to be whole.
fn rows(path: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    for name in names(path).into_iter().filter(|name| name != "_staged") {
        assert!(name.ends_with(".parquet"), "{name} can be seen");
        let reader = SerializedFileReader::new(File::open(path.join(&name)).unwrap()).unwrap();
        for row in reader.get_row_iter(None).unwrap() {
            let row = row.unwrap();
            let half = row.get_string(1).ok().cloned();
            rows.push((
                row.get_long(0).unwrap(),
                half,
                row.get_timestamp_millis(2).unwrap(),
                row.get_double(3).unwrap(),
            ));
        }
    }
    rows.sort_by_key(|row| row.0);
    rows
}

fn numbers(path: &Path) -> Vec<i64> {
    rows(path).into_iter().map(|row| row.0).collect()
}

/// The sink, and the writers of two workers.
struct Run {
    sink: ParquetSink<Row>,
    writers: Vec<Box<dyn Writer<Row>>>,
}

type Receipts = Vec<Vec<u8>>;

impl Run {
    fn start(place: &Parquet, last: u64, receipts: &[Vec<u8>]) -> Result<Run, Cause> {
        let sink = sink(place);
        sink.recover(Epoch(last), receipts)?;
        let writers = (0..2).map(|worker| sink.open(worker)).collect::<Result<_, _>>()?;
        Ok(Run { sink, writers })
    }

    /// Epoch `n` has the rows 10n to 10n + 3, half of them of each worker.
    fn stage(&mut self, epoch: u64) -> Receipts {
        let first = epoch as i64 * 10;
        let staged = self.writers.iter_mut().zip([first, first + 2]).map(|(writer, from)| {
            writer.write(&mut Batch::untimed((from..from + 2).map(row).collect())).unwrap();
            writer.stage(Epoch(epoch)).unwrap()
        });
        staged.collect()
    }

    fn commit(&mut self, epoch: u64) -> Receipts {
        let receipts = self.stage(epoch);
        self.sink.publish(Epoch(epoch), &receipts).unwrap();
        receipts
    }

    /// The process is killed: nothing that runs at its end runs.
    fn dies(self) {
        std::mem::forget(self);
    }
}

fn of_epochs(epochs: &[i64]) -> Vec<i64> {
    epochs.iter().flat_map(|epoch| epoch * 10..epoch * 10 + 4).collect()
}

#[test]
fn files_are_of_committed_epochs_and_publishing_twice_is_publishing_once() {
    let at = tempfile::tempdir().unwrap();
    let place = directory(at.path());
    let mut run = Run::start(&place, 0, &[]).unwrap();
    assert_eq!(names(at.path()), ["_staged"]);
    let first = run.stage(1);
    assert_eq!(names(at.path()), ["_staged"]);
    run.sink.publish(Epoch(1), &first).unwrap();
    assert_eq!(numbers(at.path()), of_epochs(&[1]));
    run.sink.publish(Epoch(1), &first).unwrap();
    let second = run.commit(2);
    run.sink.publish(Epoch(2), &second).unwrap();
    run.sink.publish(Epoch(1), &first).unwrap();
    assert_eq!(rows(at.path()), of_epochs(&[1, 2]).into_iter().map(row).collect::<Vec<_>>());
    assert_eq!(names(at.path()).len(), 3, "a file for each epoch");
    assert_eq!(names(&at.path().join("_staged")), ["owner.json"]);
    assert!(run.writers.iter_mut().all(|writer| writer.stage(Epoch(3)).unwrap().is_empty()));
}

#[test]
fn a_start_brings_the_files_to_the_last_committed_epoch() {
    let at = tempfile::tempdir().unwrap();
    let place = directory(at.path());
    let start = |last: u64, receipts: &[Vec<u8>]| Run::start(&place, last, receipts);
    let mut run = start(0, &[]).unwrap();
    let first = run.commit(1);
    let second = run.stage(2);
    run.dies();
    // Epoch 2 was not committed.
    start(1, &first).unwrap().dies();
    assert_eq!(
        (numbers(at.path()), names(&at.path().join("_staged"))),
        (of_epochs(&[1]), vec!["owner.json".to_owned()])
    );
    let lost = start(2, &second).err().unwrap().to_string();
    assert!(lost.contains("epoch 2") && lost.contains("is not there"), "{lost}");
    // Epoch 2 is committed this time, and not published.
    let mut run = start(1, &first).unwrap();
    let second = run.stage(2);
    run.dies();
    for _ in 0..2 {
        start(2, &second).unwrap().dies();
        assert_eq!(numbers(at.path()), of_epochs(&[1, 2]));
    }
    let mut run = start(2, &second).unwrap();
    run.commit(3);
    run.dies();
    assert_eq!(numbers(at.path()), of_epochs(&[1, 2, 3]));
    // State from before, and no state.
    let ahead = start(2, &second).err().unwrap().to_string();
    assert!(ahead.contains("of a later epoch") && ahead.contains("epoch 2"), "{ahead}");
    let mut run = start(0, &[]).unwrap();
    run.commit(1);
    let mut expected = of_epochs(&[1, 1, 2, 3]);
    expected.sort();
    assert_eq!(numbers(at.path()), expected);
}

#[test]
fn epochs_share_a_file_and_what_waits_outlives_a_death() {
    let at = tempfile::tempdir().unwrap();
    let place = Parquet::directory(at.path()).unwrap();
    let mut run = Run::start(&place, 0, &[]).unwrap();
    run.commit(1);
    run.commit(2);
    let third = run.commit(3);
    assert_eq!(names(at.path()), ["_staged"], "they wait");
    // Only one worker has rows in epoch 4, and the others' wait on.
    let fourth: Receipts = run.writers.iter_mut().map(|writer| writer.stage(Epoch(4)).unwrap()).collect();
    assert!(fourth.iter().all(|receipt| !receipt.is_empty()));
    run.dies();
    let run = Run::start(&place, 3, &third).unwrap();
    assert_eq!((numbers(at.path()), names(at.path()).len()), (of_epochs(&[1, 2, 3]), 2));
    run.dies();
    let mut run = Run::start(&place, 4, &third).unwrap();
    run.commit(5);
    run.commit(6);
    assert_eq!(numbers(at.path()), of_epochs(&[1, 2, 3]));
    // The job ends.
    drop(run);
    assert_eq!((numbers(at.path()), names(at.path()).len()), (of_epochs(&[1, 2, 3, 5, 6]), 3));
    assert_eq!(names(&at.path().join("_staged")), ["owner.json"]);
}

#[test]
fn what_was_filed_before_the_epoch_that_failed_is_not_filed_again() {
    let at = tempfile::tempdir().unwrap();
    let place = Parquet::directory(at.path()).unwrap();
    let mut run = Run::start(&place, 0, &[]).unwrap();
    run.commit(1);
    // Epoch 2 is committed, and another sink fails before this one can publish it: the attempt ends.
    let second = run.stage(2);
    drop(run);
    assert_eq!(numbers(at.path()), of_epochs(&[1]));
    for _ in 0..2 {
        drop(Run::start(&place, 2, &second).unwrap());
        assert_eq!(numbers(at.path()), of_epochs(&[1, 2]));
    }
}

#[test]
fn files_are_made_when_they_are_large_enough_and_a_death_among_several_is_made_good() {
    let at = tempfile::tempdir().unwrap();
    let place = Parquet::directory(at.path()).unwrap().file_bytes(50);
    let mut run = Run::start(&place, 0, &[]).unwrap();
    run.commit(1);
    let files: Vec<String> = names(at.path()).into_iter().filter(|name| name.ends_with(".parquet")).collect();
    assert_eq!((files.len(), numbers(at.path())), (2, of_epochs(&[1])), "{files:?}");
    run.dies();
    // As a death leaves it that came after the first file: its segments are there still.
    let again = tempfile::tempdir().unwrap();
    let other = Parquet::directory(again.path()).unwrap().file_bytes(1);
    let mut run = Run::start(&other, 0, &[]).unwrap();
    let staged = run.stage(1);
    let kept = tempfile::tempdir().unwrap();
    for name in names(&again.path().join("_staged")) {
        std::fs::copy(again.path().join("_staged").join(&name), kept.path().join(&name)).unwrap();
    }
    run.sink.publish(Epoch(1), &staged).unwrap();
    run.dies();
    let files: Vec<String> =
        names(again.path()).into_iter().filter(|name| name.ends_with(".parquet")).collect();
    assert_eq!(files.len(), 2);
    std::fs::remove_file(again.path().join(&files[1])).unwrap();
    for name in names(kept.path()).iter().filter(|name| name.ends_with(".segment")) {
        std::fs::copy(kept.path().join(name), again.path().join("_staged").join(name)).unwrap();
    }
    drop(Run::start(&other, 1, &staged).unwrap());
    assert_eq!(numbers(again.path()), of_epochs(&[1]));
    assert_eq!(names(again.path()).len(), 3);
}

#[test]
fn an_old_instance_makes_no_files_beside_its_successor_also_on_a_store_in_memory() {
    let place = Parquet::on(Arc::new(InMemory::new()), "rows").unwrap().roll_after(Duration::ZERO);
    let mut old = Run::start(&place, 0, &[]).unwrap();
    let first = old.commit(1);
    let second = old.stage(2);
    let mut new = Run::start(&place, 1, &first).unwrap();
    let fenced = old.sink.publish(Epoch(2), &second).unwrap_err().to_string();
    assert!(fenced.contains("another instance has taken over"), "{fenced}");
    let fenced = old.sink.recover(Epoch(1), &first).unwrap_err().to_string();
    assert!(fenced.contains("another instance has taken over"), "{fenced}");
    new.commit(2);
    new.commit(3);
}

/// What a process is to do.
#[derive(Debug, Serialize, Deserialize)]
struct Orders {
    directory: PathBuf,
    workers: usize,
    rate: u64,
    roll_millis: u64,
    /// At which step the process ends itself, whether after it, and the how manieth time.
    dies_at: Option<(usize, bool, usize)>,
}

fn topology(to: impl FnOnce(Stream<Row, Untimed>)) -> Topology {
    let topology = Topology::new("numbers");
    to(topology.source("numbers", Memory::source(0..RECORDS)).key_by(|number| number % 10).values().map(row));
    topology
}

impl Orders {
    /// Starts the program; its exit code, `None` if it was killed. Whatever can be seen meanwhile is whole.
    fn run(&self) -> Option<i32> {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["child", "--exact", "--nocapture"]).env(ORDERS, serde_json::to_string(self).unwrap());
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
        let since = Instant::now();
        loop {
            rows(&self.directory.join("files"));
            if let Some(status) = process.try_wait().unwrap() {
                return status.code();
            }
            if since.elapsed() > PATIENCE {
                let _ = process.kill();
                panic!("the process does not end");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn follow(&self) {
        let place = Parquet::directory(self.directory.join("files")).unwrap();
        let to = sink(&place.roll_after(Duration::from_millis(self.roll_millis)));
        let mut job = Job::new(topology(|rows| rows.sink("files", to)))
            .state(self.directory.join("state"))
            .memory(64 << 20)
            .workers(self.workers)
            .epoch_interval(Duration::from_millis(20))
            .rate(self.rate);
        if let Some((number, after, hit)) = self.dies_at {
            let (moment, met) = (if after { Moment::After } else { Moment::Before }, AtomicUsize::new(0));
            job = job.watch_steps(move |step, at| {
                let here = step.number() == number && at == moment;
                if here && met.fetch_add(1, Ordering::SeqCst) + 1 == hit {
                    std::process::abort();
                }
            });
        }
        job.run().unwrap();
    }
}

/// What a started process does; nothing where nothing is asked of it.
#[test]
fn child() {
    if let Ok(orders) = std::env::var(ORDERS) {
        serde_json::from_str::<Orders>(&orders).unwrap().follow();
    }
}

#[test]
fn a_death_before_and_after_every_step_leaves_every_row_in_one_file_as_duckdb_sees_too() {
    let at = tempfile::tempdir().unwrap();
    let files = at.path().join("files");
    let mut orders =
        Orders { directory: at.path().to_owned(), workers: 1, rate: 1_500, roll_millis: 50, dies_at: None };
    let mut deaths = 0;
    for (number, step) in STEPS.iter().enumerate() {
        for after in [false, true] {
            orders.workers = 1 + number % 3;
            orders.dies_at = Some((step.number(), after, if *step == Step::Recover { 1 } else { 5 }));
            match orders.run() {
                None => deaths += 1,
                code => assert_eq!(code, Some(0), "{step} {after}"),
            }
        }
    }
    (orders.dies_at, orders.rate) = (None, 20_000);
    assert_eq!(orders.run(), Some(0));
    assert!(deaths >= 10, "{deaths} deaths");

    let meant = Memory::sink();
    let to = meant.clone();
    interpret(topology(move |rows| rows.sink("meant", to))).unwrap();
    let mut meant: Vec<Row> = meant.take();
    meant.sort_by_key(|row| row.0);
    let found = rows(&files);
    assert_eq!(found.len(), meant.len(), "rows are missing or doubled");
    assert!(found == meant, "rows differ");
    if let Some(found) = as_duckdb_reads(&files) {
        assert_eq!(found.len(), meant.len());
        assert!(found == meant, "DuckDB reads other rows");
    }
}

/// The rows by the eyes of a program that has nothing in common with the one that wrote them.
fn as_duckdb_reads(files: &Path) -> Option<Vec<Row>> {
    if std::env::var_os("HIGHWATER_DUCKDB").is_some_and(|value| value == "off") {
        println!("skipped: HIGHWATER_DUCKDB=off");
        return None;
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(here.join("../scripts/duckdb"));
    let read = command.arg("run").arg(here.join("tests/files.py")).arg(files).output().unwrap();
    let said = String::from_utf8_lossy(&read.stderr);
    match read.status.code() {
        Some(0) => {}
        Some(3) => {
            println!("skipped: DuckDB cannot be had here: {said}");
            return None;
        }
        code => panic!("scripts/duckdb run: {code:?}: {said}"),
    }
    let lines = String::from_utf8(read.stdout).unwrap();
    Some(lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}
