//! A count per key and tumbling second: 100 000 keys, a million records and thus some 10 records a key in a
//! second of event time, up to 100 ms out of order, a watermark after every 1024 records.
//!
//! Back of the envelope, for one record:
//!
//! - the feed streams 16 bytes from the third-level cache: 1 ns, on both sides;
//! - the loop cuts the time into seconds (a division, 3 ns at worst) and finds its entry in a map of 2 MiB as the
//!   keyed count does: 5 ns. One record in 10 is the first of its window: an insertion, 10 ns, and later one
//!   place that is emptied and told, 3 ns; 1.3 ns a record. Up to 100 ms out of order, one record in 20 finds
//!   another window than the one before it: a search in a small tree, some 20 ns, 1 ns a record;
//! - the engine pays the keyed count's price for a row, with the time mixed into the hash (another
//!   multiplication), and for each row that is closed: out of the index (a line that is in no cache any more),
//!   out of the row, into a batch of 40-byte records: 20 to 30 ns a row, 2 to 3 ns a record;
//! - a watermark per 1024 records is one signal through four operators: 0.1 ns a record.

#[path = "work/group.rs"]
mod group;
#[path = "work/window.rs"]
mod window;

use criterion::{Criterion, criterion_group, criterion_main};

fn bench(criterion: &mut Criterion) {
    group::measure(criterion, &window::comparisons());
}

criterion_group!(windows, bench);
criterion_main!(windows);
