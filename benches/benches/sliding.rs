//! A count per key and sliding window, with sizes of 1, 10, 100 and 1000 slides: 100 keys, and 10 records of each in
//! a slide of 100 ms, up to 100 ms out of order, a watermark after every 1024 records.
//!
//! Every key has a result in every slide at every ratio, one for 10 records, and at the end one for every slide of a
//! window; so what grows with the ratio is the cost of sharing slices, and it should not. Back of the envelope, for one
//! record:
//!
//! - the loop finds its key and its slice in a ring: a division and two cache hits, 5 ns. A result is two counts out of
//!   the ring, one added to the sum and one taken back: 10 ns, 1 ns a record. It can do so because counts can be taken
//!   back, and because it knows that no other aggregate will come;
//! - the engine pays the keyed count's price for the row, and finds the slice; up to 100 ms out of order it is the
//!   last of the key or the one before, and about every second record finds another than the record before it: two
//!   divisions, 10 ns. A result is three merges at most, a timer that fires and one that is set, and the row by its
//!   key: 150 to 200 ns, 15 to 20 ns a record;
//! - at a ratio of 1000 a key's slices take 24 KiB and its partial results up to 16 KiB, those of all keys 4 MiB: of
//!   both only the ends are touched, until the partial results are made anew, 1 ns a slice and 0.1 ns a record, but
//!   the ends are in no near cache any more: some lines a result, 5 to 10 ns a record. With 4 million records there is
//!   a quarter more results. What RocksDB gets in an epoch does grow: all slices of a key, 8 bytes each.

#[path = "work/group.rs"]
mod group;
#[path = "work/sliding.rs"]
mod sliding;

use criterion::{Criterion, criterion_group, criterion_main};

fn bench(criterion: &mut Criterion) {
    group::measure(criterion, &sliding::comparisons());
}

criterion_group!(windows, bench);
criterion_main!(windows);
