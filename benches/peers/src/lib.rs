//! Highwater beside Renoir, Timely and a loop written by hand: the same records in, the same results out, in one run.
//!
//! What each engine runs is what its documentation and its examples lead a user to write, with the settings that make
//! it fast where they name some: fixed batches for Renoir, whole batches and one thread's allocator for Timely.
//! Highwater runs as a job with its watermarks, epochs and counters on and its state in memory, as the other two keep
//! theirs; neither of them can bring it back after a failure.
//!
//! **What is measured.** All engines are given the records of one [`Pool`](pool::Pool), which was generated once.
//! Each sums up its output record by record in a [`Total`](total::Total), and every run's sum must be that of the loop.
//! A run is a whole life: building the graph, starting threads, all records, the last results, the end. Where an
//! engine keeps its state in what its user writes (Timely, and Renoir's custom operators), that is the very state of
//! the loop, so that the difference is the engine's own cost.
//!
//! **Figures.** CPU time of all threads of the process is the one to trust: Renoir pipelines over more threads than
//! it has workers, and on a machine with free cores hides that in its wall time. Cases take turns in every round, and
//! a ratio compares two runs of the same round.
//!
//! | command, with `cargo run --release --manifest-path benches/peers/Cargo.toml --` | what it shows |
//! | --- | --- |
//! | (nothing) | everything, one worker, five rounds |
//! | `--only window --runs 11 --records 2000000` | some of it |
//! | `nexmark`, with `--only q5 --runs 3 --events 500000 --workers 1` | the queries of Nexmark |
//! | `--workers 2` | two workers for each engine; the loop stays as it is |

use compare::Comparison;

pub mod compare;
pub mod engines;
pub mod nexmark;
pub mod pool;
pub mod table;
pub mod total;
pub mod work;

/// Every comparison: its name, and what makes it. Making it generates the input.
pub const WORK: &[(&str, fn() -> Comparison)] = &[
    ("chain", work::chain::comparison),
    ("count", work::count::comparison),
    ("count-at-end", work::count::comparison_at_end),
    ("window", work::window::comparison),
    ("window-in-order", work::window::comparison_in_order),
    ("session", work::session::comparison),
    ("join", work::join::comparison),
];
