//! What every backend must do, judged against an ordered map (HW-2).
//!
//! If this suite fails for a backend, state that was committed is lost, or state that was not is found. To
//! judge another backend, give it to `follows_the_model`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use highwater_state::backend::Backend;
use highwater_state::backend::memory::MemoryBackend;
use highwater_state::backend::rocksdb::RocksDbBackend;
use highwater_state::budget::MemoryBudget;
use highwater_state::delta::{Delta, Family};
use highwater_state::error::StateError;
use highwater_state::layout::{FORMAT, FORMAT_KEY};
use proptest::prelude::*;
use tempfile::TempDir;

type Model = BTreeMap<(Family, Vec<u8>), Vec<u8>>;

fn open(directory: &Path) -> Result<RocksDbBackend, StateError> {
    RocksDbBackend::open(directory, &MemoryBudget::of(MemoryBudget::MIN_BYTES).unwrap())
}

#[derive(Clone, Debug)]
enum Edit {
    Put(Family, Vec<u8>, Vec<u8>),
    Delete(Family, Vec<u8>),
    DeleteRange(Family, Vec<u8>, Vec<u8>),
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Edit>),
    Get(Family, Vec<u8>),
    GetMany(Family, Vec<Vec<u8>>),
    Scan(Family, Vec<u8>, Vec<u8>, usize),
    Reopen,
}

fn family() -> impl Strategy<Value = Family> {
    proptest::sample::select(Family::ALL.to_vec())
}

/// The row that names the format stands in `meta`; without it a directory is refused.
fn end(family: Family, to: Vec<u8>) -> Vec<u8> {
    if family == Family::Meta { to.min(FORMAT_KEY.to_vec()) } else { to }
}

/// Few and short, so that changes meet: also the empty key, zeros, and bytes that sort last.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let byte = proptest::sample::select(vec![0u8, b'a', b'b', u8::MAX]);
    proptest::collection::vec(byte, 0..4)
}

fn edit() -> impl Strategy<Value = Edit> {
    let value = proptest::collection::vec(any::<u8>(), 0..20);
    prop_oneof![
        6 => (family(), key(), value).prop_map(|(family, key, value)| Edit::Put(family, key, value)),
        2 => (family(), key()).prop_map(|(family, key)| Edit::Delete(family, key)),
        1 => (family(), key(), key()).prop_map(|(family, from, to)| Edit::DeleteRange(family, from, end(family, to))),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => proptest::collection::vec(edit(), 0..12).prop_map(Step::Commit),
        2 => (family(), key()).prop_map(|(family, key)| Step::Get(family, key)),
        2 => (family(), proptest::collection::vec(key(), 0..8)).prop_map(|(family, keys)| Step::GetMany(family, keys)),
        3 => (family(), key(), key(), 0..6usize).prop_map(|(family, from, to, n)| Step::Scan(family, from, to, n)),
        1 => Just(Step::Reopen),
    ]
}

fn commit(backend: &dyn Backend, model: &mut Model, edits: &[Edit]) {
    let mut delta = Delta::default();
    for edit in edits {
        match edit {
            Edit::Put(family, key, value) => {
                delta.put(*family, key, value);
                model.insert((*family, key.clone()), value.clone());
            }
            Edit::Delete(family, key) => {
                delta.delete(*family, key);
                model.remove(&(*family, key.clone()));
            }
            Edit::DeleteRange(family, from, to) => {
                delta.delete_range(*family, from, to);
                model.retain(|(of, key), _| of != family || key < from || key >= to);
            }
        }
    }
    backend.commit(&delta).unwrap();
}

fn rows(
    backend: &dyn Backend,
    family: Family,
    from: &[u8],
    to: &[u8],
    most: usize,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let scanned = backend.scan(family, from, to, &mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        if found.len() > most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    scanned.unwrap();
    found
}

fn expected(model: &Model, family: Family, from: &[u8], to: &[u8], most: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let inside = |(of, key): &(Family, Vec<u8>)| *of == family && &key[..] >= from && &key[..] < to;
    let rows = model.iter().filter(|(key, _)| inside(key)).take(most + 1);
    rows.map(|((_, key), value)| (key.clone(), value.clone())).collect()
}

/// Takes the steps; `reopen` closes and opens what survives that.
fn follows_the_model<B: Backend>(backend: B, reopen: impl Fn(B) -> B, mut model: Model, steps: &[Step]) {
    let mut backend = backend;
    for step in steps {
        match step {
            Step::Commit(edits) => commit(&backend, &mut model, edits),
            Step::Get(family, key) => {
                assert_eq!(backend.get(*family, key).unwrap().as_ref(), model.get(&(*family, key.clone())));
            }
            Step::GetMany(family, keys) => {
                let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
                let wanted: Vec<_> =
                    keys.iter().map(|key| model.get(&(*family, key.to_vec())).cloned()).collect();
                assert_eq!(backend.get_many(*family, &keys).unwrap(), wanted);
            }
            Step::Scan(family, from, to, most) => {
                let found = rows(&backend, *family, from, to, *most);
                assert_eq!(found, expected(&model, *family, from, to, *most));
            }
            Step::Reopen => backend = reopen(backend),
        }
    }
    backend = reopen(backend);
    for family in Family::ALL {
        let (from, to) = (&[][..], &[u8::MAX; 5][..]);
        assert_eq!(
            rows(&backend, family, from, to, usize::MAX - 1),
            expected(&model, family, from, to, usize::MAX - 1)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn memory_answers_as_an_ordered_map_does(steps in proptest::collection::vec(step(), 0..40)) {
        follows_the_model(MemoryBackend::new(), |backend| backend, Model::new(), &steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn rocksdb_answers_as_an_ordered_map_does(steps in proptest::collection::vec(step(), 0..40)) {
        let directory = TempDir::new().unwrap();
        let reopen = |backend| {
            drop(backend);
            open(directory.path()).unwrap()
        };
        let format = ((Family::Meta, FORMAT_KEY.to_vec()), FORMAT.to_be_bytes().to_vec());
        follows_the_model(open(directory.path()).unwrap(), reopen, Model::from([format]), &steps);
    }
}

/// Both backends, empty except for what the format needs.
fn both(judge: impl Fn(&dyn Backend)) {
    judge(&MemoryBackend::new());
    let directory = TempDir::new().unwrap();
    judge(&open(directory.path()).unwrap());
}

#[test]
fn an_empty_delta_changes_nothing() {
    both(|backend| {
        let mut model = Model::new();
        commit(backend, &mut model, &[Edit::Put(Family::Values, b"a".to_vec(), b"1".to_vec())]);
        backend.commit(&Delta::default()).unwrap();
        assert_eq!(
            rows(backend, Family::Values, b"", b"z", 9),
            expected(&model, Family::Values, b"", b"z", 9)
        );
    });
}

#[test]
fn an_empty_or_reversed_range_deletes_and_finds_nothing() {
    both(|backend| {
        let mut delta = Delta::default();
        delta.put(Family::Windows, b"b", b"1");
        delta.delete_range(Family::Windows, b"b", b"b");
        delta.delete_range(Family::Windows, b"c", b"a");
        backend.commit(&delta).unwrap();
        assert_eq!(backend.get(Family::Windows, b"b").unwrap(), Some(b"1".to_vec()));
        assert_eq!(rows(backend, Family::Windows, b"b", b"b", 9), []);
        assert_eq!(rows(backend, Family::Windows, b"c", b"a", 9), []);
    });
}

#[test]
fn a_range_and_rows_in_one_delta_apply_in_order() {
    both(|backend| {
        let mut delta = Delta::default();
        delta.put(Family::Timers, b"a1", b"old");
        delta.delete_range(Family::Timers, b"a", b"b");
        delta.put(Family::Timers, b"a2", b"new");
        backend.commit(&delta).unwrap();
        backend.commit(&delta).unwrap();
        assert_eq!(rows(backend, Family::Timers, b"", b"z", 9), [(b"a2".to_vec(), b"new".to_vec())]);
    });
}

#[test]
fn a_delta_of_100_000_rows_is_one_commit() {
    both(|backend| {
        let mut delta = Delta::default();
        let key = |number: u32| number.to_be_bytes();
        (0..100_000).for_each(|number| delta.put(Family::Values, &key(number), &[7; 100]));
        backend.commit(&delta).unwrap();
        let keys: Vec<_> = (0..100_001).map(key).collect();
        let keys: Vec<_> = keys.iter().map(|key| &key[..]).collect();
        let found = backend.get_many(Family::Values, &keys).unwrap();
        assert!(found[..100_000].iter().all(|value| value.as_deref() == Some(&[7; 100])));
        assert_eq!(found[100_000], None);
        assert_eq!(rows(backend, Family::Values, &[], &[u8::MAX; 5], usize::MAX - 1).len(), 100_000);
    });
}

#[test]
fn readers_beside_commits_see_none_or_all_of_a_row() {
    both(|backend| {
        let done = AtomicBool::new(false);
        let is_whole = |value: &[u8]| value.len() == 1000 && value.iter().all(|byte| *byte == value[0]);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let found = backend.get_many(Family::Values, &[b"a", b"b"]).unwrap();
                        assert!(found.iter().flatten().all(|value| is_whole(value)));
                        let one = backend.get(Family::Values, b"a").unwrap();
                        assert!(one.is_none_or(|value| is_whole(&value)));
                        // A scan sees one moment, in which both rows are from the same commit.
                        let scanned = rows(backend, Family::Values, b"a", b"c", 9);
                        assert!(scanned.iter().all(|(_, value)| is_whole(value) && *value == scanned[0].1));
                    }
                });
            }
            for round in 0..200u8 {
                let mut delta = Delta::default();
                delta.put(Family::Values, b"a", &[round; 1000]);
                delta.put(Family::Values, b"b", &[round; 1000]);
                backend.commit(&delta).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn a_second_open_of_a_directory_in_use_is_refused() {
    let directory = TempDir::new().unwrap();
    let first = open(directory.path()).unwrap();
    assert!(matches!(open(directory.path()), Err(StateError::InUse(path)) if path == directory.path()));
    drop(first);
    open(directory.path()).unwrap();
}

#[cfg(unix)]
#[test]
fn a_new_directory_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let above = TempDir::new().unwrap();
    let directory = above.path().join("jobs/views");
    drop(open(&directory).unwrap());
    assert_eq!(fs::metadata(directory).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn another_format_is_refused() {
    let directory = TempDir::new().unwrap();
    for (row, text) in [(&[0, 0, 0, 99][..], "99"), (b"?", "[63]")] {
        let backend = open(directory.path()).unwrap();
        let mut delta = Delta::default();
        delta.put(Family::Meta, FORMAT_KEY, row);
        backend.commit(&delta).unwrap();
        drop(backend);
        let Err(StateError::Layout { found, expected, .. }) = open(directory.path()) else {
            panic!("another format was accepted")
        };
        assert_eq!((found.as_str(), expected), (text, FORMAT));
        fs::remove_dir_all(directory.path().join("db")).unwrap();
        fs::remove_file(directory.path().join("SYNCED")).unwrap();
    }
}

#[test]
fn rows_without_a_format_are_refused() {
    let directory = TempDir::new().unwrap();
    let backend = open(directory.path()).unwrap();
    let mut delta = Delta::default();
    delta.delete(Family::Meta, FORMAT_KEY);
    delta.put(Family::Values, b"a", b"1");
    backend.commit(&delta).unwrap();
    drop(backend);
    assert!(matches!(open(directory.path()), Err(StateError::Layout { found, .. }) if found == "none"));
}

/// A directory with 5000 rows in table files, closed.
fn filled() -> TempDir {
    let directory = TempDir::new().unwrap();
    let backend = open(directory.path()).unwrap();
    let mut delta = Delta::default();
    (0..5000u32).for_each(|number| delta.put(Family::Values, &number.to_be_bytes(), &number.to_le_bytes()));
    backend.commit(&delta).unwrap();
    drop(backend);
    // The next open replays the log into table files.
    drop(open(directory.path()).unwrap());
    directory
}

/// The largest file of the database whose name fits.
fn largest(directory: &Path, fits: impl Fn(&str) -> bool) -> PathBuf {
    let entries = fs::read_dir(directory.join("db")).unwrap().map(|entry| entry.unwrap());
    let fitting = entries.filter(|entry| fits(entry.file_name().to_str().unwrap()));
    fitting.max_by_key(|entry| entry.metadata().unwrap().len()).unwrap().path()
}

/// Opens a damaged directory and reads all of it; nothing may be missing without an error.
fn read_all(directory: &Path) -> Result<usize, StateError> {
    let backend = open(directory)?;
    let mut found = 0;
    backend.scan(Family::Values, &[], &[u8::MAX; 5], &mut |_, _| {
        found += 1;
        ControlFlow::Continue(())
    })?;
    let keys: Vec<_> = (0..5000u32).map(u32::to_be_bytes).collect();
    let keys: Vec<_> = keys.iter().map(|key| &key[..]).collect();
    let many = backend.get_many(Family::Values, &keys)?.into_iter().flatten().count();
    assert_eq!(many, found);
    Ok(found)
}

#[test]
fn an_undamaged_directory_is_read_whole() {
    assert_eq!(read_all(filled().path()).unwrap(), 5000);
}

#[test]
fn a_truncated_file_is_an_error() {
    for (name, keep) in [("table", 2), ("table", 1000), ("manifest", 2), ("manifest", 1_000_000)] {
        let directory = filled();
        let fits =
            |file: &str| if name == "table" { file.ends_with(".sst") } else { file.starts_with("MANIFEST") };
        let path = largest(directory.path(), fits);
        let length = fs::metadata(&path).unwrap().len();
        fs::File::options().write(true).open(&path).unwrap().set_len(length / keep).unwrap();
        match read_all(directory.path()) {
            Err(StateError::Manifest { .. }) if name == "manifest" => {}
            Err(StateError::Store { .. }) if name == "table" => {}
            read => panic!("{name} cut to 1/{keep}: {read:?}"),
        }
    }
}

#[test]
fn a_flipped_bit_in_a_table_is_an_error_for_every_way_of_reading() {
    let directory = filled();
    let path = largest(directory.path(), |file| file.ends_with(".sst"));
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    let backend = open(directory.path()).unwrap();
    let first = 0u32.to_be_bytes();
    assert!(matches!(backend.get(Family::Values, &first), Err(StateError::Store { .. })));
    assert!(matches!(backend.get_many(Family::Values, &[&first]), Err(StateError::Store { .. })));
    let scanned = backend.scan(Family::Values, &[], &[u8::MAX; 5], &mut |_, _| ControlFlow::Continue(()));
    assert!(matches!(scanned, Err(StateError::Store { .. })));
}

#[test]
fn a_garbled_manifest_or_current_is_an_error() {
    for name in ["MANIFEST", "CURRENT"] {
        let directory = filled();
        let path = largest(directory.path(), |file| file.starts_with(name));
        fs::write(path, b"this is no database").unwrap();
        match read_all(directory.path()) {
            Err(StateError::Manifest { .. }) if name == "MANIFEST" => {}
            Err(StateError::Store { .. }) if name == "CURRENT" => {}
            read => panic!("{name}: {read:?}"),
        }
    }
}

#[test]
fn a_database_that_lost_a_file_is_never_replaced_by_an_empty_one() {
    for name in ["CURRENT", "MANIFEST", ".sst"] {
        let directory = filled();
        fs::remove_file(largest(directory.path(), |file| file.contains(name))).unwrap();
        assert!(matches!(read_all(directory.path()), Err(StateError::Store { .. })), "{name}");
    }
}

#[test]
fn table_files_alone_are_not_taken_for_an_empty_directory() {
    let directory = filled();
    for entry in fs::read_dir(directory.path().join("db")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "sst") && path.is_file() {
            fs::remove_file(path).unwrap();
        }
    }
    assert!(matches!(read_all(directory.path()), Err(StateError::Store { .. })));
}

#[test]
fn a_directory_that_is_a_file_is_an_error() {
    let above = TempDir::new().unwrap();
    let path = above.path().join("state");
    fs::write(&path, b"").unwrap();
    assert!(matches!(open(&path), Err(StateError::Directory { .. })));
    fs::create_dir(above.path().join("other")).unwrap();
    fs::write(above.path().join("other/db"), b"").unwrap();
    assert!(open(&above.path().join("other")).is_err());
}

#[test]
fn a_directory_that_was_closed_can_be_opened_at_once_also_while_processes_are_being_started() {
    let directory = TempDir::new().unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // A process that is being started holds the files of this one for a moment, and with them their locks.
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                std::process::Command::new("true").status().unwrap();
            }
        });
        let opened = (0..100).try_for_each(|_| open(directory.path()).map(drop));
        ended.store(true, Ordering::Relaxed);
        opened.unwrap();
    });
}
