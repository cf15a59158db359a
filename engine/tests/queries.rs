//! Tables of running jobs, read from other threads. If one of these fails, a reader sees what is not committed or a
//! part of an epoch, does not see what it has written, or keeps a state directory from the next job.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "queries/feed.rs"]
mod feed;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use feed::Feed;
use highwater::prelude::*;
use highwater::query::{AtLeast, Health, Live, Queries, QueryError};
use highwater::state::view::{Cursor, Part};
use highwater::state::{Epoch, StateError};

const PATIENCE: Duration = Duration::from_secs(30);
const ACCOUNTS: u64 = 100;

type Transfer = (u64, u64, i64);

/// Each transfer is two records of two keys, and the workers of the two may differ.
fn transfers(feed: Feed<Transfer>) -> Topology {
    let topology = Topology::new("transfers");
    topology
        .source("transfers", feed)
        .flat_map(|(from, to, amount)| [(from, -amount), (to, amount)])
        .key_by(|(account, _)| *account)
        .fold("balances", || 0i64, |balance, (_, amount)| *balance += amount)
        .keep();
    topology
}

fn transfer(number: u64) -> Transfer {
    let (from, to) = (number * 7 % ACCOUNTS, (number * 13 + 1) % ACCOUNTS);
    (from, to, (number % 9) as i64 + 1)
}

/// Every account in pages of 7 rows, at one epoch.
fn read_all(queries: &Queries) -> (Epoch, u64, Vec<(u64, i64)>) {
    let view = queries.view().unwrap();
    let (mut rows, mut after) = (Vec::new(), None);
    if view.epoch() > Epoch(0) {
        loop {
            let page = view.page::<u64, i64>("balances", after.as_ref(), 7).unwrap();
            rows.extend(page.rows.into_iter().map(|row| (row.key, row.value)));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    (view.epoch(), view.positions().get("transfers", "0").unwrap_or(0), rows)
}

/// Balances by the transfers before a position, worked out by hand.
fn model(position: u64) -> Vec<(u64, i64)> {
    let mut balances = std::collections::BTreeMap::new();
    for (from, to, amount) in (0..position).map(transfer) {
        *balances.entry(from).or_insert(0) -= amount;
        *balances.entry(to).or_insert(0) += amount;
    }
    balances.into_iter().collect()
}

fn readers_see_whole_epochs(job: impl FnOnce(Job) -> Job) {
    let feed = Feed::new();
    let running =
        job(Job::new(transfers(feed.clone())).epoch_interval(Duration::from_millis(10))).start().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (queries, done) = (running.queries(), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut seen = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    seen.push(read_all(&queries));
                }
                seen
            })
        })
        .collect();
    let mut written = 0;
    for _ in 0..60 {
        written = feed.write((written..written + 500).map(transfer));
        std::thread::sleep(Duration::from_millis(10));
    }
    let all = AtLeast::nothing().position("transfers", "0", written);
    running.queries().at_least(&all, PATIENCE).unwrap();
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        let seen = reader.join().unwrap();
        assert!(seen.is_sorted_by_key(|(epoch, position, _)| (*epoch, *position)));
        for (epoch, position, rows) in &seen {
            assert_eq!(rows.iter().map(|(_, balance)| balance).sum::<i64>(), 0, "in {epoch}");
            let mut rows = rows.clone();
            rows.sort_unstable();
            assert_eq!(rows, model(*position), "in {epoch}, at {position}");
        }
        let mut epochs: Vec<_> = seen.iter().map(|(epoch, ..)| *epoch).collect();
        epochs.dedup();
        assert!(epochs.len() > 3, "only {epochs:?} were seen");
    }
}

#[test]
fn readers_see_whole_epochs_in_memory() {
    readers_see_whole_epochs(|job| job.queryable().workers(2));
}

#[test]
fn readers_see_whole_epochs_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    readers_see_whole_epochs(|job| job.state(directory.path()).workers(2));
}

#[test]
fn who_has_written_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let feed = Feed::new();
    let job = Job::new(transfers(feed.clone())).state(directory.path()).workers(2);
    let running = job.epoch_interval(Duration::from_millis(20)).start().unwrap();
    let queries = running.queries();
    let mut balance = 0;
    for number in 1..20 {
        balance += number;
        let position = feed.write([(1, 2, number)]);
        let least = AtLeast::nothing().position("transfers", "0", position);
        let view = queries.at_least(&least, PATIENCE).unwrap();
        assert_eq!(view.get("balances", &2u64).unwrap(), Some(balance));
        assert_eq!(view.positions().get::<u64>("transfers", "0"), Some(position));
        let as_json = AtLeast::nothing().position_json("transfers", "0", &position.to_string());
        assert!(queries.now_at_least(&as_json).unwrap().is_some());
        assert!(queries.now_at_least(&AtLeast::nothing().positions(view.positions())).unwrap().is_some());
    }
    let later = AtLeast::nothing().position("transfers", "0", 20u64);
    let refused = queries.at_least(&later, Duration::from_millis(50)).err().unwrap();
    assert!(matches!(&refused, QueryError::TimedOut { .. }), "{refused}");
    assert!(refused.to_string().contains(r#"{"transfers":{"0":19}}"#), "{refused}");
    let no_split = AtLeast::nothing().position("transfers", "7", 1u64);
    assert!(queries.now_at_least(&no_split).unwrap().is_none());
    let next = queries.epochs().last.next();
    assert!(
        queries.at_least(&AtLeast::nothing().epoch(next), PATIENCE).is_ok(),
        "also without anything in it"
    );
}

#[test]
fn pages_go_on_over_a_restart_with_other_workers() {
    let (directory, feed) = (tempfile::tempdir().unwrap(), Feed::new());
    let mut after: Option<Cursor> = None;
    let mut seen: Vec<u64> = Vec::new();
    let written = feed.write((0..200).map(transfer));
    for workers in [1, 3, 2, 4] {
        let job = Job::new(transfers(feed.clone())).state(directory.path()).workers(workers);
        let running = job.epoch_interval(Duration::from_millis(10)).start().unwrap();
        let least = AtLeast::nothing().position("transfers", "0", written);
        let view = running.queries().at_least(&least, PATIENCE).unwrap();
        let limit = if workers == 4 { 1000 } else { 20 };
        let page = view.page::<u64, i64>("balances", after.as_ref(), limit).unwrap();
        drop(view);
        seen.extend(page.rows.iter().map(|row| row.key));
        assert_eq!(page.next.is_none(), workers == 4);
        after = page.next;
        running.stop();
        running.wait().unwrap();
    }
    seen.sort_unstable();
    let wanted: Vec<u64> = model(written).into_iter().map(|(account, _)| account).collect();
    assert_eq!(seen, wanted);
}

#[test]
fn a_job_that_has_ended_answers_until_it_is_waited_for() {
    let (directory, feed) = (tempfile::tempdir().unwrap(), Feed::new());
    feed.write([(1, 2, 5)]);
    let start = || Job::new(transfers(feed.clone())).state(directory.path()).start().unwrap();
    let running = start();
    let queries = running.queries();
    running.stop();
    while !running.is_finished() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(queries.health(), Health::Ended { finished: false });
    assert_eq!(queries.get::<u64, i64>("balances", &2).unwrap().value, Some(5));
    let never = AtLeast::nothing().position("transfers", "0", 2u64);
    assert!(matches!(queries.at_least(&never, PATIENCE), Err(QueryError::NeverReached { .. })));
    running.wait().unwrap();
    assert!(matches!(queries.view(), Err(QueryError::Ended { .. })));
    let again = start();
    assert_eq!(
        again.queries().get::<u64, i64>("balances", &2).unwrap().value,
        Some(5),
        "before an epoch has ended"
    );
    drop(again);
    assert_eq!(StateReader::open(directory.path()).unwrap().get("balances", &2u64).unwrap(), Some(5i64));
}

#[test]
fn what_cannot_be_answered_says_why() {
    let feed = Feed::new();
    let silent = Job::new(transfers(feed.clone())).queryable().epoch_interval(PATIENCE).start().unwrap();
    let queries = silent.queries();
    let refused = queries.get::<u64, i64>("balances", &1).unwrap_err();
    assert!(matches!(refused, QueryError::NothingYet { .. }), "{refused}");
    let refused = queries.get::<u64, i64>("balance", &1).unwrap_err();
    assert!(matches!(&refused, QueryError::Unknown { known, .. } if **known == ["balances"]), "{refused}");
    let unknown = AtLeast::nothing().position("transfer", "0", 1u64);
    assert!(matches!(queries.now_at_least(&unknown), Err(QueryError::UnknownSource { .. })));
    let other = AtLeast::nothing().position("transfers", "0", 1i64);
    assert!(matches!(queries.now_at_least(&other), Err(QueryError::Position { .. })));
    let other = AtLeast::nothing().position_json("transfers", "0", "\"a\"");
    assert!(matches!(queries.now_at_least(&other), Err(QueryError::Position { .. })));
    drop(silent);

    let running =
        Job::new(transfers(feed.clone())).epoch_interval(Duration::from_millis(10)).start().unwrap();
    let queries = running.queries();
    let view = queries.at_least(&AtLeast::nothing().epoch(Epoch(1)), PATIENCE).unwrap();
    assert!(view.tables().iter().all(|table| !table.readable));
    let refused = view.get::<u64, i64>("balances", &1).unwrap_err();
    assert!(matches!(refused, QueryError::NotKept { .. }), "{refused}");
    assert!(queries.epochs().count > 0);
    drop((view, running));

    let job = Job::new(transfers(feed)).queryable().epoch_interval(Duration::from_millis(10));
    let running = job.start().unwrap();
    let view = running.queries().at_least(&AtLeast::nothing().epoch(Epoch(1)), PATIENCE).unwrap();
    let refused = view.get::<u64, u64>("balances", &1).unwrap_err();
    assert!(matches!(refused, QueryError::State(StateError::Shape { .. })), "{refused}");
    assert_eq!(view.tables()[0].shape, "u64 -> i64");
}

#[test]
fn windows_are_read_in_the_order_of_time() {
    let topology = Topology::new("clicks");
    let clicks = (0..50u64).map(|number| (number as i64 * 700, format!("/{}", number % 3)));
    topology
        .source("clicks", Memory::source(clicks).unending())
        .event_time(|click| Timestamp::from_millis(click.0), Duration::from_secs(100))
        .key_by(|click| click.1.clone())
        .window(tumbling(Duration::from_secs(10)))
        .count("views")
        .sink("out", Blackhole::new());
    let job = Job::new(topology).queryable().workers(2).epoch_interval(Duration::from_millis(10));
    let running = job.start().unwrap();
    let all = AtLeast::nothing().position("clicks", "0", 50u64);
    let view = running.queries().at_least(&all, PATIENCE).unwrap();
    let rows = view.json_page("views", &Part::default(), None, 100).unwrap().rows;
    assert_eq!(rows.len(), 12, "four windows of three pages: {rows:?}");
    assert!(rows.is_sorted_by_key(|row| row.line[..30].to_owned()), "{rows:?}");
    let part =
        Part { from: Some("20000".into()), to: Some("1970-01-01T00:00:31Z".into()), key: Some("/1".into()) };
    let rows = view.json_page("views", &part, None, 100).unwrap().rows;
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rows[0].line.starts_with(r#"{"time":"1970-01-01T00:00:20Z","key":"/1""#), "{rows:?}");
}

#[test]
fn a_new_version_catches_up_and_takes_over() {
    let feed = Feed::<u64>::new();
    let version = |factor: u64| {
        let topology = Topology::new(if factor == 1 { "v1" } else { "v2" });
        let sales = topology.source("sales", feed.clone()).key_by(|_| 0u8);
        sales.fold("sums", || 0u64, move |sum, sale| *sum += sale * factor).keep();
        Job::new(topology).queryable().epoch_interval(Duration::from_millis(10)).start().unwrap()
    };
    let mut written = feed.write((0..10_000).map(|_| 1));
    let old = version(1);
    let live = Live::new(old.queries());
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (live, done) = (live.clone(), Arc::clone(&done));
        std::thread::spawn(move || {
            let mut seen: Vec<(u64, u64)> = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let view = live.view().unwrap();
                let position = view.positions().get::<u64>("sales", "0").unwrap_or(0);
                if position > 0 {
                    seen.push((position, view.get::<u8, u64>("sums", &0).unwrap().unwrap()));
                }
            }
            seen
        })
    };
    let at = |written| AtLeast::nothing().position("sales", "0", written);
    live.at_least(&at(written), PATIENCE).unwrap();
    let new = version(1000);
    // Input goes on while the new version catches up.
    let switch = {
        let (live, next) = (live.clone(), new.queries());
        std::thread::spawn(move || live.switch_to(next, PATIENCE))
    };
    while !switch.is_finished() {
        written = feed.write([1]);
        std::thread::sleep(Duration::from_millis(1));
    }
    let before = switch.join().unwrap().unwrap();
    assert_eq!(before.topology(), "v1");
    assert_eq!(live.current().topology(), "v2");
    old.stop();
    old.wait().unwrap();
    written = feed.write([1]).max(written);
    live.at_least(&at(written), PATIENCE).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    done.store(true, Ordering::Relaxed);
    let seen = reader.join().unwrap();
    assert!(seen.is_sorted_by_key(|(position, _)| *position), "no reader goes back");
    let switched = seen.iter().position(|(position, sum)| sum != position).unwrap();
    assert!(switched > 0);
    assert!(seen[..switched].iter().all(|(position, sum)| sum == position));
    assert!(seen[switched..].iter().all(|(position, sum)| *sum == position * 1000));
    assert_eq!(seen.last().unwrap().0, written);
}
