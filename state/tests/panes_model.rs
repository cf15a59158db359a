//! What panes say, judged against an ordered map: every row is taken exactly once, whatever is evicted, lost in a
//! crash, or taken while the epoch before is not applied yet (HW-2).
//!
//! Times lie at both ends of time too, and behind what was taken: a timer may be set there. An epoch is written in
//! pieces of any size, with anything in between.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use highwater_state::backend::memory::MemoryBackend;
use highwater_state::backend::rocksdb::RocksDbBackend;
use highwater_state::budget::{MemoryBudget, TableBudget};
use highwater_state::delta::{Delta, Family};
use highwater_state::hash::key_hash;
use highwater_state::layout::time_prefix;
use highwater_state::panes::Panes;
use highwater_state::persist::encode;
use highwater_state::table::{Place, RowRef};
use highwater_state::{Backend, Epoch, KeyGroup, Piece, StoreId, Timestamp};
use proptest::prelude::*;
use tempfile::TempDir;

const STORE: StoreId = StoreId(3);

type Model = BTreeMap<(i64, u32), u8>;

#[derive(Clone, Debug)]
enum Step {
    /// Rows by time and key: `None` reads, `Some(None)` deletes.
    Batch(Vec<(i64, u32, Option<Option<u8>>)>),
    /// So many rows of one time, that dropping them takes a range.
    Flood(i64),
    /// Takes up to a time, so many rows a call, and gives up after so many calls.
    Take(i64, usize, usize),
    /// Reads what stays, in the same way.
    Fire(i64, usize, usize),
    Freeze,
    /// Writes so much of what is frozen.
    Piece(usize),
    Commit,
    Applied,
    Crash(usize),
}

fn time() -> impl Strategy<Value = i64> {
    let (first, last) = (i64::MIN, i64::MAX);
    proptest::sample::select(vec![first, first + 1, -1000, -7, -1, 0, 1, 2, 3, 500, last - 1, last])
}

fn step(keys: u32, floods: u32) -> impl Strategy<Value = Step> {
    let edit = proptest::option::weighted(0.8, proptest::option::weighted(0.7, any::<u8>()));
    let calls = || prop_oneof![Just(1usize), Just(3), Just(1000)];
    let most = || prop_oneof![Just(1usize), Just(2), Just(7), Just(1024)];
    prop_oneof![
        12 => proptest::collection::vec((time(), 0..keys, edit), 0..12).prop_map(Step::Batch),
        floods => time().prop_map(Step::Flood),
        6 => (time(), most(), calls()).prop_map(|(through, most, calls)| Step::Take(through, most, calls)),
        6 => (time(), most(), calls()).prop_map(|(through, most, calls)| Step::Fire(through, most, calls)),
        5 => Just(Step::Freeze),
        8 => prop_oneof![Just(1usize), Just(70), Just(500), Just(usize::MAX)].prop_map(Step::Piece),
        5 => Just(Step::Commit),
        5 => Just(Step::Applied),
        1 => (1..=3usize).prop_map(Step::Crash),
    ]
}

fn runs(floods: u32) -> impl Strategy<Value = (usize, Vec<Step>)> {
    let keys = prop_oneof![Just(2u32), Just(50)];
    let limit = prop_oneof![Just(0usize), Just(2000), Just(1 << 30)];
    (keys, limit).prop_flat_map(move |(keys, limit)| {
        (Just(limit), proptest::collection::vec(step(keys, floods), 1..100))
    })
}

/// A walk over panes that stay, as the operator of windows with allowed lateness does it.
#[derive(Default)]
struct Cursor {
    after: Option<i64>,
    at: Option<(i64, usize)>,
    seen: BTreeSet<(i64, u32)>,
    /// Rows that had no value at some time of the walk: what gets one in their place may be seen or not.
    deleted: BTreeSet<(i64, u32)>,
}

struct Worker {
    panes: Panes<u32, u8>,
    cursor: Cursor,
}

struct Job<R> {
    backend: Arc<dyn Backend>,
    reopen: R,
    budget: Arc<TableBudget>,
    workers: Vec<Worker>,
    now: Model,
    committed: Model,
    epoch: Epoch,
    /// What is not written as a whole.
    freezing: Option<(Delta, Model)>,
    frozen: VecDeque<(Epoch, Delta, Model)>,
    decided: Epoch,
}

fn place(backend: &Arc<dyn Backend>, budget: &Arc<TableBudget>, worker: usize, workers: usize) -> Place {
    Place {
        name: "model".to_owned(),
        store: STORE,
        family: Family::Timers,
        backend: Arc::clone(backend),
        budget: Arc::clone(budget),
        groups: KeyGroup::range(worker, workers),
    }
}

fn worker_of(key: u32, workers: usize) -> usize {
    KeyGroup::of_hash(key_hash(&key)).worker(workers)
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

impl<R: Fn(Arc<dyn Backend>) -> Arc<dyn Backend>> Job<R> {
    fn new(backend: Arc<dyn Backend>, reopen: R, limit: usize) -> Self {
        let mut job = Job {
            backend,
            reopen,
            budget: Arc::new(TableBudget::new(limit)),
            workers: Vec::new(),
            now: Model::new(),
            committed: Model::new(),
            epoch: Epoch(0),
            freezing: None,
            frozen: VecDeque::new(),
            decided: Epoch(0),
        };
        job.open(1);
        job
    }

    fn open(&mut self, workers: usize) {
        let open = |worker| Worker {
            panes: Panes::open(place(&self.backend, &self.budget, worker, workers), self.decided).unwrap(),
            cursor: Cursor::default(),
        };
        self.workers = (0..workers).map(open).collect();
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Batch(rows) => self.batch(rows),
            Step::Flood(time) => {
                let rows: Vec<_> = (100..1700).map(|key| (*time, key, Some(Some(1)))).collect();
                self.batch(&rows);
            }
            Step::Take(through, most, calls) => {
                (0..self.workers.len()).for_each(|worker| self.take(worker, *through, *most, *calls));
            }
            Step::Fire(through, most, calls) => {
                (0..self.workers.len()).for_each(|worker| self.fire(worker, *through, *most, *calls));
            }
            Step::Freeze => {
                self.piece(usize::MAX);
                self.epoch = self.epoch.next();
                let mut delta = Delta::default();
                self.workers.iter_mut().for_each(|worker| worker.panes.begin_freeze(self.epoch, &mut delta));
                self.freezing = Some((delta, self.now.clone()));
            }
            Step::Piece(room) => self.piece(*room),
            Step::Commit => {
                let Some((epoch, delta, then)) = self.frozen.pop_front() else { return };
                self.backend.commit(&delta).unwrap();
                (self.decided, self.committed) = (epoch, then);
                assert_eq!(rows(&*self.backend), expected(&self.committed), "after {epoch}");
            }
            Step::Applied => self.workers.iter_mut().for_each(|worker| worker.panes.applied(self.decided)),
            Step::Crash(workers) => {
                self.workers.clear();
                assert_eq!(self.budget.used(), 0, "panes that are gone hold nothing");
                self.frozen.clear();
                self.freezing = None;
                (self.epoch, self.now) = (self.decided, self.committed.clone());
                let gone: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
                self.backend = (self.reopen)(std::mem::replace(&mut self.backend, gone));
                self.open(*workers);
            }
        }
        assert!(self.budget.used() < 1 << 40, "more was released than charged");
    }

    fn piece(&mut self, room: usize) {
        let Some((mut delta, then)) = self.freezing.take() else { return };
        let mut piece = Piece::of(room, &mut delta);
        self.workers.iter_mut().for_each(|worker| worker.panes.write_frozen(&mut piece).unwrap());
        let is_full = piece.is_full();
        assert!(is_full || !delta.is_awaited(), "what has room is written");
        match delta.is_awaited() {
            true => self.freezing = Some((delta, then)),
            false => self.frozen.push_back((self.epoch, delta, then)),
        }
    }

    fn batch(&mut self, rows: &[(i64, u32, Option<Option<u8>>)]) {
        let workers = self.workers.len();
        for (number, Worker { panes, cursor }) in self.workers.iter_mut().enumerate() {
            let own: Vec<_> = rows.iter().filter(|(_, key, _)| worker_of(*key, workers) == number).collect();
            let row = |index: usize| {
                let (time, key, _) = own[index];
                RowRef { hash: key_hash(key), time: at(*time), key }
            };
            let mut slots = Vec::new();
            panes.resolve(own.len(), row, &mut slots).unwrap();
            for (&&(time, key, edit), slot) in own.iter().zip(slots) {
                assert_eq!(panes.value(slot), self.now.get(&(time, key)), "{key} at {time}");
                let Some(value) = edit else { continue };
                *panes.value_mut(slot) = value;
                match value {
                    Some(value) => self.now.insert((time, key), value),
                    None => {
                        cursor.deleted.insert((time, key));
                        self.now.remove(&(time, key))
                    }
                };
            }
        }
    }

    /// The worker's rows in the model with `from <= time <= through`.
    fn of_worker(&self, worker: usize, from: i64, through: i64) -> impl Iterator<Item = (i64, u32)> + '_ {
        let workers = self.workers.len();
        let inside = self.now.range((from, 0)..=(through, u32::MAX)).map(|(&row, _)| row);
        inside.filter(move |&(_, key)| worker_of(key, workers) == worker)
    }

    fn take(&mut self, worker: usize, through: i64, most: usize, calls: usize) {
        self.workers[worker].cursor = Cursor::default();
        for _ in 0..calls {
            let due = self.workers[worker].panes.due(at(through)).unwrap().map(Timestamp::as_millis);
            let first = self.of_worker(worker, i64::MIN, through).next().map(|(time, _)| time);
            let Some(due) = due else {
                assert_eq!(first, None, "a row is due at or before {through}");
                return;
            };
            assert!(due <= through && first.is_none_or(|first| due <= first), "{due} before {first:?}");
            let mut taken = Vec::new();
            let more = self.workers[worker].panes.take(at(due), most, &mut taken).unwrap();
            assert!(taken.len() <= most);
            for (key, value) in taken {
                assert_eq!(self.now.remove(&(due, key)), Some(value), "{key} was taken at {due}");
            }
            let left = self.of_worker(worker, due, due).next();
            assert!(more || left.is_none(), "{left:?} was left behind");
        }
    }

    fn fire(&mut self, worker: usize, through: i64, most: usize, calls: usize) {
        let mut cursor = std::mem::take(&mut self.workers[worker].cursor);
        for _ in 0..calls {
            let panes = &mut self.workers[worker].panes;
            let after = cursor.after.unwrap_or(i64::MIN);
            let (end, done) = match cursor.at {
                Some(at) => at,
                None => match panes.due_after(at(after), at(through)).unwrap() {
                    Some(end) => (end.as_millis(), 0),
                    None => {
                        let missed = (after < through)
                            .then(|| self.of_worker(worker, after + 1, through).next())
                            .flatten();
                        assert_eq!(missed, None, "nothing is due after {after} up to {through}");
                        break;
                    }
                },
            };
            let slots = panes.slots(at(end));
            let until = slots.len().min(done + most);
            let slots_now = slots[done..until].to_vec();
            cursor.at = (until < slots.len()).then_some((end, until));
            for slot in slots_now {
                let Some(&key) = panes.key(slot) else { continue };
                let Some(value) = panes.value(slot) else {
                    cursor.deleted.insert((end, key));
                    continue;
                };
                assert_eq!(self.now.get(&(end, key)), Some(value), "{key} at {end} was read");
                let first = cursor.seen.insert((end, key));
                assert!(first || cursor.deleted.contains(&(end, key)), "{key} at {end} was read twice");
            }
            if cursor.at.is_none() {
                let missed: Vec<_> = self.of_worker(worker, end, end).collect();
                let missed =
                    missed.iter().find(|row| !cursor.seen.contains(row) && !cursor.deleted.contains(row));
                assert_eq!(missed, None, "a row of the pane at {end} was not read");
                cursor = Cursor { after: Some(end), ..Cursor::default() };
            }
        }
        self.workers[worker].cursor = cursor;
    }
}

/// Every row of the family, also misfiled ones.
fn rows(backend: &dyn Backend) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut found = BTreeMap::new();
    let visited = backend.scan(Family::Timers, &[], &[u8::MAX; 13], &mut |key, value| {
        found.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    });
    visited.unwrap();
    found
}

fn expected(model: &Model) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let rows = model.iter().map(|(&(time, key), value)| {
        let (mut row, mut bytes) = (Vec::new(), Vec::new());
        time_prefix(STORE, KeyGroup::of_hash(key_hash(&key)), at(time), &mut row);
        encode("key", &key, &mut row).unwrap();
        encode("value", value, &mut bytes).unwrap();
        (row, bytes)
    });
    rows.collect()
}

fn follows_the_model<R>(backend: Arc<dyn Backend>, reopen: R, (limit, steps): (usize, Vec<Step>))
where
    R: Fn(Arc<dyn Backend>) -> Arc<dyn Backend>,
{
    let mut job = Job::new(backend, reopen, limit);
    steps.iter().for_each(|step| job.step(step));
    job.step(&Step::Freeze);
    job.step(&Step::Piece(usize::MAX));
    (0..job.frozen.len()).for_each(|_| job.step(&Step::Commit));
    for step in [Step::Crash(2), Step::Take(i64::MAX, 100, usize::MAX), Step::Freeze] {
        job.step(&step);
    }
    for step in [Step::Piece(usize::MAX), Step::Commit] {
        job.step(&step);
    }
    assert_eq!((job.now.len(), rows(&*job.backend).len()), (0, 0), "all was taken");
    job.step(&Step::Crash(1));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn panes_over_memory_answer_as_a_map_does(run in runs(0)) {
        follows_the_model(Arc::new(MemoryBackend::new()), |backend| backend, run);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn panes_that_are_dropped_by_ranges_answer_as_a_map_does(run in runs(4)) {
        follows_the_model(Arc::new(MemoryBackend::new()), |backend| backend, run);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(16) })]

    #[test]
    fn panes_over_rocksdb_answer_as_a_map_does(run in runs(1)) {
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

fn small(backend: &Arc<dyn Backend>, applied: u64) -> Panes<u32, u8> {
    Panes::open(place(backend, &Arc::new(TableBudget::new(0)), 0, 1), Epoch(applied)).unwrap()
}

fn set(panes: &mut Panes<u32, u8>, time: i64, keys: std::ops::Range<u32>, value: Option<u8>) {
    let keys: Vec<u32> = keys.collect();
    let row = |index: usize| RowRef { hash: key_hash(&keys[index]), time: at(time), key: &keys[index] };
    let mut slots = Vec::new();
    panes.resolve(keys.len(), row, &mut slots).unwrap();
    slots.into_iter().for_each(|slot| *panes.value_mut(slot) = value);
}

/// Lets the table go of everything that it may: above its limit it does so whenever a row is asked for.
fn make_room(panes: &mut Panes<u32, u8>) {
    (0..4).for_each(|_| panes.resolve(0, |_| unreachable!(), &mut Vec::new()).unwrap());
}

fn commit(panes: &mut Panes<u32, u8>, backend: &Arc<dyn Backend>, epoch: u64) {
    let mut delta = Delta::default();
    panes.freeze(Epoch(epoch), &mut delta).unwrap();
    backend.commit(&delta).unwrap();
    panes.applied(Epoch(epoch));
}

fn drain(panes: &mut Panes<u32, u8>, through: i64) -> Vec<u32> {
    let mut taken = Vec::new();
    while let Some(time) = panes.due(at(through)).unwrap() {
        panes.take(time, 10, &mut taken).unwrap();
    }
    taken.into_iter().map(|(key, _)| key).collect()
}

#[test]
fn a_row_that_was_taken_is_not_found_again_before_its_epoch_is_applied() {
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let mut panes = small(&backend, 0);
    set(&mut panes, 5, 0..200, Some(1));
    commit(&mut panes, &backend, 1);
    let mut taken = Vec::new();
    assert_eq!(panes.due(at(5)).unwrap(), Some(at(5)));
    panes.take(at(5), 150, &mut taken).unwrap();
    make_room(&mut panes);
    panes.freeze(Epoch(2), &mut Delta::default()).unwrap();
    make_room(&mut panes);
    assert_eq!(taken.len() + drain(&mut panes, 5).len(), 200);
}

#[test]
fn a_timer_is_due_although_it_was_deleted_and_passed_over_before() {
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let mut panes = small(&backend, 0);
    set(&mut panes, 5, 1..2, None);
    assert_eq!(drain(&mut panes, 10), Vec::<u32>::new());
    set(&mut panes, 5, 1..2, Some(1));
    assert_eq!(drain(&mut panes, 10), [1]);
}

#[test]
fn a_large_pane_that_is_half_taken_is_half_there_after_a_crash() {
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let mut panes = small(&backend, 0);
    set(&mut panes, 5, 0..3000, Some(1));
    commit(&mut panes, &backend, 1);
    panes.take(at(5), 2000, &mut Vec::new()).unwrap();
    commit(&mut panes, &backend, 2);
    assert_eq!(rows(&*backend).len(), 1000);
    assert_eq!(drain(&mut small(&backend, 2), 5).len(), 1000);
}

#[test]
fn a_large_pane_at_the_end_of_time_is_dropped_too() {
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let mut panes = small(&backend, 0);
    set(&mut panes, i64::MAX, 0..3000, Some(1));
    commit(&mut panes, &backend, 1);
    assert_eq!(drain(&mut panes, i64::MAX).len(), 3000);
    commit(&mut panes, &backend, 2);
    assert_eq!(rows(&*backend).len(), 0);
}

#[test]
fn a_reader_of_a_pane_keeps_its_place_while_rows_come_and_would_go() {
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let mut panes = small(&backend, 0);
    set(&mut panes, 5, 0..50, Some(1));
    commit(&mut panes, &backend, 1);
    assert_eq!(panes.due_after(at(0), at(9)).unwrap(), Some(at(5)));
    let mut seen: Vec<_> = panes.slots(at(5))[..20].to_vec();
    make_room(&mut panes);
    set(&mut panes, 5, 50..60, Some(1));
    seen.extend_from_slice(&panes.slots(at(5))[20..]);
    let mut keys: Vec<_> = seen.into_iter().filter_map(|slot| panes.key(slot).copied()).collect();
    keys.sort_unstable();
    assert_eq!(keys, (0..60).collect::<Vec<_>>());
}
