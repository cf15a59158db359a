//! SIGINT and SIGTERM: the first ends the job in a committed epoch, the second ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::JobError;

/// Watches for signals; when it is dropped, the next signal ends the process again.
pub(crate) struct Signals {
    /// Whether a signal ends the process at once. Taking a handler away would not bring the default back: the
    /// signal would be ignored from then on.
    at_once: Arc<AtomicBool>,
    stopping: Vec<SigId>,
}

impl Signals {
    /// Sets `stop` at the first signal.
    pub(crate) fn watch(stop: Arc<AtomicBool>) -> Result<Signals, JobError> {
        let failed = |source| JobError::System { doing: "watch for signals", source };
        let mut watched = Signals { at_once: Arc::default(), stopping: Vec::new() };
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag down and raises it, the second finds it up.
            let at_once = Arc::clone(&watched.at_once);
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&at_once)).map_err(failed)?;
            signal_hook::flag::register(signal, at_once).map_err(failed)?;
            watched.stopping.push(signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(failed)?);
        }
        Ok(watched)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.at_once.store(true, Ordering::Relaxed);
        self.stopping.drain(..).for_each(|id| {
            signal_hook::low_level::unregister(id);
        });
    }
}
