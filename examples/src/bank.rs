//! The parts of the example `bank`: what an account is, a day of orders that is made up, and the bank's summary.

mod account;
mod day;
mod summary;

pub use account::{Account, Entry, Instruction, Refusal, accounts};
pub use day::{NOON_MILLIS, Order, day};
pub use summary::{Edition, Figures, Summary, first_edition, second_edition};
