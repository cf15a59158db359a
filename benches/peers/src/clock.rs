//! The CPU time of this process, to the nanosecond.
//!
//! `highwater_benches::cpu` reads `/proc/self/stat`, which counts in steps of 10 ms: enough for runs of a second. Here
//! the slowest engine takes a hundred times as long as the loop on the same records, so the loop's runs must be short.
//! The kernel's clock of a process adds up all its threads, also those that have ended, as that file does.

use std::time::{Duration, Instant};

use highwater_benches::cpu::Taken;
use rustix::time::{ClockId, clock_gettime};

fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Does the work and says what it took.
pub fn measure<R>(work: impl FnOnce() -> R) -> (R, Taken) {
    let (cpu, wall) = (process_time(), Instant::now());
    let result = work();
    (result, Taken { wall: wall.elapsed(), cpu: process_time() - cpu })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_threads_have_spent_is_counted_after_their_end() {
        let spin = || {
            let began = Instant::now();
            while began.elapsed() < Duration::from_millis(20) {
                std::hint::spin_loop();
            }
        };
        let ((), taken) = measure(|| std::thread::spawn(spin).join().expect("spins"));
        assert!(taken.cpu > Duration::from_millis(1), "{taken:?}");
    }
}
