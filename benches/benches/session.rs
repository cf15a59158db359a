//! A count per visitor and session: visits of ten clicks 100 ms apart, a gap of 500 ms, 10 000 visits open at a time,
//! up to 50 ms out of order, a watermark after every 1024 records.
//!
//! Back of the envelope, for one record:
//!
//! - the loop finds the visit in a map of 10 000 entries of 40 bytes, half a megabyte: 5 ns. A tenth of the records
//!   begins a visit, which goes through a heap twice, 13 comparisons each, and out of the map: 150 ns, 15 ns a
//!   record;
//! - the engine hashes the key and finds its row, 10 ns, in which the sessions of a key stand in a deque; it sets a
//!   timer when a session begins and one more when the first fires too early: two rows of the ordered table, 100 ns
//!   each, and as much again to take them out: 40 ns a record.

#[path = "work/group.rs"]
mod group;
#[path = "work/session.rs"]
mod session;

use criterion::{Criterion, criterion_group, criterion_main};

fn bench(criterion: &mut Criterion) {
    group::measure(criterion, &session::comparisons());
}

criterion_group!(windows, bench);
criterion_main!(windows);
