//! Hands comparisons to criterion.

use std::sync::Once;
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};
use highwater_benches::compare::{Case, Comparison};
use highwater_benches::cpu::Taken;

/// Records of one iteration.
const RECORDS: u64 = 4 << 20;
/// Records with which the outputs are compared, and of one iteration where nothing is measured.
const RECORDS_TO_CHECK: u64 = 200_000;

/// Measures every case of every comparison, and prints the CPU time of a record below criterion's lines.
#[allow(dead_code, reason = "each bench uses one of the two")]
pub fn measure(criterion: &mut Criterion, comparisons: &[Comparison]) {
    measure_checked(criterion, comparisons, RECORDS_TO_CHECK);
}

/// As [`measure`], with so many records to compare the outputs.
pub fn measure_checked(criterion: &mut Criterion, comparisons: &[Comparison], to_check: u64) {
    let is_given = |option: &str| std::env::args().any(|arg| arg == option);
    let records = if is_given("--bench") { RECORDS } else { to_check };
    // A profile must not be one of the check.
    let checks = !is_given("--profile-time");
    for comparison in comparisons {
        // What the command line leaves out is not checked either.
        let checked = Once::new();
        let mut group = criterion.benchmark_group(&comparison.name);
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(5));
        group.throughput(Throughput::Elements(records));
        for case in comparison.cases() {
            let mut sum = Taken::default();
            let mut runs = 0;
            group.bench_function(case.name, |bencher| {
                checked.call_once(|| {
                    if checks {
                        comparison.check(to_check);
                    }
                });
                bencher.iter_custom(|iterations| {
                    let taken = repeat(case, records, iterations);
                    (sum, runs) = (sum + taken, runs + iterations);
                    taken.wall
                });
            });
            if runs > 0 {
                let nanos = sum.cpu.as_nanos() as f64 / (runs * records) as f64;
                println!("{}/{}: CPU time {nanos:.2} ns a record\n", comparison.name, case.name);
            }
        }
        group.finish();
    }
}

fn repeat(case: &Case, records: u64, iterations: u64) -> Taken {
    (0..iterations).map(|_| case.run(records).1).fold(Taken::default(), |sum, taken| sum + taken)
}
