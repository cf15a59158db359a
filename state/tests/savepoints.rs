//! Savepoints on a real disk. If one of these fails, a savepoint is not what was committed, is used although it
//! is damaged, or costs a state directory something that it had.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use highwater_state::backend::memory::MemoryBackend;
use highwater_state::backend::rocksdb::{ReadOnlyBackend, RocksDbBackend};
use highwater_state::budget::MemoryBudget;
use highwater_state::catalog::Catalog;
use highwater_state::delta::{Delta, Family};
use highwater_state::error::StateError;
use highwater_state::hash::key_hash;
use highwater_state::layout::{self, EPOCH_KEY, time_prefix, value_prefix};
use highwater_state::persist::encode;
use highwater_state::shape::shape_of;
use highwater_state::{Backend, Epoch, KeyGroup, Savepoint, StateReader, Timestamp};
use tempfile::TempDir;

const KEYS: u64 = 5000;

fn open(directory: &Path) -> Result<RocksDbBackend, StateError> {
    RocksDbBackend::open(directory, &MemoryBudget::of(MemoryBudget::MIN_BYTES).unwrap())
}

/// Commits an epoch in which every key has a value that tells the epoch.
fn epoch(backend: &dyn Backend, number: u64) {
    let catalog = Catalog::open(backend).unwrap();
    let counts =
        catalog.store("counts", Family::Values, &format!("{} -> u64", shape_of::<String>())).unwrap();
    let windows =
        catalog.store("windows", Family::Windows, &format!("{} -> u64", shape_of::<String>())).unwrap();
    let mut delta = Delta::default();
    catalog.take_changes(&mut delta);
    for key in 0..KEYS {
        let key = format!("key-{key}");
        let group = KeyGroup::of_hash(key_hash(&key));
        let (mut row, mut ordered, mut value) = (Vec::new(), Vec::new(), Vec::new());
        value_prefix(counts, group, &mut row);
        time_prefix(windows, group, Timestamp::from_millis(60_000), &mut ordered);
        encode("key", &key, &mut row).unwrap();
        encode("key", &key, &mut ordered).unwrap();
        encode("value", &number, &mut value).unwrap();
        delta.put(Family::Values, &row, &value);
        delta.put(Family::Windows, &ordered, &value);
    }
    let mut bytes = Vec::new();
    encode("epoch", &Epoch(number), &mut bytes).unwrap();
    delta.put(Family::Meta, EPOCH_KEY, &bytes);
    delta.put(Family::Meta, &layout::receipt_key("out", 0), b"staged");
    backend.commit(&delta).unwrap();
}

fn made_at() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_123)
}

/// A state directory at epoch 3, with a savepoint of epoch 2 in it.
fn scene() -> (TempDir, Savepoint) {
    let directory = tempfile::tempdir().unwrap();
    let backend = open(directory.path()).unwrap();
    epoch(&backend, 1);
    epoch(&backend, 2);
    let path = Savepoint::path_of(directory.path(), "before").unwrap();
    let savepoint = Savepoint::make(&backend, &path, "topology", made_at()).unwrap();
    epoch(&backend, 3);
    (directory, savepoint)
}

#[track_caller]
fn holds(backend: &dyn Backend, number: u64) {
    let reader = Catalog::open(backend).unwrap();
    let store = reader.find("counts").unwrap().0;
    let mut rows = 0;
    let (from, to) = layout::store_range(store);
    backend
        .scan(Family::Values, &from, &to, &mut |_, value| {
            assert_eq!(value, [number as u8]);
            rows += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(rows, KEYS);
}

/// Every file below a directory, with what would show that somebody touched it.
fn files(directory: &Path) -> BTreeMap<PathBuf, (u64, u64, SystemTime)> {
    let mut found = BTreeMap::new();
    let mut look_at = vec![directory.to_owned()];
    while let Some(at) = look_at.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let about = fs::metadata(&path).unwrap();
            found.insert(path.clone(), (about.len(), about.ino(), about.modified().unwrap()));
            if about.is_dir() {
                look_at.push(path);
            }
        }
    }
    found
}

#[test]
fn a_savepoint_keeps_its_epoch_while_the_job_goes_on_and_says_what_it_is_of() {
    let (directory, made) = scene();
    let savepoint = Savepoint::open(&directory.path().join("savepoints/before")).unwrap();
    assert_eq!(savepoint, made);
    assert_eq!(
        (savepoint.topology(), savepoint.epoch(), savepoint.made_at()),
        ("topology", Epoch(2), made_at())
    );
    holds(&ReadOnlyBackend::open(savepoint.path()).unwrap(), 2);
    holds(&open(directory.path()).unwrap(), 3);
    for private in [savepoint.path(), savepoint.path().parent().unwrap()] {
        let mode = fs::metadata(private).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", private.display());
    }
}

#[test]
fn data_is_linked_and_not_copied_into_a_savepoint_and_out_of_it() {
    let (directory, savepoint) = scene();
    let state = tempfile::tempdir_in(directory.path()).unwrap();
    savepoint.restore_into(state.path()).unwrap();
    let tables = |at: &Path| -> BTreeMap<_, _> {
        let all = files(&at.join("db")).into_iter();
        let data = all.filter(|(path, _)| path.extension().is_some_and(|ending| ending == "sst"));
        data.map(|(path, (_, inode, _))| (path.file_name().unwrap().to_owned(), inode)).collect()
    };
    let (kept, running, restored) =
        (tables(savepoint.path()), tables(directory.path()), tables(state.path()));
    assert!(kept.len() >= 3, "values, windows, meta: {kept:?}");
    let shared = kept.iter().filter(|(name, inode)| running.get(*name) == Some(inode)).count();
    assert_eq!(shared, kept.len(), "the state directory and its savepoint share every file of data");
    let shared = kept.iter().filter(|(name, inode)| restored.get(*name) == Some(inode)).count();
    assert_eq!(shared, kept.len(), "what was started from it, too");
}

#[test]
fn state_that_begins_with_a_savepoint_is_that_of_its_epoch_and_may_change_without_changing_it() {
    let (_directory, savepoint) = scene();
    let before = files(savepoint.path());
    for _ in 0..2 {
        let state = tempfile::tempdir().unwrap();
        // The second time it is there already, as after a start that was refused later on.
        savepoint.restore_into(state.path()).unwrap();
        savepoint.restore_into(state.path()).unwrap();
        let backend = open(state.path()).unwrap();
        holds(&backend, 2);
        let receipt = backend.get(Family::Meta, &layout::receipt_key("out", 0)).unwrap();
        assert_eq!(receipt, None, "what was staged has been published long ago");
        epoch(&backend, 7);
        drop(backend);
        holds(&open(state.path()).unwrap(), 7);
        assert!(matches!(savepoint.restore_into(state.path()), Err(StateError::Occupied(_))));
        assert!(!state.path().join("restoring").exists());
    }
    assert_eq!(files(savepoint.path()), before);
    holds(&ReadOnlyBackend::open(savepoint.path()).unwrap(), 2);
}

#[test]
fn nothing_that_is_there_is_overwritten() {
    let (directory, savepoint) = scene();
    let backend = open(directory.path()).unwrap();
    let before = files(savepoint.path());
    let again = Savepoint::make(&backend, savepoint.path(), "topology", made_at()).unwrap_err();
    assert!(matches!(&again, StateError::Exists(path) if path == savepoint.path()), "{again}");
    let file = directory.path().join("a-file");
    fs::write(&file, "mine").unwrap();
    assert!(matches!(Savepoint::make(&backend, &file, "topology", made_at()), Err(StateError::Exists(_))));
    assert_eq!((fs::read_to_string(&file).unwrap().as_str(), files(savepoint.path())), ("mine", before));
    for name in ["", ".", "..", "a/b", "../a", "ä", "a b", &"a".repeat(201)] {
        let refused = Savepoint::path_of(directory.path(), name);
        assert!(matches!(refused, Err(StateError::Name { .. })), "{name}");
    }
    drop(backend);

    // A directory with state is not overwritten with a savepoint, not even one whose database is damaged.
    let refused = savepoint.restore_into(directory.path()).unwrap_err();
    assert!(matches!(&refused, StateError::Occupied(path) if path == directory.path()), "{refused}");
    holds(&open(directory.path()).unwrap(), 3);
    fs::remove_file(directory.path().join("db/CURRENT")).unwrap();
    assert!(matches!(savepoint.restore_into(directory.path()), Err(StateError::Occupied(_))));
    let running = tempfile::tempdir().unwrap();
    let _backend = open(running.path()).unwrap();
    assert!(matches!(savepoint.restore_into(running.path()), Err(StateError::InUse(_))));
}

#[test]
fn a_savepoint_that_is_not_complete_is_refused_saying_what_is_wrong() {
    let (directory, savepoint) = scene();
    let manifest = fs::read(savepoint.path().join("savepoint.json")).unwrap();
    let copy = directory.path().join("copy");
    // Every byte of the manifest changed, and every end of it cut off.
    for at in 0..manifest.len() {
        for damaged in [manifest[..at].to_vec(), {
            let mut changed = manifest.clone();
            changed[at] ^= 1;
            changed
        }] {
            let _ = fs::remove_dir_all(&copy);
            fs::create_dir(&copy).unwrap();
            fs::write(copy.join("savepoint.json"), &damaged).unwrap();
            let whole = damaged.len() + 1 == manifest.len()
                || damaged.len() == manifest.len() && at + 1 == manifest.len();
            let Err(StateError::Savepoint { path, reason }) = Savepoint::open(&copy) else {
                panic!("byte {at} of {}", manifest.len())
            };
            // Without the line end at its end it is still the same; then the files are missing.
            assert!(path == copy && (whole || reason.contains("savepoint.json")), "{at}: {reason}");
        }
    }
    let missing = Savepoint::open(&directory.path().join("nowhere")).unwrap_err().to_string();
    assert!(missing.contains("nowhere") && missing.contains("savepoint.json"), "{missing}");
    assert!(
        matches!(Savepoint::open(directory.path()), Err(StateError::Savepoint { .. })),
        "a state directory is none"
    );

    // Every file of the database shortened, and missing.
    let names: Vec<_> =
        fs::read_dir(savepoint.path().join("db")).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(names.len() > 4, "{names:?}");
    for path in names {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = fs::read(&path).unwrap();
        // Not in place: the file may be one of the running state, too.
        fs::remove_file(&path).unwrap();
        let shorter = bytes.len().checked_sub(1).map(|end| Some(&bytes[..end]));
        for damaged in [Some(None), shorter].into_iter().flatten() {
            if let Some(damaged) = damaged {
                fs::write(&path, damaged).unwrap();
            }
            let text = Savepoint::open(savepoint.path()).unwrap_err().to_string();
            assert!(text.contains(&name), "{text}");
            assert!(StateReader::open(savepoint.path()).is_err());
        }
        fs::write(&path, &bytes).unwrap();
    }
    assert_eq!(Savepoint::open(savepoint.path()).unwrap(), savepoint);
    holds(&ReadOnlyBackend::open(savepoint.path()).unwrap(), 2);
}

#[test]
fn what_a_crash_left_of_a_savepoint_or_of_a_start_from_one_is_in_nobodys_way() {
    let (directory, savepoint) = scene();
    let half = directory.path().join("savepoints/.next.making/db");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("000001.sst"), "half").unwrap();
    let path = Savepoint::path_of(directory.path(), "next").unwrap();
    let made = Savepoint::make(&open(directory.path()).unwrap(), &path, "topology", made_at()).unwrap();
    assert_eq!(made.epoch(), Epoch(3));
    assert!(!directory.path().join("savepoints/.next.making").exists());

    let state = tempfile::tempdir().unwrap();
    fs::create_dir_all(state.path().join("restoring/db")).unwrap();
    fs::write(state.path().join("restoring/db/CURRENT"), "half").unwrap();
    fs::create_dir(state.path().join("db")).unwrap();
    savepoint.restore_into(state.path()).unwrap();
    holds(&open(state.path()).unwrap(), 2);
}

#[test]
fn state_in_memory_has_no_savepoints_and_nothing_is_left_of_one_that_failed() {
    let directory = tempfile::tempdir().unwrap();
    let path = Savepoint::path_of(directory.path(), "none").unwrap();
    let refused = Savepoint::make(&MemoryBackend::new(), &path, "topology", made_at()).unwrap_err();
    assert!(matches!(refused, StateError::NoCheckpoint), "{refused}");
    assert_eq!(fs::read_dir(directory.path().join("savepoints")).unwrap().count(), 0);
}

#[test]
fn reading_state_changes_no_file_and_finds_what_is_there_with_types_and_without() {
    let (directory, savepoint) = scene();
    // As after a kill: what was committed last stands in the log only.
    for (path, number) in [(directory.path(), 3), (savepoint.path(), 2)] {
        let before = files(path);
        let reader = StateReader::open(path).unwrap();
        assert_eq!((reader.epoch(), reader.savepoint().is_some()), (Epoch(number), number == 2));
        let states = reader.states().unwrap();
        let about: Vec<_> =
            states.iter().map(|s| (s.name.as_str(), s.family, s.shape.as_str(), s.rows, s.used)).collect();
        assert_eq!(
            about,
            [
                ("counts", "values", "str -> u64", KEYS, Some(true)),
                ("windows", "windows", "str -> u64", KEYS, Some(true))
            ]
        );
        assert!(states[1].bytes > states[0].bytes && states[0].bytes > KEYS * 10);
        assert_eq!(reader.get::<String, u64>("counts", &"key-77".to_owned()).unwrap(), Some(number));
        assert_eq!(reader.get::<String, u64>("counts", &"key-x".to_owned()).unwrap(), None);
        let end = Timestamp::from_millis(60_000);
        assert_eq!(reader.get_at::<String, u64>("windows", end, &"key-0".to_owned()).unwrap(), Some(number));
        let mut keys: Vec<_> =
            reader.rows::<String, u64>("windows").unwrap().map(|row| row.unwrap()).collect();
        assert!(keys.iter().all(|row| row.value == number && row.time == Some(end)));
        keys.sort_by(|a, b| a.key.cmp(&b.key));
        keys.dedup();
        assert_eq!(keys.len() as u64, KEYS);
        let mut exported = Vec::new();
        assert_eq!(reader.export("windows", &mut exported).unwrap(), KEYS);
        let lines = String::from_utf8(exported).unwrap();
        assert!(lines.lines().any(|line| {
            line == format!(r#"{{"time":"1970-01-01T00:01:00Z","key":"key-4999","value":{number}}}"#)
        }));
        drop(reader);
        assert_eq!(files(path), before);
    }
}

#[test]
fn state_is_not_read_as_what_it_is_not_nor_while_a_job_works_on_it() {
    let (directory, savepoint) = scene();
    let reader = StateReader::open(savepoint.path()).unwrap();
    let shape = |refused: Result<_, StateError>| matches!(refused, Err(StateError::Shape { .. }));
    assert!(shape(reader.get::<String, u32>("counts", &String::new()).map(drop)));
    assert!(shape(reader.get::<u64, u64>("counts", &1).map(drop)));
    assert!(shape(reader.rows::<String, (u64,)>("counts").map(drop)));
    assert!(shape(reader.get::<String, u64>("windows", &String::new()).map(drop)));
    assert!(shape(reader.get_at::<String, u64>("counts", Timestamp::MIN, &String::new()).map(drop)));
    let text = reader.get::<String, u64>("count", &String::new()).unwrap_err().to_string();
    assert!(text.contains("`count`") && text.contains("counts, windows"), "{text}");

    let backend = open(directory.path()).unwrap();
    assert!(matches!(StateReader::open(directory.path()), Err(StateError::InUse(_))));
    assert!(StateReader::open(savepoint.path()).is_ok(), "a savepoint can be read all the time, by several");
    drop(backend);
    let first = StateReader::open(directory.path()).unwrap();
    assert!(StateReader::open(directory.path()).is_ok());
    assert!(matches!(open(directory.path()), Err(StateError::InUse(_))));
    drop(first);
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(StateReader::open(empty.path()), Err(StateError::NoState(_))));
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
}
