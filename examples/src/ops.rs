//! What the example `ops` is made of: the log of an API, and its seconds.

mod request;
mod second;

pub use request::{Load, Request};
pub use second::{ERRORS_MAX, RULE, Second};
