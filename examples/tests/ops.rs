//! The example `ops`: its figures and alerts against a count of their own, and its page in a browser. If a test fails,
//! the dashboard shows what did not happen, misses an alert, or stays dead after the server was away.
//!
//! `HIGHWATER_SCREENSHOT=docs/images/ops.png` keeps a picture of the page for the manual.

mod browser;
mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use browser::Browser;
use highwater::prelude::Log;
use program::{Program, terminate, text};
use serde_json::Value;
use tempfile::tempdir;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

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

/// A second of an endpoint: requests, milliseconds of all, errors, users.
type Figures = (u64, i64, u64, BTreeSet<i64>);

fn counted(requests: &[Value]) -> BTreeMap<(String, i64), Figures> {
    let mut seconds: BTreeMap<(String, i64), Figures> = BTreeMap::new();
    for request in requests {
        let second = number(&request["at"]).div_euclid(1000) * 1000;
        let (count, millis, errors, users) =
            seconds.entry((string(&request["endpoint"]), second)).or_default();
        *count += 1;
        *millis += number(&request["millis"]);
        *errors += u64::from(number(&request["status"]) >= 500);
        users.insert(number(&request["user"]));
    }
    seconds
}

#[test]
fn seconds_and_alerts_are_those_of_a_count() {
    let directory = tempdir().expect("there is room");
    let arguments = ["--seconds", "100", "--rate", "300", "--seed", "7"];
    let program = || {
        let program = Program::new("ops").with(arguments).with(["--workers", "3", "--epoch", "20ms"]);
        program.path("--dir", directory.path())
    };
    let printed = text(&program().succeeds().stdout);
    assert_eq!(text(&program().succeeds().stdout), printed, "the second time");
    assert_eq!(text(&Program::new("ops").with(arguments).succeeds().stdout), printed, "in memory");

    let requests = records(directory.path(), "requests");
    assert_eq!(requests.len(), 30_000);
    assert!(records(directory.path(), "late-requests").is_empty());
    let expected = counted(&requests);
    let mut found = BTreeMap::new();
    for second in records(directory.path(), "seconds") {
        let key = (string(&second["endpoint"]), number(&second["at"]));
        let (count, millis, errors, users) = &expected[&key];
        assert_eq!(second["requests"], *count, "{second}");
        assert_eq!(second["errors"], *errors, "{second}");
        assert_eq!(second["users"], users.len(), "{second}");
        let mean = second["mean_millis"].as_f64().expect("a number");
        assert!((mean - *millis as f64 / *count as f64).abs() < 1e-9, "{second}");
        assert!(found.insert(key, ()).is_none(), "told twice: {second}");
    }
    assert_eq!(found.len(), expected.len());

    let (mut firing, mut alerts) = (BTreeSet::new(), BTreeSet::new());
    for ((endpoint, at), (count, _, errors, _)) in &expected {
        let is_over = errors * 20 > *count;
        let changed = match is_over {
            true => firing.insert(endpoint.clone()),
            false => firing.remove(endpoint),
        };
        if changed {
            alerts.insert((endpoint.clone(), *at, is_over));
        }
    }
    let told: Vec<_> = records(directory.path(), "alerts");
    let told_once: BTreeSet<_> = told
        .iter()
        .map(|alert| (string(&alert["of"]), number(&alert["at"]), alert["firing"] == true))
        .collect();
    assert_eq!((told.len(), &told_once), (alerts.len(), &alerts));
    assert!(alerts.len() >= 4, "the input shows little: {alerts:?}");
}

/// The program with its page, stopped at the end also if the test fails.
struct Site {
    child: Option<Child>,
    url: String,
}

impl Site {
    fn start(directory: &Path, port: &str) -> Site {
        let program = Program::new("ops").with(["--port", port, "--speed", "5", "--epoch", "50ms"]);
        let mut child = program.path("--dir", directory).start_with(Stdio::piped());
        let mut url = String::new();
        let told = child.stdout.take().expect("a pipe");
        BufReader::new(told).read_line(&mut url).expect("it says where it is");
        let url = url.trim().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        Site { child: Some(child), url }
    }

    fn port(&self) -> String {
        self.url.trim_end_matches('/').rsplit_once(':').expect("a port").1.to_owned()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// What can be read on the page.
const READ: &str = r##"(() => {
    const all = (selector) => [...document.querySelectorAll(selector)];
    return {
        link: document.querySelector("#link")?.textContent,
        firing: document.querySelector("#firing")?.dataset.firing,
        banner: document.querySelector("#firing")?.textContent,
        clock: document.querySelector("#clock")?.textContent,
        at: Number(document.querySelector("#tiles")?.dataset.at ?? 0),
        requests: document.querySelector("#requests")?.textContent,
        rows: all("#endpoints tr").map((row) => ({ endpoint: row.cells[0].textContent, at: Number(row.dataset.at),
            cells: [...row.cells].slice(1, 6).map((cell) => cell.textContent) })),
        alerts: all("#alerts li[data-of]").map((line) => ({ of: line.dataset.of, at: Number(line.dataset.at),
            firing: line.dataset.firing === "true", text: line.textContent })),
    };
})()"##;

struct Reading {
    browser: Browser,
    /// Everything that was read.
    read: Vec<Value>,
}

impl Reading {
    /// Reads the page until it is as wanted.
    fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let page = self.browser.evaluate(READ);
            if page["rows"].is_array() {
                self.read.push(page.clone());
            }
            if wanted(&page) {
                return page;
            }
            assert!(since.elapsed() < PATIENCE, "{what}: {page}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A number as the page writes it.
fn shown(cell: &Value) -> f64 {
    string(cell).replace(',', "").parse().unwrap_or_else(|_| panic!("{cell} is no number"))
}

#[test]
fn the_page_shows_the_feed_tells_alerts_and_comes_back() {
    let Some(browser) = Browser::start() else { return };
    let directory = tempdir().expect("there is room");
    let site = Site::start(directory.path(), "0");
    let mut page = Reading { browser, read: Vec::new() };
    page.browser.open(&site.url);
    page.until("shows figures", |page| {
        page["link"] == "live" && page["rows"].as_array().is_some_and(|rows| rows.len() == 5)
    });
    let alert = page.until("tells an alert", |page| page["firing"] == "yes");
    assert!(string(&alert["banner"]).contains("over 5 % errors since"), "{alert}");
    assert_eq!(alert["alerts"][0]["firing"], true, "{alert}");
    page.until("says that it is over", |page| page["firing"] == "no" && page["alerts"][1]["firing"] == true);
    if let Some(path) = std::env::var_os("HIGHWATER_SCREENSHOT") {
        page.until("has a minute to show", |page| {
            page["firing"] == "yes" && page["clock"].as_str() > Some("12:01:05")
        });
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let picture = page.browser.picture(1160, 950, "light");
        std::fs::write(root.join(path), picture).expect("can be written");
    }

    let port = site.port();
    drop(site);
    page.until("says that the server is away", |page| page["link"] == "connecting again");
    let before = page.read.last().map(|page| number(&page["at"])).expect("was read");
    let mut site = Site::start(directory.path(), &port);
    page.until("is live again", |page| page["link"] == "live" && number(&page["at"]) >= before + 3000);
    terminate(site.child.take().expect("it runs"));
    compare(&page.read, directory.path());
}

/// Everything that was shown was told, with the same figures.
fn compare(pages: &[Value], directory: &Path) {
    let mut seconds = BTreeMap::new();
    for second in records(directory, "seconds") {
        seconds.insert((string(&second["endpoint"]), number(&second["at"])), second);
    }
    let alerts: BTreeSet<_> = records(directory, "alerts")
        .iter()
        .map(|alert| (string(&alert["of"]), number(&alert["at"]), alert["firing"] == true))
        .collect();
    let (mut compared, mut told) = (BTreeSet::new(), BTreeSet::new());
    for page in pages {
        let mut requests = 0.0;
        for row in page["rows"].as_array().expect("rows") {
            let key = (string(&row["endpoint"]), number(&row["at"]));
            let second = seconds.get(&key).unwrap_or_else(|| panic!("shown and not told: {row}"));
            for (cell, name) in
                row["cells"].as_array().expect("cells").iter().zip(["requests", "mean_millis", "errors"])
            {
                let told = second[name].as_f64().expect("a number");
                assert!((shown(cell) - told).abs() < 0.051, "{row} and not {second}");
            }
            let rate = 100.0 * second["errors"].as_f64().expect("a number")
                / second["requests"].as_f64().expect("a number");
            assert!((shown(&row["cells"][3]) - rate).abs() < 0.051, "{row} and not {second}");
            assert_eq!(shown(&row["cells"][4]), second["users"].as_f64().expect("a number"), "{row}");
            if key.1 == number(&page["at"]) {
                requests += shown(&row["cells"][0]);
            }
            compared.insert(key);
        }
        if number(&page["at"]) > 0 {
            assert_eq!(shown(&page["requests"]), requests, "{page}");
        }
        for alert in page["alerts"].as_array().expect("alerts") {
            let alert = (string(&alert["of"]), number(&alert["at"]), alert["firing"] == true);
            assert!(alerts.contains(&alert), "{alert:?} is not in {alerts:?}");
            told.insert(alert);
        }
    }
    assert!(compared.len() >= 20 && told.len() >= 2, "{} seconds, {told:?}", compared.len());
}
