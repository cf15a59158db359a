//! What a table means: its changes against naive models that know nothing but whole tables, over restarts after every
//! record and over whole batches. If a test fails here, a change is lost, made up or tells a wrong old value, and
//! whatever is computed from changes drifts away from the table.

use std::collections::BTreeMap;
use std::sync::Arc;

use highwater_state::backend::memory::MemoryBackend;
use highwater_state::{Backend, Epoch, Timestamp};
use proptest::prelude::*;

use super::Change;
use crate::data::Clock;
use crate::interpret::{STANDING_CLOCK, end_epoch, open, publish, recover_sinks};
use crate::limits::Limits;
use crate::memory::Memory;
use crate::stream::{EventTime, Stream, Untimed};
use crate::table::{Table, TableJoin};
use crate::task::FullSpeed;
use crate::testkit::{Harness, at};
use crate::topology::Topology;

/// To the left or right table: the key's value from here on, at a time that rises, falls and may be negative.
#[derive(Clone, Copy, Debug)]
struct Op {
    left: bool,
    key: u8,
    value: Option<i64>,
    time: i64,
}

type Rows = BTreeMap<u8, i64>;
type Changes<V> = Vec<(Change<u8, V>, Timestamp)>;

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let value = prop_oneof![1 => Just(None), 3 => (-20i64..20).prop_map(Some)];
    let op = (any::<bool>(), 0u8..4, value, -50i64..50);
    prop::collection::vec(op.prop_map(|(left, key, value, time)| Op { left, key, value, time }), 0..40)
}

fn set(rows: &mut Rows, op: Op) {
    match op.value {
        Some(value) => drop(rows.insert(op.key, value)),
        None => drop(rows.remove(&op.key)),
    }
}

/// The changes of the table that `of` makes of both whole tables, op by op.
fn changes_of<V: PartialEq + Clone>(ops: &[Op], of: impl Fn(&Rows, &Rows, u8) -> Option<V>) -> Changes<V> {
    let (mut left, mut right) = (Rows::new(), Rows::new());
    let mut changes = Vec::new();
    for &op in ops {
        let side = if op.left { &mut left } else { &mut right };
        let stays_away = op.value.is_none() && !side.contains_key(&op.key);
        let old = of(&left, &right, op.key);
        set(if op.left { &mut left } else { &mut right }, op);
        let new = of(&left, &right, op.key);
        if !stays_away && (old.is_some() || new.is_some()) {
            changes.push((Change { key: op.key, old, new }, at(op.time)));
        }
    }
    changes
}

fn tables<C: Clock>(ops: Stream<Op, C>) -> (Table<u8, i64, C>, Table<u8, i64, C>) {
    let (left, right) = ops.branch(|op| op.left);
    (
        left.key_by(|op| op.key).upsert("lefts", |op| op.value),
        right.key_by(|op| op.key).upsert("rights", |op| op.value),
    )
}

fn harnessed<V: Send + 'static>(
    ops: &[Op],
    chain: impl FnOnce(Stream<Op>) -> Table<u8, V, EventTime>,
) -> Changes<V> {
    let mut harness = Harness::new(|ops| chain(ops).changes());
    let mut found = Vec::new();
    for &op in ops {
        harness.record(op, at(op.time));
        found.extend(harness.take());
    }
    found
}

/// Whole batches through one worker, without event time.
fn batched<V: Send + 'static>(
    ops: &[Op],
    chain: impl FnOnce(Stream<Op, Untimed>) -> Stream<V, Untimed>,
) -> Vec<V> {
    let (topology, sink) = (Topology::new("batched"), Memory::sink());
    chain(topology.source("ops", Memory::source(ops.to_vec()))).sink("out", sink.clone());
    let graph = topology.finish().expect("the chain is a topology");
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::default());
    recover_sinks(&graph, Epoch(0)).expect("recovers");
    let mut flow = open(&graph, &backend, Epoch(0), Limits::default()).expect("opens");
    while flow.step(STANDING_CLOCK, &FullSpeed).expect("runs") || !flow.is_exhausted() {}
    let contribution = end_epoch(&mut flow, Epoch(1), true).expect("ends");
    publish(&graph, Epoch(1), &contribution).expect("publishes");
    sink.take()
}

/// The table that the changes make, of which each must know the value before it.
fn folded<V: PartialEq + std::fmt::Debug>(changes: Vec<Change<u8, V>>) -> BTreeMap<u8, V> {
    let mut rows = BTreeMap::new();
    for Change { key, old, new } in changes {
        assert!(old.is_some() || new.is_some());
        let before = match new {
            Some(new) => rows.insert(key, new),
            None => rows.remove(&key),
        };
        assert_eq!(before, old, "the old value of a change is the new one of the change before it");
    }
    rows
}

fn both(left: &Rows, right: &Rows, key: u8) -> (Option<i64>, Option<i64>) {
    (left.get(&key).copied(), right.get(&key).copied())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn joins_follow_both_tables_over_restarts(ops in ops()) {
        joins_follow(&ops);
    }

    #[test]
    fn however_the_sides_interleave_the_changes_of_a_join_make_the_join_of_the_tables(ops in ops()) {
        changes_make_the_join(&ops);
    }

    #[test]
    fn what_is_filtered_and_mapped_follows_the_table(ops in ops()) {
        filtered_follows(&ops);
    }

    #[test]
    fn a_running_table_tells_values_and_changes_side_by_side(ops in ops()) {
        running_tells(&ops);
    }

    #[test]
    fn a_record_meets_the_row_as_it_is_when_it_arrives(ops in ops()) {
        records_meet(&ops);
    }
}

fn joined<C: Clock>(ops: Stream<Op, C>) -> TableJoin<u8, i64, i64, C> {
    let (left, right) = tables(ops);
    left.join(right)
}

fn joins_follow(ops: &[Op]) {
    let inner = |l: &Rows, r: &Rows, k| Some((both(l, r, k).0?, both(l, r, k).1?));
    let left = |l: &Rows, r: &Rows, k| Some((both(l, r, k).0?, both(l, r, k).1));
    let right = |l: &Rows, r: &Rows, k| Some((both(l, r, k).0, both(l, r, k).1?));
    let outer = |l: &Rows, r: &Rows, k| Some(both(l, r, k)).filter(|(l, r)| l.is_some() || r.is_some());
    assert_eq!(harnessed(ops, |ops| joined(ops).inner("pairs")), changes_of(ops, inner));
    assert_eq!(harnessed(ops, |ops| joined(ops).left("pairs")), changes_of(ops, left));
    assert_eq!(harnessed(ops, |ops| joined(ops).right("pairs")), changes_of(ops, right));
    assert_eq!(harnessed(ops, |ops| joined(ops).outer("pairs")), changes_of(ops, outer));
}

fn changes_make_the_join(ops: &[Op]) {
    let (mut left, mut right) = (Rows::new(), Rows::new());
    ops.iter().for_each(|&op| set(if op.left { &mut left } else { &mut right }, op));
    let pairs = |keep: fn((bool, bool)) -> bool| -> BTreeMap<_, _> {
        let all = (0..4).map(|key| (key, both(&left, &right, key)));
        all.filter(|(_, pair)| keep((pair.0.is_some(), pair.1.is_some()))).collect()
    };
    let inner =
        batched(ops, |ops| joined(ops).inner("pairs").map_values(|(l, r)| (Some(l), Some(r))).changes());
    assert_eq!(folded(inner), pairs(|(left, right)| left && right));
    let lefts = batched(ops, |ops| joined(ops).left("pairs").map_values(|(l, r)| (Some(l), r)).changes());
    assert_eq!(folded(lefts), pairs(|(left, _)| left));
    let rights = batched(ops, |ops| joined(ops).right("pairs").map_values(|(l, r)| (l, Some(r))).changes());
    assert_eq!(folded(rights), pairs(|(_, right)| right));
    let outer = batched(ops, |ops| joined(ops).outer("pairs").changes());
    assert_eq!(folded(outer), pairs(|(left, right)| left || right));
}

fn filtered_follows(ops: &[Op]) {
    let is_odd = |value: i64| value % 2 != 0;
    let odd = |l: &Rows, _: &Rows, k: u8| l.get(&k).copied().filter(|&v| is_odd(v)).map(|v| v * 10);
    let lefts: Vec<Op> = ops.iter().copied().filter(|op| op.left).collect();
    let found = harnessed(ops, |ops| tables(ops).0.filter(move |_, &v| is_odd(v)).map_values(|v| v * 10));
    assert_eq!(found, changes_of(&lefts, odd));
    let halves = batched(ops, |ops| {
        let (table, _) = tables(ops);
        let (odd, even) =
            (table.clone().filter(move |_, &v| is_odd(v)), table.filter(move |_, &v| !is_odd(v)));
        let whole = odd.join(even).outer("whole");
        whole.changes()
    });
    let mut rows = Rows::new();
    lefts.iter().for_each(|&op| set(&mut rows, op));
    let halves = folded(halves).into_iter().map(|(key, (odd, even))| {
        assert!(odd.is_none() || even.is_none());
        (key, odd.or(even).expect("an outer join has one of both"))
    });
    assert_eq!(halves.collect::<Rows>(), rows);
}

fn running_tells(ops: &[Op]) {
    let told = batched(ops, |ops| {
        let sums = ops.key_by(|op| op.key).aggregate("sums", |a| (a.count(), a.sum(|op: &Op| op.time)));
        let values = sums.clone().to_stream().map(|value| (Some(value), None));
        values.merge(sums.changes().map(|change| (None, Some(change))))
    });
    let values: Vec<_> = told.iter().filter_map(|(value, _)| *value).collect();
    let changes: Vec<_> = told.into_iter().filter_map(|(_, change)| change).collect();
    let new = changes.iter().map(|change| (change.key, change.new.expect("never deleted")));
    assert_eq!(values, new.collect::<Vec<_>>());
    let mut sums = BTreeMap::<u8, (u64, i64)>::new();
    let expected = ops.iter().map(|op| {
        let sum = sums.entry(op.key).or_default();
        *sum = (sum.0 + 1, sum.1 + op.time);
        (op.key, *sum)
    });
    assert_eq!(values, expected.collect::<Vec<_>>());
    assert_eq!(folded(changes), sums);
}

type Met = (u8, Option<i64>, Option<i64>);

fn met_over_restarts(ops: &[Op], chain: impl FnOnce(Stream<Op>) -> Stream<Met>) -> Vec<(Met, Timestamp)> {
    let mut harness = Harness::new(chain);
    ops.iter().for_each(|&op| harness.record(op, at(op.time)));
    harness.take()
}

fn records_meet(ops: &[Op]) {
    let mut rows = Rows::new();
    let mut all = Vec::new();
    for &op in ops {
        if op.left {
            all.push(((op.key, op.value, rows.get(&op.key).copied()), at(op.time)));
        } else {
            set(&mut rows, op);
        }
    }
    let some: Vec<_> = all.iter().copied().filter(|((_, _, row), _)| row.is_some()).collect();
    let sides = |ops: Stream<Op>| {
        let (records, rows) = ops.branch(|op| op.left);
        (records, rows.key_by(|op| op.key).upsert("rows", |op| op.value))
    };
    let keyed = |ops| {
        let (records, rows) = sides(ops);
        records.key_by(|op| op.key).join_table(rows)
    };
    let broadcast = |ops| {
        let (records, rows) = sides(ops);
        records.join_broadcast(rows, |op| op.key)
    };
    let met = |(op, row): (Op, Option<i64>)| (op.key, op.value, row);
    let met_one = |(op, row): (Op, i64)| (op.key, op.value, Some(row));
    assert_eq!(met_over_restarts(ops, |ops| keyed(ops).left("met").values().map(met)), all);
    assert_eq!(met_over_restarts(ops, |ops| broadcast(ops).left("met").map(met)), all);
    assert_eq!(met_over_restarts(ops, |ops| keyed(ops).inner("met").values().map(met_one)), some);
    assert_eq!(met_over_restarts(ops, |ops| broadcast(ops).inner("met").map(met_one)), some);
}

#[test]
fn latest_is_last_in_order_of_arrival_and_not_of_time() {
    let mut harness = Harness::new(|stream| {
        stream
            .key_by(|record: &(char, i64)| record.0)
            .latest("latest")
            .map_values(|record| record.1)
            .changes()
    });
    harness.record(('a', 1), at(5));
    harness.watermark(at(100));
    harness.record(('a', 2), at(-7));
    let change = |old, new| Change { key: 'a', old, new };
    assert_eq!(harness.take(), [(change(None, Some(1)), at(5)), (change(Some(1), Some(2)), at(-7))]);
}

#[test]
fn the_watermark_of_a_join_is_the_smaller_of_both_sides() {
    let (topology, counts) = (Topology::new("watermarks"), Memory::sink());
    let lag = std::time::Duration::ZERO;
    let stream = topology.source("records", Memory::source(0..100i64)).event_time(|n| at(*n), lag);
    let rows = topology.source("rows", Memory::source([3i64])).event_time(|n| at(*n), lag);
    let windows = stream
        .key_by(|n| n % 2)
        .join_table(rows.key_by(|n| n % 2).latest("latest-rows"))
        .left("met")
        .window(crate::window::tumbling(std::time::Duration::from_millis(10)));
    let (windows, late) = windows.with_late();
    windows.count("counts").map(|window| window.value).sink("counts-out", counts.clone());
    let too_late = Memory::sink();
    late.map(|(n, _)| n).sink("late-out", too_late.clone());
    crate::interpret::interpret(topology).expect("runs");
    assert_eq!((counts.take(), too_late.take()), (vec![5; 20], vec![]));
}

/// The second source has ended long before the first, and both pass through the join; what follows waits for both.
#[test]
fn time_can_be_given_behind_a_join_of_untimed_streams() {
    for behind_broadcast in [false, true] {
        let (topology, counts) = (Topology::new("untimed"), Memory::sink());
        let stream = topology.source("records", Memory::splits([(0..50i64).collect(), (0..50).collect()]));
        let rows = topology.source("rows", Memory::source(0..2i64)).key_by(|n| n % 2).latest("latest-rows");
        let joined = if behind_broadcast {
            stream.join_broadcast(rows, |n| n % 2).left("met").map(|(n, _)| n)
        } else {
            stream.key_by(|n| n % 2).join_table(rows).left("met").values().map(|(n, _)| n)
        };
        let windows = joined
            .event_time(|n| at(*n), std::time::Duration::ZERO)
            .key_by(|_| ())
            .window(crate::window::tumbling(std::time::Duration::from_millis(10)));
        windows.count("counts").map(|window| window.value).sink("out", counts.clone());
        crate::interpret::interpret(topology).expect("runs");
        assert_eq!(counts.take(), [20; 5]);
    }
}

#[test]
fn tables_of_different_topologies_are_refused() {
    let (one, other) = (Topology::new("one"), Topology::new("other"));
    let table =
        |topology: &Topology| topology.source("n", Memory::source([1i64])).key_by(|n| *n).latest("latest");
    table(&one).join(table(&other)).inner("pairs").keep();
    let errors = one.finish().err().expect("it is refused");
    assert!(errors.iter().any(|error| error.to_string().contains("different topologies")), "{errors:?}");
}

#[test]
fn the_plan_says_what_goes_to_all_workers() {
    let topology = Topology::new("plan");
    let rows = topology.source("rows", Memory::source([1i64])).key_by(|n| *n).latest("latest");
    let records = topology.source("records", Memory::source([1i64]));
    records.join_broadcast(rows, |n| *n).inner("met").sink("out", Memory::sink());
    let described = topology.describe();
    assert!(described.contains("to all") && described.contains("by key"), "{described}");
}
