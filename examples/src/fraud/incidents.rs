//! What is planted in every scene: for each rule what it must find, and what it must not find by a hair.
//!
//! Each is a function that writes the events of one key down, and the alerts that they must give, known from how they
//! are planted. `almost` and `not` in a name say that there is nothing to find. It begins at 0, or a minute before at
//! the earliest, and is over with all its alerts within three hours. That no other events of the same key are nearer
//! than an hour is the scene's matter.

mod accounts;
mod operations;
mod spending;

use super::script::{HOUR, MINUTE, Script};

/// What happens to one key.
pub(super) type Incident = fn(&mut Script<'_>);

/// The most that is still within 10 minutes of its beginning.
const IN_10_MINUTES: i64 = 10 * MINUTE - 1;
/// The most that is still within an hour of its beginning.
const IN_AN_HOUR: i64 = HOUR - 1;

/// Those to whom the same things can happen.
#[derive(Clone, Copy)]
pub(super) struct Cast {
    /// What they are called, before their numbers.
    pub name: &'static str,
    /// How many there are.
    pub population: u64,
    /// What happens in every scene, each to another one of them.
    pub incidents: &'static [&'static [Incident]],
}

pub(super) const USERS: Cast =
    Cast { name: "user", population: 100, incidents: &[&spending::SPENDING, &accounts::ACCOUNTS] };
pub(super) const CLIENTS: Cast = Cast { name: "client", population: 20, incidents: &[&operations::CALLS] };
pub(super) const RESPONDERS: Cast =
    Cast { name: "server", population: 20, incidents: &[&operations::RESPONSES] };
pub(super) const PRODUCTS: Cast = Cast { name: "product", population: 20, incidents: &[&operations::PRICES] };
pub(super) const SERVICES: Cast = Cast { name: "service", population: 20, incidents: &[&operations::ERRORS] };
pub(super) const SERVERS: Cast = Cast { name: "server", population: 20, incidents: &[&operations::SERVERS] };
