//! The operator and its store against a model that keeps every event in a list and folds it anew for every question.

#[path = "sourcing/account.rs"]
mod account;
#[path = "sourcing/changes.rs"]
mod changes;
#[path = "sourcing/damage.rs"]
mod damage;

use std::collections::BTreeMap;
use std::time::Duration;

use account::{Account, Do, Entry, Rejected, chain};
use highwater_operators::sourcing::{
    Accepted, Command, Conflict, Denial, Envelope, EventSourced, EventStore, Moment, Reply, Sourcing,
    Versioned,
};
use highwater_operators::testkit::{Harness, at, batched_output_of};
use highwater_state::Timestamp;
use proptest::prelude::*;

/// What comes out of the chain.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Event(Envelope<String, Entry>),
    Reply(Reply<String, Entry, Rejected>),
}

/// An event as the model has it.
#[derive(Clone, Debug, PartialEq)]
struct Happened {
    entry: Entry,
    at: Timestamp,
    correlation: String,
    causation: String,
}

#[derive(Default)]
struct Model {
    past: BTreeMap<String, Vec<Happened>>,
}

impl Model {
    fn state_of<'h>(past: impl IntoIterator<Item = &'h Happened>) -> Account {
        past.into_iter().fold(Account::default(), |mut account, happened| {
            account.evolve(&happened.entry);
            account
        })
    }

    /// The events and the answer of a command.
    fn obey(
        &mut self,
        account: &str,
        command: Command<Do>,
        at: Timestamp,
    ) -> (Vec<Entry>, Result<Accepted<Entry>, Denial<Rejected>>) {
        let past = self.past.entry(account.to_owned()).or_default();
        let found = past.len() as u64;
        if let Some(expected) = command.expected.filter(|&expected| expected != found) {
            return (Vec::new(), Err(Denial::Conflict(Conflict { expected, found })));
        }
        let events = match Model::state_of(&*past).decide(command.body) {
            Ok(events) if events.len() > 5 => {
                return (Vec::new(), Err(Denial::TooMany { events: events.len(), limit: 5 }));
            }
            Ok(events) => events,
            Err(rejected) => return (Vec::new(), Err(Denial::Rejected(rejected))),
        };
        past.extend(events.iter().map(|entry| Happened {
            entry: entry.clone(),
            at,
            correlation: command.correlation.clone(),
            causation: command.id.clone(),
        }));
        (events.clone(), Ok(Accepted { version: found + events.len() as u64, events }))
    }

    fn check(&self, store: &EventStore<'_, String, Account>, snapshot_every: u64) {
        for (account, past) in &self.past {
            let last = past.len() as u64;
            for from in 0..=last + 1 {
                let found: Vec<_> =
                    store.load(account, from).expect("reads").into_iter().map(happened).collect();
                assert_eq!(found, past[past.len().min(from.max(1) as usize - 1)..]);
            }
            for version in 0..=last + 1 {
                let events = past.len().min(version as usize);
                let expected = Versioned { version: events as u64, state: Model::state_of(&past[..events]) };
                assert_eq!(store.as_of(account, version).expect("reads"), expected);
            }
            for time in -1..=51 {
                let events = past.iter().take_while(|happened| happened.at <= at(time)).count();
                let expected = Versioned { version: events as u64, state: Model::state_of(&past[..events]) };
                assert_eq!(store.as_of(account, at(time)).expect("reads"), expected, "as of {time}");
            }
            let expected = Versioned { version: last, state: Model::state_of(past) };
            assert_eq!(store.state(account).expect("reads"), expected);
            let snapshots: Vec<u64> =
                (1..=last).rev().filter(|version| version % snapshot_every == 0).collect();
            assert_eq!(store.snapshots(account).expect("reads"), snapshots);
        }
        let replayed =
            store.replay(BTreeMap::new(), |all: &mut BTreeMap<String, Vec<Happened>>, envelope| {
                all.entry(envelope.aggregate.clone()).or_default().push(happened(envelope));
            });
        let past = self.past.iter().filter(|(_, past)| !past.is_empty());
        assert_eq!(replayed.expect("reads"), past.map(|(a, past)| (a.clone(), past.clone())).collect());
    }
}

fn happened(envelope: Envelope<String, Entry>) -> Happened {
    let Envelope { at, correlation, causation, event: entry, .. } = envelope;
    Happened { entry, at, correlation, causation }
}

fn sourcing(snapshot_every: u64) -> Sourcing<Account> {
    Sourcing::new().snapshot_every(snapshot_every).events_per_command(5)
}

fn asked() -> impl Strategy<Value = (i64, (String, Command<Do>))> {
    let body = prop_oneof![
        2 => Just(Do::Open),
        4 => (1..100u64).prop_map(Do::Deposit),
        4 => (1..100u64).prop_map(Do::Withdraw),
        1 => Just(Do::Nothing),
        1 => (1..8usize).prop_map(Do::Fees),
    ];
    let expected = prop_oneof![3 => Just(None), 1 => (0..6u64).prop_map(Some)];
    (0..50i64, 0..3u8, body, expected, 0..1000u32).prop_map(|(time, account, body, expected, id)| {
        let command = Command::new(format!("c{id}"), body).correlated_to(format!("r{}", id % 7));
        (time, (format!("account-{account}"), Command { expected, ..command }))
    })
}

/// What the model says of commands, in the order in which it is told.
fn expected_of(model: &mut Model, commands: &[(i64, (String, Command<Do>))]) -> Vec<Told> {
    let mut told = Vec::new();
    for (time, (account, command)) in commands.iter().cloned() {
        let Command { id, correlation, .. } = command.clone();
        let (entries, outcome) = model.obey(&account, command, at(time));
        let last = model.past[&account].len() as u64;
        for (number, event) in entries.iter().cloned().enumerate() {
            let version = last - entries.len() as u64 + number as u64 + 1;
            told.push(Told::Event(Envelope {
                id: NO_ID.parse().expect("an id"),
                aggregate: account.clone(),
                version,
                kind: event.kind().into(),
                schema: 1,
                at: at(time),
                correlation: correlation.clone(),
                causation: id.clone(),
                event,
            }));
        }
        let reply = Reply { aggregate: account, command: id, correlation, at: at(time), outcome };
        told.push(Told::Reply(reply));
    }
    told
}

/// The model knows no ids.
const NO_ID: &str = "00000000-0000-8000-8000-000000000000";

/// The events of an account, or of all if it has no name; without their ids.
fn events_of(account: &str, told: &[Told]) -> Vec<Envelope<String, Entry>> {
    let events = told.iter().filter_map(|told| match told {
        Told::Event(event) => Some(Envelope { id: NO_ID.parse().expect("an id"), ..event.clone() }),
        Told::Reply(_) => None,
    });
    events.filter(|event| account.is_empty() || event.aggregate == account).collect()
}

/// The same of the replies.
fn replies_of<'t>(account: &str, told: &'t [Told]) -> Vec<&'t Reply<String, Entry, Rejected>> {
    let replies = told.iter().filter_map(|told| match told {
        Told::Reply(reply) => Some(reply),
        Told::Event(_) => None,
    });
    replies.filter(|reply| account.is_empty() || reply.aggregate == account).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn events_replies_and_the_store_are_what_a_list_of_events_says_with_a_restart_after_every_command(
        commands in proptest::collection::vec(asked(), 0..40),
        snapshot_every in 1..6u64,
    ) {
        let mut model = Model::default();
        let expected = expected_of(&mut model, &commands);
        let mut harness = Harness::new(|stream| chain(stream, sourcing(snapshot_every)));
        for (time, command) in commands {
            harness.record(command, at(time));
        }
        let found: Vec<_> = harness.take().into_iter().map(|(told, _)| told).collect();
        // Across accounts, too: one command after the other.
        prop_assert_eq!(events_of("", &found), events_of("", &expected));
        prop_assert_eq!(replies_of("", &found), replies_of("", &expected));
        if !expected.is_empty() {
            let store = EventStore::open(harness.kept(), "accounts", sourcing(snapshot_every)).expect("opens");
            model.check(&store, snapshot_every);
        }
    }

    #[test]
    fn batches_make_no_difference(commands in proptest::collection::vec(asked(), 0..200)) {
        let expected = expected_of(&mut Model::default(), &commands);
        let found = batched_output_of(commands, Duration::from_secs(1), |stream| chain(stream, sourcing(100)));
        let found: Vec<Told> = found.into_iter().map(|(_, told)| told).collect();
        for account in (0..3).map(|number| format!("account-{number}")) {
            prop_assert_eq!(events_of(&account, &found), events_of(&account, &expected));
            prop_assert_eq!(replies_of(&account, &found), replies_of(&account, &expected));
        }
    }
}

#[test]
fn who_expects_another_version_is_told_which_one_there_is_and_nothing_happens() {
    let mut harness = Harness::new(|stream| chain(stream, sourcing(100)));
    let account = || "ada".to_owned();
    harness.record((account(), Command::new("open", Do::Open).expecting(0)), at(1));
    harness.record((account(), Command::new("first", Do::Deposit(50)).expecting(1)), at(2));
    harness.record((account(), Command::new("second", Do::Withdraw(50)).expecting(1)), at(3));
    harness.record((account(), Command::new("again", Do::Open).expecting(0)), at(4));
    let denied = harness.take().into_iter().filter_map(|(told, _)| match told {
        Told::Reply(Reply { command, outcome: Err(denial), .. }) => Some((command, denial)),
        _ => None,
    });
    let denied: Vec<_> = denied.collect();
    let conflict = |expected| Denial::Conflict(Conflict { expected, found: 2 });
    assert_eq!(denied, [("second".to_owned(), conflict(1)), ("again".to_owned(), conflict(0))]);
    let store = EventStore::open(harness.kept(), "accounts", sourcing(100)).expect("opens");
    assert_eq!(store.state(&account()).expect("reads").state.balance, 50);
}

#[test]
fn an_aggregate_that_rejects_everything_leaves_no_row() {
    let mut harness = Harness::new(|stream| chain(stream, sourcing(100)));
    harness.record(("ada".to_owned(), Command::new("early", Do::Withdraw(1))), at(1));
    harness.record(("ada".to_owned(), Command::new("nothing", Do::Nothing)), at(2));
    assert_eq!((harness.take().len(), harness.rows()), (2, 0));
}

#[test]
fn a_look_at_the_past_goes_through_no_more_events_than_lie_between_two_snapshots() {
    let mut harness = Harness::new(|stream| chain(stream, sourcing(100)));
    harness.record(("ada".to_owned(), Command::new("open", Do::Open)), at(1));
    for number in 2..=250 {
        harness.record(("ada".to_owned(), Command::new("more", Do::Deposit(1))), at(number));
    }
    let store = EventStore::open(harness.kept(), "accounts", sourcing(100)).expect("opens");
    let ada = "ada".to_owned();
    assert_eq!(store.snapshots(&ada).expect("reads"), [200, 100]);
    // What is before the snapshot is not even read.
    damage::delete_event(harness.kept(), "accounts", &ada, 100);
    damage::delete_event(harness.kept(), "accounts", &ada, 199);
    let balance = |moment: Moment| store.as_of(&ada, moment).map(|found| found.state.balance);
    assert_eq!(balance(Moment::Version(250)).expect("reads"), 249);
    assert_eq!(balance(Moment::Time(at(150))).expect("reads"), 149);
    assert_eq!(balance(Moment::Version(100)).expect("reads"), 99);
    assert!(balance(Moment::Version(199)).is_err());
    // Whether an event that is gone was of this time is not known.
    assert!(balance(Moment::Time(at(98))).is_ok() && balance(Moment::Time(at(99))).is_err());
    let refused = store.load(&ada, 90).expect_err("one is missing").to_string();
    assert!(refused.contains("\"ada\"") && refused.contains("101") && refused.contains("100"), "{refused}");
}
