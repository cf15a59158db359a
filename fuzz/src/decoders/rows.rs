//! Rows of the state directory with any keys and values: the catalog, tables, tables ordered by time, single values.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use highwater::connectors::file::FilePosition;
use highwater::connectors::kafka::KafkaPosition;
use highwater::operators::source::BadRecord;
use highwater::prelude::*;
use highwater::state::backend::memory::MemoryBackend;
use highwater::state::budget::TableBudget;
use highwater::state::catalog::Catalog;
use highwater::state::delta::Family;
use highwater::state::hash::key_hash;
use highwater::state::panes::Panes;
use highwater::state::table::NO_SLOT;
use highwater::state::table::{Place, RowRef, Table};
use highwater::state::{Backend, Delta, Epoch, KeyGroup, Persist, StoreId, layout, persist};

/// What can be decoded can be encoded, and that is decoded to the same.
fn there_and_back<T: Persist>(bytes: &[u8]) {
    let Ok(value) = persist::decode::<T>("value", bytes) else { return };
    let encoded = |value: &T| {
        let mut into = Vec::new();
        persist::encode("value", value, &mut into).expect("what was decoded can be encoded");
        into
    };
    let once = encoded(&value);
    let again = persist::decode::<T>("value", &once).expect("what was encoded can be decoded");
    assert_eq!(encoded(&again), once);
}

fn value(which: u8, bytes: &[u8]) {
    match which % 12 {
        0 => there_and_back::<(String, u64)>(bytes),
        1 => there_and_back::<Option<Vec<(i64, String)>>>(bytes),
        2 => there_and_back::<BTreeMap<String, Vec<u8>>>(bytes),
        3 => there_and_back::<VecDeque<(Timestamp, Option<char>)>>(bytes),
        4 => there_and_back::<BTreeSet<(bool, i128)>>(bytes),
        5 => there_and_back::<Windowed<String, [f64; 2]>>(bytes),
        6 => there_and_back::<(Epoch, KeyGroup, StoreId)>(bytes),
        7 => there_and_back::<Vec<BadRecord>>(bytes),
        8 => there_and_back::<(FilePosition, KafkaPosition)>(bytes),
        9 => there_and_back::<Vec<Vec<Vec<String>>>>(bytes),
        10 => there_and_back::<Change<u32, Box<str>>>(bytes),
        _ => there_and_back::<TimeRange>(bytes),
    }
}

/// A backend with the rows that the bytes make up: each a key behind `prefix`, and a value.
fn backend_of(family: Family, prefix: &[u8], mut bytes: &[u8]) -> Arc<dyn Backend> {
    let mut rows = Delta::default();
    while !bytes.is_empty() {
        let (key, rest) = super::part(bytes);
        let (value, rest) = super::part(rest);
        rows.put(family, &[prefix, key].concat(), value);
        bytes = rest;
    }
    let backend = MemoryBackend::new();
    backend.commit(&rows).expect("a backend in memory does not fail");
    Arc::new(backend)
}

/// A catalog that opens knows every name once, and gives a new one a number of its own.
fn catalog(bytes: &[u8]) {
    let backend = backend_of(Family::Meta, b"catalog/", bytes);
    let Ok(catalog) = Catalog::open(&*backend) else { return };
    let mut numbers = BTreeSet::new();
    for (name, family, shape) in catalog.names() {
        let number = catalog.store(&name, family, &shape).expect("the name was kept like this");
        assert!(numbers.insert(number), "`{name}` has the number of another name");
        assert!(catalog.store(&name, family, "another shape").is_err() || shape == "another shape");
    }
    if let Ok(number) = catalog.store("a new name/of no user", Family::Values, "u8") {
        assert!(numbers.insert(number), "a new name has the number of another");
    }
}

fn place(family: Family, backend: Arc<dyn Backend>) -> Place {
    let budget = Arc::new(TableBudget::new(1 << 20));
    Place { name: "rows".to_owned(), store: StoreId(3), family, backend, budget, groups: 0..128 }
}

/// A table finds the rows whose keys are what it asks for, and refuses those whose values are none.
fn table(bytes: &[u8]) {
    let mut keys: Vec<String> = ["", "a", "b"].map(str::to_owned).into();
    let group = KeyGroup::of_hash(key_hash(&keys[1]));
    let mut prefix = Vec::new();
    layout::value_prefix(StoreId(3), group, &mut prefix);
    keys.retain(|key| KeyGroup::of_hash(key_hash(key)) == group);
    let place = place(Family::Values, backend_of(Family::Values, &prefix, bytes));
    let Ok(mut table) = Table::<String, (u32, Vec<String>)>::open(place, Epoch(0)) else { return };
    let row = |index: usize| RowRef { hash: key_hash(&keys[index]), time: Timestamp::MIN, key: &keys[index] };
    let mut slots = Vec::new();
    if table.resolve(keys.len(), row, &mut slots).is_ok() {
        for &slot in &slots {
            table.value_mut(slot).get_or_insert_default().0 ^= 1;
        }
        table.freeze(Epoch(1), &mut Delta::default()).expect("what was read can be written");
    }
}

/// Panes give their rows in the order of time, each once, or say that a row is none.
fn panes(bytes: &[u8]) {
    let mut prefix = Vec::new();
    layout::value_prefix(StoreId(3), KeyGroup::new(0), &mut prefix);
    let place = place(Family::Windows, backend_of(Family::Windows, &prefix, bytes));
    let Ok(mut panes) = Panes::<u16, Vec<u8>>::open(place, Epoch(0)) else { return };
    let mut last = None;
    let mut rows = Vec::new();
    while let Ok(Some(time)) = panes.due(Timestamp::MAX) {
        assert!(last.is_none_or(|last| last <= time), "time went back");
        for slot in panes.slots(time).to_vec() {
            assert!(slot == NO_SLOT || panes.key(slot).is_some());
        }
        last = Some(time);
        rows.clear();
        let Ok(more) = panes.take(time, 2, &mut rows) else { break };
        assert!(more || rows.len() <= 2);
    }
    panes.freeze(Epoch(1), &mut Delta::default()).expect("what was read can be written");
}

/// One of them.
pub fn rows(bytes: &[u8]) {
    let (which, bytes) = super::first(bytes);
    match which {
        0..=15 => catalog(bytes),
        16..=31 => table(bytes),
        32..=63 => panes(bytes),
        64 => {
            if let Some((time, key)) = layout::split_time_row(bytes) {
                assert_eq!([&bytes[..4], &layout::order_preserving(time), key].concat(), bytes);
            }
        }
        _ => value(which, bytes),
    }
}
