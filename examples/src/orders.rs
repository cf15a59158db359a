//! The parts of the example `orders` that are said and made up: what its services say to each other, and its customers.
//!
//! The services themselves are in `examples/orders`.

pub mod customers;
pub mod messages;

/// The address that no courier finds.
pub const NOWHERE: &str = "nowhere";
