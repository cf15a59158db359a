//! How much memory this process has.
//!
//! Read from `/proc/self/status`, which counts every page that is in memory: code, stacks, what the allocator keeps,
//! what RocksDB has. The kernel's cache of files is not in it.

use std::fs;

/// What the process has in memory, in bytes; zeros where there is no `/proc`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// Now.
    pub now: usize,
    /// The most it has ever had.
    pub peak: usize,
}

impl Resident {
    /// Looks.
    pub fn read() -> Resident {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_whitespace().next()?.parse::<usize>().ok()? << 10)
        };
        Resident { now: field("VmRSS:").unwrap_or(0), peak: field("VmHWM:").unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_touched_is_resident_and_the_peak_stays() {
        let before = Resident::read();
        if before == Resident::default() {
            return;
        }
        let touched = std::hint::black_box(vec![1u8; 64 << 20]);
        let with = Resident::read();
        drop(touched);
        assert!(with.now >= before.now + (48 << 20), "{before:?} {with:?}");
        // Linux counts what is resident for each thread by itself, and adds up a little later.
        assert!(Resident::read().peak >= before.now + (48 << 20));
    }
}
