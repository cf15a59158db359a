//! The CPU time of this process, to the nanosecond.
//!
//! The kernel's clock of a process adds up all its threads, also those that have ended.

use std::fs;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The user and system time of all threads so far.
pub fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The user and system time of the calling thread so far.
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The user and system time of all processes that this one has started and waited for, and of theirs; to 10 ms.
pub fn children_time() -> Duration {
    /// A tick of `/proc/self/stat`; 100 a second on every Linux that this is likely to meet.
    const TICK: Duration = Duration::from_millis(10);
    // Counted after the name of the program, which is in parentheses and may hold spaces: cutime and cstime are fields
    // 16 and 17.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    let ticks: u32 =
        fields.split_whitespace().skip(13).take(2).filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
    TICK * ticks
}

/// What a piece of work took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    /// Time on the clock.
    pub wall: Duration,
    /// CPU time of the whole process.
    pub cpu: Duration,
}

impl std::ops::Add for Taken {
    type Output = Taken;
    fn add(self, other: Taken) -> Taken {
        Taken { wall: self.wall + other.wall, cpu: self.cpu + other.cpu }
    }
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
    fn time_that_a_thread_has_spent_is_counted_after_its_end() {
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
