//! Every limit of the language, with its unit, default and reason.

use std::time::Duration;

/// Limits of one job; the same on every worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records in a batch that an operator fills. 1024 keeps a batch of small records in the second-level cache
    /// and spreads the cost of a call over enough of them.
    pub batch_records: usize,
    /// Batches that may wait on an edge inside a worker before what feeds it stops. 4, so that an operator that
    /// emits several batches for one is not stopped after each.
    pub edge_batches: usize,
    /// Batches that may wait in a channel between two workers. 16: enough that neither waits for the other at
    /// every batch, and little enough to bound memory and the time a barrier takes.
    pub channel_batches: usize,
    /// How much of a frozen epoch a worker writes in one step, in bytes with 64 more for each row; a quarter of it in
    /// a step that has records. 128 KiB: some 1400 small rows, which take a few tenths of a millisecond, for which a
    /// record may wait.
    pub piece_bytes: usize,
    /// Bytes of a batch that a source reads, as far as they are known. No limit by default; a job sets it so that what
    /// all queues hold has its part of the memory budget.
    pub batch_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            batch_records: crate::batch::BATCH_RECORDS,
            edge_batches: 4,
            channel_batches: 16,
            piece_bytes: 128 * 1024,
            batch_bytes: usize::MAX,
        }
    }
}

impl Limits {
    /// The smallest limits there are: one record a batch, one batch an edge, one row of a frozen epoch a step. Tests
    /// run on them, so that operators go through what they do when their output is full, and between rows.
    pub fn tiny() -> Self {
        Limits {
            batch_records: 1,
            edge_batches: 1,
            channel_batches: 1,
            piece_bytes: 1,
            batch_bytes: usize::MAX,
        }
    }
}

/// How many batches of records wait to be in order outside the state at most; more are filed as state at once. 16: a
/// few times what comes between two watermarks, and few enough to be looked at with each of them.
pub const SORTED_RECENT_BATCHES: usize = 16;

/// How many records a window of one key holds at most where the records themselves are kept, by
/// [`apply`](crate::window::WindowedStream::apply). 100 000: records of a hundred bytes make 10 MB, which one key may
/// take and one call may work through; all of it is written again in every epoch that adds to it.
pub const WINDOW_RECORDS: usize = 100_000;

/// How many sliding windows may hold one record: size divided by slide. 100 000: a day that slides by a second has
/// 86 400; a key with a single record gives as many results.
pub const WINDOWS_PER_RECORD: i64 = 100_000;

/// How many live runs a pattern has for one key at most, withheld matches counted, unless it says otherwise. 10 000:
/// every record of the key is compared with each of them, some 100 microseconds.
pub const PATTERN_RUNS: usize = 10_000;

/// How many places in the chains of its runs a pattern keeps for one key at most; runs that took the same records
/// share them. 100 000: at 56 bytes each a key takes 6 MB beside its records, which are written again in every epoch
/// that adds to them. A stage that takes more is better kept as a fold.
pub const PATTERN_TAKEN: usize = 100_000;

/// How many places a pattern has at most, repetitions counted one by one. 10 000: `times(1000)` makes a thousand.
pub const PATTERN_PLACES: usize = 10_000;

/// How many states a pattern is made into at most. 65 000: they are numbered in sixteen bits.
pub const PATTERN_STATES: usize = 65_000;

/// How many conditions `all_of` takes at most. 6: it has a place for every choice of them, 63 in all.
pub const PATTERN_ALL_OF: usize = 6;

/// How many groups a pattern has at most. 32: a record says in one word of which groups it begins a round.
pub const PATTERN_GROUPS: usize = 32;

/// How many events of an aggregate lie between two snapshots, unless it says otherwise. 100: a look at its past goes
/// through less than a hundred events, some tens of microseconds, and snapshots of a state as large as ten events add a
/// tenth to what is kept.
pub const SNAPSHOT_EVERY: u64 = 100;

/// How many events one command makes at most, unless the aggregate says otherwise. 1000: they are in memory together
/// with the reply that lists them, and no output is looked at for room between them.
pub const EVENTS_PER_COMMAND: usize = 1000;

/// How many steps a saga has at most. 100: one waits for the other, and whoever has more has sagas in sagas.
pub const SAGA_STEPS: usize = 100;

/// How long a step of a saga waits for the answer to one attempt, unless it says otherwise. 30 s, as requests of
/// `map_async` do.
pub const SAGA_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a step of a saga is asked for again, unless it says otherwise. 2: what two repetitions do not heal is no
/// hiccup, and the way back is open.
pub const SAGA_RETRIES: u32 = 2;

/// How often a compensation is asked for again, unless the step says otherwise. 9: with a backoff of a second that
/// doubles up to a minute, and the timeout, a participant may be away for ten minutes before a person is needed.
pub const SAGA_COMPENSATION_RETRIES: u32 = 9;

/// Time between the first attempt of a saga's request and the second, unless the step says otherwise. 1 s: participants
/// are services, which take that long to be there again.
pub const SAGA_BACKOFF: Duration = Duration::from_secs(1);

/// The longest time between two attempts of a saga's request, where the first one is not longer. 1 min, so that a
/// participant that comes back is asked again soon.
pub const SAGA_BACKOFF_MOST: Duration = Duration::from_secs(60);

/// How long a saga that has ended is remembered, unless it says otherwise. 1 day: longer than what started it is
/// delivered a second time.
pub const SAGA_REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);
