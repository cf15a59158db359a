//! Named states, read while they change. If one of these fails, an answer mixes two epochs, a page shows a row twice or
//! leaves one out, or a key that is there is not found.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::sync::Arc;

use highwater_state::backend::memory::MemoryBackend;
use highwater_state::backend::rocksdb::RocksDbBackend;
use highwater_state::backend::volatile::VolatileBackend;
use highwater_state::budget::MemoryBudget;
use highwater_state::catalog::Catalog;
use highwater_state::delta::{Delta, Family};
use highwater_state::hash::key_hash;
use highwater_state::layout::{EPOCH_KEY, position_key, time_prefix, value_prefix};
use highwater_state::persist::encode;
use highwater_state::shape::shape_of;
use highwater_state::view::{Cursor, Part, SplitPosition};
use highwater_state::{Backend, Epoch, KeyGroup, StateError, StateView, StoreId, Timestamp};
use tempfile::TempDir;

type Bytes = Vec<u8>;

fn group(key: &str) -> KeyGroup {
    KeyGroup::of_hash(key_hash(&key.to_owned()))
}

fn bytes<T: serde::Serialize>(value: &T) -> Bytes {
    let mut bytes = Vec::new();
    encode("value", value, &mut bytes).unwrap();
    bytes
}

fn value_row(store: StoreId, key: &str) -> Bytes {
    let mut row = Vec::new();
    value_prefix(store, group(key), &mut row);
    [row, bytes(&key)].concat()
}

fn timed_row(store: StoreId, time: i64, key: &str) -> Bytes {
    let mut row = Vec::new();
    time_prefix(store, group(key), Timestamp::from_millis(time), &mut row);
    [row, bytes(&key)].concat()
}

/// A backend with two states, whose epochs are committed one after the other.
struct Scene {
    backend: Arc<dyn Backend>,
    counts: StoreId,
    windows: StoreId,
    epoch: u64,
}

impl Scene {
    fn on(backend: Arc<dyn Backend>) -> Scene {
        let catalog = Catalog::open(&*backend).unwrap();
        let shape = format!("{} -> u64", shape_of::<String>());
        let counts = catalog.store("counts", Family::Values, &shape).unwrap();
        let windows = catalog.store("windows", Family::Windows, &shape).unwrap();
        let mut delta = Delta::default();
        catalog.take_changes(&mut delta);
        backend.commit(&delta).unwrap();
        Scene { backend, counts, windows, epoch: 0 }
    }

    fn commit(&mut self, change: impl FnOnce(&Scene, &mut Delta)) {
        self.epoch += 1;
        let mut delta = Delta::default();
        change(self, &mut delta);
        delta.put(Family::Meta, EPOCH_KEY, &bytes(&Epoch(self.epoch)));
        delta.put(Family::Meta, &position_key("clicks", "a/b"), &bytes(&(self.epoch * 10)));
        self.backend.commit(&delta).unwrap();
    }

    fn view(&self) -> StateView {
        StateView::of(Arc::clone(&self.backend).snapshot().unwrap(), Path::new("the test's state")).unwrap()
    }
}

/// The same on every backend that keeps rows.
fn on_each(judge: impl Fn(Scene)) {
    judge(Scene::on(Arc::new(MemoryBackend::new())));
    let directory = TempDir::new().unwrap();
    let memory = MemoryBudget::of(MemoryBudget::MIN_BYTES).unwrap();
    judge(Scene::on(Arc::new(RocksDbBackend::open(directory.path(), &memory).unwrap())));
}

fn key(number: u64) -> String {
    format!("key-{number}")
}

#[test]
fn what_a_view_says_is_of_one_epoch_whatever_is_committed_since() {
    on_each(|mut scene| {
        for epoch in 1..=2u64 {
            scene.commit(|scene, delta| {
                (0..100).for_each(|number| {
                    delta.put(Family::Values, &value_row(scene.counts, &key(number)), &bytes(&epoch));
                });
            });
        }
        let view = scene.view();
        scene.commit(|scene, delta| {
            (0..50).for_each(|number| {
                delta.put(Family::Values, &value_row(scene.counts, &key(number)), &bytes(&3u64))
            });
            delta.delete(Family::Values, &value_row(scene.counts, &key(60)));
            delta.delete_range(Family::Values, &value_row(scene.counts, &key(70)), &[0xff; 9]);
        });
        assert_eq!(view.epoch(), Epoch(2));
        let rows: Vec<_> = view.rows::<String, u64>("counts").unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 100);
        assert!(rows.iter().all(|row| row.value == 2));
        assert_eq!(view.get::<_, u64>("counts", &key(60)).unwrap(), Some(2));
        let part = Part { key: Some(key(1)), ..Part::default() };
        assert_eq!(
            view.json_page("counts", &part, None, 9).unwrap().rows[0].line,
            r#"{"key":"key-1","value":2}"#
        );
        let position =
            SplitPosition { source: "clicks".into(), split: "a/b".into(), position: bytes(&20u64) };
        assert_eq!(view.positions().unwrap(), [position]);
        assert_eq!(scene.view().epoch(), Epoch(3));
        assert_eq!(scene.view().get::<_, u64>("counts", &key(60)).unwrap(), None);
        assert!(matches!(view.size("gone"), Err(StateError::Unknown { .. })));
    });
}

#[test]
fn pages_of_a_state_that_changes_show_what_stays_once() {
    on_each(|mut scene| {
        scene.commit(|scene, delta| {
            (0..200).for_each(|number| {
                delta.put(Family::Values, &value_row(scene.counts, &key(number)), &bytes(&number))
            });
        });
        let (mut seen, mut after, mut round) = (Vec::new(), None::<Cursor>, 0);
        loop {
            let page = scene.view().page::<String, u64>("counts", after.as_ref(), 7).unwrap();
            seen.extend(page.rows.into_iter().map(|row| row.value));
            // Even ones go, among them the row that the cursor names; others come.
            scene.commit(|scene, delta| {
                for number in (0..200).filter(|number| number % 2 == 0 && number / 2 % 20 == round) {
                    delta.delete(Family::Values, &value_row(scene.counts, &key(number)));
                }
                delta.put(
                    Family::Values,
                    &value_row(scene.counts, &key(1000 + round)),
                    &bytes(&(1000 + round)),
                );
            });
            round += 1;
            let Some(next) = page.next else { break };
            after = Some(next.to_string().parse().unwrap());
        }
        let stays: Vec<u64> = (0..200).filter(|number| number % 2 == 1).collect();
        let mut odd: Vec<u64> =
            seen.iter().copied().filter(|number| number % 2 == 1 && *number < 1000).collect();
        odd.sort_unstable();
        assert_eq!(odd, stays);
        seen.sort_unstable();
        let all = seen.len();
        seen.dedup();
        assert_eq!(seen.len(), all, "none is shown twice");
    });
}

#[test]
fn windows_are_shown_by_time_over_all_key_groups() {
    on_each(|mut scene| {
        let mut wanted = Vec::new();
        scene.commit(|scene, delta| {
            for number in 0..300u64 {
                let time = (number as i64 * 37) % 50 - 10;
                delta.put(Family::Windows, &timed_row(scene.windows, time, &key(number)), &bytes(&number));
                wanted.push((time, number));
            }
        });
        let view = scene.view();
        let read = |limit, from: i64, to: i64| {
            let (mut seen, mut after) = (Vec::new(), None);
            let times = Timestamp::from_millis(from)..Timestamp::from_millis(to);
            loop {
                let page = view
                    .page_of_times::<String, u64>("windows", times.clone(), after.as_ref(), limit)
                    .unwrap();
                seen.extend(page.rows.iter().map(|row| (row.time.unwrap().as_millis(), row.value)));
                after = page.next;
                if after.is_none() {
                    return seen;
                }
            }
        };
        for limit in [1, 7, 300, 1000] {
            let seen = read(limit, -10, 100);
            assert!(seen.is_sorted_by_key(|(time, _)| *time), "{limit}");
            let (mut seen, mut wanted) = (seen, wanted.clone());
            seen.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(seen, wanted, "{limit}");
        }
        let seen = read(3, 0, 5);
        assert_eq!(seen.len(), wanted.iter().filter(|(time, _)| (0..5).contains(time)).count());
        let part = Part { key: Some(key(5)), ..Part::default() };
        let rows = view.json_page("windows", &part, None, 9).unwrap().rows;
        assert_eq!(rows.len(), 1);
        assert!(rows[0].line.ends_with(r#""key":"key-5","value":5}"#), "{}", rows[0].line);
        let part = Part { from: Some("1970-01-01T00:00:00.000Z".into()), to: Some("5".into()), key: None };
        assert_eq!(view.json_page("windows", &part, None, 1000).unwrap().rows.len(), seen.len());
        assert_eq!(view.get_at("windows", Timestamp::from_millis(27), &key(1)).unwrap(), Some(1u64));
    });
}

#[test]
fn a_range_of_keys_is_in_their_order() {
    on_each(|mut scene| {
        scene.commit(|scene, delta| {
            (0..100).for_each(|number| {
                delta.put(Family::Values, &value_row(scene.counts, &key(number)), &bytes(&number))
            });
        });
        let view = scene.view();
        let mut wanted: Vec<String> =
            (0..100).map(key).filter(|key| ("key-2".."key-5").contains(&&**key)).collect();
        wanted.sort();
        let (mut typed, mut json, mut after) = (Vec::new(), Vec::new(), None);
        loop {
            let keys = key(2)..key(5);
            let page = view.page_of_keys::<String, u64>("counts", keys, after.as_ref(), 4).unwrap();
            typed.extend(page.rows.into_iter().map(|row| row.key));
            let part = Part { from: Some(key(2)), to: Some(key(5)), key: None };
            let same = view.json_page("counts", &part, after.as_ref(), 4).unwrap();
            json.extend(same.rows.into_iter().map(|row| row.key));
            assert_eq!(page.next, same.next);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(typed, wanted);
        assert_eq!(json, wanted.iter().map(|key| format!("\"{key}\"")).collect::<Vec<_>>());
    });
}

#[test]
fn what_cannot_be_asked_for_is_refused_with_the_reason() {
    on_each(|mut scene| {
        scene.commit(|scene, delta| {
            delta.put(Family::Values, &value_row(scene.counts, "a"), &bytes(&1u64));
            delta.put(Family::Values, &value_row(scene.counts, "b"), &bytes(&1u64));
        });
        let view = scene.view();
        let none = view.page::<String, u64>("counts", None, 0);
        assert!(matches!(none, Err(StateError::Limit { .. })));
        let other = view.page::<String, i64>("counts", None, 1);
        assert!(matches!(other, Err(StateError::Shape { .. })));
        let cursor = view.page::<String, u64>("counts", None, 1).unwrap().next.unwrap();
        let elsewhere = view.page::<String, u64>("windows", Some(&cursor), 1);
        assert!(matches!(elsewhere, Err(StateError::Cursor { .. })));
        for text in ["", "0", "9aabb", "0zz", "0ffff00", "10000"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
        let untimed = view.page_of_times::<String, u64>("counts", Timestamp::MIN..Timestamp::MAX, None, 1);
        assert!(matches!(untimed, Err(StateError::Shape { .. })));
        let part = Part { from: Some("yesterday".into()), ..Part::default() };
        assert!(matches!(view.json_page("windows", &part, None, 1), Err(StateError::Key { .. })));
    });
}

#[test]
fn a_store_that_keeps_no_rows_says_so() {
    let scene = Scene::on(Arc::new(VolatileBackend::new()));
    assert!(!scene.view().keeps(Family::Values));
    assert!(scene.view().keeps(Family::Meta));
}

#[test]
fn a_database_stays_open_and_its_directory_locked_while_a_snapshot_is_held() {
    let directory = TempDir::new().unwrap();
    let memory = MemoryBudget::of(MemoryBudget::MIN_BYTES).unwrap();
    let backend = Arc::new(RocksDbBackend::open(directory.path(), &memory).unwrap());
    let snapshot = Arc::clone(&backend).snapshot().unwrap();
    drop(backend);
    assert!(matches!(RocksDbBackend::open(directory.path(), &memory), Err(StateError::InUse(_))));
    assert_eq!(snapshot.get(Family::Values, b"nothing").unwrap(), None);
    assert!(matches!(snapshot.commit(&Delta::default()), Err(StateError::ReadOnly)));
    drop(snapshot);
    assert!(RocksDbBackend::open(directory.path(), &memory).is_ok());
}
