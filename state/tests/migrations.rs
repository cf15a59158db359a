//! State that changes its type. If one of these fails, state is lost or misread when a program is changed (HW-9),
//! or a crash in the middle of a migration leaves something that is neither old nor new.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use highwater_state::backend::Visit;
use highwater_state::backend::memory::MemoryBackend;
use highwater_state::backend::rocksdb::RocksDbBackend;
use highwater_state::budget::MemoryBudget;
use highwater_state::catalog::{Catalog, drop_orphans};
use highwater_state::delta::{Delta, Family};
use highwater_state::error::{Result, StateError};
use highwater_state::layout::{self, value_prefix};
use highwater_state::migration::Migration;
use highwater_state::persist::{decode, encode};
use highwater_state::shape::shape_of;
use highwater_state::{Backend, KeyGroup, Persist, StateReader, StoreId};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Visit1 {
    page: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Visit2 {
    page: String,
    seconds: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Visit3 {
    page: String,
    millis: u64,
}

fn longer(old: Visit1) -> Visit2 {
    Visit2 { seconds: old.page.len() as u32, page: old.page }
}

fn finer(old: Visit2) -> Visit3 {
    Visit3 { millis: u64::from(old.seconds) * 1000, page: old.page }
}

fn open(directory: &Path) -> RocksDbBackend {
    RocksDbBackend::open(directory, &MemoryBudget::of(MemoryBudget::MIN_BYTES).unwrap()).unwrap()
}

fn shape<V: Persist>() -> String {
    format!("{} -> {}", shape_of::<u32>(), shape_of::<V>())
}

fn row(store: StoreId, key: u32) -> Vec<u8> {
    let mut row = Vec::new();
    value_prefix(store, KeyGroup::new((key % 128) as u16), &mut row);
    encode("key", &key, &mut row).unwrap();
    row
}

/// Keeps a value for each of some keys under a name.
fn keep<V: Persist>(backend: &dyn Backend, name: &str, values: impl IntoIterator<Item = V>) -> StoreId {
    let catalog = Catalog::open(backend).unwrap();
    let store = catalog.store(name, Family::Values, &shape::<V>()).unwrap();
    let mut delta = Delta::default();
    catalog.take_changes(&mut delta);
    for (key, value) in values.into_iter().enumerate() {
        let mut bytes = Vec::new();
        encode("value", &value, &mut bytes).unwrap();
        delta.put(Family::Values, &row(store, key as u32), &bytes);
    }
    backend.commit(&delta).unwrap();
    store
}

/// Everything in a family, by key.
fn all(backend: &dyn Backend, family: Family) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut rows = BTreeMap::new();
    backend
        .scan(family, &[], &[0xff; 8], &mut |key, value| {
            rows.insert(key.to_vec(), value.to_vec());
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    rows
}

fn values<V: Persist>(backend: &dyn Backend, store: StoreId, keys: u32) -> Vec<V> {
    let value =
        |key| decode("visits", &backend.get(Family::Values, &row(store, key)).unwrap().unwrap()).unwrap();
    (0..keys).map(value).collect()
}

/// Dies after some commits: from then on nothing is written any more.
struct Dies {
    backend: RocksDbBackend,
    commits: AtomicUsize,
}

impl Backend for Dies {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.backend.get(family, key)
    }
    fn get_many(&self, family: Family, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        self.backend.get_many(family, keys)
    }
    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        self.backend.scan(family, from, to, visit)
    }
    fn commit(&self, delta: &Delta) -> Result<()> {
        match self.commits.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => self.backend.commit(delta),
            Err(_) => Err(StateError::ReadOnly),
        }
    }
}

#[test]
fn a_migration_runs_once_and_records_the_new_shape() {
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let old: Vec<Visit1> = (0..500).map(|key| Visit1 { page: "x".repeat(key) }).collect();
    let store = keep(&*backend, "visits", old.clone());
    let other = keep(&*backend, "others", [Visit1 { page: "stays".to_owned() }]);
    let counted = Arc::new(AtomicUsize::new(0));
    let migrations = || {
        let counted = Arc::clone(&counted);
        vec![Migration::new("visits", move |old: Visit1| {
            counted.fetch_add(1, Ordering::SeqCst);
            longer(old)
        })]
    };
    let catalog = Catalog::with_migrations(Arc::clone(&backend), migrations()).unwrap();
    let new = catalog.store("visits", Family::Values, &shape::<Visit2>()).unwrap();
    assert_eq!(
        catalog.store("visits", Family::Values, &shape::<Visit2>()).unwrap(),
        new,
        "the second worker"
    );
    assert_eq!((catalog.migrated(), counted.load(Ordering::SeqCst)), (vec!["visits".to_owned()], 500));
    let expected: Vec<Visit2> = old.into_iter().map(longer).collect();
    assert_eq!(values::<Visit2>(&*backend, new, 500), expected);
    assert_eq!(all(&*backend, Family::Values).len(), 501, "no old row is left");
    assert!(backend.get(Family::Values, &row(other, 0)).unwrap().is_some() && new != store);

    // The next start of the same program, and one of a program that knows only the new type.
    for declared in [migrations(), Vec::new()] {
        let catalog = Catalog::with_migrations(Arc::clone(&backend), declared).unwrap();
        assert_eq!(catalog.store("visits", Family::Values, &shape::<Visit2>()).unwrap(), new);
        assert_eq!((catalog.migrated().len(), counted.load(Ordering::SeqCst)), (0, 500));
    }
}

#[test]
fn a_state_that_missed_a_version_goes_through_all_of_them() {
    let declared = || vec![Migration::new("visits", longer), Migration::new("visits", finer)];
    for from_first in [true, false] {
        let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
        let visit = Visit1 { page: "/abc".to_owned() };
        match from_first {
            true => keep(&*backend, "visits", [visit.clone()]),
            false => keep(&*backend, "visits", [longer(visit.clone())]),
        };
        let catalog = Catalog::with_migrations(Arc::clone(&backend), declared()).unwrap();
        let store = catalog.store("visits", Family::Values, &shape::<Visit3>()).unwrap();
        assert_eq!(values::<Visit3>(&*backend, store, 1), [finer(longer(visit))]);
    }
}

#[test]
fn the_type_of_a_user_is_found_inside_what_an_operator_keeps() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Session<V> {
        start: i64,
        end: i64,
        kept: Option<V>,
    }
    type Kept<V> = Vec<(Session<V>, BTreeMap<String, V>, [V; 4])>;
    let visit = |page: &str| Visit1 { page: page.to_owned() };
    fn make<V: Clone>(one: V, two: V) -> Kept<V> {
        let session = Session { start: -1, end: 300, kept: Some(one.clone()) };
        let map = BTreeMap::from([("a".to_owned(), two.clone()), ("b".to_owned(), one.clone())]);
        let none = Session { start: 7, end: 8, kept: None };
        let four = [one.clone(), two.clone(), two, one];
        vec![(session, map, four.clone()), (none, BTreeMap::new(), four)]
    }
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    keep::<Kept<Visit1>>(&*backend, "visits", [make(visit("1"), visit("two")), Vec::new()]);
    let catalog =
        Catalog::with_migrations(Arc::clone(&backend), vec![Migration::new("visits", longer)]).unwrap();
    let store = catalog.store("visits", Family::Values, &shape::<Kept<Visit2>>()).unwrap();
    let expected = [make(longer(visit("1")), longer(visit("two"))), Vec::new()];
    assert_eq!(values::<Kept<Visit2>>(&*backend, store, 2), expected);
}

#[test]
fn a_migration_that_does_not_lead_to_what_is_asked_for_changes_nothing_and_says_so() {
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let store = keep(&*backend, "visits", [Visit1 { page: "p".to_owned() }]);
    let before = (all(&*backend, Family::Values), all(&*backend, Family::Meta));
    // To another type, of another type, of a number inside a struct, which has no name of its own.
    let wrong = [
        Migration::new("visits", longer),
        Migration::new("visits", finer),
        Migration::new("visits", |page: String| page.len() as u64),
    ];
    for migration in wrong {
        let catalog = Catalog::with_migrations(Arc::clone(&backend), vec![migration]).unwrap();
        let refused = catalog.store("visits", Family::Values, &shape::<Visit3>()).unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, StateError::Migration { .. }), "{text}");
        assert!(
            text.contains("visits") && text.contains("millis") && text.contains("Job::migrate"),
            "{text}"
        );
        assert_eq!((all(&*backend, Family::Values), all(&*backend, Family::Meta)), before);
    }
    // One of another state, and none: it says what can be done.
    let catalog =
        Catalog::with_migrations(Arc::clone(&backend), vec![Migration::new("other", longer)]).unwrap();
    let text = catalog.store("visits", Family::Values, &shape::<Visit2>()).unwrap_err().to_string();
    assert!(text.contains("Job::migrate") && text.contains("rename"), "{text}");
    assert_eq!(
        catalog.store("visits", Family::Values, &shape::<Visit1>()).unwrap(),
        store,
        "the old program goes on"
    );
    // Another family is no other type.
    let catalog =
        Catalog::with_migrations(Arc::clone(&backend), vec![Migration::new("visits", longer)]).unwrap();
    assert!(catalog.store("visits", Family::Windows, &shape::<Visit2>()).is_err());
}

#[test]
fn a_crash_at_any_commit_of_a_migration_leaves_the_old_state_or_the_new_one() {
    // Large enough for several chunks.
    let old: Vec<Visit1> = (0..40).map(|key| Visit1 { page: format!("{key}-").repeat(150_000) }).collect();
    let expected: Vec<Visit2> = old.iter().cloned().map(longer).collect();
    let mut survived = [0, 0];
    for commits in 0.. {
        let directory = tempfile::tempdir().unwrap();
        let store = keep(&open(directory.path()), "visits", old.clone());
        let dies = Dies { backend: open(directory.path()), commits: AtomicUsize::new(commits) };
        let catalog =
            Catalog::with_migrations(Arc::new(dies), vec![Migration::new("visits", longer)]).unwrap();
        let ended = catalog.store("visits", Family::Values, &shape::<Visit2>()).is_ok();
        drop(catalog);

        // The old program starts again, or the new one, in turn.
        let backend: Arc<dyn Backend> = Arc::new(open(directory.path()));
        let old_program = Catalog::with_migrations(Arc::clone(&backend), Vec::new()).unwrap();
        match old_program.store("visits", Family::Values, &shape::<Visit1>()) {
            Ok(found) => {
                survived[0] += 1;
                assert!(!ended && found == store);
                assert_eq!(values::<Visit1>(&*backend, found, 40), old);
                assert_eq!(all(&*backend, Family::Values).len(), 40, "what was half done is gone");
            }
            Err(_) => survived[1] += 1,
        }
        let catalog =
            Catalog::with_migrations(Arc::clone(&backend), vec![Migration::new("visits", longer)]).unwrap();
        let new = catalog.store("visits", Family::Values, &shape::<Visit2>()).unwrap();
        assert_eq!(values::<Visit2>(&*backend, new, 40), expected);
        assert_eq!(all(&*backend, Family::Values).len(), 40);
        let meta: Vec<_> = all(&*backend, Family::Meta).into_keys().collect();
        assert!(!meta.iter().any(|key| key.starts_with(b"migrating/")), "{meta:?}");
        if ended {
            break;
        }
    }
    assert!(survived[0] >= 3 && survived[1] == 1, "{survived:?}");
}

#[test]
fn a_row_that_is_damaged_ends_the_migration_and_the_old_state_stays() {
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let store = keep(&*backend, "visits", [Visit1 { page: "p".to_owned() }]);
    let mut delta = Delta::default();
    delta.put(Family::Values, &row(store, 1), &[9, b'x']);
    backend.commit(&delta).unwrap();
    let before = all(&*backend, Family::Values);
    let catalog =
        Catalog::with_migrations(Arc::clone(&backend), vec![Migration::new("visits", longer)]).unwrap();
    let refused = catalog.store("visits", Family::Values, &shape::<Visit2>()).unwrap_err();
    assert!(matches!(&refused, StateError::Row { name, .. } if name == "visits"), "{refused}");
    assert_eq!(all(&*backend, Family::Values), before);
}

#[test]
fn orphans_are_kept_and_told_until_they_are_dropped_with_their_watermarks() {
    let directory = tempfile::tempdir().unwrap();
    let start = |names: &[&str]| {
        let backend = open(directory.path());
        let catalog = Catalog::open(&backend).unwrap();
        for name in names {
            catalog.store(name, Family::Values, &shape::<u64>()).unwrap();
        }
        let mut delta = Delta::default();
        catalog.take_changes(&mut delta);
        backend.commit(&delta).unwrap();
        (backend, catalog)
    };
    let orphans =
        |catalog: &Catalog| catalog.orphans().into_iter().map(|(name, ..)| name).collect::<Vec<_>>();
    let (backend, catalog) = start(&["kept", "gone", "join/left", "join/right"]);
    assert_eq!(orphans(&catalog), Vec::<String>::new());
    let mut delta = Delta::default();
    for of in ["operator/gone", "operator/join/left", "operator/join", "operator/kept", "operator/gone-not"] {
        delta.put(Family::Meta, &layout::watermark_key(of), &[2]);
    }
    for name in ["kept", "gone", "join/left"] {
        let store = catalog.find(name).unwrap().0;
        (0..9).for_each(|key| delta.put(Family::Values, &row(store, key), &[1]));
    }
    backend.commit(&delta).unwrap();
    let last = catalog.find("join/right").unwrap().0;
    drop((backend, catalog));

    let (backend, catalog) = start(&["kept", "join/right"]);
    assert_eq!(orphans(&catalog), ["gone", "join/left"]);
    assert_eq!(all(&backend, Family::Values).len(), 27, "an orphan is kept");
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let refused = catalog.drop_states(&backend, &names(&["gone", "kept"])).unwrap_err();
    assert!(matches!(&refused, StateError::Used { name } if name == "kept"), "{refused}");
    assert_eq!(all(&backend, Family::Values).len(), 27, "nothing is dropped");
    let dropped = catalog.drop_states(&backend, &names(&["gone", "never", "join/left"])).unwrap();
    assert_eq!((dropped, orphans(&catalog)), (names(&["gone", "join/left"]), vec![]));
    assert_eq!(all(&backend, Family::Values).len(), 9);
    let has = |of: &str| backend.get(Family::Meta, &layout::watermark_key(of)).unwrap().is_some();
    let has = ["operator/gone", "operator/join/left", "operator/kept", "operator/gone-not"].map(has);
    assert_eq!(has, [false, true, true, true], "`join` still has a state");
    drop((backend, catalog));

    // A name that comes back begins empty, under a number that nobody had.
    let (backend, catalog) = start(&["kept", "gone"]);
    assert!(catalog.find("gone").unwrap().0 > last);
    drop((backend, catalog));
    assert_eq!(StateReader::open(directory.path()).unwrap().orphans(), Some(names(&["join/right"])));
    assert!(matches!(drop_orphans(directory.path(), &names(&["gone"])), Err(StateError::Used { .. })));
    assert_eq!(
        drop_orphans(directory.path(), &names(&["join/right", "never"])).unwrap(),
        names(&["join/right"])
    );
    assert_eq!(StateReader::open(directory.path()).unwrap().orphans(), Some(vec![]));
}
