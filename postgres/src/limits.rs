//! Every limit of this crate, with its unit and reason.

use std::time::Duration;

/// How long the server may take to let a connection in.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the server may take for one step of a sink: a piece of rows, or publishing an epoch. 1 min unless
/// [`Postgres::timeout`](crate::Postgres::timeout) says otherwise.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// How long a sink waits for a row or a table that somebody else holds locked, as `pg_dump` and `ALTER TABLE` do.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of rows that a writer gathers before it sends them: 1 MiB, from where on larger pieces gain nothing. While a
/// piece is on its way one more is gathered.
pub const PIECE_BYTES: usize = 1 << 20;

/// Bytes of one row at most: 64 MiB. PostgreSQL takes a GiB; what is larger than this belongs elsewhere.
pub const ROW_BYTES_MAX: usize = 64 << 20;

/// Characters of a sink's name at most, as its table's name, `highwater_staged_<name>`, has 63 in PostgreSQL.
pub const NAME_CHARS_MAX: usize = 40;

/// Columns that a sink writes at most: a tuple of PostgreSQL has 1600, five of which are the sink's own.
pub const COLUMNS_MAX: usize = 1500;

/// Connections that a lookup has at most, unless [`Lookup::connections`](crate::Lookup::connections) says otherwise.
/// PostgreSQL lets 100 in by default, of all programs.
pub const LOOKUP_CONNECTIONS: usize = 4;

/// How long one [`get`](crate::Lookup::get) may take, with the wait for a connection, unless
/// [`Lookup::timeout`](crate::Lookup::timeout) says otherwise.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers that a lookup keeps, unless [`Lookup::cache`](crate::Lookup::cache) says otherwise.
pub const CACHE_ENTRIES: usize = 10_000;

/// How long an answer is kept, unless [`Lookup::cache`](crate::Lookup::cache) says otherwise.
pub const CACHE_TIME: Duration = Duration::from_secs(60);

/// Threads that talk to servers, of each [`Postgres`](crate::Postgres).
pub const THREADS: usize = 1;
