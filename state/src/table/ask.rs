//! Asking the memory for what is read soon.
//!
//! The rows of a batch lie far from each other. A processor looks ahead over some ten look-ups at most, and waits for
//! the memory then; asked for all of them first, it waits once. It is advice: nothing depends on it, and where there is
//! no instruction for it nothing is done.

#![allow(unsafe_code, reason = "the instruction that asks for memory has no safe form")]

/// What the memory gives at a time, in bytes.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// Asks for an element, for its first and its last byte where they may lie in two lines; there need not be one at that
/// place.
#[inline]
#[cfg(target_arch = "x86_64")]
pub(super) fn ask_for<T>(array: &[T], at: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    let first = array.as_ptr().wrapping_add(at).cast::<i8>();
    // SAFETY: a prefetch reads nothing that the program sees, and faults at no address; every x86-64 has it.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(first) }
    if align_of::<T>() < LINE {
        // SAFETY: as above.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(first.wrapping_add(size_of::<T>().saturating_sub(1))) }
    }
}

/// Asks for an element; there need not be one at that place.
#[inline]
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn ask_for<T>(_: &[T], _: usize) {}
