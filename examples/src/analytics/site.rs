//! A site that is made up: its pages, its visitors and what they buy. Twice a page is all that anybody talks about.

use std::collections::BTreeSet;

use highwater::connectors::generator::{ChaCha8Rng, RngExt};
use highwater::prelude::*;
use rand_chacha::rand_core::SeedableRng;

use super::{Event, Order, Page};

/// 2025-01-01T12:00:00Z
const FIRST_MILLIS: i64 = 1_735_732_800_000;
const MINUTE_MILLIS: i64 = 60_000;
const CATEGORIES: [&str; 6] = ["news", "sports", "science", "travel", "food", "music"];
const PAGES_OF_CATEGORY: usize = 4;
/// Views of a category in an ordinary minute.
const VIEWS: std::ops::Range<u32> = 10..16;
/// How far a report may be behind the ones around it.
const BEHIND_MILLIS: i64 = 40_000;

/// What the pages are about. One of them turns from news to sports after half an hour.
pub fn pages() -> Vec<Page> {
    let of = |category: &str, number: usize, since| Page {
        page: format!("/{category}/{number}"),
        category: category.to_owned(),
        since: Timestamp::from_millis(since),
    };
    let mut pages: Vec<Page> = CATEGORIES
        .iter()
        .flat_map(|category| (0..PAGES_OF_CATEGORY).map(|number| of(category, number, 0)))
        .collect();
    let turned = Page { category: "sports".to_owned(), ..of("news", 0, FIRST_MILLIS + 30 * MINUTE_MILLIS) };
    pages.push(turned);
    pages
}

/// What so many minutes bring. After a third of them everybody looks at science, after two thirds at food: six times
/// as many as usual.
pub fn visitors(minutes: u32, users: u32, seed: u64) -> Vec<Event> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut reports: Vec<(i64, Event)> = Vec::new();
    let mut taken = BTreeSet::new();
    for minute in 0..minutes {
        for category in CATEGORIES {
            let is_talked_about = category == "science" && minute == minutes / 3
                || category == "food" && minute == minutes * 2 / 3;
            let views = random.random_range(VIEWS) * if is_talked_about { 6 } else { 1 };
            for _ in 0..views {
                let begin = FIRST_MILLIS + i64::from(minute) * MINUTE_MILLIS;
                let mut at = begin + random.random_range(0..MINUTE_MILLIS);
                // No two at one time, so that their order is plain.
                while !taken.insert(at) {
                    at += 1;
                }
                // A page in twenty is one that nobody has described.
                let page = match random.random_range(0..20) {
                    0 => format!("/{category}/new"),
                    number => format!("/{category}/{}", number % PAGES_OF_CATEGORY),
                };
                let event = Event {
                    user: format!("user-{}", random.random_range(0..users)),
                    page,
                    seconds: random.random_range(1..=120),
                    at: Timestamp::from_millis(at),
                };
                reports.push((at + random.random_range(0..BEHIND_MILLIS), event));
            }
        }
    }
    // In the order in which they come.
    reports.sort_by(|(comes, event), (other, than)| {
        (comes, &event.user, event.at).cmp(&(other, &than.user, than.at))
    });
    reports.into_iter().map(|(_, event)| event).collect()
}

/// So many orders, some of them of high value.
pub fn orders(orders: u32, users: u32, seed: u64) -> Vec<Order> {
    let mut random = ChaCha8Rng::seed_from_u64(seed.wrapping_add(1));
    let make = |number: u32| Order {
        order: format!("order-{number:05}"),
        user: format!("user-{}", random.random_range(0..users)),
        cents: random.random_range(500..150_000),
        at: Timestamp::from_millis(FIRST_MILLIS + i64::from(number) * 10_000),
    };
    let mut orders: Vec<Order> = (0..orders).map(make).collect();
    if let Some(order) = orders.first_mut() {
        // Just not above it.
        order.cents = super::HIGH_VALUE_CENTS;
    }
    orders
}
