//! The parts of the example `analytics`: its records, what finds anomalies and habits, and a site that is made up.

mod baseline;
mod habits;
mod records;
mod site;

pub use baseline::Baseline;
pub use habits::{Favourites, Summaries};
pub use records::{
    ActiveUsers, Anomaly, Event, HIGH_VALUE_CENTS, Minute, Order, Page, Preferences, Seen, Summary, TopPages,
};
pub use site::{orders, pages, visitors};
