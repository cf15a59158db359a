//! The program `fraud` against what was planted in the events that it makes up, and against a naive search for what the
//! rules mean, which also shows that nothing is in the events that was not planted.

#[path = "fraud/oracle.rs"]
mod oracle;
mod program;

use std::time::Duration;

use highwater_examples::fraud::{Outcome, SCENE_EVENTS, Scene};
use program::{json, same};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// How much events are out of order where the program is not told.
const DISORDER: Duration = Duration::from_secs(60);

/// So many scenes: their events as lines in the order in which they come, and what must be told, sorted.
fn scenes(seed: u64, count: u64, disorder: Duration) -> (Vec<String>, Vec<String>) {
    let random = ChaCha8Rng::seed_from_u64(seed);
    let (mut events, mut planted) = (Vec::new(), Vec::new());
    for number in 0..count {
        let scene = Scene::new(&random, number, disorder);
        assert_eq!(scene.events.len() as u64, SCENE_EVENTS);
        events.extend(scene.events.iter().map(json));
        planted.extend(scene.alerts.into_iter().map(|alert| json(Outcome::Alert(alert))));
        planted.extend(scene.frauds.into_iter().map(|fraud| json(Outcome::Fraud(fraud))));
    }
    planted.sort();
    (events, planted)
}

/// How many lines tell of a rule, or of fraud.
fn tells(lines: &[String], what: &str) -> usize {
    let what = format!(r#""{what}""#);
    lines.iter().filter(|line| line.split(',').take(2).any(|field| field.ends_with(&what))).count()
}

#[test]
fn what_is_planted_is_all_there_is_to_find() {
    for seed in 1..=8 {
        let (events, planted) = scenes(seed, 6, DISORDER);
        same(&planted, &oracle::expected(&events), &format!("seed {seed}"));
        // Of each scene.
        let counts = [
            ("large_transactions", 10),
            ("three_countries", 4),
            ("far_apart", 4),
            ("unusual_amount", 5),
            ("abandoned_cart", 6),
            ("failed_calls", 3),
            ("slow_responses", 4),
            ("stolen_account", 15),
            ("rising_price", 2),
            ("rising_errors", 2),
            ("server_down", 3),
            ("fraud", 7),
        ];
        assert_eq!(counts.map(|(what, _)| (what, tells(&planted, what) / 6)), counts, "seed {seed}");
    }
}
