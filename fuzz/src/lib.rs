//! The decoders under a fuzzer: one input at a time, each with a limit on the memory that it may take.
//!
//! Invariant: an input that takes more than [`TIMES_INPUT`] times its own size and [`BYTES_BESIDE`] bytes beside is a
//! finding, as a panic is. How long an input may take is libFuzzer's affair (`scripts/fuzz`).

use peak_alloc::PeakAlloc;

mod decoders;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// How many times its own size an input may take in memory: 10, as a text of many short fields takes three words and
/// an allocation for each.
const TIMES_INPUT: usize = 10;
/// What every input may take beside, in bytes: 16 MiB. The text of a shape may stand for 2^20 parts; a file is read
/// through a buffer of 256 KiB for each reader, and serde makes room for up to 1 MiB of elements, at each level, on
/// the word of a length alone.
const BYTES_BESIDE: usize = 16 << 20;

/// Tries the target of this name on one input.
///
/// # Panics
/// If there is none, if the target finds something, and if the input took too much memory.
pub fn try_one(name: &str, bytes: &[u8]) {
    let target = decoders::TARGETS.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("there is no target `{name}`"));
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    (target.run)(bytes);
    let taken = MEMORY.peak_usage().saturating_sub(before);
    let limit = TIMES_INPUT * bytes.len() + BYTES_BESIDE;
    assert!(taken <= limit, "{} bytes of input took {taken} bytes of memory, more than {limit}", bytes.len());
}
