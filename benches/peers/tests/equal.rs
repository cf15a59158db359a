//! Every engine's output is that of the loop, with one worker and with two, whether the input ends with a whole batch
//! or not. Small, so that the slowest of them takes a second: records of one sixth of a second and of a few batches.

use highwater_peers::WORK;

/// Runs everything once, and once more to warm up; a difference is an error.
fn compare(records: u64, workers: usize) {
    for (name, prepare) in WORK {
        let comparison = prepare();
        assert_eq!(comparison.name, *name);
        let outcome = comparison.run(records, workers, 1);
        let rounds = outcome.unwrap_or_else(|error| panic!("{records} records, {workers} workers: {error}"));
        assert!(rounds.iter().all(|rounds| rounds.len() == 1), "{name}: every case was run");
    }
}

#[test]
fn outputs_are_equal_with_one_worker() {
    compare(150_000, 1);
    compare(7_000, 1);
}

#[test]
fn outputs_are_equal_with_two_workers() {
    compare(150_000, 2);
    compare(8 * 1024, 2);
}
