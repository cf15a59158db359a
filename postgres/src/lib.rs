//! PostgreSQL: tables as sinks that show every epoch once, and queries that enrich records.
//!
//! - [`Postgres`]: where the database is, and how long anything may take.
//! - [`Table`]: which columns are made of a record; [`upsert`](Table::upsert) and [`append`](Table::append) make it a
//!   [`PostgresSink`].
//! - [`Lookup`]: a query for [`map_async`](highwater::operators::stream::Stream::map_async), with a bounded number of
//!   connections and a bounded cache.
//!
//! ```no_run
//! use highwater::prelude::*;
//! use highwater_postgres::Postgres;
//!
//! let postgres = Postgres::at("host=localhost user=shop dbname=shop")?;
//! let category = postgres.lookup("select category from pages where url = $1", |row| row.try_get::<_, String>(0));
//! let views = postgres
//!     .table::<(String, u64)>("views_per_category")
//!     .column("category", |view| view.0.clone())
//!     .column("views", |view| view.1 as i64)
//!     .upsert("clickstream-views", ["category"]);
//!
//! let topology = Topology::new("clickstream");
//! topology
//!     .source("urls", File::at("urls.txt").lines(Text))
//!     .map_async("category", move |url: String| {
//!         let category = category.clone();
//!         async move { category.get(url).await }
//!     })
//!     .or_fail()
//!     .flat_map(|category| category)
//!     .key_by(|category| category.clone())
//!     .count("views")
//!     .to_stream()
//!     .sink("views", views);
//! Job::new(topology).state("/var/lib/clickstream").run()?;
//! # Ok::<(), Cause>(())
//! ```
//!
//! Invariants: what a table shows is whole epochs, each once, whoever dies when
//! (`docs/decisions/0023-rows-wait-in-the-database.md`); nothing waits without a limit, all of them in [`limits`]. It
//! does not know what a record means, and runs no SQL of its own but on the tables named `highwater_…` and the one that
//! it writes.

pub mod limits;

mod cache;
mod column;
mod connection;
mod error;
mod ledger;
mod lookup;
mod piece;
mod plan;
mod sink;
mod writer;

pub use column::Table;
pub use connection::Postgres;
pub use error::{PostgresError, Refusal};
pub use lookup::{Lookup, LookupError};
pub use sink::PostgresSink;
pub use tokio_postgres;
