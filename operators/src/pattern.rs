//! Complex event processing: which records of a key, in which order, are a match.
//!
//! A [`Pattern`] is written with types (`builder`), becomes an untyped `plan`, is checked, and is made into an
//! automaton (`lower`, `compile`) that each key's records run through in the order of event time (`step`, `after`).
//! What is kept per key is its live runs and, once each, the records that they took (`run`, `buffer`).
//!
//! The semantics are those of Apache Flink's CEP library, whose tests are the reference; where a user could not tell
//! why, they are those of its documentation. It does not know where records come from, nor what is made of a match.

mod after;
mod automaton;
mod buffer;
mod builder;
mod capture;
mod check;
mod compile;
mod fold;
mod lower;
mod matches;
mod operator;
mod plan;
mod run;
mod step;
mod taken;

pub use automaton::Position;
pub use builder::{AllOf, Pattern, Repeats, Tested, Times, any};
pub use capture::{
    Append, Capture, Close, Fold, Group, Many, Maybe, MaybeFold, MaybeGroup, Named, Nothing, One, Repeating,
    Rounds, RoundsSoFar, Unordered,
};
pub use matches::MatchStream;
pub use plan::{AfterMatch, Condition, Contiguity, Inner, Quantifier, Stage};
pub use taken::{Repeated, Sequence, Taken};
