//! Rows that are broken, missing or of nobody: each is refused with its place, and none is passed over.

use std::ops::ControlFlow;

use highwater_state::delta::{Delta, Family};
use highwater_state::layout::store_range;
use highwater_state::persist::{decode, encode};
use highwater_state::{Committed, Timestamp};
use serde::{Deserialize, Serialize};

use super::account::{Account, Do, Entry, chain};
use super::{Told, sourcing};
use highwater_operators::sourcing::{Command, EventStore, SourcingError};
use highwater_operators::testkit::{Harness, Kept, at};

/// A row of an event, as it is on disk.
#[derive(Serialize, Deserialize)]
struct EventRow {
    kind: String,
    schema: u32,
    at: Timestamp,
    correlation: String,
    causation: String,
    payload: Vec<u8>,
}

/// The rows of a state: keys and values.
fn rows_of(kept: &Kept, state: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (store, family, _) = kept.state(state).expect("is kept");
    let (from, to) = store_range(store);
    let mut rows = Vec::new();
    let mut collect = |key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    kept.backend().scan(family, &from, &to, &mut collect).expect("reads");
    rows
}

fn event_key(kept: &Kept, operator: &str, aggregate: &str, version: u64) -> Vec<u8> {
    let mut end = Vec::new();
    encode("key", &aggregate, &mut end).expect("encodes");
    end.extend_from_slice(&version.to_be_bytes());
    let rows = rows_of(kept, &format!("{operator}/events"));
    rows.into_iter().map(|(key, _)| key).find(|key| key.ends_with(&end)).expect("is kept")
}

/// Deletes one event, as a damaged disk may.
pub(super) fn delete_event(kept: &Kept, operator: &str, aggregate: &str, version: u64) {
    let mut delta = Delta::default();
    delta.delete(Family::Values, &event_key(kept, operator, aggregate, version));
    kept.rows().commit(&delta).expect("commits");
}

fn change_event(kept: &Kept, version: u64, change: impl FnOnce(&mut Vec<u8>)) {
    let key = event_key(kept, "accounts", "ada", version);
    let mut bytes = kept.backend().get(Family::Values, &key).expect("reads").expect("is kept");
    change(&mut bytes);
    let mut delta = Delta::default();
    delta.put(Family::Values, &key, &bytes);
    kept.rows().commit(&delta).expect("commits");
}

fn change_row(kept: &Kept, version: u64, change: impl FnOnce(&mut EventRow)) {
    change_event(kept, version, |bytes| {
        let mut row: EventRow = decode("events", bytes).expect("a row");
        change(&mut row);
        bytes.clear();
        encode("event", &row, bytes).expect("encodes");
    });
}

fn harness() -> Harness<(String, Command<Do>), Told> {
    let mut harness = Harness::new(|stream| chain(stream, sourcing(100)));
    for (time, body) in [Do::Open, Do::Deposit(500), Do::Withdraw(3)].into_iter().enumerate() {
        harness.record(("ada".to_owned(), Command::new("command", body)), at(time as i64));
    }
    harness
}

/// What every way of reading says of damaged events.
fn refusal(kept: &Kept) -> String {
    let store = EventStore::<_, Account>::open(kept, "accounts", sourcing(100)).expect("opens");
    let ada = "ada".to_owned();
    let loaded = store.load(&ada, 1).expect_err("is damaged").to_string();
    assert_eq!(store.as_of(&ada, u64::MAX).expect_err("is damaged").to_string(), loaded);
    let replayed = store.replay(0, |count, _| *count += 1).expect_err("is damaged");
    assert_eq!(replayed.to_string(), loaded);
    loaded
}

#[test]
fn a_broken_or_unknown_event_is_refused_with_its_aggregate_version_and_kind() {
    let broken = |damage: &dyn Fn(&Kept), parts: &[&str]| {
        let harness = harness();
        damage(harness.kept());
        let said = refusal(harness.kept());
        for part in ["accounts/events", "\"ada\"", "version 2"].iter().chain(parts) {
            assert!(said.contains(part), "{part}: {said}");
        }
    };
    broken(&|kept| change_row(kept, 2, |row| row.payload.truncate(1)), &["`Deposited`", "is broken"]);
    broken(&|kept| change_row(kept, 2, |row| row.payload.push(0)), &["`Deposited`", "left over"]);
    broken(&|kept| change_row(kept, 2, |row| row.kind = "Sold".to_owned()), &["`Sold`", "no such kind"]);
    broken(&|kept| change_row(kept, 2, |row| row.schema = 4), &["version 4", "versions 1 to 1"]);
    broken(&|kept| change_row(kept, 2, |row| row.schema = 0), &["version 0"]);
    broken(&|kept| change_event(kept, 2, Vec::clear), &["`?`", "is broken"]);
}

#[test]
fn a_missing_event_is_refused() {
    let harness = harness();
    delete_event(harness.kept(), "accounts", "ada", 2);
    let said = refusal(harness.kept());
    assert!(said.contains("version 3 where 2 should be"), "{said}");
    let store = EventStore::<_, Account>::open(harness.kept(), "accounts", sourcing(100)).expect("opens");
    let first = store.as_of(&"ada".to_owned(), 1).expect("is before the damage");
    assert!(first.state.is_open);
}

#[test]
fn events_that_end_before_the_state_does_are_refused() {
    let harness = harness();
    delete_event(harness.kept(), "accounts", "ada", 3);
    let said = refusal(harness.kept());
    assert!(said.contains("end at version 2") && said.contains("made of 3"), "{said}");
    let store = EventStore::<_, Account>::open(harness.kept(), "accounts", sourcing(100)).expect("opens");
    let ada = "ada".to_owned();
    assert_eq!(store.as_of(&ada, 2).expect("is before the damage").state.balance, 500);
    assert!(store.as_of(&ada, at(0)).expect("is before the damage").state.is_open);
    assert!(store.load(&ada, 3).is_err() && store.load(&ada, 4).expect("there was none").is_empty());
}

fn delete_states(kept: &Kept) {
    let mut delta = Delta::default();
    rows_of(kept, "accounts/state").iter().for_each(|(key, _)| delta.delete(Family::Values, key));
    assert_eq!(delta.len(), 1);
    kept.rows().commit(&delta).expect("commits");
}

#[test]
fn a_state_that_is_lost_is_made_anew_from_the_events() {
    let before = harness();
    delete_states(before.kept());
    let kept = before.kept().clone();
    let mut harness = Harness::after(kept, |stream| chain(stream, sourcing(100))).expect("opens");
    harness.record(("ada".to_owned(), Command::new("more", Do::Withdraw(497)).expecting(3)), at(9));
    let told = harness.take();
    let is_fourth = |(told, _): &(Told, _)| matches!(told, Told::Event(event) if event.version == 4);
    assert!(told.iter().any(is_fourth), "{told:?}");
    let store = EventStore::<_, Account>::open(harness.kept(), "accounts", sourcing(100)).expect("opens");
    assert_eq!(store.load(&"ada".to_owned(), 4).expect("reads")[0].event, Entry::Withdrawn { amount: 497 });
}

#[test]
#[should_panic(expected = "UnknownKind")]
fn an_aggregate_with_a_broken_past_ends_the_job() {
    let before = harness();
    delete_states(before.kept());
    change_row(before.kept(), 2, |row| row.kind = "Sold".to_owned());
    let kept = before.kept().clone();
    let mut harness = Harness::after(kept, |stream| chain(stream, sourcing(100))).expect("opens");
    harness.record(("ada".to_owned(), Command::new("more", Do::Deposit(1))), at(9));
}

#[test]
fn nothing_is_found_under_another_name_or_as_another_aggregate() {
    let harness = harness();
    let unknown = EventStore::<String, Account>::open(harness.kept(), "orders", sourcing(100));
    assert!(unknown.map(drop).expect_err("is unknown").to_string().contains("orders/events"));
    let other = EventStore::<u64, Account>::open(harness.kept(), "accounts", sourcing(100));
    assert!(matches!(other.map(drop), Err(SourcingError::State(_))), "keys are texts");
}
