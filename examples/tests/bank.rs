//! The program `bank` against books that are kept by hand: every order looked at again, one after the other.

mod program;

use std::collections::BTreeMap;

use highwater_examples::bank::{Instruction, NOON_MILLIS, day};
use program::Program;
use serde_json::{Value, json};
use tempfile::tempdir;

/// An account kept by hand: the times of its entries, and the balance after each.
#[derive(Default)]
struct ByHand {
    entries: Vec<(i64, u64)>,
}

impl ByHand {
    fn cents(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.1)
    }
}

#[derive(Default)]
struct Oracle {
    accounts: BTreeMap<String, ByHand>,
    accepted: u64,
    refused: u64,
    conflicts: u64,
    deposited: u64,
    withdrawn: u64,
    fees: u64,
}

impl Oracle {
    fn of(accounts: u32, orders: u32, seed: u64) -> Oracle {
        let mut oracle = Oracle::default();
        for order in day(accounts, orders, seed) {
            let account = oracle.accounts.entry(order.account).or_default();
            let (version, cents) = (account.entries.len() as u64, account.cents());
            if order.command.expected.is_some_and(|expected| expected != version) {
                oracle.conflicts += 1;
                continue;
            }
            let mut enter = |cents| account.entries.push((order.at.as_millis(), cents));
            match order.command.body {
                Instruction::Open { .. } if version == 0 => enter(0),
                Instruction::Deposit { cents: more } if version > 0 => {
                    enter(cents + more);
                    oracle.deposited += more;
                }
                Instruction::Withdraw { cents: less } if version > 0 && less + less / 100 <= cents => {
                    enter(cents - less);
                    enter(cents - less - less / 100);
                    oracle.withdrawn += less;
                    oracle.fees += less / 100;
                }
                _ => {
                    oracle.refused += 1;
                    continue;
                }
            }
            oracle.accepted += 1;
        }
        oracle
    }
}

fn told(program: &Program) -> Value {
    serde_json::from_slice(&program.succeeds().stdout).expect("tells JSON")
}

fn bank(accounts: u32, orders: u32, workers: u32, account: &str) -> Program {
    let numbers = [("--accounts", accounts), ("--orders", orders), ("--workers", workers), ("--rate", 4000)];
    let numbers = numbers.into_iter().flat_map(|(flag, number)| [flag.to_owned(), number.to_string()]);
    Program::new("bank").with(numbers).with(["--json", "--account", account])
}

#[test]
fn the_books_are_those_kept_by_hand_and_so_is_the_summary_after_the_switch() {
    let oracle = Oracle::of(5, 3000, 1);
    assert!(oracle.refused > 100 && oracle.conflicts > 10, "the day has something of everything");
    for workers in [1, 2] {
        let directory = tempdir().expect("a directory");
        let program = bank(5, 3000, workers, "account-003").path("--dir", directory.path());
        let found = told(&program);
        let day = &found["day"];
        assert_eq!(day["accepted"], oracle.accepted);
        assert_eq!((&day["refused"], &day["conflicts"]), (&json!(oracle.refused), &json!(oracle.conflicts)));
        let right = json!({
            "accounts": 6, "deposited": oracle.deposited, "paid_out": oracle.withdrawn, "fees": oracle.fees
        });
        assert_eq!(day["second_edition"], right);
        let wrong = json!({
            "accounts": 6, "deposited": oracle.deposited, "paid_out": oracle.withdrawn + oracle.fees, "fees": 0
        });
        assert_eq!(day["first_edition"], wrong);
        let all: usize = oracle.accounts.values().map(|account| account.entries.len()).sum();
        let rebuilt = day["rebuilt_from"].as_u64().expect("a number") as usize;
        assert!(rebuilt * 3 > all && rebuilt <= all, "put right from {rebuilt} of {all} entries");

        let by_hand = &oracle.accounts["account-003"].entries;
        let before_noon = by_hand.iter().take_while(|entry| entry.0 <= NOON_MILLIS).count();
        let books = &found["books"];
        assert_eq!(books["cents"], by_hand[by_hand.len() - 1].1);
        assert_eq!(books["entries"], by_hand.len());
        assert_eq!(books["cents_at_noon"], by_hand[before_noon - 1].1);
        assert_eq!(books["since_noon"].as_array().map(Vec::len), Some(by_hand.len() - before_noon));
        let snapshots: Vec<usize> = (1..=by_hand.len() / 100).rev().map(|number| number * 100).collect();
        assert!(!snapshots.is_empty());
        assert_eq!(books["snapshots"], json!(snapshots));
        assert_eq!(books["summary"], right);

        // Once more on the same books: nothing runs, and they say the same.
        let again = told(&program);
        assert_eq!((&again["day"], &again["books"]), (&Value::Null, books));
    }
}

#[test]
fn of_two_clerks_who_saw_the_same_one_is_told_that_the_account_has_changed() {
    let found = told(&bank(1, 10, 1, "ada"));
    let books = &found["books"];
    // 100.00 in, 60.00 and a fee of 0.60 out once, 25.50 in.
    assert_eq!((&books["cents"], &books["cents_at_noon"]), (&json!(6_490), &json!(10_000)));
    let since = books["since_noon"].as_array().expect("a list");
    let causes: Vec<_> = since.iter().map(|entry| entry["causation"].as_str().expect("a text")).collect();
    assert_eq!(causes, ["ada-one-clerk", "ada-one-clerk", "ada-deposit-2"]);
    assert_eq!(since[0]["kind"], "Withdrawn");
    assert_eq!(found["books"]["entries"], 5);
}

#[test]
fn it_is_told_in_words_too() {
    let output = Program::new("bank").with(["--orders", "100", "--accounts", "2"]).succeeds();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in ["put right from", "ada has 64.90 after 5 entries", "at noon it was 100.00"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
