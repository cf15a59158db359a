//! A feed of a running job, with clients over TCP. If one of these fails, a browser shows what was not committed or
//! shows it wrongly, a slow browser holds up the job, or a page of another site reads along.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../engine/tests/queries/feed.rs"]
mod input;
#[path = "http/socket.rs"]
mod socket;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use highwater::prelude::*;
use highwater_http::{Feed, Server, Serving};
use input::Feed as Input;
use serde_json::{Value, json};
use socket::{Heard, Socket};

type Counted = (String, u64);

/// Counts words; the feed shows the count of each.
fn counts(
    input: &Input<String>,
    feed: &Feed<Counted>,
    job: impl FnOnce(Job) -> Job,
) -> (RunningJob, Serving) {
    let topology = Topology::new("words");
    let words = topology.source("words", input.clone());
    words.key_by(String::clone).count("counts").to_stream().sink("live", feed.clone());
    let running = job(Job::new(topology).epoch_interval(Duration::from_millis(10))).start().unwrap();
    let server = Server::new(running.queries()).routes(feed.routes("/live/counts")).start().unwrap();
    (running, server)
}

fn by_word() -> Feed<Counted> {
    Feed::upsert("counts", |(word, _): &Counted| word.clone())
}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|word| (*word).to_owned()).collect()
}

/// A page that follows a feed as its documentation says.
#[derive(Default)]
struct Page {
    last: Option<(String, u64)>,
    counts: BTreeMap<String, u64>,
    missed: u64,
    parts: u64,
}

impl Page {
    fn takes(&mut self, message: &Value) {
        let place = (message["run"].as_str().unwrap().to_owned(), message["epoch"].as_u64().unwrap());
        let part = message["part"].as_u64().unwrap();
        match message["kind"].as_str().unwrap() {
            "snapshot" if part == 1 => self.counts.clear(),
            "snapshot" => {}
            _ => {
                let (run, epoch) = self.last.as_ref().unwrap();
                let follows = if part == 1 { place.1 > *epoch } else { place.1 == *epoch };
                assert!(*run == place.0 && follows, "{:?} and then {place:?}", self.last);
            }
        }
        self.missed += message["missed"].as_u64().unwrap();
        self.parts += 1;
        self.last = Some(place);
        for record in message["records"].as_array().unwrap() {
            let (key, value) = (record["key"].as_str().unwrap(), &record["value"]);
            assert_eq!(value[0], key);
            let before = self.counts.insert(key.to_owned(), value[1].as_u64().unwrap());
            assert!(before <= Some(value[1].as_u64().unwrap()), "{key} has gone back");
        }
    }

    fn follow(&mut self, socket: &mut Socket, until: impl Fn(&Page) -> bool) {
        while !until(self) {
            self.takes(&socket.message());
        }
    }
}

#[test]
fn clients_see_every_committed_epoch_and_who_comes_later_sees_the_state() {
    let (input, feed) = (Input::new(), by_word());
    let (_running, server) = counts(&input, &feed, |job| job.workers(2));
    let mut socket = Socket::connect(server.address(), "/live/counts");
    let mut page = Page::default();
    for round in 1..=20u64 {
        input.write(words(&["a", "b", "a"]));
        page.follow(&mut socket, |page| page.counts.get("a") == Some(&(2 * round)));
        page.follow(&mut socket, |page| page.counts.get("b") == Some(&round));
    }
    // What a client says is of no interest; it does not end the connection.
    socket.say("hello");
    input.write(words(&["c"]));
    page.follow(&mut socket, |page| page.counts.contains_key("c"));
    assert_eq!(page.missed, 0);
    let mut late = Page::default();
    late.takes(&Socket::connect(server.address(), "/live/counts").message());
    assert_eq!(late.counts, page.counts);
    let plain = Asking(server.address()).get("/live/counts");
    late.takes(&plain);
    assert_eq!(late.counts, page.counts);
}

/// Asks a server over one connection a request.
struct Asking(SocketAddr);

impl Asking {
    fn answer(&self, path: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(self.0).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.answer(path, &format!("Host: {}", self.0));
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }
}

#[test]
fn a_stream_of_events_says_the_same() {
    let (input, feed) = (Input::new(), by_word());
    let (running, server) = counts(&input, &feed, |job| job);
    input.write(words(&["a"]));
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let head = "GET /live/counts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: text/event-stream\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (mut heard, mut bytes, mut said) = (String::new(), [0; 4096], false);
    let mut page = Page::default();
    while page.counts.get("b") != Some(&1) {
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "{heard}");
        heard.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        let lines: Vec<&str> = heard.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
        let messages = lines.iter().filter_map(|line| line.strip_prefix("data: "));
        page = Page::default();
        messages.for_each(|message| page.takes(&serde_json::from_str(message).unwrap()));
        if page.counts.contains_key("a") && !said {
            said = true;
            input.write(words(&["b"]));
        }
    }
    assert!(heard.contains("content-type: text/event-stream"), "{heard}");
    assert!(heard.contains("event: epoch\n") && heard.contains("event: snapshot\n"), "{heard}");
    running.stop();
    running.wait().unwrap();
    // The answer ends with the job.
    while stream.read(&mut bytes).unwrap() > 0 {}
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody_and_is_let_go() {
    let topology = Topology::new("large");
    let input = Input::<String>::new();
    let feed = Feed::<String>::append("large", 1).clients(2);
    topology.source("large", input.clone()).sink("live", feed.clone());
    let job = Job::new(topology).epoch_interval(Duration::from_millis(10));
    let running = job.start().unwrap();
    let server = Server::new(running.queries()).routes(feed.routes("/live")).start().unwrap();
    let _deaf = Socket::connect(server.address(), "/live");
    let mut other = Socket::connect(server.address(), "/live");
    assert_eq!(Socket::connect_with(server.address(), "/live", &[]).err(), Some(503), "there is no place");
    // More than a connection holds by itself.
    for number in 0..200u64 {
        input.write([format!("{number} {}", "x".repeat(200_000))]);
        let begins = format!("{number} ");
        let is_it = |record: &Value| record["value"].as_str().is_some_and(|text| text.starts_with(&begins));
        while !other.message()["records"].as_array().unwrap().iter().any(is_it) {}
    }
    // One that cannot take a message for a while loses its place.
    let since = std::time::Instant::now();
    loop {
        match Socket::connect_with(server.address(), "/live", &[]) {
            Ok(_) => break,
            Err(status) => assert_eq!(status, 503),
        }
        assert!(since.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn pages_of_other_sites_are_refused() {
    let (input, feed) = (Input::new(), by_word().allow_host("words.example"));
    let (_running, server) = counts(&input, &feed, |job| job);
    let (address, path) = (server.address(), "/live/counts");
    assert!(address.ip().is_loopback());
    let own = format!("http://{address}");
    for (headers, status) in [
        (vec![("origin", own.as_str())], None),
        (vec![("origin", "http://evil.example")], Some(403)),
        (vec![("origin", "null")], Some(403)),
        (vec![("host", "evil.example"), ("origin", "http://evil.example")], Some(403)),
        (vec![("host", "words.example"), ("origin", "https://words.example")], None),
        (vec![("host", "words.example"), ("origin", "https://evil.example")], Some(403)),
    ] {
        assert_eq!(Socket::connect_with(address, path, &headers).err(), status, "{headers:?}");
    }
    let refused = Asking(address).answer(path, "Host: evil.example:80");
    assert!(refused.starts_with("HTTP/1.1 403") && refused.contains("unknown_host"), "{refused}");
}

#[test]
fn the_end_of_the_job_and_of_the_server_is_said() {
    let topology = Topology::new("ends");
    let feed = by_word();
    let counted = words(&["a", "b", "a"]).into_iter().map(|word| (word, 1));
    topology.source("words", Memory::source(counted)).sink("live", feed.clone());
    let running = Job::new(topology).start().unwrap();
    let server = Server::new(running.queries()).routes(feed.routes("/live")).start().unwrap();
    let mut socket = Socket::connect(server.address(), "/live");
    let mut page = Page::default();
    let (code, reason) = loop {
        match socket.hear() {
            Heard::Message(message) => page.takes(&message),
            Heard::Close(code, reason) => break (code, reason),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((code, reason.as_str()), (1000, "the job has ended"));
    assert_eq!(page.counts.keys().collect::<Vec<_>>(), ["a", "b"], "everything was said before");
    running.wait().unwrap();
    // Who comes now gets the last state, and is told again.
    let mut late = Socket::connect(server.address(), "/live");
    page.takes(&late.message());
    assert!(matches!(late.hear(), Heard::Close(1000, _)));

    let (input, feed) = (Input::new(), by_word());
    let (_running, server) = counts(&input, &feed, |job| job);
    let mut socket = Socket::connect(server.address(), "/live/counts");
    socket.message();
    let since = std::time::Instant::now();
    let heard = std::thread::spawn(move || (socket.hear(), socket.hear()));
    server.stop();
    let heard = heard.join().unwrap();
    assert!(matches!(heard, (Heard::Close(1001, _), Heard::End)), "{heard:?}");
    assert!(since.elapsed() < Duration::from_secs(30));
}

/// Counts what is there, and gives the state of the feed at the end.
fn one_run(directory: Option<&Path>, input: &Input<String>, wanted: (&str, u64)) -> Value {
    let feed = by_word();
    let (running, server) = counts(input, &feed, |job| match directory {
        Some(directory) => job.state(directory),
        None => job,
    });
    let mut socket = Socket::connect(server.address(), "/live/counts");
    let mut page = Page::default();
    page.follow(&mut socket, |page| page.counts.get(wanted.0) == Some(&wanted.1));
    running.stop();
    running.wait().unwrap();
    Asking(server.address()).get("/live/counts")
}

#[test]
fn a_restart_goes_on_with_the_state_and_begins_anew_without() {
    let directory = tempfile::tempdir().unwrap();
    let input = Input::new();
    input.write(words(&["a", "b"]));
    let first = one_run(Some(directory.path()), &input, ("b", 1));
    // The last epoch that showed anything is shown again, under the name that it had.
    let again = one_run(Some(directory.path()), &input, ("b", 1));
    assert_eq!((&again["run"], &again["records"]), (&first["run"], &first["records"]));
    assert!(again["epoch"].as_u64() >= first["epoch"].as_u64());
    input.write(words(&["b"]));
    let more = one_run(Some(directory.path()), &input, ("b", 2));
    assert!(more["epoch"].as_u64() > first["epoch"].as_u64());
    let anew = one_run(None, &input, ("b", 2));
    assert_ne!(anew["run"], first["run"]);
    assert_eq!(anew["records"].as_array().unwrap().len(), 2);
    assert_eq!(anew["feed"], json!("counts"));
}
