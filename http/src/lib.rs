//! Running jobs over HTTP: what their tables hold, how they are, what they are made of, and what they count.
//!
//! | | |
//! | --- | --- |
//! | `GET /tables` | the tables, with their kinds and types |
//! | `GET /tables/{name}` | rows of one: all, of a key, from one key or time to another; in pages; see [`Server`] |
//! | `GET /health` | `running`, `ended` or `failed` with the reason; the last epoch and its age |
//! | `GET /topology` | operators and edges as JSON; a picture with `?format=mermaid` |
//! | `GET /metrics` | counts and gauges in the text form of Prometheus |
//!
//! A [`Feed`] is a sink that pushes what a job tells to browsers, over WebSockets or as a stream of events. A program
//! adds routes of its own, for commands or pages, as an [`axum`] router. Invariants: an answer is of one
//! committed epoch, which it names; nothing here changes a job; a request has a bound in rows, in bytes and in time,
//! all of them in [`limits`]. It does not know who may ask: it listens on loopback unless it is told otherwise, and
//! what is open to others belongs behind something that knows them.

pub mod limits;

mod failure;
mod feed;
mod health;
mod metrics;
mod server;
mod tables;
mod topology;
mod visitors;

pub use axum;
pub use failure::Failure;
pub use feed::{Feed, FeedError};
pub use server::{Server, ServerError, Serving};
