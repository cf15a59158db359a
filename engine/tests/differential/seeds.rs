//! Random topologies in the simulation: one seed is a topology, its input, and everything that happens to it.
//!
//! `HIGHWATER_SEEDS=10000` runs so many in place of the usual number; `HIGHWATER_SEED=<seed>` runs that one. The first
//! seed comes from the time of day, so that every run is over new ones; a failure prints its seed, and the smallest
//! topology and input that were found to fail with it.

use std::time::{Duration, Instant};

use highwater::simulate::{Checked, Failure, Fault, Simulation, first_seed};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::build::{Simulated, build};
use super::case::{self, Case};

/// How many new seeds every run of the tests tries.
const SEEDS: u64 = 300;

/// From how many seeds on every fault must have been injected at least once.
const SEEDS_FOR_ALL: u64 = 3_000;

/// How many smaller cases are tried when one has failed, and for how long.
const SMALLER_TRIED: usize = 400;
const SMALLER_TRIED_FOR: Duration = Duration::from_secs(20);

/// After so many failures no more seeds are run.
const FAILURES_SHOWN: usize = 3;

/// The topology and input of a seed; every second one has records behind the watermark.
fn tree(seed: u64) -> impl ValueTree<Value = Case> {
    let bits: Vec<u8> =
        (1..5u64).flat_map(|part| seed.wrapping_mul(part).wrapping_add(part).to_le_bytes()).collect();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bits);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = if seed.is_multiple_of(2) { case::calm(60).boxed() } else { case::late(80).boxed() };
    strategy.new_tree(&mut runner).expect("every case can be made")
}

fn simulated(case: &Case, seed: u64) -> Result<Checked, Failure> {
    let simulated = case.clone();
    let simulation = Simulation::new(move |world| {
        let ends = Simulated { world, topics: simulated.topics, sinks: simulated.transactional };
        build(&simulated, &ends, || {})
    });
    // One split alone holds back nobody's watermark but its own.
    let idle_after = if case.splits.len() == 1 { Duration::from_millis(50) } else { Duration::MAX };
    simulation.idle_after(idle_after).check_seeds([seed])
}

/// The smallest case that fails with the seed, of those that are tried.
fn smaller(seed: u64, failure: Failure) -> String {
    let (mut tree, mut smallest) = (tree(seed), (tree(seed).current(), failure));
    let since = Instant::now();
    for _ in 0..SMALLER_TRIED {
        if since.elapsed() > SMALLER_TRIED_FOR {
            break;
        }
        let case = tree.current();
        let went_on = match simulated(&case, seed) {
            Err(failure) => {
                smallest = (case, failure);
                tree.simplify()
            }
            Ok(_) => tree.complicate(),
        };
        if !went_on {
            break;
        }
    }
    format!("{:#?}\n{}", smallest.0, smallest.1)
}

fn check(seed: u64) -> Result<Checked, String> {
    let fails = |failure| format!("seed {seed} fails; the smallest case found:\n{}", smaller(seed, failure));
    simulated(&tree(seed).current(), seed).map_err(fails)
}

#[test]
fn random_topologies_of_all_operators_survive_everything() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("HIGHWATER_SEED") {
        check(seed).unwrap_or_else(|failure| panic!("{failure}"));
        return;
    }
    let (first, seeds, start) = (first_seed(), number("HIGHWATER_SEEDS").unwrap_or(SEEDS), Instant::now());
    let mut coverage = highwater::simulate::Coverage::default();
    let mut failures = Vec::new();
    for seed in first..first + seeds {
        match check(seed) {
            Ok(checked) => coverage.add(checked.coverage()),
            Err(failure) => failures.push(failure),
        }
        if failures.len() >= FAILURES_SHOWN {
            break;
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    println!("{seeds} seeds from {first} in {:?}, {} faults:\n{coverage}", start.elapsed(), coverage.total());
    if seeds >= SEEDS_FOR_ALL {
        assert_eq!(coverage.missing(), Vec::<Fault>::new(), "some faults were never injected");
    }
}
