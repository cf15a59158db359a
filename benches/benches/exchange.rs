//! A count per key for 100 000 keys by one worker and by two: what moving records between workers costs.
//!
//! Back of the envelope, for one record with two workers:
//!
//! - half of the records move: the 40 bytes of key, hash, record and slot are written into the other worker's batch,
//!   10 ns, and read there from the third-level cache, 10 ns; a batch of 1024 goes through a channel, 100 ns in all;
//! - which worker a record goes to is as random as its key, so it is found without a branch or guessed wrong every
//!   second time, 5 ns;
//! - what is gained is that each worker's rows, half of them, lie in its own second-level cache.
//!
//! Compare the wall time of both with each other: CPU time is that of both workers together.

#[path = "work/exchange.rs"]
mod exchange;
#[path = "work/group.rs"]
mod group;

use criterion::{Criterion, criterion_group, criterion_main};

fn bench(criterion: &mut Criterion) {
    group::measure(criterion, &exchange::comparisons());
}

criterion_group!(counts, bench);
criterion_main!(counts);
