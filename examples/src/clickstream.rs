//! The parts of the example `clickstream` that are not about streams: what a request is and how it is written,
//! what the program tells, and where requests come from when there are none.

mod access_log;
mod hit;
mod outcome;
mod traffic;
mod visit;

pub use access_log::AccessLog;
pub use hit::{Hit, HitJson};
pub use outcome::Outcome;
pub use traffic::{TRAFFIC_SPLITS, log_line};
pub use visit::Visit;
