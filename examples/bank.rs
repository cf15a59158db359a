//! A bank whose accounts are what happened to them.
//!
//! Orders come in, each account decides about its own, and what it decides becomes entries that are kept for good. The
//! bank's summary is made of the entries; when it turns out to be wrong, it is made anew from all of them beside the
//! one that is in use, which it replaces without a stop. At the end the books are opened: what was on an account at
//! noon, and how it came there.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use highwater::operators::memory::MemorySink;
use highwater::prelude::*;
use highwater_examples::bank::{
    Account, Entry, Figures, NOON_MILLIS, Order, Refusal, Summary, accounts, day, first_edition,
    second_edition,
};
use highwater_examples::options::{exit_code, log_warnings};
use serde::Serialize;

/// Accounts as event-sourced aggregates
///
/// Makes a day of orders up and runs the bank for it: deposits and withdrawals, too little on an account, two clerks at
/// one account, a summary that is put right while the bank is open, and a look at the past.
#[derive(Parser)]
#[command(name = "bank")]
struct Options {
    /// Keep the books here; started again on them, the program only looks at them. Without it they are thrown away at
    /// the end
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How many accounts there are, beside ada's
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    accounts: u32,
    /// How many orders to make up
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    orders: u32,
    /// What chance begins with; the same seed gives the same day
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many threads work; the results do not depend on it
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: usize,
    /// How many orders are taken a second
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    rate: u64,
    /// Look at this account
    #[arg(long, value_name = "NAME", default_value = "ada")]
    account: String,
    /// Tell it as JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    log_warnings();
    exit_code("bank", run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Cause> {
    let temporary = tempfile::tempdir()?;
    let directory = options.dir.as_deref().unwrap_or(temporary.path());
    let state = directory.join("state");
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

/// Orders in; entries and answers out.
fn bank(orders: Vec<Order>) -> (Topology, MemorySink<Envelope<String, Entry>>, MemorySink<Answer>) {
    let topology = Topology::new("bank");
    let (entries, answers) = (Memory::sink(), Memory::sink());

    let (happened, replies) = topology
        .source("orders", Memory::source(orders).unending())
        .event_time(|order| order.at, Duration::ZERO)
        .key_by(|order| order.account.clone())
        .map_values(|order| order.command)
        .event_sourced("accounts", accounts());
    happened.values().sink("entries", entries.clone());
    replies.values().sink("answers", answers.clone());

    (topology, entries, answers)
}

/// Runs the bank for a day, and puts its summary right in the middle of it.
fn open_for_business(options: &Options, state: &Path) -> Result<Day, Cause> {
    let orders = day(options.accounts, options.orders, options.seed);
    let given = orders.len();
    let (topology, entries, answers) = bank(orders);
    let job = Job::new(topology).workers(options.workers).rate(options.rate).state(state);
    let running = job.epoch_interval(Duration::from_millis(100)).start()?;

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
