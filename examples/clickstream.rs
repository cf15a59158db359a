//! Who looks at what, minute by minute: page views and active users out of a web server's access log.
//!
//! The log comes from files, from Kafka, or is made up. What is told goes to one output: page views per page and
//! window, active users per window, requests that came too late for their window, and lines that are no requests.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use highwater::prelude::*;
use highwater_examples::clickstream::{AccessLog, Hit, HitJson, Outcome, TRAFFIC_SPLITS, Visit, log_line};
use highwater_examples::live::Live;
use highwater_examples::options::{RunOptions, exit_code, log_warnings};

/// Page views and active users, minute by minute, out of a web server's access log
///
/// Reads the combined or common log format from files, or JSON from Kafka, or makes requests up. A page view is a
/// GET answered 200 or 304 that did not ask for a part of a page (.css, .js, .png and the like); active users are
/// distinct client addresses over all requests.
#[derive(Parser)]
#[command(name = "clickstream", after_long_help = FORMATS)]
struct Options {
    /// Read this access log; may be given several times
    #[arg(long, value_name = "FILE", conflicts_with = "brokers")]
    input: Vec<PathBuf>,
    /// Read from Kafka, without end: brokers, several with commas
    #[arg(long, value_name = "HOST:PORT", requires = "topic")]
    brokers: Option<String>,
    /// The Kafka topic; its records are JSON objects, see below
    #[arg(long, value_name = "NAME", requires = "brokers")]
    topic: Option<String>,
    /// With Kafka: write the results to this topic, exactly once, in transactions of the name `clickstream`
    #[arg(long, value_name = "NAME", requires_all = ["brokers", "state_dir"], conflicts_with = "output")]
    output_topic: Option<String>,
    /// With Kafka: stop at what is the end of the topic now
    #[arg(long, requires = "brokers")]
    until_end: bool,
    /// Without files and Kafka: how many requests to make up
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    events: u64,
    /// Without files and Kafka: what chance begins with; the same seed gives the same requests
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The length of a window
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    window: Duration,
    /// Tell sessions too: the requests of one address with no longer pause between them than this
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    session_gap: Option<Duration>,
    #[command(flatten)]
    run: RunOptions,
}

const FORMATS: &str = r#"Output, one JSON object a line, times in UTC:
  {"kind":"page_views","url":"/","window_start":"2015-05-17T10:05:00Z","window_end":"2015-05-17T10:06:00Z","count":3}
  {"kind":"active_users","window_start":"2015-05-17T10:05:00Z","window_end":"2015-05-17T10:06:00Z","count":2}
  {"kind":"session","user":"::1","start":"2015-05-17T10:05:03Z","end":"2015-05-17T10:05:57Z","events":23,"pages":2}
  {"kind":"late","line":"..."}                 a request whose window was already closed
  {"kind":"late_for_session","line":"..."}     the same for its session, where the gap is shorter than the window
  {"kind":"bad","line":"...","reason":"..."}   a line that is no request

Kafka records are JSON objects with what a log line has; other fields may be there:
  {"time":"2015-05-17T10:05:03Z","address":"83.149.9.216","request":"GET /about?from=x HTTP/1.1","status":200}

A log line is whole or bad, an empty one is bad. Its time must exist; its zone is honoured. The lateness is judged for
each input file (or partition) against the latest request of all that were read so far, the slowest counting."#;

fn main() -> ExitCode {
    log_warnings();
    exit_code("clickstream", run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Cause> {
    options.run.check(&options.input)?;
    let topology = Topology::new("clickstream");
    let live = Live::new();
    let window = tumbling(options.window);

    let kafka = options.brokers.as_ref().map(|brokers| Kafka::at(brokers).exactly_once("clickstream"));
    let (hits, bad) = requests(&topology, kafka.as_ref(), options);
    let hits = hits.inspect(live.count()).event_time(Hit::at, options.run.lateness);

    // A window of all requests by address is what decides who is late, once for everything that is told.
    let (by_address, late) = hits.clone().key_by(|hit| hit.address().to_owned()).window(window).with_late();
    let active_users = by_address
        .count("requests-by-address")
        .key_by(|requests| requests.window)
        .window(window)
        .count("active-users");

    let sessions = options.session_gap.map(|gap| sessions(hits.clone(), gap, options.window));

    // The late ones among the page views are late requests already.
    let page_views = hits
        .filter(Hit::is_page_view)
        .key_by(|hit| hit.url().unwrap_or_default().to_owned())
        .window(window)
        .count("page-views");

    let mut outcomes = page_views
        .map(Outcome::page_views)
        .merge(active_users.map(Outcome::active_users))
        .merge(late.map(Outcome::late));
    if let Some(sessions) = sessions {
        outcomes = outcomes.merge(sessions);
    }
    let output = kafka.as_ref().zip(options.output_topic.as_deref());
    options.run.deliver(outcomes.untimed().merge(bad), output, &live);
    Ok(options.run.run(topology, &live)?)
}

/// The sessions of each address. A request that is late for its session was late for its window already, unless the
/// gap is shorter than the window: then it is told here.
fn sessions(hits: Stream<Hit>, gap: Duration, window: Duration) -> Stream<Outcome> {
    let by_address = hits.key_by(|hit| hit.address().to_owned()).window(session(gap));
    let (by_address, late) = by_address.with_late();
    let visits = by_address.aggregate("sessions", |_| Visit);
    let outcomes = visits.map(move |visit| Outcome::session(visit, gap));
    if gap < window { outcomes.merge(late.map(Outcome::late_for_session)) } else { outcomes }
}

/// The requests, and what is none.
fn requests(
    topology: &Topology,
    kafka: Option<&Kafka>,
    options: &Options,
) -> (Stream<Hit, Untimed>, Stream<Outcome, Untimed>) {
    if let (Some(kafka), Some(topic)) = (kafka, &options.topic) {
        let hits = kafka.source(topic, HitJson);
        let hits = if options.until_end { hits.until_end() } else { hits };
        let (hits, bad) = topology.try_source("kafka", hits).or_dead_letter();
        return (hits, bad.map(|bad| Outcome::bad(&bad.raw, bad.reason)));
    }
    if !options.input.is_empty() {
        let files = File::at(options.input.clone()).lines(AccessLog);
        let (hits, bad) = topology.try_source("access-log", files).or_dead_letter();
        return (hits, bad.map(|bad| Outcome::bad(&bad.raw, bad.reason)));
    }
    let traffic = Generator::new(options.seed, TRAFFIC_SPLITS, log_line).count(options.events);
    let lines = topology.source("generator", traffic);
    let (hits, bad) = lines.try_map(|line| AccessLog.decode(line.as_bytes())).or_dead_letter();
    (hits, bad.map(|bad| Outcome::bad(bad.record.as_bytes(), bad.reason)))
}
