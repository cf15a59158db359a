//! Tables on several workers: what every worker must have of a broadcast table, and the order of changes per key, over
//! every interleaving, crashes and restarts on another number of workers. If a test fails here, a worker misses rows of
//! a table or has ones of the past, or changes are lost, repeated or out of order (HW-1, HW-4, HW-8).

#[path = "tables/feed.rs"]
mod feed;
#[path = "tables/simulate.rs"]
mod simulate;

use std::collections::BTreeMap;
use std::time::Instant;

use highwater::operators::memory::MemorySink;
use highwater::prelude::*;

use feed::Feed;
use simulate::{Dice, Disk, live};

const KEYS: u16 = 40;

/// What becomes of a key: its new value, or its deletion.
type Update = (u16, Option<u32>);
/// A record that asks for a key: its split, its number there, and the key.
type Ask = (usize, usize, u16);

/// Updates in several splits; all of a key are in one, and their values rise.
fn updates(dice: &mut Dice, splits: usize, most: usize) -> Vec<Vec<Update>> {
    let mut updates = vec![Vec::new(); splits];
    for value in 0..most as u32 {
        let key = dice.roll(usize::from(KEYS)) as u16;
        updates[usize::from(key) % splits].push((key, (dice.roll(4) > 0).then_some(value)));
    }
    updates
}

/// Questions for random keys, some of which are in no table.
fn asks(dice: &mut Dice, splits: usize, most: usize) -> Vec<Vec<Ask>> {
    let of = |split| {
        (0..most)
            .map(move |number| (split, number))
            .map(|(split, number)| (split, number, dice.roll(usize::from(KEYS) + 5) as u16))
            .collect()
    };
    (0..splits).map(of).collect()
}

fn table_of(updates: &[Vec<Update>]) -> BTreeMap<u16, u32> {
    let mut rows = BTreeMap::new();
    for &(key, value) in updates.iter().flatten() {
        match value {
            Some(value) => drop(rows.insert(key, value)),
            None => drop(rows.remove(&key)),
        }
    }
    rows
}

/// Runs a topology in simulated processes that die `deaths` times, each with a number of workers of its own.
fn simulated(
    topology: impl Fn() -> Topology,
    disk: &mut Disk,
    deaths: usize,
    most_steps: usize,
    dice: &mut Dice,
) {
    for life in 0.. {
        let workers = 1 + dice.roll(5);
        let steps = (life < deaths).then(|| dice.roll(most_steps));
        if live(&topology().finish().expect("a topology"), disk, workers, steps, dice) {
            return;
        }
    }
}

fn asking(updates: &[Vec<Update>], asks: &[Vec<Ask>], sink: &MemorySink<(Ask, Option<u32>)>) -> Topology {
    let topology = Topology::new("asking");
    let table = topology
        .source("updates", Memory::splits(updates.to_vec()))
        .key_by(|update| update.0)
        .upsert("table", |update| update.1);
    topology
        .source("asks", Memory::splits(asks.to_vec()))
        .join_broadcast(table, |ask| ask.2)
        .left("answers")
        .sink("out", sink.clone());
    topology
}

#[test]
fn after_any_crash_every_worker_has_the_whole_table() {
    for seed in 0..40 {
        let mut dice = Dice(seed);
        let (mut disk, sink) = (Disk::new(), Memory::sink());
        let (mut all_updates, mut all_asks) = (vec![Vec::new(); 3], vec![Vec::new(); 4]);
        for _round in 0..3 {
            for (all, more) in all_updates.iter_mut().zip(updates(&mut dice, 3, 60)) {
                all.extend(more);
            }
            simulated(|| asking(&all_updates, &all_asks, &sink), &mut disk, 2, 400, &mut dice);
            assert_eq!(sink.take(), []);
            let rows = table_of(&all_updates);
            let more = asks(&mut dice, 4, 20);
            all_asks.iter_mut().zip(&more).for_each(|(all, more)| all.extend(more));
            simulated(|| asking(&all_updates, &all_asks, &sink), &mut disk, 2, 400, &mut dice);
            let mut found = sink.take();
            found.sort();
            let expected = more.into_iter().flatten().map(|ask| (ask, rows.get(&ask.2).copied()));
            assert_eq!(found, expected.collect::<Vec<_>>(), "seed {seed}");
        }
    }
}

#[test]
fn while_the_table_changes_nobody_is_answered_twice_or_with_what_is_past() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let (mut disk, sink) = (Disk::new(), Memory::sink());
        let (updates, asks) = (updates(&mut dice, 3, 120), asks(&mut dice, 4, 60));
        simulated(|| asking(&updates, &asks, &sink), &mut disk, 4, 800, &mut dice);
        let mut found = sink.take();
        found.sort();
        let asked: Vec<_> = found.iter().map(|(ask, _)| *ask).collect();
        assert_eq!(asked, asks.concat(), "seed {seed}: each once");
        let mut last: BTreeMap<(usize, u16), u32> = BTreeMap::new();
        for ((split, number, key), value) in found {
            let Some(value) = value else { continue };
            assert!(updates.iter().flatten().any(|update| *update == (key, Some(value))), "{key}: {value}");
            let before = last.insert((split, key), value).unwrap_or(0);
            assert!(before <= value, "seed {seed}: {number} of {split} met {value} of {key} after {before}");
        }
    }
}

#[test]
fn the_changes_of_a_join_on_any_workers_make_the_join_of_the_tables() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let (mut disk, sink) = (Disk::new(), Memory::sink());
        let sides = [updates(&mut dice, 3, 100), updates(&mut dice, 2, 100)];
        let topology = || {
            let topology = Topology::new("joining");
            let table = |side: usize| {
                let updates = topology.source(["lefts", "rights"][side], Memory::splits(sides[side].clone()));
                updates.key_by(|update| update.0).upsert(["left", "right"][side], |update| update.1)
            };
            table(0).join(table(1)).left("pairs").changes().sink("out", sink.clone());
            topology
        };
        simulated(topology, &mut disk, 3, 800, &mut dice);
        let mut rows = BTreeMap::new();
        for Change { key, old, new } in sink.take() {
            let before = match new {
                Some(pair) => rows.insert(key, pair),
                None => rows.remove(&key),
            };
            assert_eq!(before, old, "seed {seed}: of {key}");
        }
        let (left, right) = (table_of(&sides[0]), table_of(&sides[1]));
        let expected = left.iter().map(|(key, value)| (*key, (*value, right.get(key).copied())));
        assert_eq!(rows, expected.collect(), "seed {seed}");
    }
}

/// The records come to the join twice, as a table and as a stream, and what says that a split has ended with them.
#[test]
fn behind_a_join_of_a_stream_with_a_table_of_itself_time_does_not_end_before_the_last_record() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let (mut disk, counts, late) = (Disk::new(), Memory::sink(), Memory::sink());
        let numbers: Vec<Vec<i64>> = (0..3).map(|split| (0..40).map(|n| n * 3 + split).collect()).collect();
        let broadcast = seed % 2 == 0;
        let topology = || {
            let topology = Topology::new("itself");
            let numbers = topology.source("numbers", Memory::splits(numbers.clone()));
            let table = numbers.clone().key_by(|n| n % 7).latest("latest");
            let met = if broadcast {
                numbers.join_broadcast(table, |n| n % 7).left("met").map(|(n, _)| n)
            } else {
                numbers.key_by(|n| n % 7).join_table(table).left("met").values().map(|(n, _)| n)
            };
            let timed = met.event_time(|n| Timestamp::from_millis(*n), Duration::from_secs(1));
            let windows = timed.key_by(|_| ()).window(tumbling(Duration::from_millis(10)));
            let (windows, too_late) = windows.with_late();
            windows.count("counts").map(|window| window.value).sink("counts-out", counts.clone());
            too_late.sink("late-out", late.clone());
            topology
        };
        simulated(topology, &mut disk, 0, 0, &mut dice);
        assert_eq!((counts.take(), late.take()), (vec![10; 12], vec![]), "seed {seed}");
    }
}

#[test]
fn windows_behind_a_join_with_a_table_close_by_the_watermark_of_both() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let (mut disk, counts, late) = (Disk::new(), Memory::sink(), Memory::sink());
        let numbers: Vec<Vec<i64>> = (0..3).map(|split| (0..40).map(|n| n * 3 + split).collect()).collect();
        let broadcast = seed % 2 == 0;
        let topology = || {
            let topology = Topology::new("windows");
            let timed = |name: &str, splits: Vec<Vec<i64>>| {
                let numbers = topology.source(name, Memory::splits(splits));
                numbers.event_time(|n| Timestamp::from_millis(*n), Duration::ZERO)
            };
            let table = timed("rows", vec![vec![1, 5, 9, 60], vec![7]]).key_by(|n| n % 7).latest("latest");
            let numbers = timed("numbers", numbers.clone());
            let met = if broadcast {
                numbers.join_broadcast(table, |n| n % 7).left("met").map(|(n, _)| n)
            } else {
                numbers.key_by(|n| n % 7).join_table(table).left("met").values().map(|(n, _)| n)
            };
            let windows = met.key_by(|_| ()).window(tumbling(Duration::from_millis(10)));
            let (windows, too_late) = windows.with_late();
            windows.count("counts").map(|window| window.value).sink("counts-out", counts.clone());
            too_late.sink("late-out", late.clone());
            topology
        };
        simulated(topology, &mut disk, 2, 400, &mut dice);
        assert_eq!((counts.take(), late.take()), (vec![10; 12], vec![]), "seed {seed}");
    }
}

/// The changes of a table come back, without event time, to the stream they were made of: what says that a split of the
/// source has ended comes the one way only, over no exchange.
#[test]
fn time_goes_on_where_changes_meet_the_stream_that_made_them() {
    for seed in 0..40 {
        let mut dice = Dice(seed);
        let (mut disk, counts) = (Disk::new(), Memory::sink());
        let topology = || {
            let topology = Topology::new("back");
            let numbers = topology.source("numbers", Memory::splits([vec![1i64, 2, 3], vec![4, 5]]));
            let timed = numbers.clone().event_time(|n| Timestamp::from_millis(*n), Duration::ZERO);
            let changes = timed.key_by(|n| n % 2).latest("latest").to_stream().untimed().map(|(_, n)| n);
            let all =
                numbers.merge(changes).event_time(|n| Timestamp::from_millis(*n), Duration::from_secs(1));
            let windows = all.key_by(|_| ()).window(tumbling(Duration::from_millis(10)));
            windows.count("counts").map(|window| window.value).sink("out", counts.clone());
            topology
        };
        simulated(topology, &mut disk, 0, 0, &mut dice);
        assert_eq!(counts.take(), [10], "seed {seed}");
    }
}

/// Waits until a node of the job has taken so many records, over all workers.
#[track_caller]
fn wait_for(running: &RunningJob, verb: &str, records: u64) {
    let since = Instant::now();
    let taken = || running.counters().iter().find(|node| node.verb == verb).map_or(0, |node| node.records_in);
    while taken() < records {
        assert!(!running.is_finished(), "the job has ended");
        assert!(since.elapsed() < Duration::from_secs(30), "{verb} has {} of {records} records", taken());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_job_that_is_restarted_on_other_workers_has_the_broadcast_table_on_all_of_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let (updates, asks, sink) = (Feed::<Update>::of(3), Feed::<Ask>::of(8), Memory::sink());
    let mut rows = BTreeMap::new();
    for (round, workers) in [1, 2, 4, 2, 4, 1].into_iter().enumerate() {
        let topology = Topology::new("restarted");
        let table =
            topology.source("updates", updates.clone()).key_by(|update| update.0).upsert("table", |u| u.1);
        let asked = topology.source("asks", asks.clone()).join_broadcast(table, |ask| ask.2);
        asked.left("answers").sink("out", sink.clone());
        let job = Job::new(topology).workers(workers).state(directory.path()).memory(32 << 20);
        let running = job.epoch_interval(Duration::from_millis(10)).start().expect("starts");
        let ask_all = |number: usize| {
            (0..8).for_each(|split| asks.put(split, (0..KEYS).map(|key| (split, number, key))));
        };
        let mut expected = Vec::new();
        let expect_all = |rows: &BTreeMap<u16, u32>, expected: &mut Vec<_>| {
            let of = |split| (0..KEYS).map(move |key| (split, key));
            expected.extend((0..8).flat_map(of).map(|(_, key)| (key, rows.get(&key).copied())));
        };
        // With what is on disk alone, and then with what has changed.
        ask_all(2 * round);
        expect_all(&rows, &mut expected);
        wait_for(&running, "join_broadcast", 8 * u64::from(KEYS));
        let changes = (0..KEYS).filter(|key| (usize::from(*key) + round).is_multiple_of(3));
        let changes: Vec<Update> = changes
            .map(|key| (key, (key % 2 == 0 || !rows.contains_key(&key)).then_some(round as u32)))
            .collect();
        for &(key, value) in &changes {
            updates.put(usize::from(key) % 3, [(key, value)]);
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        wait_for(&running, "join_broadcast", 8 * u64::from(KEYS) + changes.len() as u64 * workers as u64);
        ask_all(2 * round + 1);
        expect_all(&rows, &mut expected);
        wait_for(&running, "sink", 16 * u64::from(KEYS));
        running.stop();
        running.wait().expect("stops");
        let mut found: Vec<_> = sink.take().into_iter().map(|((_, _, key), value)| (key, value)).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "round {round} on {workers} workers");
    }
}
