//! What a table says, judged against an ordered map, with eviction, crashes and other numbers of workers (HW-2).
//!
//! The model is one map for what the operators see and one for what the last committed epoch left behind. An epoch is
//! frozen at once and written in pieces of any size, with anything in between. If this suite fails, a value that was
//! written is lost, one that was deleted comes back, or an epoch holds what was changed behind its barrier.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use highwater_state::backend::memory::MemoryBackend;
use highwater_state::backend::rocksdb::RocksDbBackend;
use highwater_state::budget::{MemoryBudget, TableBudget};
use highwater_state::delta::{Change, Delta, Family};
use highwater_state::error::{Result, StateError};
use highwater_state::hash::key_hash;
use highwater_state::layout::value_prefix;
use highwater_state::persist::encode;
use highwater_state::table::{Place, RowRef, Table};
use highwater_state::{Backend, Epoch, KeyGroup, Piece, StoreId, Timestamp};
use proptest::prelude::*;
use tempfile::TempDir;

const STORE: StoreId = StoreId(7);

type Model = BTreeMap<u32, String>;

#[derive(Clone, Debug)]
enum Edit {
    Read,
    Set(u8),
    Delete,
    DeleteThenSet(u8),
    SetThenDelete(u8),
}

#[derive(Clone, Debug)]
enum Step {
    Batch(Vec<(u32, Edit)>),
    One(u32, Edit),
    ReadAll,
    Freeze,
    /// Writes so much of what is frozen.
    Piece(usize),
    Commit,
    Applied,
    Crash(usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        3 => Just(Edit::Read),
        4 => any::<u8>().prop_map(Edit::Set),
        3 => Just(Edit::Delete),
        1 => any::<u8>().prop_map(Edit::DeleteThenSet),
        1 => any::<u8>().prop_map(Edit::SetThenDelete),
    ]
}

fn steps(keys: u32) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => proptest::collection::vec((0..keys, edit()), 0..24).prop_map(Step::Batch),
        2 => (0..keys, edit()).prop_map(|(key, edit)| Step::One(key, edit)),
        1 => Just(Step::ReadAll),
        4 => Just(Step::Freeze),
        8 => prop_oneof![Just(1usize), Just(70), Just(500), Just(usize::MAX)].prop_map(Step::Piece),
        4 => Just(Step::Commit),
        4 => Just(Step::Applied),
        1 => (1..=3usize).prop_map(Step::Crash),
    ];
    proptest::collection::vec(step, 1..80)
}

/// A key space and a budget: a few keys meet often, many keys make eviction happen between two uses.
fn runs() -> impl Strategy<Value = (u32, usize, Vec<Step>)> {
    let keys = prop_oneof![Just(4u32), Just(40), Just(3000)];
    let limit = prop_oneof![Just(0usize), Just(1500), Just(1 << 30)];
    (keys, limit).prop_flat_map(|(keys, limit)| (Just(keys), Just(limit), steps(keys)))
}

fn name_of(key: u32) -> String {
    "k".repeat(key as usize % 5) + &key.to_string()
}

fn value_of(number: u8) -> String {
    number.to_string().repeat(number as usize % 9)
}

fn tables_of(
    backend: &Arc<dyn Backend>,
    budget: &Arc<TableBudget>,
    workers: usize,
    applied: Epoch,
) -> Tables {
    let open = |worker| {
        let place = Place {
            name: "model".to_owned(),
            store: STORE,
            family: Family::Values,
            backend: Arc::clone(backend),
            budget: Arc::clone(budget),
            groups: KeyGroup::range(worker, workers),
        };
        Table::open(place, applied).unwrap()
    };
    (0..workers).map(open).collect()
}

type Tables = Vec<Table<String, String>>;

/// A job of one table, what it should hold, and what every epoch that can still be lost should leave behind.
struct Job<R> {
    backend: Arc<dyn Backend>,
    reopen: R,
    budget: Arc<TableBudget>,
    tables: Tables,
    keys: u32,
    now: Model,
    committed: Model,
    epoch: Epoch,
    /// What is not written as a whole.
    freezing: Option<(Delta, Model)>,
    frozen: VecDeque<(Epoch, Delta, Model)>,
    decided: Epoch,
}

impl<R: Fn(Arc<dyn Backend>) -> Arc<dyn Backend>> Job<R> {
    fn new(backend: Arc<dyn Backend>, reopen: R, keys: u32, limit: usize) -> Self {
        let budget = Arc::new(TableBudget::new(limit));
        Job {
            tables: tables_of(&backend, &budget, 1, Epoch(0)),
            backend,
            reopen,
            budget,
            keys,
            now: Model::new(),
            committed: Model::new(),
            epoch: Epoch(0),
            freezing: None,
            frozen: VecDeque::new(),
            decided: Epoch(0),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Batch(edits) => self.batch(edits),
            Step::One(key, edit) => self.one(*key, edit),
            Step::ReadAll => {
                let all: Vec<_> = (0..self.keys).map(|key| (key, Edit::Read)).collect();
                all.chunks(64).for_each(|part| self.batch(part));
            }
            Step::Freeze => {
                self.piece(usize::MAX);
                self.epoch = self.epoch.next();
                let mut delta = Delta::default();
                self.tables.iter_mut().for_each(|table| table.begin_freeze(self.epoch, &mut delta));
                assert_eq!(delta.len(), 0, "nothing is written at the barrier");
                self.freezing = Some((delta, self.now.clone()));
            }
            Step::Piece(room) => self.piece(*room),
            Step::Commit => self.commit(),
            Step::Applied => self.tables.iter_mut().for_each(|table| table.applied(self.decided)),
            Step::Crash(workers) => self.crash(*workers),
        }
        assert!(self.budget.used() < 1 << 40, "more was released than charged");
    }

    fn piece(&mut self, room: usize) {
        let Some((delta, _)) = &mut self.freezing else { return };
        let mut piece = Piece::of(room, delta);
        self.tables.iter_mut().for_each(|table| table.write_frozen(&mut piece).unwrap());
        let is_full = piece.is_full();
        assert!(is_full || !delta.is_awaited(), "what has room is written");
        if !delta.is_awaited() {
            delta.sort();
            let (delta, then) = self.freezing.take().unwrap();
            self.frozen.push_back((self.epoch, delta, then));
        }
    }

    /// Resolves the keys of each worker in one call, then edits them in order.
    fn batch(&mut self, edits: &[(u32, Edit)]) {
        let workers = self.tables.len();
        for worker in 0..workers {
            let named = edits.iter().map(|(key, edit)| (*key, name_of(*key), edit));
            let own: Vec<_> = named
                .filter(|(_, name, _)| KeyGroup::of_hash(key_hash(name)).worker(workers) == worker)
                .collect();
            let row = |index: usize| {
                let key: &String = &own[index].1;
                RowRef { hash: key_hash(key), time: Timestamp::MIN, key }
            };
            let mut slots = Vec::new();
            self.tables[worker].resolve(own.len(), row, &mut slots).unwrap();
            for ((key, name, edit), slot) in own.iter().zip(slots) {
                assert_eq!(self.tables[worker].key(slot), Some(name));
                self.edit(worker, *key, slot, edit);
            }
        }
    }

    fn one(&mut self, key: u32, edit: &Edit) {
        let name = name_of(key);
        let hash = key_hash(&name);
        let worker = KeyGroup::of_hash(hash).worker(self.tables.len());
        let row = RowRef { hash, time: Timestamp::MIN, key: &name };
        let slot = self.tables[worker].resolve_one(&row).unwrap();
        self.edit(worker, key, slot, edit);
    }

    fn edit(&mut self, worker: usize, key: u32, slot: u32, edit: &Edit) {
        let table = &mut self.tables[worker];
        assert_eq!(table.value(slot), self.now.get(&key), "before {edit:?} of {key}");
        let new = match edit {
            Edit::Read => return,
            Edit::Set(number) => Some(value_of(*number)),
            Edit::Delete => None,
            Edit::DeleteThenSet(number) => {
                *table.value_mut(slot) = None;
                Some(value_of(*number))
            }
            Edit::SetThenDelete(number) => {
                *table.value_mut(slot) = Some(value_of(*number));
                None
            }
        };
        table.value_mut(slot).clone_from(&new);
        match new {
            Some(value) => self.now.insert(key, value),
            None => self.now.remove(&key),
        };
        assert_eq!(table.value(slot), self.now.get(&key), "after {edit:?} of {key}");
    }

    fn commit(&mut self) {
        let Some((epoch, delta, then)) = self.frozen.pop_front() else { return };
        self.backend.commit(&delta).unwrap();
        (self.decided, self.committed) = (epoch, then);
        assert_eq!(rows(&*self.backend), expected(&self.committed), "after {epoch}");
    }

    fn crash(&mut self, workers: usize) {
        self.tables.clear();
        assert_eq!(self.budget.used(), 0, "tables that are gone hold nothing");
        self.frozen.clear();
        self.freezing = None;
        (self.epoch, self.now) = (self.decided, self.committed.clone());
        let gone: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
        self.backend = (self.reopen)(std::mem::replace(&mut self.backend, gone));
        self.tables = tables_of(&self.backend, &self.budget, workers, self.decided);
    }
}

/// Every row of the family, also misfiled ones.
fn rows(backend: &dyn Backend) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut found = BTreeMap::new();
    let visited = backend.scan(Family::Values, &[], &[u8::MAX; 9], &mut |key, value| {
        found.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    });
    visited.unwrap();
    found
}

fn expected(model: &Model) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let rows = model.iter().map(|(key, value)| {
        let (mut row, mut bytes, name) = (Vec::new(), Vec::new(), name_of(*key));
        value_prefix(STORE, KeyGroup::of_hash(key_hash(&name)), &mut row);
        encode("key", &name, &mut row).unwrap();
        encode("value", value, &mut bytes).unwrap();
        (row, bytes)
    });
    rows.collect()
}

fn follows_the_model<R>(backend: Arc<dyn Backend>, reopen: R, (keys, limit, steps): (u32, usize, Vec<Step>))
where
    R: Fn(Arc<dyn Backend>) -> Arc<dyn Backend>,
{
    let mut job = Job::new(backend, reopen, keys, limit);
    steps.iter().for_each(|step| job.step(step));
    let end = [
        Step::ReadAll,
        Step::Freeze,
        Step::Piece(usize::MAX),
        Step::Commit,
        Step::Applied,
        Step::ReadAll,
        Step::Crash(2),
        Step::ReadAll,
    ];
    end[..3].iter().for_each(|step| job.step(step));
    (1..job.frozen.len()).for_each(|_| job.step(&Step::Commit));
    end[3..].iter().for_each(|step| job.step(step));
    job.crash(1);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn a_table_over_memory_answers_as_a_map_does(run in runs()) {
        follows_the_model(Arc::new(MemoryBackend::new()), |backend| backend, run);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn a_table_over_rocksdb_answers_as_a_map_does(run in runs()) {
        let directory = TempDir::new().unwrap();
        let open = || -> Arc<dyn Backend> {
            let memory = MemoryBudget::of(MemoryBudget::MIN_BYTES).unwrap();
            Arc::new(RocksDbBackend::open(directory.path(), &memory).unwrap())
        };
        let reopen = |backend| {
            drop(backend);
            open()
        };
        follows_the_model(open(), reopen, run);
    }
}

fn one_table(backend: Arc<dyn Backend>, limit: usize) -> (Table<u64, String>, Arc<TableBudget>) {
    let budget = Arc::new(TableBudget::new(limit));
    let place = Place {
        name: "one".to_owned(),
        store: STORE,
        family: Family::Values,
        backend,
        budget: Arc::clone(&budget),
        groups: KeyGroup::range(0, 1),
    };
    (Table::open(place, Epoch(0)).unwrap(), budget)
}

fn slot_of(table: &mut Table<u64, String>, key: u64) -> Result<u32> {
    table.resolve_one(&RowRef { hash: key_hash(&key), time: Timestamp::MIN, key: &key })
}

#[test]
fn a_row_born_and_dead_within_an_epoch_never_reaches_the_delta() {
    let (mut table, _) = one_table(Arc::new(MemoryBackend::new()), 1 << 20);
    for key in 0..100 {
        let slot = slot_of(&mut table, key).unwrap();
        *table.value_mut(slot) = Some("short".to_owned());
    }
    for key in 0..100 {
        let slot = slot_of(&mut table, key).unwrap();
        *table.value_mut(slot) = None;
    }
    let mut delta = Delta::default();
    table.freeze(Epoch(1), &mut delta).unwrap();
    assert_eq!((delta.len(), delta.bytes(), table.len()), (0, 0, 0));
}

#[test]
fn a_deleted_row_is_deleted_once() {
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let (mut table, _) = one_table(Arc::clone(&backend), 1 << 20);
    let slot = slot_of(&mut table, 1).unwrap();
    *table.value_mut(slot) = Some("kept".to_owned());
    let mut changes = Vec::new();
    for epoch in 1..=4 {
        let mut delta = Delta::default();
        table.freeze(Epoch(epoch), &mut delta).unwrap();
        changes.push(
            delta.changes().map(|(_, change)| matches!(change, Change::Delete { .. })).collect::<Vec<_>>(),
        );
        backend.commit(&delta).unwrap();
        let slot = slot_of(&mut table, 1).unwrap();
        if epoch < 3 {
            *table.value_mut(slot) = None;
        }
    }
    assert_eq!(changes, [vec![false], vec![true], vec![], vec![]]);
}

#[test]
fn a_damaged_row_stays_an_error_and_is_never_taken_for_no_row() {
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let mut delta = Delta::default();
    let mut row = Vec::new();
    value_prefix(STORE, KeyGroup::of_hash(key_hash(&5u64)), &mut row);
    encode("key", &5u64, &mut row).unwrap();
    delta.put(Family::Values, &row, &[200]);
    backend.commit(&delta).unwrap();
    let (mut table, _) = one_table(backend, 1 << 20);
    for _ in 0..3 {
        assert!(matches!(slot_of(&mut table, 5), Err(StateError::Row { .. })));
    }
}

/// Not a claim about time: rows of other tables fill the account, and all rows here are clean.
#[test]
fn eviction_brings_the_account_below_its_limit() {
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let (mut table, budget) = one_table(Arc::clone(&backend), 100_000);
    for epoch in 1..=20 {
        for key in 0..1000 {
            let slot = slot_of(&mut table, epoch * 1000 + key).unwrap();
            *table.value_mut(slot) = Some("x".repeat(20));
        }
        let mut delta = Delta::default();
        table.freeze(Epoch(epoch), &mut delta).unwrap();
        backend.commit(&delta).unwrap();
        table.applied(Epoch(epoch));
        table.resolve(0, |_| unreachable!(), &mut Vec::new()).unwrap();
        assert!(budget.used() <= 100_000, "{} bytes after epoch {epoch}", budget.used());
    }
    drop(table);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_row_that_was_let_go_is_a_miss_and_one_that_is_there_a_hit() {
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let (mut table, budget) = one_table(Arc::clone(&backend), 0);
    let asked_and_read = |table: &mut Table<_, _>| {
        table.resolve(0, |_| unreachable!(), &mut Vec::new()).unwrap();
        (budget.rows_asked(), budget.rows_read())
    };
    for key in 0..100 {
        let slot = slot_of(&mut table, key).unwrap();
        *table.value_mut(slot) = Some("changed".to_owned());
        slot_of(&mut table, key).unwrap();
    }
    assert_eq!(asked_and_read(&mut table), (200, 0), "nothing is on disk yet");
    let mut delta = Delta::default();
    table.freeze(Epoch(1), &mut delta).unwrap();
    backend.commit(&delta).unwrap();
    table.applied(Epoch(1));
    assert!(table.is_empty(), "there is no room for any");
    for key in 0..100 {
        assert!(slot_of(&mut table, key).is_ok());
    }
    assert_eq!(asked_and_read(&mut table), (300, 100));
}

#[test]
fn rows_that_may_not_go_do_not_keep_those_that_may() {
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let (mut table, budget) = one_table(Arc::clone(&backend), 0);
    for key in 0..1000 {
        let slot = slot_of(&mut table, key).unwrap();
        *table.value_mut(slot) = Some("changed".to_owned());
    }
    for key in 1000..100_000 {
        slot_of(&mut table, key).unwrap();
        assert!(table.len() <= 1500, "{} rows", table.len());
    }
    drop(table);
    assert_eq!(budget.used(), 0);
}
