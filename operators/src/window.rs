//! The third noun, [`WindowedStream`]: how records are put into windows, and when a window emits.
//!
//! Each kind of window has a file of its own with the operator that keeps it; what is made of a window's records
//! is the same for all of them (`verbs`).

mod aligned;
mod apply;
mod custom;
mod early;
#[cfg(test)]
mod model;
mod piece;
mod records;
#[cfg(test)]
mod replay;
mod session;
mod sliding;
mod tumbling;
mod verbs;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use highwater_state::{Key, TimeRange};
use serde::{Deserialize, Serialize};

use crate::aggregate::update::Update;
use crate::batch::{Batch, KeyedBatch};
use crate::data::{Data, HasEventTime};
use crate::keyed::KeyedStream;
use crate::opening::{NodeOpening, OpenError};
use crate::operator::Operator;
use crate::outbox::Outbox;
use crate::stream::{EventTime, Stream, Wire, add_node, here};

pub use custom::AssignWindows;
pub use early::EarlyWindows;
pub use piece::{Combinable, Piece};
pub use records::{CountWindows, records};
pub use session::{Session, session};
pub use sliding::{Sliding, sliding};
pub use tumbling::{Tumbling, tumbling};

/// A kind of window: what [`window`](KeyedStream::window) takes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no kind of window",
    label = "a kind of window is made by `tumbling(..)`, `sliding(..)`, `session(..)` or `records(..)`",
    note = "for windows of your own, implement `AssignWindows`"
)]
pub trait Windows: Clone + Send + Sync + 'static {
    /// Why these windows cannot be, if they cannot; said when the topology is built.
    ///
    /// # Errors
    /// What is wrong with them, and what would be right.
    fn check(&self) -> Result<(), String>;

    /// Opens the operator that keeps these windows.
    #[doc(hidden)]
    fn open<K: Key, T: Data, U: Update<T>>(
        &self,
        update: &Arc<U>,
        firing: &Firing,
        opening: &mut NodeOpening<'_>,
    ) -> Result<WindowOperator<K, T, U::Value>, OpenError>;
}

/// Windows that are known from a record's event time alone: they can be kept for late records.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept for late records: what has fired is gone",
    label = "`allow_late` is for windows that are known from a record's time: `tumbling(..)`, `sliding(..)`, your own"
)]
pub trait AlignedWindows: Windows {}

/// Windows each of which is kept as a whole, and never put together from parts.
#[diagnostic::on_unimplemented(
    message = "`{Self}` of `{T}` cannot be folded",
    label = "use `reduce`, or `aggregate` with an `Aggregate` of your own, which can be merged",
    note = "sessions and sliding windows are put together from parts, and `fold` does not say how",
    note = "windows of your own may share records, and a record that is folded twice must be `Clone`"
)]
pub trait WholeWindows<T>: Windows {
    /// How a record is copied for each of several windows that hold it; `None` where only one does.
    #[doc(hidden)]
    fn copy() -> Option<fn(&T) -> T> {
        None
    }
}

/// When windows emit.
#[derive(Clone, Debug, Default)]
pub struct Firing {
    pub(crate) allowed_lateness: Duration,
    pub(crate) early_every: Option<Duration>,
}

pub(crate) type Out<K, T, V> = (Outbox<Batch<Windowed<K, V>>>, Outbox<Batch<T>>);
pub(crate) type WindowOperator<K, T, V> = Box<dyn Operator<KeyedBatch<K, T>, Out<K, T, V>>>;

/// Which of its results a window gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// Before the watermark has reached the window's end; more may follow.
    Early,
    /// When the watermark has reached the window's end.
    OnTime,
    /// After that, with a late record that was allowed.
    Late,
}

/// What a window gives: a key, the window's bounds and what was made of its records.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Windowed<K, V> {
    /// The key.
    pub key: K,
    /// The window, `[start, end)`.
    pub window: TimeRange,
    /// What was made of the records.
    pub value: V,
    /// Whether this is an early, the on-time or a late result.
    pub timing: Timing,
}

/// Records grouped by key and window.
#[must_use = "a window does nothing until it is aggregated"]
pub struct WindowedStream<K, T, W, C = EventTime> {
    wire: Wire,
    windows: W,
    firing: Firing,
    marker: PhantomData<fn() -> (K, T, C)>,
}

impl<K, T: Data, C> KeyedStream<K, T, C> {
    /// Puts the records of each key into windows.
    #[track_caller]
    pub fn window<W: Windows>(self, windows: W) -> WindowedStream<K, T, W>
    where
        K: Key,
        C: HasEventTime,
    {
        let place = here("window", None);
        if let Err(reason) = windows.check() {
            self.wire.refuse(&place, reason);
        }
        let node = add_node(&self.wire.graph, place, vec![self.wire.port]);
        let wire = self.wire.output_of(node, 0);
        WindowedStream { wire, windows, firing: Firing::default(), marker: PhantomData }
    }
}

impl<K: Key, T: Data, W: Windows, C: HasEventTime> WindowedStream<K, T, W, C> {
    /// Keeps a window for `lateness` after the watermark has reached its end: a record that comes in this time
    /// makes the window emit its updated result at once, marked [`Timing::Late`]. Zero unless said.
    ///
    /// Costs the memory of the windows that are kept.
    pub fn allow_late(mut self, lateness: Duration) -> Self
    where
        W: AlignedWindows,
    {
        self.firing.allowed_lateness = lateness;
        self
    }

    /// The stream of the records that come too late for their window; without this they are counted and
    /// dropped.
    pub fn with_late(self) -> (Self, Stream<T, C>) {
        let late = Stream::at(self.wire.output(1));
        (self, late)
    }
}
