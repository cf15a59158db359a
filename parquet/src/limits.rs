//! Every limit of this crate, with its unit and reason.

use std::time::Duration;

/// Bytes of values, before they are encoded, that a file holds; 64 MiB unless
/// [`Parquet::file_bytes`](crate::Parquet::file_bytes) says otherwise. A file may hold one segment more. As much is in
/// memory, decoded, while it is written.
pub const FILE_BYTES: usize = 64 << 20;

/// How long rows wait for a file to fill, unless [`Parquet::roll_after`](crate::Parquet::roll_after) says otherwise.
pub const ROLL_AFTER: Duration = Duration::from_secs(60);

/// Bytes of values that a writer gathers before it puts them into a segment, also in the middle of an epoch: 8 MiB for
/// each worker.
pub const SEGMENT_BYTES: usize = 8 << 20;

/// Segments that wait at most, of all workers; then a file is made of them, however small. The receipts of every epoch
/// name them all: some 60 KiB.
pub const SEGMENTS_MAX: usize = 1000;

/// Columns at most.
pub const COLUMNS_MAX: usize = 1000;

/// Threads that talk to a store, of each [`Parquet`](crate::Parquet).
pub const THREADS: usize = 1;
