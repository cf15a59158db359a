//! A trip's life: requested, accepted, started, finished; or cancelled before it starts. Nothing else.
//!
//! What drivers and riders report is the topic `trip-events`. Each trip is a state machine: a step that its state
//! allows is taken, and the trip as it is then goes to `trips`; one that it does not allow goes to `trip-refusals`,
//! with the reason. [`Trip::after`] is the machine; the rest is how it gets its events in order.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Parser;
use highwater::prelude::*;
use highwater_examples::options::{exit_code, log_warnings};
use highwater_examples::topics::TopicOptions;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

/// The trips of a taxi company, and the reports about them that cannot be true
///
/// Reads the topic `trip-events`; if it is empty, trips are made up. Writes every trip after each of its steps to
/// `trips`, and what its state does not allow to `trip-refusals`. Events of a trip count in the order of their times,
/// also where they come out of order; one that comes more than 5 minutes late is refused.
#[derive(Parser)]
#[command(name = "trips", after_long_help = FORMATS)]
struct Options {
    /// How many trips to make up
    #[arg(long, value_name = "N", default_value_t = 1000)]
    trips: u64,
    /// What chance begins with; the same seed gives the same trips
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    topics: TopicOptions,
}

const FORMATS: &str = r#"Records, JSON; times in milliseconds since 1970:
  trip-events    {"trip":7,"at":1735725600000,"step":{"requested":{"rider":"ada"}}}
                 {"trip":7,"at":1735725630000,"step":{"accepted":{"driver":"bob"}}}
                 {"trip":7,"at":1735725900000,"step":"started"}
                 {"trip":7,"at":1735727000000,"step":{"finished":{"cents":1850}}}
                 {"trip":7,"at":1735725700000,"step":{"cancelled":{"by":"rider"}}}
  trips          {"trip":7,"rider":"ada","since":1735725900000,
                  "state":{"started":{"driver":"bob","waited_seconds":300}}}
  trip-refusals  {"event":{...},"reason":"a trip that is requested cannot be finished"}"#;

/// What somebody reports about a trip.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Event {
    trip: u64,
    at: Timestamp,
    step: Step,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    Requested { rider: String },
    Accepted { driver: String },
    Started,
    Finished { cents: u64 },
    Cancelled { by: String },
}

/// A trip as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Trip {
    trip: u64,
    rider: String,
    /// When it took its last step.
    since: Timestamp,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Requested,
    Accepted { driver: String, requested: Timestamp },
    Started { driver: String, waited_seconds: i64 },
    Finished { driver: String, waited_seconds: i64, rode_seconds: i64, cents: u64 },
    Cancelled { by: String },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Refusal {
    event: Event,
    reason: String,
}

impl Trip {
    /// The trip after a step, or why it cannot be taken.
    fn after(trip: Option<&Trip>, event: &Event) -> Result<Trip, String> {
        let Event { trip: number, at, step } = event;
        let Some(trip) = trip else {
            return match step {
                Step::Requested { rider } => {
                    Ok(Trip { trip: *number, rider: rider.clone(), since: *at, state: State::Requested })
                }
                step => Err(format!("a trip that nobody requested cannot be {}", step.name())),
            };
        };
        let seconds = |since: Timestamp| (at.as_millis() - since.as_millis()) / 1000;
        let state = match (&trip.state, step) {
            (State::Requested, Step::Accepted { driver }) => {
                State::Accepted { driver: driver.clone(), requested: trip.since }
            }
            (State::Accepted { driver, requested }, Step::Started) => {
                State::Started { driver: driver.clone(), waited_seconds: seconds(*requested) }
            }
            (State::Started { driver, waited_seconds }, Step::Finished { cents }) => State::Finished {
                driver: driver.clone(),
                waited_seconds: *waited_seconds,
                rode_seconds: seconds(trip.since),
                cents: *cents,
            },
            (State::Requested | State::Accepted { .. }, Step::Cancelled { by }) => {
                State::Cancelled { by: by.clone() }
            }
            (state, step) => {
                return Err(format!("a trip that is {} cannot be {}", state.name(), step.name()));
            }
        };
        Ok(Trip { state, since: *at, ..trip.clone() })
    }
}

impl Step {
    fn name(&self) -> &'static str {
        match self {
            Step::Requested { .. } => "requested",
            Step::Accepted { .. } => "accepted",
            Step::Started => "started",
            Step::Finished { .. } => "finished",
            Step::Cancelled { .. } => "cancelled",
        }
    }
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            State::Requested => "requested",
            State::Accepted { .. } => "accepted",
            State::Started { .. } => "started",
            State::Finished { .. } => "finished",
            State::Cancelled { .. } => "cancelled",
        }
    }
}

/// Keeps each trip.
struct Trips {
    trip: Value<Trip>,
}

impl KeyedOperator<u64, Event> for Trips {
    type Out = Result<Trip, Refusal>;

    fn on_record(&mut self, event: Event, context: &mut Context<'_, u64, Self::Out>) -> Result<(), Cause> {
        let trip = self.trip.get_mut(context)?;
        let outcome = Trip::after(trip.as_ref(), &event);
        if let Ok(next) = &outcome {
            *trip = Some(next.clone());
        }
        context.emit(outcome.map_err(|reason| Refusal { event, reason }));
        Ok(())
    }
}

fn main() -> ExitCode {
    log_warnings();
    exit_code("trips", run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Cause> {
    let topics = options.topics.open()?;
    for topic in ["trip-events", "trips", "trip-refusals"] {
        topics.create(topic, 4)?;
    }
    topics.fill("trip-events", made_up(options.trips, options.seed), |event| event.trip.to_string())?;

    let topology = Topology::new("trips");
    let company = topics.of("trips");
    let events = company.stream::<Event>(&topology, "trip-events");
    let by_trip = events.event_time(|event| event.at, Duration::from_secs(300)).key_by(|event| event.trip);
    let (in_order, late) = by_trip.sorted("by-time");

    let outcomes = in_order.process("trip", |states| Trips { trip: states.value("trip") }).values();
    let trips = outcomes.clone().flat_map(Result::ok);
    let refusals = outcomes
        .flat_map(Result::err)
        .merge(late.map(|event| Refusal { event, reason: "it came more than 5 minutes late".to_owned() }));
    trips.sink("trips-out", company.sink("trips").key(|trip: &Trip| trip.trip));
    refusals.sink("refusals-out", company.sink("trip-refusals").key(|refusal: &Refusal| refusal.event.trip));
    topics.run([company.job(topology)])?;

    let last: BTreeMap<u64, Trip> =
        topics.records("trips")?.into_iter().map(|trip: Trip| (trip.trip, trip)).collect();
    print_counts("trips", last.values().map(|trip| format!("are {}", trip.state.name())));
    print_counts(
        "refused",
        topics.records("trip-refusals")?.into_iter().map(|refusal: Refusal| refusal.reason),
    );
    Ok(())
}

fn print_counts(title: &str, names: impl Iterator<Item = String>) {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    println!("{title}: {}", counts.values().sum::<u64>());
    counts.into_iter().for_each(|(name, count)| println!("{count:>7} {name}"));
}

/// Trips that go well, trips that are cancelled, reports that come twice, out of order, or cannot be true.
fn made_up(trips: u64, seed: u64) -> Vec<Event> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut reports: Vec<(i64, Event)> = Vec::new();
    for trip in 0..trips {
        let mut at = 1_735_725_600_000 + trip as i64 * 7_000;
        let mut steps = vec![
            Step::Requested { rider: format!("rider-{}", random.random_range(0..100)) },
            Step::Accepted { driver: format!("driver-{}", random.random_range(0..20)) },
            Step::Started,
            Step::Finished { cents: random.random_range(500..5000) },
        ];
        if random.random_bool(0.2) {
            let by = if random.random_bool(0.5) { "rider" } else { "driver" };
            steps.insert(random.random_range(1..5), Step::Cancelled { by: by.to_owned() });
        }
        if random.random_bool(0.1) {
            steps.remove(random.random_range(0..steps.len()));
        }
        for step in steps {
            let event = Event { trip, at: Timestamp::from_millis(at), step };
            let behind = if random.random_bool(0.2) { random.random_range(0..200_000) } else { 0 };
            if random.random_bool(0.02) {
                reports.push((at + 50_000, event.clone()));
            }
            reports.push((at + behind, event));
            at += random.random_range(30_000..600_000);
        }
    }
    // In the order in which they come.
    reports.sort_by_key(|(comes, event)| (*comes, event.trip));
    reports.into_iter().map(|(_, event)| event).collect()
}
