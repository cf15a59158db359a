//! What is late at the windows behind a combining node, as far as the node can know.
//!
//! A part must not hold records that are late: its window drops it as a whole, and cannot put the records into the
//! stream of late ones. So only records are combined that cannot be. The watermark of the windows is never ahead of
//! this node's own, with two exceptions: after a restart theirs is kept, and this node's begins anew; and while this
//! node's input is idle, it goes on with the other workers. For the first, theirs is read at the start. For the
//! second, nothing is combined from the time that the input becomes idle until an epoch that began after that has been
//! applied: from then on theirs is at most what it was at the end of that epoch, which is read, or this node's own.

use highwater_state::error::Result;
use highwater_state::{Epoch, Timestamp};

use crate::lateness::WatermarkOf;

/// Whether the watermark of the windows is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// It is at most what this node has seen and read.
    Clear,
    /// The input is idle.
    Idle,
    /// The input is no longer idle; the epoch in which it came back has not ended.
    Back,
    /// It will be known when this epoch has been applied.
    From(Epoch),
}

/// The largest watermark that the windows behind this node can have.
pub(super) struct Fence {
    windows: Option<WatermarkOf>,
    highest: Timestamp,
    sight: Sight,
}

impl Fence {
    /// Where nothing is ever late.
    pub(super) fn none() -> Self {
        Fence { windows: None, highest: Timestamp::MIN, sight: Sight::Clear }
    }

    pub(super) fn before(windows: WatermarkOf) -> Result<Self> {
        Ok(Fence { highest: windows.read()?, windows: Some(windows), sight: Sight::Clear })
    }

    /// Whether no record of a window with this end can be late.
    pub(super) fn is_ahead(&self, end: Timestamp) -> bool {
        self.windows.is_none() || (self.sight == Sight::Clear && self.highest < end)
    }

    pub(super) fn watermark(&mut self, watermark: Timestamp) {
        self.highest = self.highest.max(watermark);
        self.idle(false);
    }

    pub(super) fn idle(&mut self, idle: bool) {
        self.sight = match self.sight {
            _ if idle => Sight::Idle,
            Sight::Idle => Sight::Back,
            sight => sight,
        };
    }

    pub(super) fn epoch_ends(&mut self, epoch: Epoch) {
        if self.sight == Sight::Back {
            self.sight = Sight::From(epoch);
        }
    }

    /// A watermark that cannot be read stays unknown: records are passed on one by one, which is always right.
    pub(super) fn applied(&mut self, epoch: Epoch) {
        let (Sight::From(from), Some(windows)) = (self.sight, &self.windows) else { return };
        if epoch >= from
            && let Ok(watermark) = windows.read()
        {
            self.highest = self.highest.max(watermark);
            self.sight = Sight::Clear;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testkit::at;
    use highwater_state::backend::memory::MemoryBackend;
    use highwater_state::delta::{Delta, Family};
    use highwater_state::{Backend, layout, persist};

    /// The windows' watermark goes to disk.
    fn write(backend: &Arc<dyn Backend>, watermark: i64) {
        let (mut delta, mut bytes) = (Delta::default(), Vec::new());
        persist::encode("watermark", &at(watermark), &mut bytes).expect("a time can be encoded");
        delta.put(Family::Meta, &layout::watermark_key("operator/counts"), &bytes);
        backend.commit(&delta).expect("a backend in memory does not fail");
    }

    fn fence(backend: &Arc<dyn Backend>) -> Fence {
        Fence::before(WatermarkOf::new("counts", backend)).expect("a backend in memory does not fail")
    }

    #[test]
    fn what_was_late_before_a_restart_is_late_after_it() {
        let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::default());
        assert!(fence(&backend).is_ahead(Timestamp::from_millis(i64::MIN + 1)));
        write(&backend, 10);
        let mut fence = fence(&backend);
        assert!(!fence.is_ahead(at(10)) && fence.is_ahead(at(11)));
        fence.watermark(at(5));
        assert!(!fence.is_ahead(at(10)) && fence.is_ahead(at(11)));
        fence.watermark(at(15));
        assert!(!fence.is_ahead(at(15)) && fence.is_ahead(at(16)));
    }

    #[test]
    fn after_idleness_nothing_is_sure_before_an_epoch_has_shown_how_far_the_windows_are() {
        let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::default());
        let mut fence = fence(&backend);
        fence.watermark(at(5));
        fence.idle(true);
        fence.epoch_ends(Epoch(1));
        fence.applied(Epoch(1));
        assert!(!fence.is_ahead(at(1000)), "the windows go on while the input is idle");
        fence.idle(false);
        assert!(!fence.is_ahead(at(1000)), "how far they went is not known");
        fence.applied(Epoch(1));
        assert!(!fence.is_ahead(at(1000)), "this epoch ended before");
        fence.watermark(at(7));
        fence.epoch_ends(Epoch(2));
        fence.epoch_ends(Epoch(3));
        write(&backend, 100);
        fence.applied(Epoch(2));
        assert!(!fence.is_ahead(at(100)) && fence.is_ahead(at(101)));
    }

    #[test]
    fn a_watermark_ends_idleness_too_and_idleness_that_comes_again_is_waited_for_again() {
        let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::default());
        let mut fence = fence(&backend);
        fence.idle(true);
        fence.watermark(at(5));
        fence.epoch_ends(Epoch(1));
        fence.idle(true);
        fence.applied(Epoch(1));
        assert!(!fence.is_ahead(at(1000)));
        fence.idle(false);
        fence.epoch_ends(Epoch(2));
        fence.applied(Epoch(2));
        assert!(!fence.is_ahead(at(5)) && fence.is_ahead(at(6)));
    }
}
