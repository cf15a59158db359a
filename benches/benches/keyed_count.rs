//! A count per key over 100 000 keys, in memory and over RocksDB, with every change told and with none.
//!
//! Back of the envelope, for one record:
//!
//! - the feed streams 16 bytes from the third-level cache: 1 ns, on both sides;
//! - the loop hashes 8 bytes (one multiplication, 1 ns), and finds its entry: 100 000 entries of 16 bytes in
//!   2^17 places are 2 MiB and 128 KiB of tags, so the entry is a line from the third-level cache, some 40 to 50
//!   cycles. Several look-ups overlap, as the key of the next does not depend on the count of this one: 5 ns;
//! - the engine hashes once too, and keeps the hash: 8 bytes written and read. Its index holds 4 bytes a place
//!   (512 KiB and the tags), its row is a line of its own (6 MiB in all): two lines that depend on each other
//!   instead of one, some 5 ns more, if the look-ups of a batch overlap;
//! - keys, hashes, values and slots of a batch are 40 KiB of vectors, each written and read once: 2 ns;
//! - an epoch over RocksDB writes each of the 100 000 rows once: encoded (20 ns), put into the batch, the log and
//!   the memtable (1 to 2 us, the search in the memtable's skip list above all). At one epoch a second and 20
//!   million records a second that is 100 000 x 1.5 us / 20 000 000 = 8 ns a record, the largest item of all.

#[path = "work/group.rs"]
mod group;
#[path = "work/keyed_count.rs"]
mod keyed_count;

use criterion::{Criterion, criterion_group, criterion_main};

fn bench(criterion: &mut Criterion) {
    group::measure(criterion, &keyed_count::comparisons());
}

criterion_group!(counts, bench);
criterion_main!(counts);
