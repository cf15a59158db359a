//! Fuzzes a log's journal and its sinks' receipts: see `highwater_fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| highwater_fuzz::try_one("journal", bytes));
