//! What panes ask of their backend: firing costs what fires, not what stays open.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use highwater_state::backend::Visit;
use highwater_state::backend::memory::MemoryBackend;
use highwater_state::budget::TableBudget;
use highwater_state::delta::{Delta, Family};
use highwater_state::error::Result;
use highwater_state::hash::key_hash;
use highwater_state::panes::Panes;
use highwater_state::table::{Place, RowRef};
use highwater_state::{Backend, Epoch, KeyGroup, StoreId, Timestamp};

fn place(backend: &Arc<dyn Backend>, limit: usize) -> Place {
    Place {
        name: "counted".to_owned(),
        store: StoreId(3),
        family: Family::Timers,
        backend: Arc::clone(backend),
        budget: Arc::new(TableBudget::new(limit)),
        groups: KeyGroup::range(0, 1),
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// Counts what is asked of the backend.
#[derive(Default)]
struct Counting {
    inner: MemoryBackend,
    gets: AtomicUsize,
    scans: AtomicUsize,
    visited: AtomicUsize,
}

impl Counting {
    /// Rows asked for, scans and rows visited since the last call.
    fn take(&self) -> (usize, usize, usize) {
        (self.gets.swap(0, Relaxed), self.scans.swap(0, Relaxed), self.visited.swap(0, Relaxed))
    }
}

impl Backend for Counting {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.gets.fetch_add(1, Relaxed);
        self.inner.get(family, key)
    }

    fn get_many(&self, family: Family, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        self.gets.fetch_add(keys.len(), Relaxed);
        self.inner.get_many(family, keys)
    }

    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        self.scans.fetch_add(1, Relaxed);
        self.inner.scan(family, from, to, &mut |key, value| {
            self.visited.fetch_add(1, Relaxed);
            visit(key, value)
        })
    }

    fn commit(&self, delta: &Delta) -> Result<()> {
        self.inner.commit(delta)
    }
}

/// Panes over a counting backend with one committed row of key `time % 97` at each time below `count`.
fn filled(limit: usize, count: i64) -> (Panes<u32, u8>, Arc<Counting>) {
    let counting = Arc::new(Counting::default());
    let backend: Arc<dyn Backend> = counting.clone();
    let mut panes = Panes::open(place(&backend, limit), Epoch(0)).unwrap();
    let mut slots = Vec::new();
    for time in 0..count {
        let key = (time % 97) as u32;
        panes.resolve(1, |_| RowRef { hash: key_hash(&key), time: at(time), key: &key }, &mut slots).unwrap();
        *panes.value_mut(slots[0]) = Some(1);
    }
    let mut delta = Delta::default();
    panes.freeze(Epoch(1), &mut delta).unwrap();
    backend.commit(&delta).unwrap();
    panes.applied(Epoch(1));
    counting.take();
    (panes, counting)
}

const OPEN_PANES: i64 = 100_000;
const GROUPS: usize = 128;

#[test]
fn a_take_costs_what_it_takes_when_the_rest_is_in_memory() {
    let (mut panes, counting) = filled(1 << 30, OPEN_PANES);
    let mut rows = Vec::new();
    while let Some(time) = panes.due(at(9)).unwrap() {
        panes.take(time, 100, &mut rows).unwrap();
    }
    assert_eq!((rows.len(), counting.take()), (10, (0, 0, 0)));
}

#[test]
fn a_take_costs_what_it_takes_when_the_rest_is_on_disk() {
    let (panes, counting) = filled(1 << 30, OPEN_PANES);
    drop(panes);
    let backend: Arc<dyn Backend> = counting.clone();
    let mut panes: Panes<u32, u8> = Panes::open(place(&backend, 1 << 30), Epoch(1)).unwrap();
    let (_, scans, visited) = counting.take();
    assert!(scans <= 1 + GROUPS && visited <= 1 + GROUPS, "opening: {scans} scans, {visited} rows");
    let mut rows = Vec::new();
    while let Some(time) = panes.due(at(9)).unwrap() {
        panes.take(time, 100, &mut rows).unwrap();
    }
    let (gets, scans, visited) = counting.take();
    assert!(gets == 0 && scans <= 10 && visited <= 20, "{gets} gets, {scans} scans, {visited} rows");
    assert_eq!(panes.len(), 0, "nothing else was loaded");
    assert_eq!(panes.due(at(i64::MAX)).unwrap(), Some(at(10)));
    assert!(panes.len() <= 1, "the end of time does not load all at once: {} rows", panes.len());
}

#[test]
fn firing_panes_that_stay_costs_what_fires() {
    let (mut panes, counting) = filled(0, OPEN_PANES);
    // Above its limit the table lets go of everything that it may.
    panes.resolve(0, |_| unreachable!(), &mut Vec::new()).unwrap();
    panes.resolve(0, |_| unreachable!(), &mut Vec::new()).unwrap();
    assert_eq!(panes.len(), 0);
    let mut fired = 0;
    let mut after = at(50_000);
    counting.take();
    panes.due_after(after, at(50_000)).unwrap();
    while let Some(time) = panes.due_after(after, at(50_100)).unwrap() {
        fired += panes.slots(time).len();
        after = time;
    }
    let (_, scans, visited) = counting.take();
    assert_eq!(fired, 100);
    assert!(scans <= GROUPS + 2 * fired && visited <= GROUPS + 2 * fired, "{scans} scans, {visited} rows");
    assert_eq!(panes.len(), 100, "what has fired before is not loaded");
    // The next watermark costs nothing when nothing lies between.
    assert_eq!(panes.due_after(after, after).unwrap(), None);
    assert_eq!(counting.take(), (0, 0, 0));
}

#[test]
fn a_pane_born_and_taken_within_an_epoch_never_reaches_the_delta() {
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let mut panes = Panes::open(place(&backend, 0), Epoch(0)).unwrap();
    let (mut slots, mut rows) = (Vec::new(), Vec::new());
    for key in 0..3000u32 {
        let time = at(i64::from(key % 3));
        panes.resolve(1, |_| RowRef { hash: key_hash(&key), time, key: &key }, &mut slots).unwrap();
        *panes.value_mut(slots[0]) = Some(());
    }
    while let Some(time) = panes.due(at(2)).unwrap() {
        panes.take(time, 1000, &mut rows).unwrap();
    }
    let mut delta = Delta::default();
    panes.freeze(Epoch(1), &mut delta).unwrap();
    assert_eq!((rows.len(), delta.len()), (3000, 0));
}
