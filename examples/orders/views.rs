//! What the shop shows of itself: an order, the orders of a user, the sales of a day.
//!
//! Made of what the services have told, by a job of its own that none of them knows. It reads the customers' commands
//! too, so that whoever has placed an order sees it as soon as the command has been read, whatever the services have
//! made of it by then. Invariant: what an order shows does not depend on how the topics interleave.

use std::collections::BTreeMap;

use highwater::operators::saga::Direction;
use highwater::prelude::*;
use highwater_examples::orders::messages::{Order, OrderCommand, OrderEvent, Payment};
use highwater_examples::topics::JobTopics;
use serde::{Deserialize, Serialize};

/// How far event times may be behind: services may have been down for as long.
const SLACK: Duration = Duration::from_secs(7 * 24 * 3600);
/// A payment that comes in this time after its order is prompt.
pub const PROMPT: Duration = Duration::from_secs(3600);

/// An order, as it is known.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct OrderView {
    /// What was ordered; nothing while its command has not been read.
    pub order: Option<Order>,
    /// How far it is.
    pub status: Status,
    /// Why it was cancelled.
    pub reason: Option<String>,
    /// The number of its parcel.
    pub parcel: Option<String>,
    /// How many seconds after the order it was paid, if that was within an hour.
    pub paid_after_seconds: Option<u64>,
    /// Whether the customer has asked to cancel it.
    pub cancel_asked: bool,
}

/// How far an order is, in the order in which that can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The shop has it.
    #[default]
    Received,
    /// The inventory is asked.
    Reserving,
    /// It is reserved, and to be paid.
    Paying,
    /// It is paid, and packed.
    Shipping,
    /// What was paid goes back.
    Refunding,
    /// What was reserved goes back.
    Releasing,
    /// It is cancelled, and all is undone.
    Cancelled,
    /// It is on its way.
    Shipped,
    /// It can be neither shipped nor undone: somebody must see to it.
    NeedsHelp,
}

/// An order among those of a user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// When it was placed.
    pub at: Timestamp,
    /// What it costs.
    pub cents: u64,
    /// `None` while it is on its way through the shop.
    pub ended: Option<Status>,
}

/// What was sold on a day, by when orders were placed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sales {
    /// Orders that were shipped.
    pub shipped: u64,
    /// What they cost together.
    pub cents: u64,
    /// Orders that were cancelled, and those that need help.
    pub cancelled: u64,
    /// Orders that were paid within an hour, also if they were cancelled later.
    pub paid_within_the_hour: u64,
}

/// The tables, by name.
pub const ORDERS: &str = "orders";
/// Of each user.
pub const ORDERS_OF_USER: &str = "orders-of-user";
/// Of each day.
pub const SALES: &str = "sales";

/// What is told of an order.
#[derive(Clone)]
enum Told {
    Placed(Order),
    CancelAsked(String),
    Event(OrderEvent),
    Paid(Order, Payment),
}

/// The job; to be asked while it runs.
pub fn views(topics: &JobTopics) -> Job {
    let topology = Topology::new("views");
    let commands = topics.stream::<OrderCommand>(&topology, "order-commands");
    let events = topics.stream::<OrderEvent>(&topology, "order-events").map(Told::Event);
    let payments = topics.stream::<Payment>(&topology, "payments").filter(|payment| payment.cents > 0);

    // A name that is given to a second order is the first one's.
    let placed = commands
        .clone()
        .flat_map(OrderCommand::placed)
        .event_time(|order| order.at, SLACK)
        .key_by(|order| order.order.clone())
        .dedup("placed", SLACK);
    let payments = payments.event_time(|payment| payment.at, SLACK).key_by(|payment| payment.order.clone());
    let paid = placed.clone().join(payments, following(PROMPT)).inner("paid-within-the-hour");

    let placed = placed.values().map(Told::Placed).untimed();
    let paid = paid.values().map(|(order, payment)| Told::Paid(order, payment)).untimed();
    let cancels = commands.flat_map(|command| match command {
        OrderCommand::Cancel { order } => Some(Told::CancelAsked(order)),
        OrderCommand::Place(_) => None,
    });
    let told = placed.merge(paid).merge(events).merge(cancels);

    told.clone().key_by(Told::order).fold(ORDERS, OrderView::default, OrderView::hear).keep();
    let of_users = told.clone().flat_map(Told::summary).key_by(|(user, ..)| user.clone());
    of_users.fold(ORDERS_OF_USER, BTreeMap::new, list).keep();
    let of_days = told.flat_map(|told| told.day().map(|day| (day, told))).key_by(|(day, _)| day.clone());
    of_days.fold(SALES, Sales::default, |sales, (_, told)| sales.count(&told)).keep();
    topics.job(topology).queryable()
}

impl Told {
    fn order(&self) -> String {
        match self {
            Told::Placed(order) | Told::Paid(order, _) => order.order.clone(),
            Told::CancelAsked(order) => order.clone(),
            Told::Event(event) => event.order().to_owned(),
        }
    }

    /// What its user sees of it in a list.
    fn summary(self) -> Option<(String, String, Summary)> {
        let (order, ended) = match self {
            Told::Placed(order) => (order, None),
            Told::Event(OrderEvent::Ended { purchase, outcome }) => {
                (purchase.order, Some(Status::at_the_end(&outcome)))
            }
            _ => return None,
        };
        Some((order.user, order.order, Summary { at: order.at, cents: order.cents, ended }))
    }

    /// The day whose sales it changes.
    fn day(&self) -> Option<String> {
        match self {
            Told::Paid(order, _) => Some(day_of(order.at)),
            Told::Event(OrderEvent::Ended { purchase, .. }) => Some(day_of(purchase.order.at)),
            _ => None,
        }
    }
}

/// The day of a time, as `2025-01-01`.
fn day_of(at: Timestamp) -> String {
    at.to_rfc3339_seconds()[..10].to_owned()
}

impl Status {
    fn begun(step: &str, direction: Direction) -> Status {
        match (step, direction) {
            ("reserve", Direction::Do) => Status::Reserving,
            ("pay", Direction::Do) => Status::Paying,
            ("pay", Direction::Undo) => Status::Refunding,
            (_, Direction::Do) => Status::Shipping,
            (_, Direction::Undo) => Status::Releasing,
        }
    }

    fn at_the_end(outcome: &SagaOutcome) -> Status {
        match outcome {
            SagaOutcome::Completed => Status::Shipped,
            SagaOutcome::Compensated { .. } => Status::Cancelled,
            SagaOutcome::NeedsHelp { .. } => Status::NeedsHelp,
        }
    }
}

impl OrderView {
    fn hear(&mut self, told: Told) {
        match told {
            Told::Placed(order) => self.order = Some(order),
            Told::CancelAsked(_) => self.cancel_asked = true,
            Told::Paid(order, payment) => {
                let millis = payment.at.as_millis() - order.at.as_millis();
                self.paid_after_seconds = Some(millis as u64 / 1000);
            }
            Told::Event(OrderEvent::Begun { step, direction, .. }) => {
                self.status = self.status.max(Status::begun(&step, direction));
            }
            Told::Event(OrderEvent::Ended { purchase, outcome }) => {
                self.status = Status::at_the_end(&outcome);
                self.parcel = purchase.parcel;
                self.reason = match outcome {
                    SagaOutcome::Completed => None,
                    SagaOutcome::Compensated { reason, .. } => Some(reason),
                    SagaOutcome::NeedsHelp { reason, because, .. } => Some(format!("{reason}; {because}")),
                };
            }
        }
    }
}

/// An end is an end, also where the order is heard of after it.
fn list(orders: &mut BTreeMap<String, Summary>, (_, order, summary): (String, String, Summary)) {
    if summary.ended.is_some() || !orders.contains_key(&order) {
        orders.insert(order, summary);
    }
}

impl Sales {
    fn count(&mut self, told: &Told) {
        match told {
            Told::Paid(..) => self.paid_within_the_hour += 1,
            Told::Event(OrderEvent::Ended { purchase, outcome: SagaOutcome::Completed }) => {
                self.shipped += 1;
                self.cents += purchase.order.cents;
            }
            _ => self.cancelled += 1,
        }
    }
}
