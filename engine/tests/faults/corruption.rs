//! Damaged files of a state directory: refused by name or without effect, never read as good.
//!
//! A state directory is made once, then copied, damaged at one place and opened. Two things are judged: the rows, which
//! have to be all that were committed, and a job that goes on from it, whose output has to be right.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use highwater::prelude::*;
use highwater::state::backend::rocksdb::{ReadOnlyBackend, RocksDbBackend};
use highwater::state::budget::MemoryBudget;
use highwater::state::delta::{Delta, Family};
use highwater::state::{Backend, Epoch, StateError, redo};

use crate::{Dice, directory, lines};

/// How many places of each kind of file are damaged.
const PLACES: usize = 220;
/// The same for small files, of which many places are one and the same.
const FEW: usize = 30;

type Rows = BTreeMap<(Family, Vec<u8>), Vec<u8>>;

fn open(directory: &Path) -> Result<RocksDbBackend, StateError> {
    RocksDbBackend::open(directory, &MemoryBudget::of(MemoryBudget::MIN_BYTES).expect("it is enough"))
}

fn rows(backend: &RocksDbBackend) -> Result<Rows, StateError> {
    let mut rows = Rows::new();
    for family in Family::ALL {
        backend.scan(family, &[], &[u8::MAX; 9], &mut |key, value| {
            rows.insert((family, key.to_vec()), value.to_vec());
            ControlFlow::Continue(())
        })?;
    }
    for ((family, key), value) in &rows {
        let found = backend.get(*family, key)?;
        assert_eq!(found.as_ref(), Some(value), "a lookup and a scan differ at {family:?} {key:?}");
    }
    Ok(rows)
}

/// Everything that a damaged directory may show: it is what was synced, with or without what was not.
struct Good {
    synced: Rows,
    all: Rows,
    prepared: Vec<u8>,
}

/// A directory with tables, a manifest and a log; ends with a prepared epoch and a change that was not synced.
fn make(directory: &Path) -> Good {
    let mut dice = Dice(1);
    for epoch in 1..=30u8 {
        let backend = open(directory).expect("it opens");
        let mut delta = Delta::default();
        for _ in 0..40 {
            let key = [b"key", [dice.below(200) as u8].as_slice()].concat();
            let value: Vec<u8> = (0..dice.below(60)).map(|_| dice.below(256) as u8).collect();
            delta.put(Family::ALL[dice.below(4)], &key, &[&[epoch], &value[..]].concat());
        }
        backend.commit(&delta).expect("there is room");
        if epoch == 30 {
            for number in 0..20u8 {
                let mut delta = Delta::default();
                delta.put(Family::Values, &[number], &[number; 30]);
                backend.commit(&delta).expect("there is room");
            }
            let mut prepared = Delta::default();
            (0..50u8).for_each(|number| prepared.put(Family::Values, &[number], &[number; 40]));
            redo::prepare(&backend, Epoch(31), 1, &prepared).expect("there is room");
            let synced = rows(&backend).expect("all is well");
            let mut last = Delta::default();
            last.put(Family::Values, b"not synced", b"may be lost");
            backend.apply(&last).expect("there is room");
            let all = rows(&backend).expect("all is well");
            return Good { synced, all, prepared: encoded(&prepared) };
        }
    }
    unreachable!("the last epoch returns")
}

fn encoded(delta: &Delta) -> Vec<u8> {
    let mut bytes = Vec::new();
    redo::encode(delta, &mut bytes);
    bytes
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("there is room");
    for entry in fs::read_dir(from).expect("it is a directory") {
        let entry = entry.expect("it can be read");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("there is room");
        }
    }
}

/// The files of a state directory by kind.
fn files(state: &Path) -> BTreeMap<&'static str, Vec<PathBuf>> {
    let mut files: BTreeMap<&'static str, Vec<PathBuf>> = BTreeMap::new();
    for entry in fs::read_dir(state.join("db")).expect("it is a directory") {
        let name = entry.expect("it can be read").file_name().to_string_lossy().into_owned();
        let kind = match name.as_str() {
            name if name.ends_with(".sst") => "table",
            name if name.ends_with(".log") => "log",
            name if name.starts_with("MANIFEST") => "manifest",
            "CURRENT" => "current",
            "IDENTITY" => "identity",
            name if name.starts_with("OPTIONS") => "options",
            _ => continue,
        };
        files.entry(kind).or_default().push(Path::new("db").join(name));
    }
    files.insert("note", vec![PathBuf::from("SYNCED")]);
    files
}

/// One damage, and what it is called.
fn damage(path: &Path, dice: &mut Dice) -> String {
    let mut bytes = fs::read(path).expect("it is a file");
    let at = dice.below(bytes.len().max(1));
    let what = match dice.below(8) {
        _ if bytes.is_empty() => {
            bytes.push(dice.below(256) as u8);
            "a byte added".to_owned()
        }
        0 => {
            bytes.truncate(at);
            format!("cut at {at}")
        }
        1 => {
            let until = bytes.len().min(at + 1 + dice.below(512));
            bytes[at..until].fill(0);
            format!("zeros from {at} to {until}")
        }
        2 => {
            bytes.extend((0..1 + dice.below(64)).map(|_| dice.below(256) as u8));
            "bytes added".to_owned()
        }
        _ => {
            bytes[at] ^= 1 << dice.below(8);
            format!("a bit turned at {at}")
        }
    };
    fs::write(path, bytes).expect("there is room");
    format!("{}: {what}", path.display())
}

/// What is wrong with a damaged directory, if it is read as good and is not.
fn judge(state: &Path, good: &Good) -> Result<bool, String> {
    let read = open(state).and_then(|backend| Ok((rows(&backend)?, redo::read(&backend)?)));
    let (rows, redo) = match read {
        Err(error) => {
            let text = error.to_string();
            let says = !text.is_empty() && !matches!(error, StateError::InUse(_));
            return if says { Ok(false) } else { Err(format!("refused for nothing: {text}")) };
        }
        Ok(read) => read,
    };
    if rows != good.all && rows != good.synced {
        return Err(format!("{} rows in place of {}, or other ones", rows.len(), good.all.len()));
    }
    match redo {
        Some(redo) if encoded(&redo.delta) == good.prepared && redo.epoch == Epoch(31) => Ok(true),
        other => Err(format!("another epoch is prepared: {:?}", other.map(|redo| redo.epoch))),
    }
}

#[test]
fn a_damaged_table_is_refused_or_without_effect() {
    judge_damages(|kind| kind == "table");
}

#[test]
fn a_damaged_log_is_refused_or_without_effect() {
    judge_damages(|kind| kind == "log");
}

#[test]
fn a_damaged_manifest_or_small_file_is_refused_or_without_effect() {
    judge_damages(|kind| kind != "table" && kind != "log");
}

fn judge_damages(asked: impl Fn(&str) -> bool) {
    let directory = directory();
    let made = directory.path().join("made");
    let good = make(&made);
    assert!(good.all.len() > good.synced.len() && good.synced.len() > 300);
    let (mut dice, mut wrong) = (Dice(7), Vec::new());
    for (kind, files) in files(&made).into_iter().filter(|(kind, _)| asked(kind)) {
        let (mut refused, mut harmless) = (0, 0);
        let places = if matches!(kind, "table" | "log" | "manifest") { PLACES } else { FEW };
        for _ in 0..places {
            let state = directory.path().join("damaged");
            copy(&made, &state);
            let file = &files[dice.below(files.len())];
            let what = damage(&state.join(file), &mut dice);
            match judge(&state, &good) {
                Ok(true) => harmless += 1,
                Ok(false) => refused += 1,
                Err(reason) => wrong.push(format!("{what}: {reason}")),
            }
            fs::remove_dir_all(&state).expect("it is ours");
        }
        println!("{kind}, {} files: {refused} refused, {harmless} without effect", files.len());
        if !matches!(kind, "identity" | "options") {
            assert!(refused > places / 4, "{kind}: only {refused} damages were seen");
        }
    }
    assert!(wrong.is_empty(), "{} damages were read as good: {wrong:#?}", wrong.len());
}

/// One turned bit makes a record of the manifest one of a recycled file, which RocksDB reads for ever.
#[test]
fn a_record_that_would_be_read_for_ever_is_refused_by_the_name_of_its_file() {
    let directory = directory();
    let made = directory.path().join("made");
    make(&made);
    for kind in ["manifest", "log"] {
        let state = directory.path().join(kind);
        copy(&made, &state);
        for file in &files(&made)[kind] {
            let mut bytes = fs::read(state.join(file)).expect("it is a file");
            // The second record stands behind the first one's header and contents.
            let second = 7 + usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
            if let Some(kind) = bytes.get_mut(second + 6) {
                *kind ^= 4;
                fs::write(state.join(file), &bytes).expect("there is room");
            }
        }
        let refused = open(&state).err().expect("it is damaged").to_string();
        let name = if kind == "log" { ".log" } else { "MANIFEST-" };
        assert!(refused.contains(name) && refused.contains("of a type that is never written"), "{refused}");
    }
}

#[test]
fn a_file_that_is_gone_is_refused_or_without_effect() {
    let directory = directory();
    let made = directory.path().join("made");
    let good = make(&made);
    for (kind, files) in files(&made) {
        for file in files {
            let state = directory.path().join("damaged");
            copy(&made, &state);
            fs::remove_file(state.join(&file)).expect("it is there");
            let judged = judge(&state, &good);
            println!("{kind} {} gone: {judged:?}", file.display());
            let harmless = judged.unwrap_or_else(|reason| panic!("{} gone: {reason}", file.display()));
            assert_eq!(harmless, matches!(kind, "identity" | "options" | "note"), "{}", file.display());
            fs::remove_dir_all(&state).expect("it is ours");
        }
    }
}

/// The end of the log is what a power cut may take. What was synced may not be missed in silence.
#[test]
fn a_log_that_is_cut_before_what_was_synced_is_refused_by_its_name() {
    let directory = directory();
    let made = directory.path().join("made");
    let good = make(&made);
    let log = files(&made)["log"].last().expect("there is a log").clone();
    let bytes = fs::read(made.join(&log)).expect("it is there").len();
    let (mut refused, mut kept) = (0, 0);
    for cut in (0..bytes).step_by(bytes / 120) {
        let state = directory.path().join("damaged");
        copy(&made, &state);
        let file = fs::File::options().write(true).open(state.join(&log)).expect("it is there");
        file.set_len(cut as u64).expect("it can be cut");
        let looked_at = ReadOnlyBackend::open(&state).map(drop);
        match open(&state).map(|backend| rows(&backend)) {
            Err(StateError::Lost { reached, synced, logs, .. }) => {
                assert!(matches!(looked_at, Err(StateError::Lost { .. })), "cut at {cut}: {looked_at:?}");
                assert!(reached < synced, "cut at {cut}");
                assert!(Path::new(&log).ends_with(&logs), "{logs} in place of {}", log.display());
                refused += 1;
                // It stays refused, although the database has repaired itself.
                assert!(matches!(open(&state).err(), Some(StateError::Lost { .. })), "cut at {cut}");
            }
            Err(other) => panic!("cut at {cut}: {other}"),
            Ok(rows) => {
                assert_eq!(rows.expect("it is sound"), good.synced, "cut at {cut}");
                kept += 1;
            }
        }
        fs::remove_dir_all(&state).expect("it is ours");
    }
    println!("{refused} cuts refused, {kept} took only what was not synced");
    assert!(refused > 100);
}

#[test]
fn a_prepared_epoch_that_was_changed_is_refused() {
    let directory = directory();
    let backend = open(directory.path()).expect("it opens");
    let mut prepared = Delta::default();
    (0..200u32).for_each(|number| prepared.put(Family::Values, &number.to_be_bytes(), &[7; 20]));
    redo::prepare(&backend, Epoch(5), 1, &prepared).expect("there is room");
    let mut kept = Vec::new();
    let keep = &mut |key: &[u8], value: &[u8]| {
        kept.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    backend.scan(Family::Redo, &[], &[u8::MAX], keep).expect("it is sound");
    let mut dice = Dice(3);
    for (key, value) in &kept {
        let places = (0..value.len()).map(|at| if value.len() < 300 { at } else { dice.below(value.len()) });
        for at in places.take(300).collect::<Vec<_>>() {
            let mut changed = value.clone();
            changed[at] ^= 1 << dice.below(8);
            for changed in [changed, value[..at].to_vec()] {
                let mut delta = Delta::default();
                delta.put(Family::Redo, key, &changed);
                backend.apply(&delta).expect("there is room");
                match redo::read(&backend) {
                    Err(StateError::Row { name, .. }) => assert_eq!(name, "prepared epoch"),
                    other => {
                        panic!("{key:?} changed at {at}: {:?}", other.map(|redo| redo.map(|it| it.epoch)))
                    }
                }
            }
        }
        let mut delta = Delta::default();
        delta.put(Family::Redo, key, value);
        backend.apply(&delta).expect("there is room");
        assert!(redo::read(&backend).expect("it is whole again").is_some());
    }
}

const RECORDS: u64 = 3_000;

fn job(state: &Path, output: &Path) -> Job {
    let topology = Topology::new("damaged");
    let numbers = topology.source("numbers", Memory::source(0..RECORDS));
    let counts = numbers.key_by(|number| number % 200).count("counts").to_stream();
    counts.map(|(key, count)| format!("{key} {count}")).sink("out", File::at(output).sink(Text));
    Job::new(topology).state(state).epoch_interval(Duration::from_millis(10))
}

#[test]
fn a_job_on_a_damaged_directory_is_refused_or_right() {
    let directory = directory();
    let made = directory.path().join("made");
    for _ in 0..3 {
        let running = job(&made.join("state"), &made.join("out")).rate(1_000).start().expect("it starts");
        std::thread::sleep(Duration::from_millis(200));
        running.stop();
        assert!(!running.wait().expect("it runs").finished);
    }
    let mut meant: Vec<String> =
        (0..RECORDS).map(|number| format!("{} {}", number % 200, number / 200 + 1)).collect();
    meant.sort();
    let mut dice = Dice(11);
    let (mut refused, mut right) = (0, 0);
    for (kind, files) in files(&made.join("state")) {
        for _ in 0..25 {
            let damaged = directory.path().join("damaged");
            copy(&made, &damaged);
            let state = damaged.join("state");
            let what = damage(&state.join(&files[dice.below(files.len())]), &mut dice);
            match job(&state, &damaged.join("out")).run() {
                Ok(report) => {
                    assert!(report.finished, "{kind}, {what}");
                    assert_eq!(lines(&damaged.join("out")), meant, "{kind}, {what}");
                    right += 1;
                }
                Err(JobError::State(_) | JobError::Run(_)) => refused += 1,
                Err(other) => panic!("{kind}, {what}: {other}"),
            }
            fs::remove_dir_all(&damaged).expect("it is ours");
        }
    }
    println!("{refused} jobs refused, {right} went on and were right");
    assert!(refused > 50 && right > 25);
}
