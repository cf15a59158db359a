//! Where measuring begins: at the first record behind the warm-up.
//!
//! It does not know who passes it; one thread at a time does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use highwater::prelude::Decode;
use highwater_benches::cpu::{Taken, process_time};

/// The clocks as they were when a certain record came by.
pub struct Mark {
    seen: AtomicU64,
    warm: u64,
    began: OnceLock<(Duration, Instant)>,
}

impl Mark {
    pub fn behind(warm: u64) -> Arc<Mark> {
        Arc::new(Mark { seen: AtomicU64::new(0), warm, began: OnceLock::new() })
    }

    /// A record comes by. No increment in one step, which one thread does not need and which would cost 5 ns.
    #[inline]
    pub fn pass(&self) {
        let seen = self.seen.load(Ordering::Relaxed);
        if seen == self.warm {
            let _ = self.began.set((process_time(), Instant::now()));
        }
        self.seen.store(seen + 1, Ordering::Relaxed);
    }

    /// What was taken since the record came by.
    ///
    /// # Panics
    /// If it did not.
    pub fn taken(&self) -> Taken {
        let (cpu, wall) = *self.began.get().expect("as many records as were ordered come by");
        Taken { wall: wall.elapsed(), cpu: process_time() - cpu }
    }
}

/// A codec that passes a mark with every record.
pub struct Marked<C>(pub C, pub Arc<Mark>);

impl<T, C: Decode<T>> Decode<T> for Marked<C> {
    fn decode(&self, bytes: &[u8]) -> Result<T, String> {
        self.1.pass();
        self.0.decode(bytes)
    }
}
