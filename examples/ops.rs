//! An API, watched: how each of its endpoints does every second, alerts, and a page that shows it live.
//!
//! The log of the API is the topic `requests`. Windows of a second give figures for each endpoint, in `seconds`; when
//! more than 5 % of an endpoint's requests fail in a second, and when that is over, `alerts` says so. With `--port` the
//! same records go to a page in the browser as soon as they are committed.

#[path = "ops/page.rs"]
mod page;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clap::Parser;
use highwater::alert::{Alert, Firing, Verdict};
use highwater::prelude::*;
use highwater_examples::ops::{Load, Request, Second};
use highwater_examples::options::{exit_code, log_warnings};
use highwater_examples::topics::{JobTopics, TopicOptions, Topics};
use highwater_http::{Feed, Server};

/// The endpoints of an API second by second, alerts over 5 % errors, and a live page
///
/// Without --port: reads the topic `requests`, makes it up if it is empty, writes `seconds`, `alerts` and
/// `late-requests`, and prints what there was. With --port: goes on until it is stopped, makes up requests as time
/// passes, and shows a page at http://127.0.0.1:PORT/.
#[derive(Parser)]
#[command(name = "ops", after_long_help = FORMATS)]
struct Options {
    /// Show a live page on this port of loopback; 0 chooses one that is free, and prints it
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// How many requests to make up for each second of the log; 0 makes up none, others write the topic then
    #[arg(long, value_name = "N", default_value_t = 500)]
    rate: u64,
    /// Without --port: how many seconds to make up
    #[arg(long, value_name = "N", default_value_t = 120)]
    seconds: u64,
    /// With --port: how many seconds of the log pass in one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    speed: u64,
    /// What chance begins with; the same seed gives the same requests
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    topics: TopicOptions,
}

const FORMATS: &str = r#"Records, JSON; times in milliseconds since 1970:
  requests       {"at":1735732800017,"endpoint":"GET /cart","user":42,"status":200,"millis":21}
  late-requests  the same
  seconds        {"endpoint":"GET /cart","at":1735732800000,"requests":36,"mean_millis":20.4,"errors":0,"users":35}
  alerts         {"rule":"error_rate > 5%","of":"GET /cart","firing":true,"value":0.31,"at":1735732815000}
With --port: GET / is the page; /live/seconds and /live/alerts are WebSockets, or events for who accepts those;
/tables, /health, /topology and /metrics are those of every job."#;

/// How much later than others a request may be logged.
const LATENESS: Duration = Duration::from_secs(1);
/// How many figures a page gets when it connects: two minutes of ten endpoints.
const KEPT: usize = 1200;

fn main() -> ExitCode {
    log_warnings();
    exit_code("ops", run(Options::parse()))
}

fn run(mut options: Options) -> Result<(), Cause> {
    options.topics.follow |= options.port.is_some();
    let topics = options.topics.open()?;
    for topic in ["requests", "seconds", "alerts", "late-requests"] {
        topics.create(topic, 4)?;
    }
    match options.port {
        Some(port) => watch(&options, &topics, SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        None => sum_up(&options, &topics),
    }
}

/// What is told of the requests; `seconds` and `alerts` take it, too.
fn topology(ops: &JobTopics, seconds: Feed<Second>, alerts: Feed<Alert>) -> Topology {
    let topology = Topology::new("ops");
    let (windows, late) = ops
        .stream::<Request>(&topology, "requests")
        .event_time(|request| request.at, LATENESS)
        .key_by(|request| request.endpoint.clone())
        .window(tumbling(Duration::from_secs(1)))
        .with_late();
    let figures = windows
        .aggregate("figures", |a| {
            (
                a.count(),
                a.mean(|request: &Request| request.millis),
                a.sum(|request: &Request| u64::from(request.is_error())),
                a.distinct(|request: &Request| request.user),
            )
        })
        .map(|Windowed { key, window, value: (requests, mean_millis, errors, users), .. }| Second {
            endpoint: key,
            at: window.start,
            requests,
            mean_millis,
            errors,
            users,
        });
    let firing = figures
        .clone()
        .map(|second| second.verdict())
        .key_by(Verdict::key)
        .process("firing", Firing::new)
        .values();

    figures.clone().sink("seconds-live", seconds);
    figures.sink("seconds-out", ops.sink("seconds").key(|second: &Second| second.endpoint.clone()));
    firing.clone().sink("alerts-live", alerts);
    firing.sink("alerts-out", ops.sink("alerts").key(|alert: &Alert| alert.of.clone()));
    late.sink("late-out", ops.sink("late-requests").key(|request: &Request| request.user));
    topology
}

fn feeds() -> (Feed<Second>, Feed<Alert>) {
    (Feed::append("seconds", KEPT), Feed::upsert("alerts", |alert: &Alert| alert.of.clone()))
}

/// Shows a page until the program is stopped.
fn watch(options: &Options, topics: &Topics, address: SocketAddr) -> Result<(), Cause> {
    let (ops, (seconds, alerts)) = (topics.of("ops"), feeds());
    let watched = ops.job(topology(&ops, seconds.clone(), alerts.clone())).queryable().start()?;
    let routes = page::page().merge(seconds.routes("/live/seconds")).merge(alerts.routes("/live/alerts"));
    let server = Server::new(watched.queries()).listen(address).routes(routes).start()?;
    println!("http://{}/", server.address());

    // What makes up requests is what is told to stop; the page is watched for as long.
    let (loading, load) = (topics.clone(), load(options, topics));
    let loading = std::thread::spawn(move || loading.run([load]));
    while !loading.is_finished() && !watched.is_finished() {
        std::thread::sleep(Duration::from_millis(20));
    }
    if loading.is_finished() {
        watched.stop();
        loading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    }
    watched.wait()?;
    server.stop();
    Ok(())
}

/// Makes up requests as time passes, or waits.
fn load(options: &Options, topics: &Topics) -> Job {
    let load = Load { per_second: options.rate };
    if options.rate == 0 {
        let topology = Topology::new("wait");
        topology.source("nothing", Memory::source([0]).unending()).sink("nowhere", Blackhole::new());
        return Job::new(topology);
    }
    let (topology, job) = (Topology::new("load"), topics.of("load"));
    let made_up = Generator::new(options.seed, 1, move |random, number| load.request(random, number));
    topology
        .source("made-up", made_up)
        .sink("requests", job.sink("requests").key(|request: &Request| request.user));
    job.job(topology).rate(options.rate.saturating_mul(options.speed))
}

/// Reads what there is, and prints it.
fn sum_up(options: &Options, topics: &Topics) -> Result<(), Cause> {
    let load = Load { per_second: options.rate };
    let mut random = Generator::new(options.seed, 1, move |random, number| load.request(random, number));
    random = random.count(options.rate.saturating_mul(options.seconds));
    let made_up = Memory::sink();
    let topology_of_load = Topology::new("load");
    topology_of_load.source("made-up", random).sink("all", made_up.clone());
    Job::new(topology_of_load).start()?.wait()?;
    topics.fill("requests", made_up.take(), |request: &Request| request.user.to_string())?;

    let (ops, (seconds, alerts)) = (topics.of("ops"), feeds());
    topics.run([ops.job(topology(&ops, seconds, alerts))])?;

    let mut endpoints: BTreeMap<String, (u64, f64, u64)> = BTreeMap::new();
    for second in topics.records::<Second>("seconds")? {
        let (requests, millis, errors) = endpoints.entry(second.endpoint).or_default();
        *requests += second.requests;
        *millis += second.mean_millis * second.requests as f64;
        *errors += second.errors;
    }
    println!("requests   mean ms   errors");
    for (endpoint, (requests, millis, errors)) in endpoints {
        println!("{requests:>8} {:>9.1} {errors:>8}  {endpoint}", millis / requests as f64);
    }
    let mut alerts: Vec<Alert> = topics.records("alerts")?;
    alerts.sort_by(|a, b| (a.at, &a.of).cmp(&(b.at, &b.of)));
    println!("alerts: {}", alerts.iter().filter(|alert| alert.firing).count());
    for Alert { of, firing, value, at, .. } in alerts {
        let says = if firing { "begins" } else { "is over" };
        println!("  {} {says:>7} {:>5.1} %  {of}", at.to_rfc3339_seconds(), value * 100.0);
    }
    Ok(())
}
