//! The work: what each engine is to do, and how it is written for it.

pub mod chain;
pub mod count;
pub mod join;
pub mod session;
pub mod window;

use crate::pool::{Pool, Visit};

/// The clicks of the library's own benchmarks: a million in a second of event time over 100 000 pages, up to 100 ms
/// out of order.
fn visits() -> Pool<Visit> {
    Pool::new(highwater_benches::input::clicks().into_iter().map(Visit::from).collect())
}
