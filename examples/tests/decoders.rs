//! The fuzzed decoders as an ordinary test: on every kept input, and on a bounded number of random ones.
//!
//! `fuzz/src/decoders` has the targets and says what they hold; `scripts/fuzz` tries them for longer. A kept input is
//! one that reached something of its own, or that was found to break something once: those have a name.

#[path = "../../fuzz/src/decoders/mod.rs"]
mod decoders;

use std::fs;
use std::path::Path;

use decoders::{TARGETS, Target};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Random inputs of each target: 256, a few seconds for all of them.
const RANDOM_INPUTS: u32 = 256;
/// How many bytes the kept inputs of all targets may have.
const KEPT_BYTES_MAX: u64 = 200_000;

fn target(name: &str) -> Target {
    *TARGETS.iter().find(|target| target.name == name).expect("it is in the list")
}

/// The kept inputs of a target, in the order of their names.
fn kept(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("can be listed").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a kept input can be read")).collect()
}

/// Bytes from nothing, and kept inputs in which some bytes are others or which are cut off.
fn input(kept: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8);
    let changed = (prop::sample::select(kept), changes, any::<prop::sample::Index>()).prop_map(
        |(mut bytes, changes, end)| {
            for (at, byte) in changes.into_iter().filter(|_| !bytes.is_empty()).collect::<Vec<_>>() {
                let length = bytes.len();
                bytes[at.index(length)] = byte;
            }
            if end.index(4) == 0 {
                bytes.truncate(end.index(bytes.len() + 1));
            }
            bytes
        },
    );
    prop_oneof![1 => prop::collection::vec(any::<u8>(), 0..200), 4 => changed]
}

fn hold(name: &str) {
    let target = target(name);
    let kept = kept(name);
    assert!(!kept.is_empty(), "{name} has no kept inputs");
    kept.iter().for_each(|bytes| (target.run)(bytes));
    let config = Config { cases: RANDOM_INPUTS, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&input(kept), |bytes| {
        (target.run)(&bytes);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{name}: {failure}"));
}

#[test]
fn access_log_takes_any_bytes() {
    hold("access_log");
}

#[test]
fn aggregates_take_any_bytes() {
    hold("aggregates");
}

#[test]
fn what_is_asked_over_http_takes_any_bytes() {
    hold("asked");
}

#[test]
fn csv_takes_any_bytes() {
    hold("csv");
}

#[test]
fn a_journal_takes_any_change_and_receipts() {
    hold("journal");
}

#[test]
fn json_takes_any_bytes() {
    hold("json");
}

#[test]
fn lines_take_any_bytes() {
    hold("lines");
}

#[test]
fn a_marker_takes_any_bytes() {
    hold("marker");
}

#[test]
fn operators_take_any_rows() {
    hold("operators");
}

#[test]
fn patterns_take_any_stages_and_records() {
    hold("pattern");
}

#[test]
fn a_prepared_delta_takes_any_bytes() {
    hold("redo");
}

#[test]
fn rows_take_any_bytes() {
    hold("rows");
}

#[test]
fn shapes_take_any_text_and_bytes() {
    hold("shapes");
}

#[test]
fn a_sink_takes_any_marker_and_receipts() {
    hold("sink");
}

#[test]
fn every_target_has_a_test_a_fuzzer_and_few_kept_inputs() {
    let source = include_str!("decoders.rs");
    let mut bytes = 0;
    for Target { name, .. } in TARGETS {
        assert!(source.contains(&format!("hold(\"{name}\")")), "{name} has no test");
        let fuzzer = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../fuzz/targets/{name}.rs"));
        let text = fs::read_to_string(&fuzzer).unwrap_or_default();
        assert!(text.contains(&format!("\"{name}\"")), "{} does not try {name}", fuzzer.display());
        bytes += kept(name).iter().map(|input| input.len() as u64).sum::<u64>();
    }
    assert!(bytes <= KEPT_BYTES_MAX, "{bytes} bytes are kept; scripts/fuzz --minimise makes them fewer");
}
