//! Who steals, what breaks, what gets expensive: eleven rules over what happens, and a score of every user.
//!
//! The rules are in `fraud/rules.rs`. The events come from files, from Kafka, or are made up.

#[path = "fraud/rules.rs"]
mod rules;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};
use highwater::prelude::*;
use highwater_examples::fraud::{Event, EventJson, Noted, Outcome, SCENE_EVENTS, SCENE_SPLITS, made_up};
use highwater_examples::live::Live;
use highwater_examples::options::{RunOptions, exit_code, log_warnings};
use rules::watch;

/// Alerts where several events together are suspicious, and users with a high score
///
/// Reads events as JSON lines from files, or from Kafka, or makes them up. The rules, with what they add to the score
/// of a user: three transactions over 1000 in 10 minutes (0.4); three different countries in an hour (0.4); two
/// places further apart than 1000 km within an hour (0.5); an amount over 5 times the average of the last ten (0.3);
/// a cart without a purchase in 30 minutes (0.1); three failed logins and then a success from another address in 10
/// minutes (0.5); five failed API calls in a minute; three slow responses (over 1 s) in a row in 5 minutes; a price
/// that rises over 20 % in three steps within an hour; an error rate that goes from a baseline to two to five times
/// as much, and then to five times as much or more, within 30 minutes; a server that goes down and does not recover
/// in 10 minutes. A user whose different rules add up to more than 0.8 in an hour is fraud.
#[derive(Parser)]
#[command(name = "fraud", after_long_help = FORMATS)]
struct Options {
    /// Read these events; may be given several times
    #[arg(long, value_name = "FILE", conflicts_with = "brokers")]
    input: Vec<PathBuf>,
    /// Read from Kafka, without end: brokers, several with commas
    #[arg(long, value_name = "HOST:PORT", requires = "topic")]
    brokers: Option<String>,
    /// The Kafka topic; its records are events
    #[arg(long, value_name = "NAME", requires = "brokers")]
    topic: Option<String>,
    /// With Kafka: write the results to this topic, exactly once, in transactions of the name `fraud`
    #[arg(long, value_name = "NAME", requires_all = ["brokers", "state_dir"], conflicts_with = "output")]
    output_topic: Option<String>,
    /// With Kafka: stop at what is the end of the topic now
    #[arg(long, requires = "brokers")]
    until_end: bool,
    /// Without files and Kafka: how many events to make up, rounded up to whole scenes of 2000
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    events: u64,
    /// Without files and Kafka: what chance begins with; the same seed gives the same events
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Without files and Kafka: how long after its time an event may come
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    disorder: Duration,
    #[command(flatten)]
    run: RunOptions,
}

const FORMATS: &str = r#"Events, one JSON object a line, or a Kafka record; `id` is a number, times are RFC 3339, other
fields may be there:
  {"type":"transaction","id":1,"time":"2025-01-01T09:30:00.250Z","user":"ada","amount":12.5,
   "country":"DE","lat":50.8,"lon":6.1}
  {"type":"login","id":2,"time":"...","user":"ada","ok":false,"address":"203.0.113.7"}
  {"type":"cart","id":3,"time":"...","user":"ada","step":"filled"}        or "purchased"
  {"type":"call","id":4,"time":"...","client":"app","ok":true}
  {"type":"response","id":5,"time":"...","server":"a","millis":90}
  {"type":"price","id":6,"time":"...","product":"tea","price":3.5}
  {"type":"error_rate","id":7,"time":"...","service":"pay","rate":0.02}
  {"type":"server","id":8,"time":"...","server":"a","up":false}           when it goes down, or comes up

Output, one JSON object a line, times in UTC:
  {"kind":"alert","rule":"stolen_account","about":"ada","time":"2025-01-01T09:30:00Z","events":[2,9,11,14]}
      a rule has found these events; the rules are large_transactions, three_countries, far_apart, unusual_amount,
      abandoned_cart, stolen_account, failed_calls, slow_responses, rising_price, rising_errors, server_down
  {"kind":"fraud","user":"ada","time":"2025-01-01T09:30:00Z","score":0.9,
   "rules":["large_transactions","stolen_account"]}
  {"kind":"late","event":{...}}                came when later events had been dealt with: left out of the rules
  {"kind":"bad","line":"...","reason":"..."}   a line that is no event

Events of one user (client, server, product, service) at one time count in the order in which they come. The lateness is
judged for each input file (or partition) against the latest event of all that were read so far, the slowest
counting."#;

fn main() -> ExitCode {
    log_warnings();
    // Tills and phones send when they have a network.
    let command = Options::command().mut_arg("lateness", |lateness| lateness.default_value("2m"));
    let options = Options::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    exit_code("fraud", run(&options))
}

fn run(options: &Options) -> Result<(), Cause> {
    options.run.check(&options.input)?;
    let topology = Topology::new("fraud");
    let live = Live::new();

    let kafka = options.brokers.as_ref().map(|brokers| Kafka::at(brokers).exactly_once("fraud"));
    let (events, bad) = events(&topology, kafka.as_ref(), options);
    let events = events.inspect(live.count()).event_time(Event::time, options.run.lateness);

    let output = kafka.as_ref().zip(options.output_topic.as_deref());
    options.run.deliver(watch(events).untimed().merge(bad), output, &live);
    Ok(options.run.run(topology, &live)?)
}

/// The events, and what is none.
fn events(
    topology: &Topology,
    kafka: Option<&Kafka>,
    options: &Options,
) -> (Stream<Event, Untimed>, Stream<Outcome, Untimed>) {
    let bad = |bad: BadRecord| Outcome::bad(&bad.raw, bad.reason);
    if let (Some(kafka), Some(topic)) = (kafka, &options.topic) {
        let events = kafka.source(topic, EventJson);
        let events = if options.until_end { events.until_end() } else { events };
        let (events, refused) = topology.try_source("kafka", events).or_dead_letter();
        return (events, refused.map(bad));
    }
    if !options.input.is_empty() {
        let files = File::at(options.input.clone()).lines(EventJson);
        let (events, refused) = topology.try_source("events", files).or_dead_letter();
        return (events, refused.map(bad));
    }
    let count = options.events.div_ceil(SCENE_EVENTS).saturating_mul(SCENE_EVENTS);
    let events = Generator::new(options.seed, SCENE_SPLITS, made_up(options.disorder)).count(count);
    (topology.source("generator", events), topology.source("nothing", Memory::source([])))
}
