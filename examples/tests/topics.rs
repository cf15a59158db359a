//! The small programs over topics, each held to a count of its own: what they print, and what their topics hold.
//!
//! `word_count`, `playback`, `trips` and `feed` run as their users run them, in memory, and on a log on disk that is
//! opened here afterwards. If a test fails, a program that somebody learns from is wrong.

mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use highwater::prelude::Log;
use program::{Program, text};
use serde_json::Value;
use tempfile::tempdir;

/// What a program prints.
fn printed(name: &str, arguments: &[&str]) -> String {
    text(&Program::new(name).with(arguments.iter().copied()).succeeds().stdout)
}

/// Runs a program on a directory with some workers, twice: the second time it has nothing to do.
fn on_disk(name: &str, arguments: &[&str]) -> (String, tempfile::TempDir) {
    let directory = tempdir().expect("there is room");
    let program = || {
        let program = Program::new(name).with(arguments.iter().copied()).with(["--workers", "3"]);
        program.with(["--epoch", "20ms"]).path("--dir", directory.path())
    };
    let first = text(&program().succeeds().stdout);
    assert_eq!(text(&program().succeeds().stdout), first, "the second time");
    (first, directory)
}

/// All records of a topic, in the order of each partition.
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

#[test]
fn word_count() {
    let expected = [
        "  2 be",
        "  1 die",
        "  1 dream",
        "  1 is",
        "  1 not",
        "  1 or",
        "  1 perchance",
        "  1 question",
        "  2 sleep",
        "  1 that",
        "  1 the",
        "  6 to",
        "",
    ]
    .join("\n");
    assert_eq!(printed("word_count", &[]), expected);
    let (on_disk, directory) = on_disk("word_count", &[]);
    assert_eq!(on_disk, expected);
    let words = records(directory.path(), "words");
    assert_eq!(words.len(), 19, "one for each word that was said");
    let told = Program::new("word_count").with(["--brokers", "127.0.0.1:1"]).fails(1);
    assert!(told.starts_with("word_count: ") && told.contains("no answer"), "{told}");
}

#[test]
fn playback() {
    let (printed_on_disk, directory) = on_disk("playback", &[]);
    assert_eq!(printed("playback", &["--workers", "2"]), printed_on_disk);
    let plays = records(directory.path(), "plays");
    assert!(plays.len() > 5_000, "{}", plays.len());

    let (mut places, mut seen) = (BTreeMap::new(), BTreeSet::new());
    let mut bills: BTreeMap<(String, i64), i64> = BTreeMap::new();
    for play in &plays {
        let (viewer, title) = (string(&play["viewer"]), string(&play["title"]));
        places.insert((viewer.clone(), title.clone()), number(&play["to"]));
        if play["to"] == play["length"] {
            seen.insert((viewer.clone(), title));
        }
        *bills.entry((viewer, number(&play["at"]) / 86_400_000)).or_default() +=
            number(&play["to"]) - number(&play["from"]);
    }

    let mut found = BTreeMap::new();
    for progress in records(directory.path(), "progress") {
        found.insert(
            (string(&progress["viewer"]), string(&progress["title"])),
            number(&progress["at_second"]),
        );
    }
    assert_eq!(found, places, "progress");

    let history: Vec<_> = records(directory.path(), "history")
        .iter()
        .map(|seen| (string(&seen["viewer"]), string(&seen["title"])))
        .collect();
    assert_eq!(history.len(), seen.len(), "each once");
    assert_eq!(history.into_iter().collect::<BTreeSet<_>>(), seen, "history");

    let mut pairs: BTreeMap<(String, String), i64> = BTreeMap::new();
    for (viewer, title) in &seen {
        for (_, also) in seen.iter().filter(|(other, also)| other == viewer && also != title) {
            *pairs.entry((title.clone(), also.clone())).or_default() += 1;
        }
    }
    let mut found = BTreeMap::new();
    for pair in records(directory.path(), "recommendations") {
        found.insert((string(&pair["title"]), string(&pair["also"])), number(&pair["viewers"]));
    }
    assert_eq!(found, pairs, "recommendations");

    let billed = records(directory.path(), "billing");
    assert_eq!(billed.len(), bills.len(), "one bill for each viewer and day");
    let billed: BTreeMap<_, _> = billed
        .iter()
        .map(|bill| {
            let day = chrono::NaiveDate::parse_from_str(&string(&bill["day"]), "%Y-%m-%d").expect("is a day");
            let days = day.signed_duration_since(chrono::NaiveDate::default()).num_days();
            ((string(&bill["viewer"]), days), number(&bill["seconds"]))
        })
        .collect();
    assert_eq!(billed, bills, "billing");
}

/// What a variant is called, and what is in it.
fn variant(value: &Value) -> (String, &Value) {
    match value.as_object() {
        Some(object) => {
            object.iter().map(|(name, inside)| (name.clone(), inside)).next().expect("it has a name")
        }
        None => (string(value), &Value::Null),
    }
}

/// What a trip may be after a step: the state it must be in.
fn allowed(state: Option<&str>, step: &str) -> bool {
    let from: &[Option<&str>] = match step {
        "requested" => &[None],
        "accepted" => &[Some("requested")],
        "started" => &[Some("accepted")],
        "finished" => &[Some("started")],
        "cancelled" => &[Some("requested"), Some("accepted")],
        other => panic!("there is no step {other}"),
    };
    from.contains(&state)
}

#[test]
fn trips() {
    let (printed_on_disk, directory) = on_disk("trips", &[]);
    assert_eq!(printed("trips", &["--workers", "2"]), printed_on_disk);
    let mut events: BTreeMap<i64, Vec<(i64, String)>> = BTreeMap::new();
    for event in records(directory.path(), "trip-events") {
        let of_trip = events.entry(number(&event["trip"])).or_default();
        of_trip.push((number(&event["at"]), variant(&event["step"]).0));
    }
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    for (trip, mut events) in events {
        events.sort_by_key(|(at, _)| *at);
        let mut state: Option<String> = None;
        for (at, step) in events {
            if allowed(state.as_deref(), &step) {
                state = Some(step.clone());
                taken.push((trip, at, step));
            } else {
                let before = state
                    .clone()
                    .map_or("that nobody requested".to_owned(), |state| format!("that is {state}"));
                refused.push((trip, at, format!("a trip {before} cannot be {step}")));
            }
        }
    }
    let mut trips: Vec<_> = records(directory.path(), "trips")
        .iter()
        .map(|trip| (number(&trip["trip"]), number(&trip["since"]), variant(&trip["state"]).0))
        .collect();
    trips.sort();
    taken.sort();
    assert_eq!(trips, taken);
    let mut refusals: Vec<_> = records(directory.path(), "trip-refusals")
        .iter()
        .map(|refusal| {
            let event = &refusal["event"];
            (number(&event["trip"]), number(&event["at"]), string(&refusal["reason"]))
        })
        .collect();
    refusals.sort();
    refused.sort();
    assert_eq!(refusals, refused);
    let reasons: BTreeSet<_> = refused.iter().map(|(_, _, reason)| reason).collect();
    assert!(reasons.len() >= 8, "the input shows little: {reasons:?}");
    for trip in records(directory.path(), "trips") {
        let (state, of) = variant(&trip["state"]);
        if state == "finished" {
            assert!(number(&of["waited_seconds"]) >= 0 && number(&of["rode_seconds"]) >= 0, "{trip}");
            assert!(of["cents"].is_u64() && of["driver"].is_string() && trip["rider"].is_string(), "{trip}");
        }
    }
}

#[test]
fn feed() {
    const HALF_LIFE: f64 = 1_800_000.0;
    const PERIOD: i64 = 600_000;
    let arguments = ["--half-life", "30m", "--top", "4"];
    let (printed_on_disk, directory) = on_disk("feed", &arguments);
    assert_eq!(printed("feed", &[&arguments[..], &["--workers", "2"]].concat()), printed_on_disk);
    assert!(records(directory.path(), "late-engagements").is_empty());
    let mut engagements: BTreeMap<String, Vec<(i64, String, f64)>> = BTreeMap::new();
    for engagement in records(directory.path(), "engagements") {
        let worth = match string(&engagement["kind"]).as_str() {
            "like" => 1.0,
            "comment" => 5.0,
            _ => 10.0,
        };
        let of_feed = engagements.entry(string(&engagement["feed"])).or_default();
        of_feed.push((number(&engagement["at"]), string(&engagement["post"]), worth));
    }
    let mut rankings: BTreeMap<(String, i64), Vec<(String, f64)>> = BTreeMap::new();
    for ranking in records(directory.path(), "rankings") {
        let posts = ranking["posts"].as_array().expect("is a list").iter();
        let posts = posts.map(|post| (string(&post[0]), post[1].as_f64().expect("is a number"))).collect();
        let before = rankings.insert((string(&ranking["feed"]), number(&ranking["at"])), posts);
        assert!(before.is_none(), "told twice");
    }
    let periods: BTreeSet<(String, i64)> = engagements
        .iter()
        .flat_map(|(feed, of_feed)| {
            of_feed.iter().map(|(at, ..)| (feed.clone(), (at.div_euclid(PERIOD) + 1) * PERIOD))
        })
        .collect();
    assert_eq!(rankings.keys().cloned().collect::<BTreeSet<_>>(), periods);
    for ((feed, at), posts) in &rankings {
        // From scratch: every engagement before that moment, faded by its own age.
        let mut scores: BTreeMap<&str, f64> = BTreeMap::new();
        for (when, post, worth) in engagements[feed].iter().filter(|(when, ..)| when < at) {
            *scores.entry(post).or_default() += worth * (-((at - when) as f64) / HALF_LIFE).exp2();
        }
        let mut best: Vec<(&str, f64)> = scores.into_iter().filter(|(_, score)| *score >= 0.01).collect();
        best.sort_by(|(post, score), (other, than)| than.total_cmp(score).then_with(|| post.cmp(other)));
        assert_eq!(posts.len(), best.len().min(4), "{feed} {at}");
        for ((post, score), (expected, than)) in posts.iter().zip(best) {
            assert_eq!(post, expected, "{feed} {at}");
            assert!((score - than).abs() < 1e-9 * than, "{feed} {at}: {score} and not {than}");
        }
    }
}

/// A program that is killed and started again on its directory ends as one that never was.
#[test]
fn playback_is_killed_and_goes_on() {
    let directory = tempdir().expect("there is room");
    let program = || {
        let program = Program::new("playback").with(["--viewers", "400", "--epoch", "10ms"]);
        program.path("--dir", directory.path())
    };
    for delay in [150, 250, 200, 400, 300] {
        let mut child = program().start();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        // One that has ended cannot be killed any more.
        child.kill().expect("it was started");
        child.wait().expect("it was started");
    }
    let after_kills = text(&program().succeeds().stdout);
    assert_eq!(after_kills, printed("playback", &["--viewers", "400"]));
}
