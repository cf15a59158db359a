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

/// Clients of a feed at one time, unless said: each costs a connection and a task, some 50 KiB.
pub const CLIENTS_MAX: usize = 256;

/// Messages of a feed that a client may be behind by. They are shared by all, so that a feed holds at most 64 times
/// [`MESSAGE_BYTES_MAX`] on their way, 16 MiB.
pub const QUEUE_MESSAGES: usize = 64;

/// Bytes of the records of one message of a feed: what a browser takes in without a pause that people see. More are cut
/// into several messages; a record that is larger alone is left out, and counted.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Bytes that one worker may tell a feed in one epoch; of more the oldest are left out, and counted. They are in the
/// state until the next epoch. 4 MiB: more than people can look at.
pub const EPOCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Records that a feed with keys keeps for those who connect, unless said.
pub const KEPT_RECORDS: usize = 10_000;

/// Bytes of the records that a feed keeps for those who connect.
pub const KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of what a client of a feed may say in one message: it has nothing to say.
pub const CLIENT_BYTES_MAX: usize = 1024;

/// How often a client of a feed is asked whether it is there: less than the minute after which proxies hang up.
pub const PING: Duration = Duration::from_secs(15);

/// For how long a client of a feed may be silent, pings unanswered: two of them.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How long a client of a feed may take for one message.
pub const SEND_PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether the job of a feed has ended.
pub const END_LOOK: Duration = Duration::from_millis(100);
