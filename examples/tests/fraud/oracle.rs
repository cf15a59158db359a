//! What the rules mean, naively: all events of a key in the order of their times, and every combination of them tried.
//!
//! It takes lines and gives lines, and knows neither Highwater nor how the events were planted.

use std::collections::BTreeMap;
use std::ops::Range;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// The rules of users with what they add to a score, in the order that decides which of two at one time comes first.
const WEIGHTS: [(&str, u32); 6] = [
    ("large_transactions", 40),
    ("three_countries", 40),
    ("far_apart", 50),
    ("unusual_amount", 30),
    ("abandoned_cart", 10),
    ("stolen_account", 50),
];

/// An event, or an alert.
struct Row {
    time: i64,
    fields: Value,
}

impl Row {
    fn id(&self) -> u64 {
        self.fields["id"].as_u64().expect("an event has a number")
    }

    fn text(&self, field: &str) -> &str {
        self.fields[field].as_str().expect("it is there")
    }

    fn number(&self, field: &str) -> f64 {
        self.fields[field].as_f64().expect("it is there")
    }

    fn is(&self, field: &str) -> bool {
        self.fields[field].as_bool().expect("it is there")
    }
}

/// An alert: the rule, whom it is about, its time and the numbers of its events.
struct Alert<'a> {
    rule: &'static str,
    about: &'a str,
    time: i64,
    events: Vec<u64>,
}

/// What must be told of these events, sorted; they may be in any order, but those of one key and time.
pub fn expected(events: &[String]) -> Vec<String> {
    let mut kinds: BTreeMap<String, BTreeMap<String, Vec<Row>>> = BTreeMap::new();
    for line in events {
        let fields: Value = serde_json::from_str(line).expect("an event is JSON");
        let time = DateTime::parse_from_rfc3339(fields["time"].as_str().expect("it has a time"));
        let kind = fields["type"].as_str().expect("it has a type").to_owned();
        let key =
            ["user", "client", "server", "product", "service"].iter().find_map(|key| fields[key].as_str());
        let key = key.expect("it is about something").to_owned();
        let time = time.expect("it is a time").timestamp_millis();
        kinds.entry(kind).or_default().entry(key).or_default().push(Row { time, fields });
    }
    let mut alerts = Vec::new();
    for (kind, keys) in &mut kinds {
        for (key, rows) in keys {
            rows.sort_by_key(|row| row.time);
            of_key(kind, key, rows, &mut alerts);
        }
    }
    let mut lines: Vec<String> = frauds(&alerts);
    lines.extend(alerts.iter().map(|Alert { rule, about, time, events }| {
        let (rule, about, time, events) = (json!(rule), json!(about), json!(rfc3339(*time)), json!(events));
        format!(r#"{{"kind":"alert","rule":{rule},"about":{about},"time":{time},"events":{events}}}"#)
    }));
    lines.sort();
    lines
}

fn rfc3339(millis: i64) -> String {
    let time = DateTime::from_timestamp_millis(millis).expect("a time of the calendar");
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// What there is to tell of one kind of events of one key.
fn of_key<'a>(kind: &str, about: &'a str, rows: &[Row], alerts: &mut Vec<Alert<'a>>) {
    let mut tell = |rule, found: Vec<(i64, Vec<u64>)>| {
        alerts.extend(found.into_iter().map(|(time, events)| Alert { rule, about, time, events }));
    };
    match kind {
        "transaction" => {
            tell(
                "large_transactions",
                chosen(rows, 3, 10 * MINUTE, |row| all(row, |row| row.number("amount") > 1000.0)),
            );
            tell(
                "three_countries",
                chosen(rows, 3, HOUR, |rows| {
                    let country = |row: usize| rows[row].text("country");
                    country(0) != country(1) && country(1) != country(2) && country(0) != country(2)
                }),
            );
            tell("far_apart", chosen(rows, 2, HOUR, |rows| kilometres(rows[0], rows[1]) > 1000.0));
            tell("unusual_amount", unusual(rows));
        }
        "cart" => tell("abandoned_cart", missing(rows, 30 * MINUTE, |row| row.text("step") == "filled")),
        "login" => tell(
            "stolen_account",
            chosen(rows, 4, 10 * MINUTE, |rows| {
                let (failed, success) = (&rows[..3], rows[3]);
                let elsewhere = |row: &Row| !row.is("ok") && row.text("address") != success.text("address");
                all(failed, elsewhere) && success.is("ok")
            }),
        ),
        "call" => tell("failed_calls", chosen(rows, 5, MINUTE, |rows| all(rows, |row| !row.is("ok")))),
        "response" => tell(
            "slow_responses",
            in_a_row(rows, 3, 5 * MINUTE, |rows| all(rows, |row| row.number("millis") > 1000.0)),
        ),
        "price" => tell(
            "rising_price",
            in_a_row(rows, 4, HOUR, |rows| {
                let price = |row: usize| rows[row].number("price");
                (0..3).all(|row| price(row) < price(row + 1)) && price(3) > 1.2 * price(0)
            }),
        ),
        "error_rate" => tell(
            "rising_errors",
            chosen(rows, 3, 30 * MINUTE, |rows| {
                let rate = |row: usize| rows[row].number("rate");
                let times = |row: usize| rate(row) / rate(0);
                rate(0) > 0.0 && (2.0..5.0).contains(&times(1)) && times(2) >= 5.0
            }),
        ),
        "server" => tell("server_down", missing(rows, 10 * MINUTE, |row| !row.is("up"))),
        other => panic!("there are no events of the type {other}"),
    }
}

fn all(rows: &[&Row], holds: impl Fn(&Row) -> bool) -> bool {
    rows.iter().all(|row| holds(row))
}

/// Rows that hold together, of which the last is less than `within` behind the first; no row is told twice, and what is
/// told later begins behind the last of what was told before.
fn chosen(rows: &[Row], count: usize, within: i64, holds: impl Fn(&[&Row]) -> bool) -> Vec<(i64, Vec<u64>)> {
    let mut found = Vec::new();
    let mut from = 0;
    while from < rows.len() {
        let until = rows.partition_point(|row| row.time < rows[from].time + within);
        match first(rows, vec![from], count, from + 1..until, &holds) {
            Some(last) => from = told(rows, &last, &mut found),
            None => from += 1,
        }
    }
    found
}

/// The same, of rows that follow each other.
fn in_a_row(
    rows: &[Row],
    count: usize,
    within: i64,
    holds: impl Fn(&[&Row]) -> bool,
) -> Vec<(i64, Vec<u64>)> {
    let mut found = Vec::new();
    let mut from = 0;
    while from + count <= rows.len() {
        let places: Vec<usize> = (from..from + count).collect();
        let taken: Vec<&Row> = places.iter().map(|place| &rows[*place]).collect();
        let in_time = rows[from + count - 1].time - rows[from].time < within;
        from = if in_time && holds(&taken) { told(rows, &places, &mut found) } else { from + 1 };
    }
    found
}

/// Tells these rows; gives the place behind them.
fn told(rows: &[Row], places: &[usize], found: &mut Vec<(i64, Vec<u64>)>) -> usize {
    let last = places.last().expect("there are some");
    found.push((rows[*last].time, places.iter().map(|place| rows[*place].id()).collect()));
    last + 1
}

/// The first of all combinations of `count` rows that begin with these and hold together.
fn first(
    rows: &[Row],
    taken: Vec<usize>,
    count: usize,
    from: Range<usize>,
    holds: &impl Fn(&[&Row]) -> bool,
) -> Option<Vec<usize>> {
    if taken.len() == count {
        let taken_rows: Vec<&Row> = taken.iter().map(|place| &rows[*place]).collect();
        return holds(&taken_rows).then_some(taken);
    }
    from.clone().find_map(|next| {
        let taken = [&taken[..], &[next]].concat();
        first(rows, taken, count, next + 1..from.end, holds)
    })
}

/// Rows behind which, within a time, no other kind comes.
fn missing(rows: &[Row], wait: i64, begins: impl Fn(&Row) -> bool) -> Vec<(i64, Vec<u64>)> {
    let mut found = Vec::new();
    for (place, row) in rows.iter().enumerate().filter(|(_, row)| begins(row)) {
        let ends = rows[place + 1..].iter().any(|later| !begins(later) && later.time < row.time + wait);
        if !ends {
            found.push((row.time + wait, vec![row.id()]));
        }
    }
    found
}

/// Amounts over five times the average of the ten before.
fn unusual(rows: &[Row]) -> Vec<(i64, Vec<u64>)> {
    let mut found = Vec::new();
    for (before, row) in rows.windows(11).map(|rows| (&rows[..10], &rows[10])) {
        let average = before.iter().map(|row| row.number("amount")).sum::<f64>() / 10.0;
        if row.number("amount") > 5.0 * average {
            found.push((row.time, vec![row.id()]));
        }
    }
    found
}

/// By the spherical law of cosines, which is another formula than the example's.
fn kilometres(a: &Row, b: &Row) -> f64 {
    let radians = |row: &Row, field: &str| row.number(field).to_radians();
    let ((a_lat, a_lon), (b_lat, b_lon)) =
        ((radians(a, "lat"), radians(a, "lon")), (radians(b, "lat"), radians(b, "lon")));
    let cosine = a_lat.sin() * b_lat.sin() + a_lat.cos() * b_lat.cos() * (a_lon - b_lon).cos();
    6371.0 * cosine.clamp(-1.0, 1.0).acos()
}

/// The users of whom different rules add up to more than 80 hundredths in less than an hour; each alert counts once.
fn frauds(alerts: &[Alert<'_>]) -> Vec<String> {
    let mut users: BTreeMap<&str, Vec<(i64, usize)>> = BTreeMap::new();
    for alert in alerts {
        if let Some(rule) = WEIGHTS.iter().position(|(rule, _)| *rule == alert.rule) {
            users.entry(alert.about).or_default().push((alert.time, rule));
        }
    }
    let mut lines = Vec::new();
    for (user, mut alerts) in users {
        alerts.sort_unstable();
        let mut from = 0;
        while from < alerts.len() {
            let (mut rules, mut next) = (Vec::new(), from + 1);
            for (place, (time, rule)) in alerts.iter().enumerate().skip(from) {
                if *time >= alerts[from].0 + HOUR {
                    break;
                }
                if !rules.contains(rule) {
                    rules.push(*rule);
                }
                let score: u32 = rules.iter().map(|rule| WEIGHTS[*rule].1).sum();
                if score > 80 {
                    let names: Vec<&str> = rules.iter().map(|rule| WEIGHTS[*rule].0).collect();
                    let (user, time, names) = (json!(user), json!(rfc3339(*time)), json!(names));
                    let score = json!(f64::from(score) / 100.0);
                    lines.push(format!(
                        r#"{{"kind":"fraud","user":{user},"time":{time},"score":{score},"rules":{names}}}"#
                    ));
                    next = place + 1;
                    break;
                }
            }
            from = next;
        }
    }
    lines
}
