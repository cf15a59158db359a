//! Fuzzes patterns that are put together from bytes: see `highwater_fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| highwater_fuzz::try_one("pattern", bytes));
