//! A bank whose accounts are what happened to them.
//!
//! Orders are a topic; each account decides about its own, and what it decides becomes entries that are kept for good.
//! The bank's summary is made of the entries; when it turns out to be wrong, it is made anew from all of them beside
//! the one that is in use, which it replaces without a stop. At the end the books are opened: what was on an account
//! at noon, and how it came there.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use highwater::operators::memory::MemorySink;
use highwater::prelude::*;
use highwater_examples::bank::{
    Account, Entry, Figures, NOON_MILLIS, Order, Refusal, Summary, accounts, day, first_edition,
    second_edition,
};
use highwater_examples::options::{exit_code, log_warnings};
use highwater_examples::topics::{JobTopics, TopicOptions};
use serde::Serialize;

/// Accounts as event-sourced aggregates
///
/// Reads the topic `bank-orders`; if it is empty, a day of orders is made up: deposits and withdrawals, too little on
/// an account, two clerks at one account. Writes `bank-entries` and `bank-answers`. A summary is put right while the
/// bank is open, and there is a look at the past. The books are kept in --dir, and thrown away at the end without it;
/// on books that are there the program only looks at them.
#[derive(Parser)]
#[command(name = "bank", after_long_help = FORMATS)]
struct Options {
    /// How many accounts there are, beside ada's
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    accounts: u32,
    /// How many orders to make up
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    orders: u32,
    /// What chance begins with; the same seed gives the same day
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many orders are taken a second
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    rate: u64,
    /// Look at this account
    #[arg(long, value_name = "NAME", default_value = "ada")]
    account: String,
    /// Tell it as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    topics: TopicOptions,
}

const FORMATS: &str = r#"Records, JSON; times in milliseconds since 1970, money in cents:
  bank-orders   {"at":1709280000000,"account":"ada","command":{"id":"ada-deposit","body":{"Deposit":{"cents":10000}},
                 "expected":null,"correlation":null}}
  bank-entries  what happened, with account, version, kind, time, and the id of the order as `causation`
  bank-answers  for each order what became of it"#;

fn main() -> ExitCode {
    log_warnings();
    exit_code("bank", run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Cause> {
    let temporary = tempfile::tempdir()?;
    let directory = options.topics.dir.as_deref().unwrap_or(temporary.path());
    let state = directory.join("state").join("bank");
    let day = if state.exists() { None } else { Some(open_for_business(options, &state)?) };
    let books = look(&state, &options.account)?;
    if options.json {
        println!("{}", serde_json::to_string(&Told { day, books })?);
    } else {
        day.iter().for_each(Day::tell);
        books.tell(&options.account);
    }
    Ok(())
}

type Answer = Reply<String, Entry, Refusal>;

/// Orders in; entries and answers out: to their topics, and to the counter.
fn bank(topics: &JobTopics) -> (Topology, MemorySink<Envelope<String, Entry>>, MemorySink<Answer>) {
    let topology = Topology::new("bank");
    let (entries, answers) = (Memory::sink(), Memory::sink());

    let (happened, replies) = topics
        .stream::<Order>(&topology, "bank-orders")
        .event_time(|order| order.at, Duration::ZERO)
        .key_by(|order| order.account.clone())
        .map_values(|order| order.command)
        .event_sourced("accounts", accounts());
    let (happened, replies) = (happened.values(), replies.values());
    happened.clone().sink("entries", entries.clone());
    replies.clone().sink("answers", answers.clone());
    let of_account = |entry: &Envelope<String, Entry>| entry.aggregate.clone();
    happened.sink("bank-entries", topics.sink("bank-entries").key(of_account));
    replies.sink("bank-answers", topics.sink("bank-answers").key(|answer: &Answer| answer.aggregate.clone()));

    (topology, entries, answers)
}

/// Runs the bank for a day, and puts its summary right in the middle of it.
fn open_for_business(options: &Options, state: &Path) -> Result<Day, Cause> {
    // The bank closes when all orders are answered, and not before.
    let topics = TopicOptions { follow: true, ..options.topics.clone() }.open()?;
    for topic in ["bank-orders", "bank-entries", "bank-answers"] {
        topics.create(topic, 4)?;
    }
    let orders = day(options.accounts, options.orders, options.seed);
    topics.fill("bank-orders", orders, |order: &Order| order.account.clone())?;
    let given = topics.records::<Order>("bank-orders")?.len();
    let branch = topics.of("bank");
    let (topology, entries, answers) = bank(&branch);
    let running = branch.job(topology).rate(options.rate).state(state).start()?;

    let mut told = Day::default();
    let mut summary = Summary::new(first_edition);
    let mut put_right: Option<Summary> = None;
    loop {
        for entry in entries.take() {
            summary.apply(&entry);
            put_right.iter_mut().for_each(|next| next.apply(&entry));
        }
        answers.take().iter().for_each(|answer| told.count(answer));
        if put_right.is_none() && told.answers() * 2 >= given {
            let next = rebuild(running.savepoint("before-the-summary-is-put-right")?.path())?;
            told.rebuilt_from = next.entries();
            put_right = Some(next);
        }
        if told.answers() == given {
            break;
        }
        if running.is_finished() {
            running.wait()?;
            return Err("the bank closed before all orders were answered".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    running.stop();
    running.wait()?;

    told.first_edition = summary.figures().clone();
    // The switch: from here on whoever asks for the summary is given the other one.
    let summary = put_right.ok_or("the summary was never put right")?;
    told.second_edition = summary.figures().clone();
    Ok(told)
}

/// The summary as it should have been, of all that has happened so far. What happens meanwhile comes from the job.
fn rebuild(savepoint: &Path) -> Result<Summary, Cause> {
    let reader = StateReader::open(savepoint)?;
    let store = EventStore::<String, Account>::open(&reader, "accounts", accounts())?;
    Ok(store.replay(Summary::new(second_edition), |summary, entry| summary.apply(&entry))?)
}

/// Opens the books when the bank is closed.
fn look(state: &Path, account: &str) -> Result<Books, Cause> {
    let reader = StateReader::open(state)?;
    let store = EventStore::<String, Account>::open(&reader, "accounts", accounts())?;
    let account = account.to_owned();
    let (now, noon) = (store.state(&account)?, store.as_of(&account, Timestamp::from_millis(NOON_MILLIS))?);
    let summary = store.replay(Summary::new(second_edition), |summary, entry| summary.apply(&entry))?;
    Ok(Books {
        cents: now.state.cents,
        entries: now.version,
        cents_at_noon: noon.state.cents,
        since_noon: store.load(&account, noon.version + 1)?,
        snapshots: store.snapshots(&account)?,
        summary: summary.figures().clone(),
    })
}

/// What is told of a day.
#[derive(Default, Serialize)]
struct Day {
    accepted: usize,
    refused: usize,
    conflicts: usize,
    first_edition: Figures,
    rebuilt_from: u64,
    second_edition: Figures,
}

impl Day {
    fn count(&mut self, answer: &Answer) {
        match &answer.outcome {
            Ok(_) => self.accepted += 1,
            Err(Denial::Conflict(_)) => self.conflicts += 1,
            Err(_) => self.refused += 1,
        }
    }

    fn answers(&self) -> usize {
        self.accepted + self.refused + self.conflicts
    }

    fn tell(&self) {
        let Day { accepted, refused, conflicts, rebuilt_from, .. } = self;
        println!(
            "orders:   {accepted} done, {refused} refused, {conflicts} came too late: the account had changed"
        );
        println!("summary:  {}", figures(&self.first_edition));
        println!(
            "put right from {rebuilt_from} kept entries while the bank was open, and from the rest as it came:"
        );
        println!("          {}", figures(&self.second_edition));
    }
}

/// What the books say of an account, and of all.
#[derive(Serialize)]
struct Books {
    cents: u64,
    entries: u64,
    cents_at_noon: u64,
    since_noon: Vec<Envelope<String, Entry>>,
    snapshots: Vec<u64>,
    summary: Figures,
}

impl Books {
    fn tell(&self, account: &str) {
        println!("all kept entries: {}", figures(&self.summary));
        println!(
            "{account} has {} after {} entries ({} snapshots); at noon it was {}",
            money(self.cents),
            self.entries,
            self.snapshots.len(),
            money(self.cents_at_noon)
        );
        for entry in self.since_noon.iter().take(10) {
            let Envelope { version, at, causation, event, .. } = entry;
            println!("  {version:>5}  {at}  {event:?}, by {causation}");
        }
        if self.since_noon.len() > 10 {
            println!("         and {} more", self.since_noon.len() - 10);
        }
    }
}

#[derive(Serialize)]
struct Told {
    day: Option<Day>,
    books: Books,
}

fn figures(figures: &Figures) -> String {
    let Figures { accounts, deposited, paid_out, fees } = figures;
    let (deposited, paid_out, fees) = (money(*deposited), money(*paid_out), money(*fees));
    format!("{accounts} accounts, {deposited} put in, {paid_out} taken out, {fees} fees")
}

fn money(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}
