//! A day at the bank, made up: what the clerks are asked to do from eight to six.

use highwater::connectors::generator::{ChaCha8Rng, RngExt};
use highwater::prelude::*;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use super::Instruction;

/// 2024-03-01T08:00:00Z
const OPENING_MILLIS: i64 = 1_709_280_000_000;
const HOUR_MILLIS: i64 = 3_600_000;
const DAY_MILLIS: i64 = 10 * HOUR_MILLIS;
/// 2024-03-01T12:00:00Z
pub const NOON_MILLIS: i64 = OPENING_MILLIS + 4 * HOUR_MILLIS;
/// Every so many orders come from a clerk who looked at the account when it was just opened.
const STALE_ONE_IN: u32 = 50;

/// An order to an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// When it was given.
    pub at: Timestamp,
    /// The account.
    pub account: String,
    /// What to do.
    pub command: Command<Instruction>,
}

/// What happens on a day: every account is opened, then come so many orders to all of them, and in between what ada
/// does. The same seed gives the same day.
pub fn day(accounts: u32, orders: u32, seed: u64) -> Vec<Order> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let name = |number: u32| format!("account-{number:03}");
    let mut given: Vec<Order> = (0..accounts)
        .map(|number| {
            let open = Instruction::Open { owner: format!("customer {number}") };
            order(OPENING_MILLIS, name(number), Command::new(format!("open-{number}"), open).expecting(0))
        })
        .collect();
    for number in 0..orders {
        let millis = OPENING_MILLIS + DAY_MILLIS * i64::from(number) / i64::from(orders);
        let instruction = match random.random_range(0..2) {
            0 => Instruction::Deposit { cents: random.random_range(1..=50_000) },
            _ => Instruction::Withdraw { cents: random.random_range(1..=60_000) },
        };
        let command = Command::new(format!("order-{number}"), instruction);
        let stale = random.random_range(0..STALE_ONE_IN) == 0;
        let command = if stale { command.expecting(1) } else { command };
        given.push(order(millis, name(random.random_range(0..accounts.max(1))), command));
    }
    given.extend(ada());
    given.sort_by_key(|order| order.at);
    given
}

/// Ada opens an account and puts 100.00 in; wants 500.00, which is too much; and then two clerks, who both see 100.00
/// on it, pay out 60.00 at the same time: one of them must not.
fn ada() -> impl Iterator<Item = Order> {
    let at = |minutes: i64, id: &str, instruction| {
        (OPENING_MILLIS + minutes * HOUR_MILLIS / 60, Command::new(format!("ada-{id}"), instruction))
    };
    let day = [
        at(60, "open", Instruction::Open { owner: "Ada".to_owned() }),
        at(61, "deposit", Instruction::Deposit { cents: 10_000 }),
        at(90, "too-much", Instruction::Withdraw { cents: 50_000 }),
        at(300, "one-clerk", Instruction::Withdraw { cents: 6_000 }),
        at(300, "other-clerk", Instruction::Withdraw { cents: 6_000 }),
        at(420, "deposit-2", Instruction::Deposit { cents: 2_550 }),
    ];
    day.into_iter().map(|(millis, command)| {
        let seen = command.id.ends_with("-clerk").then_some(2);
        order(millis, "ada".to_owned(), Command { expected: seen, ..command })
    })
}

fn order(millis: i64, account: String, command: Command<Instruction>) -> Order {
    Order { at: Timestamp::from_millis(millis), account, command }
}
