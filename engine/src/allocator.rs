//! When the allocator of the C library gives memory back.
//!
//! Left to itself, glibc is wrong for both kinds of job. A job with a memory budget: it has an arena for each thread,
//! keeps what was freed in each of them, and takes ever larger pieces from them; after one large delta was freed, the
//! next ones are no longer mapped and unmapped by themselves. With a budget of 64 MiB that made 109 MiB resident. A job
//! without one: it gives the end of an arena back as soon as 128 KiB are free there, which two batches of wide records
//! are, and gets it again, page by page, for the next batch; that took half of the time of a filter and a map.
//!
//! It knows nothing of budgets: what is held is their business, this is about what is not held any more
//! (`docs/decisions/0019-memory-is-what-the-process-has.md`).

/// When memory that was freed is the system's again.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(all(target_os = "linux", target_env = "gnu")), allow(dead_code))]
pub(crate) struct Giving {
    /// Pieces of so many bytes are mapped by themselves, and given back when they are freed.
    mapped_bytes: i32,
    /// So many bytes that are free at the end of an arena are given back.
    free_bytes: i32,
    /// How many arenas there may be, if it matters.
    arenas: Option<usize>,
}

impl Giving {
    /// For a job with a memory budget: at 256 KiB, more than most batches have. An arena for each worker, and one that
    /// RocksDB's threads and all others share.
    pub(crate) fn at_once(workers: usize) -> Giving {
        Giving { mapped_bytes: 256 * 1024, free_bytes: 512 * 1024, arenas: Some(workers + 1) }
    }

    /// For a job without: at 1 MiB, from where on tables ask for large pages; 16 MiB stay in an arena, so that batches
    /// find the memory of those before them.
    pub(crate) fn late() -> Giving {
        Giving { mapped_bytes: 1 << 20, free_bytes: 16 << 20, arenas: None }
    }

    /// Tells the allocator, for the whole process and as long as it lives; the last job that was started has its way.
    /// Not where the environment says something else of it, nor with another C library. An allocator that the program
    /// chose for itself is not touched.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    pub(crate) fn set(self) {
        /// What the user may have set instead.
        const OF_USER: [&str; 4] =
            ["GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"];
        if OF_USER.iter().any(|name| std::env::var_os(name).is_some()) {
            return;
        }
        let arenas = self.arenas.map(|arenas| (libc::M_ARENA_MAX, i32::try_from(arenas).unwrap_or(i32::MAX)));
        let thresholds =
            [(libc::M_MMAP_THRESHOLD, self.mapped_bytes), (libc::M_TRIM_THRESHOLD, self.free_bytes)];
        for (setting, value) in thresholds.into_iter().chain(arenas) {
            // SAFETY: `mallopt` takes two numbers and no pointer. Under the lock of the main arena it sets a number
            // that other threads read whole, before or after; each of them is right for every allocation.
            #[allow(unsafe_code)]
            let taken = unsafe { libc::mallopt(setting, value) };
            if taken == 0 {
                tracing::debug!(setting, value, "the allocator does not take a setting");
            }
        }
    }

    /// Another C library: nothing is known of how it gives memory back.
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    pub(crate) fn set(self) {}
}
