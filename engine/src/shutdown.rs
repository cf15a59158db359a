//! SIGINT and SIGTERM: the first ends the job in a committed epoch, the second ends the process.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::JobError;

/// The exit code of a process that a second signal ends.
const INTERRUPTED: i32 = 130;

/// Watches for signals until it is dropped.
pub(crate) struct Signals(Vec<SigId>);

impl Signals {
    /// Sets `stop` at the first signal.
    pub(crate) fn watch(stop: Arc<AtomicBool>) -> Result<Signals, JobError> {
        let failed = |source| JobError::System { doing: "watch for signals", source };
        let mut watched = Signals(Vec::new());
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag down and raises it, the second finds it up.
            let second =
                signal_hook::flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&stop));
            watched.0.push(second.map_err(failed)?);
            watched.0.push(signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(failed)?);
        }
        Ok(watched)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|id| {
            signal_hook::low_level::unregister(id);
        });
    }
}
