//! What goes in and comes out. Money is in cents, `minute` is when a window of one minute begins.

use highwater::prelude::*;
use serde::{Deserialize, Serialize};

/// Orders above this are of high value: 1000.00.
pub const HIGH_VALUE_CENTS: u64 = 100_000;

/// A user has looked at a page, reported when the user has left it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Who.
    pub user: String,
    /// At which page.
    pub page: String,
    /// For how long.
    pub seconds: u64,
    /// When.
    pub at: Timestamp,
}

/// What a page is about, from a time on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// Which page.
    pub page: String,
    /// What it is about.
    pub category: String,
    /// From when on.
    pub since: Timestamp,
}

/// An order of the site's shop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Its name.
    pub order: String,
    /// Whose.
    pub user: String,
    /// What it costs.
    pub cents: u64,
    /// When.
    pub at: Timestamp,
}

/// An event with what its page was about at that time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// The event.
    pub event: Event,
    /// What the page was about; `unknown` if nobody has said.
    pub category: String,
}

/// A minute of a category.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Minute {
    /// Which category.
    pub category: String,
    /// Which minute.
    pub minute: Timestamp,
    /// How often its pages were looked at.
    pub views: u64,
    /// For how long together.
    pub seconds: u64,
}

/// A minute with more than three times as many views as usual.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// Of which category.
    pub category: String,
    /// Which minute.
    pub minute: Timestamp,
    /// How many views.
    pub views: u64,
    /// How many are usual.
    pub usual: f64,
}

/// How many users were there in a minute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActiveUsers {
    /// Which minute.
    pub minute: Timestamp,
    /// How many.
    pub users: u64,
}

/// The pages with the most views in a minute, and how many; of equal ones the first by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopPages {
    /// Which minute.
    pub minute: Timestamp,
    /// The pages.
    pub pages: Vec<(String, u64)>,
}

/// What a user likes most, and how often it was looked at; of equal ones the first by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preferences {
    /// Who.
    pub user: String,
    /// The categories.
    pub categories: Vec<(String, u64)>,
}

/// What a user did in a hundred events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Who.
    pub user: String,
    /// How many events of the user there were until then.
    pub events: u64,
    /// When the first of the hundred was.
    pub from: Timestamp,
    /// When the last one was.
    pub to: Timestamp,
    /// For how long the user has looked at pages in these hundred.
    pub seconds: u64,
    /// How many different pages they were.
    pub pages: u64,
}
