//! The figures as a table in Markdown, with the machine named.

use std::fmt;
use std::fs;

use highwater_benches::cpu::Taken;

use crate::compare::{Comparison, Rounds};

/// The median of some figures, with the least and the most.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    /// The spread of figures of which there is at least one.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Spread { least: values[0], median: values[values.len() / 2], most: values[values.len() - 1] }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.median < 100.0 { 2 } else { 0 };
        let Spread { least, median, most } = self;
        write!(f, "{median:.digits$} [{least:.digits$} .. {most:.digits$}]")
    }
}

/// The processor, its cores and the kernel, as far as `/proc` tells.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let about = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = about.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("an unknown processor", |(_, model)| model.trim());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores} cores, {} {}", std::env::consts::OS, kernel.trim())
}

/// The head of the table; `about` is said before the rest, if it is not empty.
pub fn head(workers: usize, rounds: usize, about: &str) -> String {
    let workers =
        if workers == 1 { "1 worker".to_owned() } else { format!("{workers} workers (the loop has one)") };
    format!(
        "{}; {about}{workers}; the median of {rounds} rounds [least .. most]; CPU time is that of all threads.\n\n\
         | work | engine | CPU ns a record | times the loop's CPU time | wall ns a record |\n\
         | --- | --- | ---: | ---: | ---: |",
        machine()
    )
}

/// The rows of one comparison.
pub fn rows(comparison: &Comparison, taken: &Rounds, records: u64) -> String {
    let a_record = |nanos: u128| nanos as f64 / records as f64;
    let cpu_of = |taken: &Taken| a_record(taken.cpu.as_nanos());
    let hand: Vec<f64> = taken[0].iter().map(cpu_of).collect();
    let row = |(case, taken): (&crate::compare::Case, &Vec<Taken>)| {
        let cpu = Spread::of(taken.iter().map(cpu_of));
        let ratio = Spread::of(taken.iter().zip(&hand).map(|(taken, hand)| cpu_of(taken) / hand.max(0.01)));
        let wall = Spread::of(taken.iter().map(|taken| a_record(taken.wall.as_nanos())));
        format!("| {} | {} | {cpu} | {ratio} | {wall} |", comparison.what, case.name())
    };
    let rows: Vec<String> = comparison.cases.iter().zip(taken).map(row).collect();
    rows.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_between_the_least_and_the_most() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]).to_string(), "2.00 [1.00 .. 3.00]");
        assert_eq!(Spread::of([300.0, 100.4, 200.0]).to_string(), "200 [100 .. 300]");
    }
}
