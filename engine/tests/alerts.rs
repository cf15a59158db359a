//! A job that is watched by another. If this fails, an alert is not told, told over and over, or never taken back.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "queries/feed.rs"]
mod feed;

use std::time::Instant;

use feed::Feed;
use highwater::alert::{Alert, Firing, Measures, Rule, Verdict};
use highwater::prelude::*;
use highwater::query::AtLeast;

/// Takes alerts until there is one of this rule and thing that fires or not, and gives all that came.
fn until(
    alerts: &highwater::operators::memory::MemorySink<Alert>,
    rule: &str,
    of: &str,
    firing: bool,
) -> Vec<Alert> {
    let (mut told, since) = (Vec::new(), Instant::now());
    while !told.iter().any(|alert: &Alert| alert.rule == rule && alert.of == of && alert.firing == firing) {
        assert!(since.elapsed() < Duration::from_secs(30), "{rule} of {of}: {told:?}");
        std::thread::sleep(Duration::from_millis(5));
        told.extend(alerts.take());
    }
    told
}

#[test]
fn rules_are_told_when_they_are_broken_and_when_they_hold_again() {
    let feed = Feed::<i64>::new();
    let topology = Topology::new("payments");
    let positive =
        |payment: &i64| if *payment > 0 { Ok(*payment) } else { Err("nothing is paid".to_string()) };
    topology
        .source("payments", feed.clone())
        .try_map(move |payment| positive(&payment))
        .or_skip()
        .sink("out", Blackhole::new());
    let job = Job::new(topology).rate(2000).epoch_interval(Duration::from_millis(10));
    let payments = job.start().unwrap();

    let rules = ["consumer_lag > 500", "error_rate > 1%", "up < 1"];
    let rules: Vec<Rule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    let (watching, alerts) = (Topology::new("alerts"), Memory::sink());
    watching
        .source("measures", Measures::of(payments.queries(), Duration::from_millis(20)))
        .event_time(|measure| measure.at, Duration::ZERO)
        .flat_map(move |measure| rules.iter().filter_map(|rule| rule.judge(&measure)).collect::<Vec<_>>())
        .key_by(Verdict::key)
        .process("firing", Firing::new)
        .values()
        .sink("alerts", alerts.clone());
    let watch = Job::new(watching).epoch_interval(Duration::from_millis(10)).start().unwrap();

    let written = feed.write((0..3000).map(|number| number + 1));
    let mut told = until(&alerts, "consumer_lag > 500", "payments/0", true);
    told.extend(until(&alerts, "consumer_lag > 500", "payments/0", false));
    assert!(told.iter().all(|alert| alert.rule == "consumer_lag > 500"), "{told:?}");
    assert_eq!(told.len(), 2, "each once: {told:?}");
    assert!(told[0].value > 500.0 && told[1].value <= 500.0, "{told:?}");

    let all = AtLeast::nothing().position("payments", "0", written);
    payments.queries().at_least(&all, Duration::from_secs(30)).unwrap();
    feed.write((0..200).map(|number| if number % 10 == 0 { 0 } else { 1 }));
    let told = until(&alerts, "error_rate > 1%", "try_map-1", true);
    assert_eq!(told.len(), 1, "{told:?}");
    until(&alerts, "error_rate > 1%", "try_map-1", false);

    payments.stop();
    until(&alerts, "up < 1", "", true);
    watch.stop();
    watch.wait().unwrap();
}
