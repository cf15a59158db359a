//! Requests to an API, as its log tells them, and some that are made up.
//!
//! A made-up request depends on the seed, the rate and its number only; its time too, so that every run tells the same
//! story: now and then one endpoint of the API is in trouble, and fails a part of its requests.

use highwater::connectors::generator::{ChaCha8Rng, RngExt};
use highwater::prelude::*;
use serde::{Deserialize, Serialize};

/// A line of the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// When it was answered.
    pub at: Timestamp,
    /// What was asked for: `GET /cart`.
    pub endpoint: String,
    /// Who asked.
    pub user: u64,
    /// The status of the answer; an error from 500 on.
    pub status: u16,
    /// How long the answer took.
    pub millis: u64,
}

impl Request {
    /// Whether the API is to blame.
    pub fn is_error(&self) -> bool {
        self.status >= 500
    }
}

/// 2025-01-01T12:00:00Z
const START_MILLIS: i64 = 1_735_732_800_000;

/// The endpoints: how many of a hundred requests they get, and how long they usually take.
const ENDPOINTS: [(&str, u32, f64); 5] = [
    ("GET /products", 40, 35.0),
    ("GET /search", 25, 90.0),
    ("GET /cart", 18, 20.0),
    ("POST /checkout", 10, 180.0),
    ("POST /login", 7, 60.0),
];

/// How often trouble comes, when in that time it begins, and how long it lasts.
const TROUBLE_EVERY_MILLIS: i64 = 45_000;
const TROUBLE_BEGINS_MILLIS: i64 = 15_000;
const TROUBLE_LASTS_MILLIS: i64 = 12_000;

/// How far a line may come behind one that is younger.
const BEHIND_MILLIS: i64 = 400;

/// How many requests there are.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Requests in a second of the log's time.
    pub per_second: u64,
}

impl Load {
    /// The request of this number.
    pub fn request(self, random: &mut ChaCha8Rng, number: u64) -> Request {
        let since = (number as i64).saturating_mul(1000) / self.per_second as i64;
        let mut share = random.random_range(0..100);
        let found = ENDPOINTS.iter().position(|(_, of, _)| {
            let is_it = share < *of;
            share = share.saturating_sub(*of);
            is_it
        });
        let which = found.unwrap_or(0);
        let (endpoint, _, usual) = ENDPOINTS[which];
        // One after the other has trouble.
        let (round, within) = (since / TROUBLE_EVERY_MILLIS, since % TROUBLE_EVERY_MILLIS);
        let lasts = TROUBLE_BEGINS_MILLIS..TROUBLE_BEGINS_MILLIS + TROUBLE_LASTS_MILLIS;
        let in_trouble = lasts.contains(&within) && (round + 3) as usize % ENDPOINTS.len() == which;
        let (errors, slower) = if in_trouble { (0.3, 4.0) } else { (0.002, 1.0) };
        let wave = 1.0 + 0.25 * (since as f64 / 9_000.0).sin();
        let millis = usual * slower * wave * random.random_range(0.4..1.6);
        let behind = if random.random_bool(0.2) { random.random_range(0..BEHIND_MILLIS) } else { 0 };
        Request {
            at: Timestamp::from_millis(START_MILLIS + since - behind),
            endpoint: endpoint.to_owned(),
            user: random.random_range(0..500),
            status: if random.random_bool(errors) { 503 } else { 200 },
            millis: millis as u64,
        }
    }
}
