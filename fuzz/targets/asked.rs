//! Fuzzes what clients write in a request: see `highwater_fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| highwater_fuzz::try_one("asked", bytes));
