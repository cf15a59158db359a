//! Customers that are made up: most get what they want, and some have every kind of trouble that a shop knows.

use highwater::connectors::generator::{ChaCha8Rng, RngExt};
use highwater::prelude::*;
use rand_chacha::rand_core::SeedableRng;

use super::NOWHERE;
use super::messages::{Card, Order, OrderCommand, PRODUCTS};

/// 2025-01-01T00:00:00Z
const FIRST_MILLIS: i64 = 1_735_689_600_000;
const DAYS: i64 = 3;
const DAY_MILLIS: i64 = 24 * 3_600_000;

/// What so many customers ask of the shop in three days. The same seed gives the same customers.
pub fn customers(orders: u32, seed: u64) -> Vec<OrderCommand> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut commands = Vec::new();
    for number in 0..orders {
        let (product, price) = PRODUCTS[random.random_range(0..PRODUCTS.len())];
        let pieces = random.random_range(1..=3);
        let card = match random.random_range(0..100) {
            0..70 => Card::Good,
            70..78 => Card::Declined,
            78..86 => Card::Busy,
            86..90 => Card::Silent,
            _ => Card::Slow,
        };
        let address = match random.random_range(0..20) {
            0 => NOWHERE.to_owned(),
            number => format!("{number} Tea Street"),
        };
        // Whoever cancels has a parcel that waits, so that it is not too late.
        let cancels = random.random_range(0..20) == 0;
        let millis = FIRST_MILLIS + DAYS * DAY_MILLIS * i64::from(number) / i64::from(orders.max(1));
        let order = Order {
            order: format!("order-{number:05}"),
            user: format!("user-{}", random.random_range(0..=orders / 5)),
            product: product.to_owned(),
            pieces,
            cents: price * u64::from(pieces),
            card,
            address,
            wait_seconds: if cancels { 24 * 3600 } else { 0 },
            at: Timestamp::from_millis(millis),
        };
        let cancel = OrderCommand::Cancel { order: order.order.clone() };
        commands.push(OrderCommand::Place(order));
        if cancels {
            commands.push(cancel);
        }
    }
    commands
}
