//! The third noun, [`WindowedStream`]: how records are put into windows, before what is made of each window.

mod apply;
mod tumbling;

use std::marker::PhantomData;
use std::time::Duration;

use highwater_state::{Key, TimeRange, Timestamp};

use crate::data::{Data, HasEventTime};
use crate::keyed::KeyedStream;
use crate::stream::{EventTime, Stream, Wire, add_node, here};

pub use tumbling::{Tumbling, tumbling};

/// How event time is cut into windows.
pub trait Windows: Clone + Send + Sync + 'static {
    /// The window of a record with this event time.
    fn window_of(&self, time: Timestamp) -> TimeRange;

    /// The window that ends at `end`; the inverse of [`window_of`](Windows::window_of).
    fn window_ending(&self, end: Timestamp) -> TimeRange;

    /// Why these windows cannot be, if they cannot; said when the topology is built.
    fn check(&self) -> Result<(), String>;
}

/// What a window gives: a key, the window's bounds and what was made of its records.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Windowed<K, V> {
    /// The key.
    pub key: K,
    /// The window, `[start, end)`.
    pub window: TimeRange,
    /// What was made of the records.
    pub value: V,
}

/// Records grouped by key and window.
#[must_use = "a window does nothing until it is aggregated"]
pub struct WindowedStream<K, T, W, C = EventTime> {
    wire: Wire,
    windows: W,
    allowed_lateness: Duration,
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
        WindowedStream { wire, windows, allowed_lateness: Duration::ZERO, marker: PhantomData }
    }
}

impl<K: Key, T: Data, W: Windows, C: HasEventTime> WindowedStream<K, T, W, C> {
    /// Keeps a window for `lateness` after the watermark has reached its end: a record that comes in this time
    /// makes the window emit its updated result at once. Zero unless said.
    ///
    /// Costs the memory of the windows that are kept.
    pub fn allow_late(mut self, lateness: Duration) -> Self {
        self.allowed_lateness = lateness;
        self
    }

    /// The stream of the records that come too late for their window; without this they are counted and
    /// dropped.
    pub fn with_late(self) -> (Self, Stream<T, C>) {
        let late = Stream::at(self.wire.output(1));
        (self, late)
    }
}
