//! What a site knows of its visitors: what is read, by how many, what is unusual, and who likes what.
//!
//! Reports of players come in as raw events; short ones are left out, the others are enriched with what their page was
//! about at that time. From there one stream goes to five ends. Orders are another, small topology.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Parser;
use highwater::prelude::*;
use highwater_examples::analytics::{
    ActiveUsers, Anomaly, Baseline, Event, Favourites, HIGH_VALUE_CENTS, Minute, Order, Page, Preferences,
    Seen, Summaries, Summary, TopPages, orders, pages, visitors,
};
use highwater_examples::options::{exit_code, log_warnings};
use highwater_examples::topics::{JobTopics, TopicOptions};

/// What a site knows of its visitors
///
/// Reads the topics `page-events`, `pages` and `site-orders`; if they are empty, a site is made up. Writes minutes of
/// categories to `minutes`, those with more than three times the usual views to `anomalies`, how many users there were
/// to `active-users`, what was read most to `top-pages`, what each user likes to `preferences` and does to `summaries`,
/// and orders above 1000.00 to `high-value-orders`.
#[derive(Parser)]
#[command(name = "analytics", after_long_help = FORMATS)]
struct Options {
    /// How many minutes to make up
    #[arg(long, value_name = "N", default_value_t = 90)]
    minutes: u32,
    /// How many visitors to make up
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    users: u32,
    /// How many orders to make up
    #[arg(long, value_name = "N", default_value_t = 500)]
    orders: u32,
    /// What chance begins with; the same seed gives the same site
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    topics: TopicOptions,
}

const FORMATS: &str = r#"Records, JSON; times in milliseconds since 1970:
  page-events        {"user":"user-7","page":"/news/2","seconds":34,"at":1735732805000}
  pages              {"page":"/news/2","category":"news","since":0}
  site-orders        {"order":"order-00007","user":"user-7","cents":120000,"at":1735732805000}
  minutes            {"category":"news","minute":1735732800000,"views":12,"seconds":640}
  anomalies          {"category":"food","minute":1735736400000,"views":70,"usual":12.4}
  active-users       {"minute":1735732800000,"users":28}
  top-pages          {"minute":1735732800000,"pages":[["/news/2",7],["/food/1",6]]}
  preferences        {"user":"user-7","categories":[["food",12],["news",9]]}
  summaries          {"user":"user-7","events":100,"from":1735732805000,"to":1735735805000,"seconds":6100,"pages":24}
  high-value-orders  as site-orders"#;

const TOPICS: [&str; 10] = [
    "page-events",
    "pages",
    "site-orders",
    "minutes",
    "anomalies",
    "active-users",
    "top-pages",
    "preferences",
    "summaries",
    "high-value-orders",
];

/// Who has looked at a page for no longer has not read it.
const READ_SECONDS: u64 = 10;
/// How late a report may come.
const LATENESS: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);
/// How many pages `top-pages` names.
const TOP: usize = 5;

fn main() -> ExitCode {
    log_warnings();
    exit_code("analytics", run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Cause> {
    let topics = options.topics.open()?;
    for topic in TOPICS {
        topics.create(topic, 4)?;
    }
    let Options { minutes, users, seed, .. } = *options;
    topics.fill("pages", pages(), |page: &Page| page.page.clone())?;
    topics.fill("page-events", visitors(minutes, users, seed), |event: &Event| event.user.clone())?;
    topics.fill("site-orders", orders(options.orders, users, seed), |order: &Order| order.user.clone())?;

    topics.run([site(&topics.of("site")), high_value(&topics.of("high-value"))])?;

    let anomalies: Vec<Anomaly> = topics.records("anomalies")?;
    let mut lines: Vec<String> = anomalies.iter().map(line_of).collect();
    lines.sort();
    println!("minutes of categories: {}", topics.records::<Minute>("minutes")?.len());
    lines.iter().for_each(|line| println!("unusual: {line}"));
    let most = topics.records::<ActiveUsers>("active-users")?.into_iter().map(|active| active.users).max();
    println!("users at a time: at most {}", most.unwrap_or(0));
    print_top(topics.records("top-pages")?);
    let liked: BTreeMap<String, Preferences> = topics
        .records("preferences")?
        .into_iter()
        .map(|liked: Preferences| (liked.user.clone(), liked))
        .collect();
    let summaries = topics.records::<Summary>("summaries")?.len();
    println!("users with preferences: {}; summaries: {summaries}", liked.len());
    println!("orders above 1000.00: {}", topics.records::<Order>("high-value-orders")?.len());
    Ok(())
}

/// Events, and what is made of them.
fn site(topics: &JobTopics) -> Job {
    let topology = Topology::new("site");
    let events = topics.stream::<Event>(&topology, "page-events").event_time(|event| event.at, LATENESS);
    let pages = topics.stream::<Page>(&topology, "pages").event_time(|page| page.since, Duration::ZERO);

    active_users(events.clone(), topics);

    // The table of pages, as it was when an event happened: what a page is about may change.
    let read = events.filter(|event| event.seconds > READ_SECONDS).key_by(|event| event.page.clone());
    let seen =
        read.join_as_of(pages.key_by(|page| page.page.clone())).left("page").values().map(|(event, page)| {
            Seen { event, category: page.map_or("unknown".to_owned(), |page| page.category) }
        });

    minutes_and_anomalies(seen.clone(), topics);
    top_pages(seen.clone(), topics);
    habits(seen, topics);
    topics.job(topology)
}

/// How many users there are in each minute, also those who read nothing.
fn active_users(events: Stream<Event>, topics: &JobTopics) {
    let everybody = events.key_by(|_| ()).window(tumbling(MINUTE));
    everybody
        .aggregate("active-users", |a| a.distinct(|event: &Event| event.user.clone()))
        .map(|active| ActiveUsers { minute: active.window.start, users: active.value })
        .sink(
            "active-users-out",
            topics.sink("active-users").key(|active: &ActiveUsers| active.minute.as_millis()),
        );
}

/// Each minute of each category, and those that are not as usual.
fn minutes_and_anomalies(seen: Stream<Seen>, topics: &JobTopics) {
    let minutes = seen
        .key_by(|seen| seen.category.clone())
        .window(tumbling(MINUTE))
        .aggregate("minutes", |a| (a.count(), a.sum(|seen: &Seen| seen.event.seconds)))
        .map(|minute| {
            let (views, seconds) = minute.value;
            Minute { category: minute.key, minute: minute.window.start, views, seconds }
        });
    let anomalies =
        minutes.clone().key_by(|minute| minute.category.clone()).process("baseline", Baseline::new);
    minutes.sink("minutes-out", topics.sink("minutes").key(|minute: &Minute| minute.category.clone()));
    anomalies
        .values()
        .sink("anomalies-out", topics.sink("anomalies").key(|anomaly: &Anomaly| anomaly.category.clone()));
}

/// What was read most in each minute.
fn top_pages(seen: Stream<Seen>, topics: &JobTopics) {
    let views = seen.key_by(|seen| seen.event.page.clone()).window(tumbling(MINUTE)).count("views-of-page");
    // The counts of a minute have the time of its last moment: another window of a minute brings them together.
    let top = views.key_by(|_| ()).window(tumbling(MINUTE)).apply("top-pages", |(), window, mut views| {
        views.sort_by(|page, than| than.value.cmp(&page.value).then_with(|| page.key.cmp(&than.key)));
        let pages = views.into_iter().take(TOP).map(|page| (page.key, page.value)).collect();
        [TopPages { minute: window.start, pages }]
    });
    top.sink("top-pages-out", topics.sink("top-pages").key(|top: &TopPages| top.minute.as_millis()));
}

/// What each user likes, and does.
fn habits(seen: Stream<Seen>, topics: &JobTopics) {
    // What has come through a join is not late for what stands behind it.
    let (in_order, _) = seen.key_by(|seen| seen.event.user.clone()).sorted("in-order");
    let preferences = in_order.clone().process("favourites", Favourites::new).values();
    let summaries = in_order.process("summaries", Summaries::new).values();
    preferences
        .sink("preferences-out", topics.sink("preferences").key(|liked: &Preferences| liked.user.clone()));
    summaries.sink("summaries-out", topics.sink("summaries").key(|summary: &Summary| summary.user.clone()));
}

/// Orders above a value, into a topic of their own.
fn high_value(topics: &JobTopics) -> Job {
    let topology = Topology::new("high-value");
    topics
        .stream::<Order>(&topology, "site-orders")
        .filter(|order| order.cents > HIGH_VALUE_CENTS)
        .sink("high-value-out", topics.sink("high-value-orders").key(|order: &Order| order.user.clone()));
    topics.job(topology)
}

fn line_of(anomaly: &Anomaly) -> String {
    let Anomaly { category, minute, views, usual } = anomaly;
    format!("{} {category}: {views} views, usual are {usual:.1}", minute.to_rfc3339_seconds())
}

/// The pages that are among the first in most minutes.
fn print_top(tops: Vec<TopPages>) {
    let mut minutes: BTreeMap<String, u64> = BTreeMap::new();
    for (page, _) in tops.into_iter().flat_map(|top| top.pages) {
        *minutes.entry(page).or_default() += 1;
    }
    let mut minutes: Vec<_> = minutes.into_iter().collect();
    minutes.sort_by(|(_, count), (_, than)| than.cmp(count));
    for (page, count) in minutes.into_iter().take(3) {
        println!("read most: {page}, among the first {TOP} in {count} minutes");
    }
}
