//! A running job, asked over TCP. If one of these fails, a client sees a torn epoch, waits for ever, cannot tell what
//! it did wrong, or reaches a server that it should not.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "http/client.rs"]
mod client;
#[path = "../../engine/tests/queries/feed.rs"]
mod feed;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use client::{Response, get, request};
use feed::Feed;
use highwater::prelude::*;
use highwater::query::Live;
use highwater_http::axum::Router;
use highwater_http::axum::routing::post;
use highwater_http::{Server, Serving};
use serde_json::{Value, json};

type Transfer = (u64, u64, i64);

fn start(job: impl FnOnce(Job) -> Job, feed: &Feed<Transfer>) -> (RunningJob, Serving) {
    let topology = Topology::new("transfers");
    topology
        .source("transfers", feed.clone())
        .flat_map(|(from, to, amount)| [(from, -amount), (to, amount)])
        .key_by(|(account, _)| *account)
        .fold("balances", || 0i64, |balance, (_, amount)| *balance += amount)
        .keep();
    let running = job(Job::new(topology).epoch_interval(Duration::from_millis(10))).start().unwrap();
    let server = Server::new(running.queries()).start().unwrap();
    (running, server)
}

fn at(address: SocketAddr, path: &str) -> Value {
    let response = get(address, path);
    assert_eq!(response.status, 200, "{path}: {}", response.body);
    response.json()
}

#[test]
fn every_page_is_of_one_epoch_and_a_page_through_at_one_epoch_is_whole() {
    let (directory, feed) = (tempfile::tempdir().unwrap(), Feed::new());
    let (_running, server) = start(|job| job.state(directory.path()).workers(2), &feed);
    let address = server.address();
    let writer = {
        let feed = feed.clone();
        std::thread::spawn(move || {
            for number in 0..2000u64 {
                feed.write([(number * 7 % 50, (number * 13 + 1) % 50, (number % 9) as i64)]);
                if number % 5 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        })
    };
    let mut epochs = Vec::new();
    let mut whole = 0;
    while !writer.is_finished() {
        // In one page: always whole.
        let page = get(address, "/tables/balances?limit=1000");
        if page.status == 503 {
            assert_eq!(page.code(), "nothing_yet");
            continue;
        }
        let page = page.json();
        let balance = |row: &Value| row["value"].as_i64().unwrap();
        assert_eq!(page["rows"].as_array().unwrap().iter().map(balance).sum::<i64>(), 0, "{page}");
        epochs.push(page["epoch"].as_u64().unwrap());
        // In several: whole where all of them name one epoch.
        let (mut sum, mut of, mut after) = (0, Vec::new(), String::new());
        loop {
            let page = at(address, &format!("/tables/balances?limit=20{after}"));
            sum += page["rows"].as_array().unwrap().iter().map(balance).sum::<i64>();
            of.push(page["epoch"].as_u64().unwrap());
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        if of.iter().all(|epoch| *epoch == of[0]) {
            assert_eq!(sum, 0);
            whole += 1;
        }
    }
    writer.join().unwrap();
    assert!(epochs.is_sorted() && epochs.first() < epochs.last(), "{epochs:?}");
    assert!(whole > 0);
}

#[test]
fn who_has_written_reads_it_over_http() {
    let feed = Feed::new();
    let (_running, server) = start(|job| job.queryable(), &feed);
    let address = server.address();
    for number in 1..10i64 {
        let position = feed.write([(1, 2, number)]);
        let path = format!("/tables/balances?key=2&min_position={{\"transfers\":{{\"0\":{position}}}}}");
        let page = at(address, &path);
        assert_eq!(page["rows"], json!([{ "key": 2, "value": number * (number + 1) / 2 }]), "{page}");
        assert_eq!(page["positions"], json!({ "transfers": { "0": position } }));
        // What one answer reflects, the next one can ask for as it is.
        let again = format!("/tables/balances?key=2&min_position={}", page["positions"]);
        assert_eq!(at(address, &again)["rows"], page["rows"]);
    }
    let since = Instant::now();
    let path = "/tables/balances?min_position={\"transfers\":{\"0\":100}}&timeout_ms=50";
    let late = get(address, path);
    assert_eq!((late.status, late.code().as_str()), (504, "timed_out"), "{}", late.body);
    assert!(since.elapsed() >= Duration::from_millis(50));
    let epoch = at(address, "/health")["epoch"].as_u64().unwrap();
    at(address, &format!("/tables?min_epoch={}", epoch + 1));
}

#[test]
fn a_part_of_the_rows_is_in_order() {
    let feed = Feed::new();
    let written = feed.write((0..30).map(|number| (number, number + 1, 1)));
    let (_running, server) = start(|job| job.queryable().workers(2), &feed);
    let mut path =
        format!("/tables/balances?from=5&to=25&limit=6&min_position={{\"transfers\":{{\"0\":{written}}}}}");
    let first = path.clone();
    let mut keys = Vec::new();
    loop {
        let page = at(server.address(), &path);
        keys.extend(page["rows"].as_array().unwrap().iter().map(|row| row["key"].as_u64().unwrap()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("{first}&after={next}");
    }
    assert_eq!(keys, (5..25).collect::<Vec<_>>());
    let tables = at(server.address(), "/tables");
    let wanted = json!([
        { "name": "balances", "family": "values", "keys": "u64", "values": "i64", "readable": true }
    ]);
    assert_eq!(tables["tables"], wanted);
}

#[test]
fn what_is_wrong_with_a_request_is_said() {
    let feed = Feed::new();
    let written = feed.write([(1, 2, 3)]);
    let (running, server) = start(|job| job.queryable(), &feed);
    let address = server.address();
    at(address, &format!("/tables?min_position={{\"transfers\":{{\"0\":{written}}}}}"));
    let refused = |path: &str| {
        let response = get(address, path);
        assert!(response.head.contains("application/json"), "{}", response.head);
        (response.status, response.code())
    };
    let is = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(refused("/tables/balance"), is(404, "unknown_table"));
    assert_eq!(refused("/tables/balances?limit=0"), is(400, "bad_request"));
    assert_eq!(refused("/tables/balances?limit=10001"), is(400, "bad_request"));
    assert_eq!(refused("/tables/balances?limits=1"), is(400, "bad_request"));
    assert_eq!(refused("/tables/balances?key=ada"), is(400, "bad_key"));
    assert_eq!(refused("/tables/balances?after=xyz"), is(400, "bad_cursor"));
    assert_eq!(refused("/tables/balances?timeout_ms=30001"), is(400, "bad_request"));
    assert_eq!(refused("/tables/balances?min_position=5"), is(400, "bad_request"));
    assert_eq!(refused("/tables/balances?min_position={\"x\":{\"0\":1}}"), is(400, "unknown_source"));
    assert_eq!(
        refused("/tables/balances?min_position={\"transfers\":{\"0\":\"a\"}}"),
        is(400, "bad_position")
    );
    assert_eq!(get(address, "/nothing").status, 404);
    assert_eq!(request(address, "POST", "/tables", "").status, 405);
    running.stop();
    while !running.is_finished() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let path = "/tables/balances?min_position={\"transfers\":{\"0\":2}}";
    assert_eq!(refused(path), is(409, "never_reached"));
    assert_eq!(at(address, "/tables/balances?key=2")["rows"], json!([{ "key": 2, "value": 3 }]));
    running.wait().unwrap();
    assert_eq!(refused("/tables/balances?key=2"), is(503, "ended"));
    assert_eq!(get(address, "/metrics").status, 200, "what was counted can still be read");
}

#[test]
fn health_says_whether_the_job_runs_and_why_not() {
    let feed = Feed::new();
    let (running, server) = start(|job| job, &feed);
    let health = at(server.address(), "/health");
    assert_eq!((&health["state"], &health["topology"]), (&json!("running"), &json!("transfers")));
    assert!(health["epoch_age_ms"].is_u64());
    running.stop();
    running.wait().unwrap();
    let health = get(server.address(), "/health");
    assert_eq!((health.status, &health.json()["state"]), (503, &json!("ended")));

    let topology = Topology::new("fails");
    let numbers = topology.source("numbers", Memory::source([1, 2]).unending());
    numbers
        .map(|number| if number == 2 { panic!("two is too many") } else { number })
        .sink("out", Blackhole::new());
    let running = Job::new(topology).start().unwrap();
    let server = Server::new(running.queries()).start().unwrap();
    while !running.is_finished() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let health = get(server.address(), "/health");
    assert_eq!((health.status, &health.json()["state"]), (503, &json!("failed")));
    assert!(health.body.contains("two is too many"), "{}", health.body);
    assert!(running.wait().is_err());

    let topology = Topology::new("ends");
    topology.source("numbers", Memory::source([1, 2])).sink("out", Blackhole::new());
    let running = Job::new(topology).start().unwrap();
    let server = Server::new(running.queries()).start().unwrap();
    running.wait().unwrap();
    assert_eq!(at(server.address(), "/health")["state"], "ended");
}

#[test]
fn topology_and_metrics_tell_what_the_job_is_and_does() {
    let topology = Topology::new("clicks");
    let clicks = (0..100i64).map(|number| (number * 100, number % 7));
    topology
        .source("clicks", Memory::source(clicks).unending())
        .event_time(|click| Timestamp::from_millis(click.0), Duration::from_secs(1))
        .filter(|click| click.1 != 0)
        .key_by(|click| click.1)
        .window(tumbling(Duration::from_secs(1)))
        .count("counts")
        .sink("out", Blackhole::new());
    let job = Job::new(topology).queryable().workers(2).epoch_interval(Duration::from_millis(10));
    let running = job.start().unwrap();
    let server = Server::new(running.queries()).start().unwrap();
    let address = server.address();
    at(address, "/tables?min_position={\"clicks\":{\"0\":100}}");
    // Records may still be on their way to the sink when all has been read.
    at(address, &format!("/tables?min_epoch={}", running.queries().epochs().last.0 + 2));

    let shown = at(address, "/topology");
    assert_eq!(shown["topology"], "clicks");
    assert_eq!(shown["nodes"][0]["verb"], "source");
    assert_eq!(shown["nodes"][0]["name"], "clicks");
    let edges = shown["edges"].as_array().unwrap();
    assert!(edges.iter().any(|edge| edge["moves"] == "by key"), "{edges:?}");
    let picture = get(address, "/topology?format=mermaid");
    assert!(picture.body.starts_with("flowchart LR\n"), "{}", picture.body);
    assert_eq!(get(address, "/topology?format=png").status, 400);

    let metrics = get(address, "/metrics");
    assert!(
        metrics.head.to_lowercase().contains("content-type: text/plain; version=0.0.4"),
        "{}",
        metrics.head
    );
    let has = |line: &str| metrics.body.lines().any(|found| found == line);
    assert!(has("highwater_up{topology=\"clicks\"} 1"), "{}", metrics.body);
    assert!(
        has("highwater_records_in_total{node=\"0\",verb=\"source\",name=\"clicks\"} 100"),
        "{}",
        metrics.body
    );
    assert!(has("highwater_source_position{source=\"clicks\",split=\"0\"} 100"), "{}", metrics.body);
    assert!(has("highwater_split_watermark_seconds{source=\"clicks\",split=\"0\"} 8.9"), "{}", metrics.body);
    for name in [
        "epoch ",
        "epochs_total ",
        "epoch_seconds_count ",
        "workers 2",
        "state_rows{",
        "watermark_seconds{",
        "queue_batches{",
        "consumer_lag{",
        "latency_seconds_bucket{",
        "table_bytes ",
        "rows_asked_total ",
        "rows_read_total ",
    ] {
        let name = format!("highwater_{name}");
        assert!(metrics.body.lines().any(|line| line.starts_with(&name)), "{name}: {}", metrics.body);
    }
    well_formed(&metrics);
}

/// Every sample belongs to the family that was announced last, and has a number.
fn well_formed(metrics: &Response) {
    let mut family = String::new();
    for line in metrics.body.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (kind, name) = (words.next().unwrap(), words.next().unwrap());
            assert!(kind == "TYPE" || name != family, "{line}: announced twice");
            family = name.to_owned();
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        assert!(sample.starts_with(&family), "{line}");
        assert!(value == "+Inf" || value == "-Inf" || value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn a_program_adds_its_own_routes_and_a_server_ends() {
    let feed = Feed::new();
    let (running, plain) = start(|job| job.queryable(), &feed);
    assert!(plain.address().ip().is_loopback());
    let commands = {
        let feed = Arc::new(feed.clone());
        let deposit = move |body: String| async move {
            let amount: i64 = body.trim().parse().unwrap();
            feed.write([(0, 9, amount)]).to_string()
        };
        Router::new().route("/deposits", post(deposit))
    };
    let server = Server::new(running.queries()).routes(commands).start().unwrap();
    let address = server.address();
    let position = request(address, "POST", "/deposits", "25").body;
    let path = format!("/tables/balances?key=9&min_position={{\"transfers\":{{\"0\":{position}}}}}");
    assert_eq!(at(address, &path)["rows"], json!([{ "key": 9, "value": 25 }]));
    // One that waits is told, and does not hold up the end.
    let waiting = std::thread::spawn(move || {
        get(address, "/tables?min_position={\"transfers\":{\"0\":100}}&timeout_ms=20000")
    });
    std::thread::sleep(Duration::from_millis(100));
    let since = Instant::now();
    server.stop();
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    assert_eq!(waiting.join().unwrap().code(), "busy");
    assert!(std::net::TcpStream::connect(address).is_err());
    let taken = Server::new(running.queries()).listen(plain.address()).start().err().unwrap();
    assert!(taken.to_string().contains(&plain.address().to_string()), "{taken}");
}

#[test]
fn a_server_goes_on_with_the_version_that_takes_over() {
    let feed = Feed::<u64>::new();
    let version = |factor: u64| {
        let topology = Topology::new(if factor == 1 { "v1" } else { "v2" });
        let sales = topology.source("sales", feed.clone()).key_by(|_| 0u8);
        sales.fold("sums", || 0u64, move |sum, sale| *sum += sale * factor).keep();
        Job::new(topology).queryable().epoch_interval(Duration::from_millis(10)).start().unwrap()
    };
    let written = feed.write([1, 2, 3]);
    let old = version(1);
    let live = Live::new(old.queries());
    let server = Server::new(live.clone()).start().unwrap();
    let path = format!("/tables/sums?min_position={{\"sales\":{{\"0\":{written}}}}}");
    assert_eq!(at(server.address(), &path)["rows"][0]["value"], 6);
    let new = version(10);
    live.switch_to(new.queries(), Duration::from_secs(30)).unwrap();
    drop(old);
    assert_eq!(at(server.address(), &path)["rows"][0]["value"], 60);
    assert_eq!(at(server.address(), "/health")["topology"], "v2");
}
