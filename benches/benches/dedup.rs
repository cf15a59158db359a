//! The first record of each key within a second: a third of the records are copies, 300 ms after the first; 100 000
//! records in a second of event time, all with other keys.
//!
//! Back of the envelope, for one record:
//!
//! - the loop looks into a map of some 70 000 entries, 2 MB: 10 ns; two thirds of the records are put into it and taken
//!   out again by a queue in the order of time: 20 ns each;
//! - the engine hashes the key and finds its row, 10 ns; a record that passes makes a row, 30 ns, and a timer, a row
//!   of the ordered table, 50 ns, and both are taken out again when they are due: as much once more.

#[path = "work/dedup.rs"]
mod dedup;
#[path = "work/group.rs"]
mod group;

use criterion::{Criterion, criterion_group, criterion_main};

fn bench(criterion: &mut Criterion) {
    group::measure(criterion, &dedup::comparisons());
}

criterion_group!(records, bench);
criterion_main!(records);
