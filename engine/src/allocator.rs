//! How the allocator of the C library gives memory back.
//!
//! Left to itself, glibc has an arena for each thread, keeps what was freed in each of them, and takes ever larger
//! pieces from them: after one large delta was freed, the next ones are no longer mapped and unmapped by themselves.
//! With a budget of 64 MiB that made 109 MiB resident. It knows nothing of budgets: what is held is their business,
//! this is about what is not held any more (`docs/decisions/0019-memory-is-what-the-process-has.md`).

/// Pieces of so many bytes are mapped by themselves, and are the system's again when they are freed; and so many bytes
/// that are free at the end of an arena are given back. 256 KiB: larger than most batches.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_BYTES: i32 = 256 * 1024;

/// What the user may have set instead.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OF_USER: [&str; 4] =
    ["GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"];

/// Makes the allocator give back what is freed, for the whole process and as long as it lives; not where the
/// environment says something else of it, nor with another C library. An allocator that the program chose for itself
/// is not touched.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn give_back(workers: usize) {
    if OF_USER.iter().any(|name| std::env::var_os(name).is_some()) {
        return;
    }
    // One for each worker, and one that RocksDB's threads and all others share.
    let arenas = i32::try_from(workers + 1).unwrap_or(i32::MAX);
    let settings = [
        (libc::M_MMAP_THRESHOLD, MAPPED_BYTES),
        (libc::M_TRIM_THRESHOLD, 2 * MAPPED_BYTES),
        (libc::M_ARENA_MAX, arenas),
    ];
    for (setting, value) in settings {
        // SAFETY: `mallopt` takes two numbers and no pointer. Under the lock of the main arena it sets a number that
        // other threads read whole, before or after; each of them is right for every allocation.
        #[allow(unsafe_code)]
        let taken = unsafe { libc::mallopt(setting, value) };
        if taken == 0 {
            tracing::debug!(setting, value, "the allocator does not take a setting");
        }
    }
}

/// Another C library: nothing is known of how it gives memory back.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back(_: usize) {}
