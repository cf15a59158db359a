//! One event, several consumers: what a media player reports goes to progress, history, recommendations and billing.
//!
//! The player's reports are one topic, `plays`. Each consumer is a job of its own with a topic of its own, its state
//! and its place in `plays`: one that is slow, stopped or rewritten holds up none of the others.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Parser;
use highwater::prelude::*;
use highwater_examples::options::{exit_code, log_warnings};
use highwater_examples::topics::{JobTopics, TopicOptions};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

/// What four consumers make of what media players report
///
/// Reads the topic `plays`; if it is empty, viewers are made up. Writes where each viewer is in each title to
/// `progress`, what a viewer has seen to the end to `history`, which titles are seen by the same viewers to
/// `recommendations`, and the seconds that a viewer has to pay for each day to `billing`.
#[derive(Parser)]
#[command(name = "playback", after_long_help = FORMATS)]
struct Options {
    /// How many viewers to make up
    #[arg(long, value_name = "N", default_value_t = 200)]
    viewers: u64,
    /// What chance begins with; the same seed gives the same viewers
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    topics: TopicOptions,
}

const FORMATS: &str = r#"Records, JSON; times in milliseconds since 1970:
  plays            {"viewer":"ada","title":"Metropolis","from":600,"to":660,"length":9180,"at":1735725600000}
  progress         {"viewer":"ada","title":"Metropolis","at_second":660,"of":9180}
  history          {"viewer":"ada","title":"Metropolis","at":1735735000000}
  recommendations  {"title":"Metropolis","also":"M","viewers":17}
  billing          {"viewer":"ada","day":"2025-01-01","seconds":9180}"#;

/// A player has shown a part of a title; reported when the part was over.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Play {
    viewer: String,
    title: String,
    /// The part, in seconds from the title's beginning.
    from: u64,
    to: u64,
    /// How long the title is, in seconds.
    length: u64,
    at: Timestamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Progress {
    viewer: String,
    title: String,
    at_second: u64,
    of: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Seen {
    viewer: String,
    title: String,
    at: Timestamp,
}

/// Two titles that were seen by the same viewers.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Recommendation {
    title: String,
    also: String,
    viewers: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Bill {
    viewer: String,
    day: String,
    seconds: u64,
}

/// How late a report may come: players keep theirs while they have no network.
const LATENESS: Duration = Duration::from_secs(6 * 3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn main() -> ExitCode {
    log_warnings();
    exit_code("playback", run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Cause> {
    let topics = options.topics.open()?;
    for topic in ["plays", "progress", "history", "recommendations", "billing"] {
        topics.create(topic, 4)?;
    }
    topics.fill("plays", made_up(options.viewers, options.seed), |play| play.viewer.clone())?;

    topics.run([
        progress(&topics.of("progress")),
        history(&topics.of("history")),
        recommendations(&topics.of("recommendations")),
        billing(&topics.of("billing")),
    ])?;

    let latest: BTreeMap<(String, String), Progress> = topics
        .records("progress")?
        .into_iter()
        .map(|progress: Progress| ((progress.viewer.clone(), progress.title.clone()), progress))
        .collect();
    let begun = latest.values().filter(|progress| progress.at_second < progress.of).count();
    let seen = topics.records::<Seen>("history")?.len();
    let bills: Vec<Bill> = topics.records("billing")?;
    let seconds: u64 = bills.iter().map(|bill| bill.seconds).sum();
    println!("progress: {} titles begun, {begun} of them not seen to the end", latest.len());
    println!("history: {seen} titles seen to the end");
    println!("billing: {} bills for {seconds} seconds", bills.len());
    print_recommendations(topics.records("recommendations")?);
    Ok(())
}

/// Where each viewer is in each title: what the player shows when it is opened again.
fn progress(topics: &JobTopics) -> Job {
    let topology = Topology::new("progress");
    topics
        .stream::<Play>(&topology, "plays")
        .map(|play| Progress { viewer: play.viewer, title: play.title, at_second: play.to, of: play.length })
        .sink("progress", topics.sink("progress").key(|progress: &Progress| progress.viewer.clone()));
    topics.job(topology)
}

/// What each viewer has seen to the end, each title once.
fn history(topics: &JobTopics) -> Job {
    let topology = Topology::new("history");
    seen(topics, &topology).sink("history", topics.sink("history").key(|seen: &Seen| seen.viewer.clone()));
    topics.job(topology)
}

/// How many viewers have seen two titles: whoever has seen the one may like the other.
fn recommendations(topics: &JobTopics) -> Job {
    let topology = Topology::new("recommendations");
    seen(topics, &topology)
        .key_by(|seen| seen.viewer.clone())
        .process("pairs", |states| Pairs { before: states.list("before") })
        .values()
        .key_by(Clone::clone)
        .count("viewers")
        .to_stream()
        .map(|((title, also), viewers)| Recommendation { title, also, viewers })
        .sink(
            "recommendations",
            topics.sink("recommendations").key(|pair: &Recommendation| pair.title.clone()),
        );
    topics.job(topology)
}

/// What each viewer has watched each day, also what was watched twice.
fn billing(topics: &JobTopics) -> Job {
    let topology = Topology::new("billing");
    topics
        .stream::<Play>(&topology, "plays")
        .event_time(|play| play.at, LATENESS)
        .key_by(|play| play.viewer.clone())
        .window(tumbling(DAY))
        .aggregate("seconds", |a| a.sum(|play: &Play| play.to - play.from))
        .map(|watched| Bill {
            viewer: watched.key,
            day: watched.window.start.to_rfc3339_seconds()[..10].to_owned(),
            seconds: watched.value,
        })
        .sink("billing", topics.sink("billing").key(|bill: &Bill| bill.viewer.clone()));
    topics.job(topology)
}

/// Titles that were seen to the end, each once for each viewer within a year.
fn seen(topics: &JobTopics, topology: &Topology) -> Stream<Seen> {
    topics
        .stream::<Play>(topology, "plays")
        .event_time(|play| play.at, LATENESS)
        .filter(|play| play.to == play.length)
        .map(|play| Seen { viewer: play.viewer, title: play.title, at: play.at })
        .key_by(|seen| (seen.viewer.clone(), seen.title.clone()))
        .dedup("seen", 365 * DAY)
        .values()
}

/// Pairs what a viewer has seen with all that the viewer had seen before.
struct Pairs {
    before: List<String>,
}

impl KeyedOperator<String, Seen> for Pairs {
    type Out = (String, String);

    fn on_record(
        &mut self,
        seen: Seen,
        context: &mut Context<'_, String, (String, String)>,
    ) -> Result<(), Cause> {
        let before = self.before.get_mut(context)?;
        let earlier = before.clone();
        before.push(seen.title.clone());
        for title in earlier {
            context.emit((title.clone(), seen.title.clone()));
            context.emit((seen.title.clone(), title));
        }
        Ok(())
    }
}

fn print_recommendations(pairs: Vec<Recommendation>) {
    let mut best: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let mut last: BTreeMap<(String, String), u64> = BTreeMap::new();
    for pair in pairs {
        last.insert((pair.title, pair.also), pair.viewers);
    }
    for ((title, also), viewers) in last {
        let best = best.entry(title).or_insert((0, String::new()));
        if viewers > best.0 {
            *best = (viewers, also);
        }
    }
    for (title, (viewers, also)) in best {
        println!("whoever likes {title} may like {also} ({viewers} viewers)");
    }
}

/// Titles and their lengths in seconds.
const TITLES: [(&str, u64); 6] = [
    ("Metropolis", 9180),
    ("M", 6600),
    ("Nosferatu", 5640),
    ("Sunrise", 5700),
    ("The General", 4020),
    ("Faust", 6420),
];

/// What the players of some viewers report: each sees some titles over some days, often to the end, in parts of ten
/// minutes, and sometimes goes back.
fn made_up(viewers: u64, seed: u64) -> Vec<Play> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut plays = Vec::new();
    for viewer in 0..viewers {
        let mut at = 1_735_689_600_000 + random.random_range(0..86_400_000);
        for (title, length) in TITLES {
            if random.random_bool(0.4) {
                continue;
            }
            let end = if random.random_bool(0.7) { length } else { random.random_range(1..length) };
            let mut from = 0;
            while from < end {
                let to = end.min(from + 600);
                at += 1000 * (to - from) as i64;
                let (viewer, title) = (format!("viewer-{viewer}"), title.to_owned());
                plays.push(Play { viewer, title, from, to, length, at: Timestamp::from_millis(at) });
                from = if random.random_bool(0.05) { to.saturating_sub(300) } else { to };
                if from < to && to == end {
                    break;
                }
            }
            at += random.random_range(0..40_000_000);
        }
    }
    plays.sort_by_key(|play| play.at);
    plays
}
