//! The program `analytics`, each of its outputs held to a count from scratch over the same input. If a test fails, a
//! filter, join, window or operator of the library, or the program that somebody learns from, is wrong.

mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use highwater::prelude::Log;
use program::{Program, text};
use serde_json::{Value, json};
use tempfile::tempdir;

const MINUTE: i64 = 60_000;

fn records(directory: &Path, topic: &str) -> Vec<Value> {
    let log = Log::open(directory.join("log")).expect("the log opens");
    let partitions = 0..log.partitions(topic).expect("the topic is there");
    let all =
        partitions.flat_map(|partition| log.read(topic, partition, 0, usize::MAX).expect("can be read"));
    all.map(|record| serde_json::from_slice(&record.value).expect("is JSON")).collect()
}

fn string(value: &Value) -> String {
    value.as_str().expect("is text").to_owned()
}

fn number(value: &Value) -> i64 {
    value.as_i64().expect("is a number")
}

/// What a page was about at a time.
fn category_of(pages: &[Value], page: &str, at: i64) -> String {
    let versions = pages.iter().filter(|version| version["page"] == page && number(&version["since"]) <= at);
    let last = versions.max_by_key(|version| number(&version["since"]));
    last.map_or("unknown".to_owned(), |version| string(&version["category"]))
}

/// An event that was read for more than ten seconds: when, who, which page, its category, how many seconds.
struct Read {
    at: i64,
    user: String,
    page: String,
    category: String,
    seconds: i64,
}

fn read(events: &[Value], pages: &[Value]) -> Vec<Read> {
    let long = events.iter().filter(|event| number(&event["seconds"]) > 10);
    let mut read: Vec<Read> = long
        .map(|event| {
            let (at, page) = (number(&event["at"]), string(&event["page"]));
            let category = category_of(pages, &page, at);
            Read { at, user: string(&event["user"]), page, category, seconds: number(&event["seconds"]) }
        })
        .collect();
    read.sort_by_key(|read| read.at);
    read
}

/// Largest first, of equal ones the first by name.
fn first(counts: &BTreeMap<String, i64>, most: usize) -> Vec<(String, i64)> {
    let mut counts: Vec<_> = counts.iter().map(|(name, count)| (name.clone(), *count)).collect();
    counts.sort_by(|(name, count), (other, than)| than.cmp(count).then_with(|| name.cmp(other)));
    counts.truncate(most);
    counts
}

fn sorted(records: Vec<Value>) -> Vec<String> {
    let mut lines: Vec<String> = records.iter().map(Value::to_string).collect();
    lines.sort();
    lines
}

#[test]
fn every_output_is_what_a_count_from_scratch_says() {
    let directory = tempdir().expect("there is room");
    let program = || {
        let program = Program::new("analytics").with(["--workers", "3", "--epoch", "20ms"]);
        program.path("--dir", directory.path())
    };
    let told = text(&program().succeeds().stdout);
    let of = |topic: &str| records(directory.path(), topic);
    let (events, pages) = (of("page-events"), of("pages"));
    assert!(events.len() > 5_000, "{}", events.len());
    let read = read(&events, &pages);
    assert!(read.len() < events.len() && read.iter().any(|read| read.category == "unknown"));

    check_minutes(&read, of("minutes"), &of("anomalies"));
    check_active_users(&events, of("active-users"));
    check_top_pages(&read, of("top-pages"));
    check_preferences(&read, of("preferences"));
    check_summaries(&read, of("summaries"));
    let orders = of("site-orders");
    let high: Vec<Value> = orders.iter().filter(|order| number(&order["cents"]) > 100_000).cloned().collect();
    assert!(orders.iter().any(|order| number(&order["cents"]) == 100_000), "one is just not above");
    assert!(high.len() > 50);
    assert_eq!(sorted(of("high-value-orders")), sorted(high));

    assert_eq!(text(&program().succeeds().stdout), told, "the second time there is nothing to do");
    let in_memory = Program::new("analytics").succeeds();
    assert_eq!(text(&in_memory.stdout), told);
}

fn check_minutes(read: &[Read], minutes: Vec<Value>, anomalies: &[Value]) {
    let mut counts: BTreeMap<(String, i64), (i64, i64)> = BTreeMap::new();
    for read in read {
        let minute = counts.entry((read.category.clone(), read.at.div_euclid(MINUTE) * MINUTE)).or_default();
        *minute = (minute.0 + 1, minute.1 + read.seconds);
    }
    let expected = counts.iter().map(|((category, minute), (views, seconds))| {
        json!({ "category": category, "minute": minute, "views": views, "seconds": seconds })
    });
    assert_eq!(sorted(minutes), sorted(expected.collect()));

    let mut found: BTreeMap<(String, i64), f64> = BTreeMap::new();
    for anomaly in anomalies {
        let minute = (string(&anomaly["category"]), number(&anomaly["minute"]));
        assert_eq!(number(&anomaly["views"]), counts[&minute].0, "{anomaly}");
        let usual = anomaly["usual"].as_f64().expect("is a number");
        assert!(found.insert(minute, usual).is_none(), "{anomaly} twice");
    }
    let (mut usual, mut expected) = (BTreeMap::<String, f64>::new(), BTreeMap::new());
    for ((category, minute), (views, _)) in &counts {
        let views = *views as f64;
        if let Some(usual) = usual.get(category).filter(|usual| views > 3.0 * **usual) {
            expected.insert((category.clone(), *minute), *usual);
        }
        usual
            .entry(category.clone())
            .and_modify(|usual| *usual = 0.9 * *usual + 0.1 * views)
            .or_insert(views);
    }
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (minute, usual) in &expected {
        assert!(
            (found[minute] - usual).abs() < 1e-9 * usual,
            "{minute:?}: {} and not {usual}",
            found[minute]
        );
    }
    // What was planted: in the third and the two-thirds of an hour and a half.
    let planted = |category: &str, minute: i64| {
        let begin = counts.keys().map(|(_, minute)| *minute).min().expect("there are minutes");
        expected.contains_key(&(category.to_owned(), begin + minute * MINUTE))
    };
    assert!(planted("science", 30) && planted("food", 60), "{expected:?}");
}

fn check_active_users(events: &[Value], active: Vec<Value>) {
    let mut users: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    for event in events {
        let minute = number(&event["at"]).div_euclid(MINUTE) * MINUTE;
        users.entry(minute).or_default().insert(string(&event["user"]));
    }
    let expected = users.iter().map(|(minute, users)| json!({ "minute": minute, "users": users.len() }));
    assert_eq!(sorted(active), sorted(expected.collect()));
}

fn check_top_pages(read: &[Read], top: Vec<Value>) {
    let mut minutes: BTreeMap<i64, BTreeMap<String, i64>> = BTreeMap::new();
    for read in read {
        let minute = minutes.entry(read.at.div_euclid(MINUTE) * MINUTE).or_default();
        *minute.entry(read.page.clone()).or_default() += 1;
    }
    let expected =
        minutes.iter().map(|(minute, counts)| json!({ "minute": minute, "pages": first(counts, 5) }));
    assert_eq!(sorted(top), sorted(expected.collect()));
}

fn check_preferences(read: &[Read], preferences: Vec<Value>) {
    let mut users: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
    let mut told: BTreeMap<String, Vec<(String, i64)>> = BTreeMap::new();
    let mut expected = Vec::new();
    for read in read {
        let counts = users.entry(read.user.clone()).or_default();
        *counts.entry(read.category.clone()).or_default() += 1;
        let now = first(counts, 3);
        let names = |liked: &[(String, i64)]| liked.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        if told.get(&read.user).is_none_or(|before| names(before) != names(&now)) {
            told.insert(read.user.clone(), now.clone());
            expected.push(json!({ "user": read.user, "categories": now }));
        }
    }
    assert_eq!(sorted(preferences), sorted(expected));
}

fn check_summaries(read: &[Read], summaries: Vec<Value>) {
    let mut users: BTreeMap<String, Vec<&Read>> = BTreeMap::new();
    for read in read {
        users.entry(read.user.clone()).or_default().push(read);
    }
    let expected = users.iter().flat_map(|(user, all)| {
        all.chunks_exact(100).enumerate().map(move |(number, hundred)| {
            let pages: BTreeSet<&String> = hundred.iter().map(|read| &read.page).collect();
            json!({
                "user": user,
                "events": (number + 1) * 100,
                "from": hundred[0].at,
                "to": hundred[99].at,
                "seconds": hundred.iter().map(|read| read.seconds).sum::<i64>(),
                "pages": pages.len(),
            })
        })
    });
    let expected: Vec<Value> = expected.collect();
    assert!(expected.len() >= 30, "{}", expected.len());
    assert_eq!(sorted(summaries), sorted(expected));
}
