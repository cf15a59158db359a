//! A shop of four services that talk through topics: orders, inventory, payment, shipping.
//!
//! Each is a small topology in a job of its own. The order service runs a saga for each order: reserve the pieces,
//! charge the card, ship the parcel; if a step cannot be done, those before it are undone, the last one first. A fifth
//! job makes views of what the services tell, and a server shows them and takes commands.
//!
//! | job | reads | writes | keeps |
//! | --- | --- | --- | --- |
//! | [`ordering`] | `order-commands`, `replies` | requests to the others, `order-events` | a saga for each order |
//! | [`inventory`] | `stock-requests` | `replies`, `stock-moves` | what is on the shelves |
//! | [`payment`] | `payment-requests` | `replies`, `payments` | what it has charged |
//! | [`shipping`] | `shipping-requests`, `order-commands` | `replies`, `shipments` | parcels that wait |
//! | [`views`] | `order-commands`, `order-events`, `payments` | | orders, orders of a user, sales of a day |
//!
//! No service calls another or looks into its state. Invariant: whatever fails and whatever is killed when, an order is
//! shipped and paid, or it is cancelled and what was done for it is undone, once, the last first.

#[path = "orders/door.rs"]
mod door;
#[path = "orders/inventory.rs"]
mod inventory;
#[path = "orders/ordering.rs"]
mod ordering;
#[path = "orders/participant.rs"]
mod participant;
#[path = "orders/payment.rs"]
mod payment;
#[path = "orders/shipping.rs"]
mod shipping;
#[path = "orders/views.rs"]
mod views;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use highwater::prelude::*;
use highwater::query::{Queries, QueryError};
use highwater::state::view::Row;
use highwater_examples::options::{exit_code, log_warnings};
use highwater_examples::orders::customers::customers;
use highwater_examples::orders::messages::{OrderCommand, Payment};
use highwater_examples::topics::{TopicOptions, Topics};
use inventory::inventory;
use ordering::ordering;
use payment::payment;
use shipping::shipping;
use signal_hook::consts::{SIGINT, SIGTERM};
use views::{ORDERS, OrderView, PROMPT, SALES, Sales, Status, views};

/// A shop whose services talk through topics
///
/// Reads the topic `order-commands`; if it is empty, customers are made up. Ends when every order is shipped or
/// cancelled, and tells what was sold; with --listen it stays open, takes orders and shows them.
#[derive(Parser)]
#[command(name = "orders", after_long_help = FORMATS)]
struct Options {
    /// How many orders to make up
    #[arg(long, value_name = "N", default_value_t = 500)]
    orders: u32,
    /// How many pieces of each product there are when the shop opens
    #[arg(long, value_name = "N", default_value_t = 100)]
    stock: u32,
    /// What chance begins with; the same seed gives the same customers
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How long an order waits for the answer of a service before it asks again
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    patience: Duration,
    /// Take orders and show them over HTTP, until SIGINT or SIGTERM; port 0 is one that is free, without an address it
    /// is loopback
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = address)]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    topics: TopicOptions,
}

const FORMATS: &str = r#"Over HTTP:
  POST /orders                 {"user":"ada","product":"teapot","pieces":2,"address":"1 Tea Street","wait_seconds":60}
  POST /orders/NAME/cancel     both answer with a position: GET ..?min_position=POSITION waits for it
  GET  /orders/NAME            GET /users/NAME/orders            GET /sales/2025-01-01

The topics' records, JSON; times in milliseconds since 1970:
  order-commands  {"place":{"order":"order-00007","user":"user-3","product":"tin","pieces":2,"cents":1900,
                   "card":"good","address":"1 Tea Street","wait_seconds":0,"at":1735725600000}}
                  {"cancel":{"order":"order-00007"}}
  stock-moves     {"order":"order-00007","product":"tin","pieces":-2,"left":98}
  payments        {"order":"order-00007","cents":1900,"at":1735725720000}
  shipments       {"order":"order-00007","parcel":"parcel-of-order-00007","address":"1 Tea Street"}"#;

/// All are partitioned by order, but those of the stock by product.
const TOPICS: [&str; 9] = [
    "order-commands",
    "order-events",
    "stock-requests",
    "payment-requests",
    "shipping-requests",
    "replies",
    "stock-moves",
    "payments",
    "shipments",
];

fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_| "write 8080 or 127.0.0.1:8080".to_owned())
}

fn main() -> ExitCode {
    log_warnings();
    exit_code("orders", run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Cause> {
    // The services wait for each other; the program knows when all is done.
    let topics = TopicOptions { follow: true, ..options.topics.clone() }.open()?;
    for topic in TOPICS {
        topics.create(topic, 4)?;
    }
    let key = |command: &OrderCommand| command.order().to_owned();
    topics.fill("order-commands", customers(options.orders, options.seed), key)?;

    let views = views(&topics.of("views")).start()?;
    let jobs = [
        ordering(&topics.of("order"), options.patience).start()?,
        inventory(&topics.of("inventory"), options.stock).start()?,
        payment(&topics.of("payment")).start()?,
        shipping(&topics.of("shipping")).start()?,
    ];
    let queries = views.queries();
    let shop = Shop { jobs: jobs.into_iter().chain([views]).collect(), queries, closing: Arc::default() };
    signal_hook::flag::register(SIGINT, Arc::clone(&shop.closing))?;
    signal_hook::flag::register(SIGTERM, Arc::clone(&shop.closing))?;

    match options.listen {
        Some(address) => {
            let server = door::open(address, topics.clone(), shop.queries.clone())?;
            println!("the shop is open: http://{}", server.address());
            shop.wait_until(|_| false)?;
            server.stop();
            shop.close()
        }
        None => {
            let placed = placed_in(&topics)?;
            let all = placed.len() as u64;
            let are_over = shop.wait_until(|sales| sales.shipped + sales.cancelled == all)?;
            // Whatever was paid was paid before that; the views may still have to read it.
            let prompt = prompt_in(&topics, &placed)?;
            if are_over && shop.wait_until(|sales| sales.paid_within_the_hour == prompt)? {
                shop.tell(&topics)?;
            }
            shop.close()
        }
    }
}

/// When each order was placed.
fn placed_in(topics: &Topics) -> Result<BTreeMap<String, Timestamp>, Cause> {
    let commands: Vec<OrderCommand> = topics.records("order-commands")?;
    Ok(commands.into_iter().filter_map(OrderCommand::placed).map(|order| (order.order, order.at)).collect())
}

/// How many orders were paid within an hour.
fn prompt_in(topics: &Topics, placed: &BTreeMap<String, Timestamp>) -> Result<u64, Cause> {
    let payments: Vec<Payment> = topics.records("payments")?;
    let is_prompt = |payment: &&Payment| {
        let placed = placed.get(&payment.order);
        payment.cents > 0 && placed.is_some_and(|placed| payment.at <= *placed + PROMPT)
    };
    Ok(payments.iter().filter(is_prompt).count() as u64)
}

/// The jobs, while they run.
struct Shop {
    jobs: Vec<RunningJob>,
    queries: Queries,
    closing: Arc<AtomicBool>,
}

impl Shop {
    /// Waits until the sales of all days together are as wanted; false if the program is told to end before, or a job
    /// has failed.
    fn wait_until(&self, is_reached: impl Fn(&Sales) -> bool) -> Result<bool, Cause> {
        loop {
            let has_failed = self.jobs.iter().any(RunningJob::is_finished);
            if has_failed || self.closing.load(Ordering::Relaxed) {
                return Ok(false);
            }
            if is_reached(&self.sales()?.1) {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The sales of each day, and of all.
    fn sales(&self) -> Result<(BTreeMap<String, Sales>, Sales), Cause> {
        let (mut days, mut all) = (BTreeMap::new(), Sales::default());
        let of_day = |(): (), Row { key: day, value: sales, .. }: Row<String, Sales>| {
            all.shipped += sales.shipped;
            all.cents += sales.cents;
            all.cancelled += sales.cancelled;
            all.paid_within_the_hour += sales.paid_within_the_hour;
            days.insert(day, sales);
        };
        match self.queries.view()?.fold(SALES, (), of_day) {
            Ok(()) | Err(QueryError::NothingYet { .. }) => Ok((days, all)),
            Err(error) => Err(error.into()),
        }
    }

    /// What has become of the orders, and of the money.
    fn tell(&self, topics: &Topics) -> Result<(), Cause> {
        let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
        let view = self.queries.view()?;
        view.fold(ORDERS, (), |(), Row { value: order, .. }: Row<String, OrderView>| {
            let outcome = match (order.status, order.reason) {
                (Status::Shipped, _) => "shipped".to_owned(),
                (_, reason) => format!("cancelled: {}", reason.unwrap_or_default()),
            };
            *outcomes.entry(outcome).or_default() += 1;
        })?;
        println!("orders: {}", outcomes.values().sum::<u64>());
        outcomes.iter().for_each(|(outcome, count)| println!("{count:>7} {outcome}"));
        let (days, all) = self.sales()?;
        for (day, sales) in days {
            let Sales { shipped, cents, paid_within_the_hour, .. } = sales;
            println!(
                "{day}: {shipped} sold for {}, {paid_within_the_hour} paid within the hour",
                money(cents)
            );
        }
        let payments: Vec<Payment> = topics.records("payments")?;
        let of = |sign: i64| payments.iter().map(|payment| (payment.cents * sign).max(0) as u64).sum::<u64>();
        let (taken, returned) = (money(of(1)), money(of(-1)));
        println!("money: {taken} taken, {returned} given back, {} sold", money(all.cents));
        Ok(())
    }

    /// Ends every job in a committed epoch; the first error is that of the program.
    fn close(self) -> Result<(), Cause> {
        self.jobs.iter().for_each(RunningJob::stop);
        let ends: Vec<_> = self.jobs.into_iter().map(RunningJob::wait).collect();
        ends.into_iter().try_for_each(|end| end.map(|_| ()))?;
        Ok(())
    }
}

fn money(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}
