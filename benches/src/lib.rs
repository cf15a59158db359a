//! What the benchmarks share: input, a source that hands it out, a sink that sums it up, and clocks.
//!
//! Every benchmark runs the real engine (a [`Job`](highwater::job::Job) with its watermarks, epochs and
//! counters) beside a single-threaded loop that a user would write by hand, on the same input and with the same
//! output. The two tallies are compared once before anything is measured.
//!
//! **What is measured.** Both sides take their records from a [`Feed`](feed::Feed), which copies the next batch
//! out of a pool that was generated once: this stands for decoding, and costs both sides the same. The loop gets
//! it in one buffer that it uses again and again, the engine in a vector of its own for each batch, because that
//! is how the engine reads; what allocating it costs is the engine's cost. Both sides sum up their output record
//! by record. The engine's figures hold the start and the end of the job, with the last commit; runs are long
//! enough that this does not show. The case `feed` is the copy alone, so that it can be subtracted.
//!
//! **Figures.** CPU time of the whole process for one record is the figure to trust: it holds the threads that
//! commit and RocksDB's own, and neither waiting for a core nor for the disk. Wall time is what criterion plots.
//!
//! | command | what it shows |
//! | --- | --- |
//! | `cargo bench -p highwater-benches --bench keyed_count` | criterion's figures, and CPU time per record |
//! | `cargo bench -p highwater-benches --bench ratios` | engine against loop, interleaved, medians and spread |
//! | `... --bench ratios -- --only keyed_count --runs 11` | some of it, with more runs |
//! | `... --bench ratios -- --profile keyed_count/rocksdb` | one side, once, to run under a profiler |
//! | `cargo bench -p highwater-benches --bench pause` | what epochs cost: the delay of records, and throughput |
//! | `cargo bench -p highwater-benches --bench latency` | how late records are at half of the greatest rate |
//! | `cargo bench -p highwater-benches --bench kafka` | from topic to topic, beside a loop and Kafka Streams |
//!
//! `--seconds N` sets how long one run takes about, `--records N` how many records it takes. Debug information
//! for a profiler: `CARGO_PROFILE_BENCH_DEBUG=1`.

pub mod compare;
pub mod cpu;
pub mod delays;
pub mod feed;
pub mod input;
pub mod paced;
pub mod resident;
pub mod spread;
pub mod tally;
pub mod two;
