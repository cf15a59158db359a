//! Fuzzes rows read by the text of their shape: see `highwater_fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| highwater_fuzz::try_one("shapes", bytes));
