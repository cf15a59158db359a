//! What stands at the top of a feed: posts by likes, comments and shares, of which each counts half after every
//! half-life.
//!
//! A post's score at a moment is the sum of what each engagement is worth by then: 1 for a like, 5 for a comment, 10
//! for a share, times 2 to the power of minus its age in half-lives. A score is kept with the moment that it was
//! computed for, and from there it is the same at any later moment by one multiplication: nothing is added up again,
//! and nothing is approximated by decaying now and then. [`Score`] is that; the rest is when a ranking is told.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Parser;
use highwater::prelude::*;
use highwater_examples::options::{exit_code, log_warnings};
use highwater_examples::topics::TopicOptions;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

/// The best posts of each feed, while old engagement fades
///
/// Reads the topic `engagements`; if it is empty, they are made up. Writes to `rankings`, at the end of every period in
/// which anything happened in a feed, its best posts with their scores at that moment; of equal scores the post whose
/// name comes first. A post whose score fell under 0.01 is forgotten. An engagement that comes more than a minute late
/// goes to `late-engagements`.
#[derive(Parser)]
#[command(name = "feed", after_long_help = FORMATS)]
struct Options {
    /// How long it takes until an engagement counts half
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    half_life: Duration,
    /// How often rankings are told
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    period: Duration,
    /// How many posts a ranking has
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,
    /// How many engagements to make up
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    events: u64,
    /// What chance begins with; the same seed gives the same engagements
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    topics: TopicOptions,
}

const FORMATS: &str = r#"Records, JSON; times in milliseconds since 1970:
  engagements       {"feed":"cooking","post":"soup","kind":"like","at":1735725600000}    or "comment", "share"
  late-engagements  the same
  rankings          {"feed":"cooking","at":1735726200000,"posts":[["soup",17.3],["bread",4.0]]}"#;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Engagement {
    feed: String,
    post: String,
    kind: Kind,
    at: Timestamp,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Like,
    Comment,
    Share,
}

impl Kind {
    fn worth(self) -> f64 {
        match self {
            Kind::Like => 1.0,
            Kind::Comment => 5.0,
            Kind::Share => 10.0,
        }
    }
}

/// A score at a moment.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Score {
    value: f64,
    at: Timestamp,
}

impl Score {
    /// What it is worth at another moment, before or after.
    fn at(self, moment: Timestamp, half_life: Duration) -> f64 {
        let millis = (moment.as_millis() - self.at.as_millis()) as f64;
        self.value * (-millis / half_life.as_millis() as f64).exp2()
    }
}

/// The best posts of a feed at a moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ranking {
    feed: String,
    at: Timestamp,
    posts: Vec<(String, f64)>,
}

/// A post with less is forgotten.
const FORGOTTEN: f64 = 0.01;

/// Keeps the scores of a feed's posts, and ranks them at the end of each period.
struct Ranks {
    scores: Map<String, Score>,
    /// When the next ranking is told.
    due: Value<Timestamp>,
    half_life: Duration,
    period_millis: i64,
    top: usize,
}

type Told<'a> = Context<'a, String, Ranking>;

impl Ranks {
    fn rank(&self, at: Timestamp, context: &mut Told<'_>) -> Result<(), Cause> {
        let half_life = self.half_life;
        let scores = self.scores.get_mut(context)?;
        scores.retain(|_, score| score.at(at, half_life) >= FORGOTTEN);
        let mut posts: Vec<(String, f64)> =
            scores.iter().map(|(post, score)| (post.clone(), score.at(at, half_life))).collect();
        posts.sort_by(|(post, score), (other, than)| best_first(*score, *than).then_with(|| post.cmp(other)));
        posts.truncate(self.top);
        let feed = context.key().clone();
        context.emit(Ranking { feed, at, posts });
        Ok(self.due.clear(context)?)
    }
}

impl KeyedOperator<String, Engagement> for Ranks {
    type Out = Ranking;

    /// Records come in the order of their times, so that the same engagements are added up in the same order always.
    /// One may come before the timer of a period that has ended before it: that period is ranked without it.
    fn on_record(&mut self, engagement: Engagement, context: &mut Told<'_>) -> Result<(), Cause> {
        let (at, half_life) = (engagement.at, self.half_life);
        let due = self.due.get(context)?.copied();
        if let Some(due) = due.filter(|due| *due <= at) {
            context.delete_timer(due)?;
            self.rank(due, context)?;
        }
        let scores = self.scores.get_mut(context)?;
        let score = scores.entry(engagement.post).or_insert(Score { value: 0.0, at });
        *score = Score { value: score.at(at, half_life) + engagement.kind.worth(), at };
        let end = (at.as_millis().div_euclid(self.period_millis) + 1) * self.period_millis;
        self.due.set(context, Timestamp::from_millis(end))?;
        Ok(context.set_timer(Timestamp::from_millis(end))?)
    }

    fn on_timer(&mut self, at: Timestamp, context: &mut Told<'_>) -> Result<(), Cause> {
        self.rank(at, context)
    }
}

fn best_first(score: f64, than: f64) -> Ordering {
    than.total_cmp(&score)
}

fn main() -> ExitCode {
    log_warnings();
    exit_code("feed", run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Cause> {
    let (half_life, top) = (options.half_life, options.top);
    let period_millis = i64::try_from(options.period.as_millis())?;
    if period_millis == 0 || half_life.as_millis() == 0 {
        return Err("--half-life and --period are at least 1ms".into());
    }
    let topics = options.topics.open()?;
    for topic in ["engagements", "late-engagements", "rankings"] {
        topics.create(topic, 4)?;
    }
    topics.fill("engagements", made_up(options.events, options.seed), |event| event.feed.clone())?;

    let topology = Topology::new("feed");
    let ranking = topics.of("feed");
    let (in_order, late) = ranking
        .stream::<Engagement>(&topology, "engagements")
        .event_time(|engagement| engagement.at, Duration::from_secs(60))
        .key_by(|engagement| engagement.feed.clone())
        .sorted("by-time");
    let ranks = move |states: &mut States<'_, String>| Ranks {
        scores: states.map("scores"),
        due: states.value("due"),
        half_life,
        period_millis,
        top,
    };
    let rankings = in_order.process("ranks", ranks).values();
    rankings.sink("rankings-out", ranking.sink("rankings").key(|ranking: &Ranking| ranking.feed.clone()));
    late.sink("late-out", ranking.sink("late-engagements").key(|late: &Engagement| late.feed.clone()));
    topics.run([ranking.job(topology)])?;

    let last: BTreeMap<String, Ranking> = topics
        .records("rankings")?
        .into_iter()
        .map(|ranking: Ranking| (ranking.feed.clone(), ranking))
        .collect();
    for Ranking { feed, at, posts } in last.into_values() {
        println!("{feed} at {}", at.to_rfc3339_seconds());
        posts.into_iter().for_each(|(post, score)| println!("{score:>10.3} {post}"));
    }
    Ok(())
}

/// Three feeds over a day; each post has its hour, and some engagements come up to a minute late.
fn made_up(events: u64, seed: u64) -> Vec<Engagement> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut comes: Vec<(i64, Engagement)> = Vec::new();
    for number in 0..events {
        let day = 86_400_000 * number as i64 / events.max(1) as i64;
        let at = 1_735_689_600_000 + day;
        let feed = ["cooking", "gardens", "trains"][random.random_range(0..3)].to_owned();
        let post = format!("{feed}-{:02}", (day / 3_600_000 + random.random_range(0..6)) % 24);
        let kind = match random.random_range(0..20) {
            0 => Kind::Share,
            1..4 => Kind::Comment,
            _ => Kind::Like,
        };
        let behind = if random.random_bool(0.3) { random.random_range(0..60_000) } else { 0 };
        comes.push((at + behind, Engagement { feed, post, kind, at: Timestamp::from_millis(at) }));
    }
    comes.sort_by_key(|(comes, _)| *comes);
    comes.into_iter().map(|(_, engagement)| engagement).collect()
}
