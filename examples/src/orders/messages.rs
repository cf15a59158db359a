//! What the services of the shop say to each other, as it stands in the topics. Money is in cents.

use highwater::operators::saga::Direction;
use highwater::prelude::*;
use serde::{Deserialize, Serialize};

/// What the shop sells, and for how much a piece.
pub const PRODUCTS: [(&str, u64); 8] = [
    ("kettle", 3_900),
    ("teapot", 5_400),
    ("strainer", 700),
    ("cup", 1_200),
    ("tray", 2_500),
    ("tin", 950),
    ("scale", 4_200),
    ("timer", 1_850),
];

/// An order, as it was placed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Its name.
    pub order: String,
    /// Who has placed it.
    pub user: String,
    /// What is wanted.
    pub product: String,
    /// How many of it.
    pub pieces: u32,
    /// What all of them cost.
    pub cents: u64,
    /// What it is paid with.
    pub card: Card,
    /// Where it goes.
    pub address: String,
    /// For how long it can be cancelled after it was packed, in seconds.
    pub wait_seconds: u32,
    /// When it was placed.
    pub at: Timestamp,
}

/// A card for tests, as banks give them to shops: it says what the bank does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Card {
    /// Paid two minutes after the order.
    Good,
    /// Not paid.
    Declined,
    /// The bank fails once; then as `Good`.
    Busy,
    /// Paid as `Good`, but the bank's first answer is lost.
    Silent,
    /// Paid two hours after the order.
    Slow,
}

/// What customers ask of the shop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderCommand {
    /// A new order. One whose name there is already changes nothing.
    Place(Order),
    /// The order shall not be shipped.
    Cancel {
        /// Its name.
        order: String,
    },
}

impl OrderCommand {
    /// The order that it is about.
    pub fn order(&self) -> &str {
        match self {
            OrderCommand::Place(order) => &order.order,
            OrderCommand::Cancel { order } => order,
        }
    }

    /// The order that is placed.
    pub fn placed(self) -> Option<Order> {
        match self {
            OrderCommand::Place(order) => Some(order),
            OrderCommand::Cancel { .. } => None,
        }
    }
}

/// What the saga of an order asks of the other services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Of the inventory: pieces of a product are taken off the shelf.
    Reserve {
        /// Of what.
        product: String,
        /// How many.
        pieces: u32,
    },
    /// Of the inventory: they go back.
    Release {
        /// Of what.
        product: String,
        /// How many.
        pieces: u32,
    },
    /// Of the payment service.
    Charge {
        /// How much.
        cents: u64,
        /// Of which card.
        card: Card,
        /// When the order was placed.
        ordered_at: Timestamp,
    },
    /// Of the payment service: the money goes back.
    Refund {
        /// How much.
        cents: u64,
        /// To which card.
        card: Card,
        /// When the order was placed.
        ordered_at: Timestamp,
    },
    /// Of the shipping service.
    Ship {
        /// Where to.
        address: String,
        /// How long the parcel waits before it leaves.
        wait_seconds: u32,
    },
}

/// What a service answers when it has done what it was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// Nothing more to say.
    Done,
    /// The parcel has left.
    Shipped {
        /// Its number.
        parcel: String,
    },
}

/// A request of an order's saga.
pub type Request = SagaRequest<String, Ask>;
/// What a service replies.
pub type Reply = SagaReply<String, Done>;

/// What an order's saga is about, and what it has learnt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Purchase {
    /// The order.
    pub order: Order,
    /// The parcel's number, when it has left.
    pub parcel: Option<String>,
}

/// What becomes of orders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderEvent {
    /// A step is begun; those before it are done, or those behind it undone.
    Begun {
        /// The order.
        order: String,
        /// The step: `reserve`, `pay` or `ship`.
        step: String,
        /// Whether it is to be done or undone.
        direction: Direction,
    },
    /// It has come to an end.
    Ended {
        /// The order, and its parcel.
        purchase: Purchase,
        /// How.
        outcome: SagaOutcome,
    },
}

impl OrderEvent {
    /// The order that it is about.
    pub fn order(&self) -> &str {
        match self {
            OrderEvent::Begun { order, .. } => order,
            OrderEvent::Ended { purchase, .. } => &purchase.order.order,
        }
    }
}

/// Pieces leave the shelf, or come back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StockMove {
    /// For which order.
    pub order: String,
    /// Of what.
    pub product: String,
    /// How many more there are now; negative if fewer.
    pub pieces: i64,
    /// How many there are now.
    pub left: u32,
}

/// Money comes, or goes back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Payment {
    /// For which order.
    pub order: String,
    /// How much; negative if it goes back.
    pub cents: i64,
    /// When the bank had it.
    pub at: Timestamp,
}

/// A parcel has left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shipment {
    /// With which order.
    pub order: String,
    /// Its number.
    pub parcel: String,
    /// Where it goes.
    pub address: String,
}
