//! Every limit of the server, with its unit and reason.

use std::time::Duration;

/// Rows of a page where the request does not say how many: what a person reads, and a program does not notice.
pub const ROWS_DEFAULT: usize = 100;

/// Rows of a page at most. As many as a view gives in one: 10 000, and 4 MiB if that comes first.
pub const ROWS_MAX: usize = highwater::state::view::PAGE_ROWS_MAX;

/// For how long a request waits for an epoch or a position where it does not say: a few epochs.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// For how long a request waits at most: less than the minute after which proxies and browsers give up.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// How often a request that waits looks whether an epoch has ended: short beside the shortest epoch, 10 ms.
pub const LOOK: Duration = Duration::from_millis(4);

/// Requests that read tables at one time; the others wait. Each reads on a thread of its own, and what one holds is a
/// page, so that all of them together hold some 64 MiB.
pub const READERS_MAX: usize = 16;

/// Requests that wait for an epoch or for their turn to read at one time; more are refused with status 503. 1024: each
/// holds a connection and some KiB.
pub const WAITING_MAX: usize = 1024;

/// For how long a server that is to stop waits for the requests that it has.
pub const GRACE: Duration = Duration::from_secs(2);

/// Threads that talk to clients: what takes time is done by the readers.
pub const THREADS: usize = 2;
