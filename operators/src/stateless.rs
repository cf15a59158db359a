//! Verbs that look at one record at a time and keep nothing.

mod branch;
mod filter;
mod flat_map;
mod fused;
mod inspect;
mod map;
mod merge;
mod sink;
mod traced;
pub mod tried;

pub use fused::FusedRecords;
