//! Every query of Nexmark has the same results in the loops, in Highwater, in Renoir and in Timely, over events owned
//! and lent, with one worker and with two. Few events: 12 s of their own time, so that each window closes before the
//! end once.

use highwater_peers::nexmark;

/// Runs every query once, and once more to warm up; a difference is an error.
fn compare(workers: usize) {
    const EVENTS: u64 = 120_000;
    let comparisons = nexmark::comparisons(EVENTS, "");
    assert_eq!(comparisons.len(), nexmark::names().count());
    for comparison in comparisons {
        let rounds =
            comparison.run(EVENTS, workers, 1).unwrap_or_else(|error| panic!("{workers} workers: {error}"));
        assert!(rounds.iter().all(|rounds| rounds.len() == 1), "{}: every case was run", comparison.name);
    }
}

#[test]
fn results_are_equal_with_one_worker() {
    compare(1);
}

#[test]
fn results_are_equal_with_two_workers() {
    compare(2);
}
