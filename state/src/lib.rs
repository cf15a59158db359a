//! What is the same after a restart.
//!
//! This crate knows time, key groups, epochs, the bytes of every row on disk and the typed tables that
//! operators keep their state in. It knows no operator, no thread and no clock: whatever is written to disk
//! must not depend on anything that may be rewritten.
//!
//! From the top down:
//!
//! - [`table::Table`] is what an operator works on: decoded values under `&mut`, written back once per epoch;
//! - [`panes::Panes`] is a table ordered by time: windows by their end, timers by their time;
//! - [`journal::Journal`] is what is only added to: rows of a key in the order of a number;
//! - [`delta::Delta`] is what one epoch changed, as bytes;
//! - [`backend::Backend`] keeps decided epochs: in memory for tests, in RocksDB for jobs;
//! - [`savepoint::Savepoint`] is a copy of them under a name, and [`reader::StateReader`] reads either without
//!   changing it;
//! - [`view::StateView`] is how states are read by name, also while a job changes them.
//!
//! Invariant HW-2 lives here: a backend changes only by [`backend::Backend::commit`], and only decided deltas
//! are committed.

pub mod backend;
pub mod budget;
pub mod catalog;
pub mod delta;
pub mod error;
pub mod hash;
pub mod id;
pub mod journal;
pub mod layout;
pub mod migration;
pub mod panes;
pub mod persist;
pub mod reader;
pub mod redo;
pub mod savepoint;
pub mod shape;
pub mod table;
pub mod time;
pub mod view;

pub use backend::Backend;
pub use delta::{Delta, Piece};
pub use error::StateError;
pub use id::{Epoch, KEY_GROUPS, KeyGroup, StoreId};
pub use persist::{Key, Persist};
pub use reader::StateReader;
pub use savepoint::Savepoint;
pub use time::{TimeRange, Timestamp};
pub use view::{Committed, StateView};
