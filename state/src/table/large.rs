//! Arrays that may become large, on large pages.
//!
//! A table is read at random places. With pages of 4 KiB the processor forgets where most of them lie, and looks that
//! up for every second row; with pages of 2 MiB it does not. So the system is asked for large pages where an array is
//! large enough, before the memory is used for the first time: what is moved afterwards stays on small ones. It is
//! advice: a system that has none, or has them switched off, gives small pages, and nothing else changes.

#![allow(unsafe_code, reason = "madvise, of which the standard library has nothing")]

/// From how many bytes on an array is worth large pages: 1 MiB, so that it gets one at all if it lies well.
const LARGE_BYTES: usize = 1 << 20;

/// An empty vector with room for `capacity` elements.
pub(super) fn with_capacity<T>(capacity: usize) -> Vec<T> {
    let array = Vec::with_capacity(capacity);
    ask_for_large_pages(&array);
    array
}

/// As [`Vec::push`], but that the array moves to new memory when it is full, and not to more of the old.
#[inline]
pub(super) fn push<T>(array: &mut Vec<T>, element: T) {
    if array.len() == array.capacity() {
        grow(array);
    }
    array.push(element);
}

#[cold]
fn grow<T>(array: &mut Vec<T>) {
    let mut larger = with_capacity((2 * array.capacity()).max(4));
    larger.append(array);
    *array = larger;
}

#[cfg(target_os = "linux")]
fn ask_for_large_pages<T>(array: &Vec<T>) {
    const PAGE: usize = 4096;
    let bytes = array.capacity() * size_of::<T>();
    if bytes < LARGE_BYTES {
        return;
    }
    let (from, until) = (array.as_ptr().addr() & !(PAGE - 1), array.as_ptr().addr() + bytes);
    // SAFETY: this advice changes no content and no permission, whatever else lies on the first and the last page, so
    // nothing that Rust relies on depends on it. Where it is refused, small pages stay.
    let _ = unsafe {
        rustix::mm::madvise(
            array.as_ptr().with_addr(from).cast_mut().cast(),
            (until - from).next_multiple_of(PAGE),
            rustix::mm::Advice::LinuxHugepage,
        )
    };
}

#[cfg(not(target_os = "linux"))]
fn ask_for_large_pages<T>(_: &Vec<T>) {
    let _ = LARGE_BYTES;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_keeps_what_it_holds_when_it_moves() {
        let mut array = Vec::new();
        (0..1_000_000u64).for_each(|number| push(&mut array, number));
        assert!(array.iter().copied().eq(0..1_000_000));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_large_array_lies_on_large_pages_where_the_system_has_them() {
        let enabled = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
        if !enabled.is_ok_and(|enabled| !enabled.contains("[never]")) {
            println!("skipped: this system has no large pages");
            return;
        }
        let mut array: Vec<u8> = with_capacity(64 << 20);
        array.resize(64 << 20, 1);
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("Linux tells of the process's memory");
        let advised = maps.lines().any(|line| line.starts_with("VmFlags:") && line.contains(" hg"));
        assert!(advised, "no part of the memory has the advice");
    }
}
