//! Batches: some hundred records that travel together.
//!
//! A batch keeps values and times apart, so that an operator touches only what it needs, and passes by pointer.
//! Invariant: `times` is as long as `values` on a stream with event time and empty on one without; records are
//! in the order of their source.

use highwater_state::Timestamp;

/// How many records a batch holds at most when an operator fills it; 1024 keeps a batch of small records in the
/// second-level cache and spreads the cost of a call over enough of them.
pub const BATCH_RECORDS: usize = 1024;

/// One independent part of a source: a partition, a file. Unique in a topology.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SplitId {
    /// The number of the source's node in the topology.
    pub source: u32,
    /// The number of the split in its source.
    pub index: u32,
}

/// The index of what a source announces on a worker that reads none of its splits.
pub(crate) const NO_SPLIT: u32 = u32::MAX;

/// Some records of one stream, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch<T> {
    /// The records.
    pub values: Vec<T>,
    /// Their event times; empty on a stream without event time.
    pub times: Vec<Timestamp>,
    /// The split they were read from, on a stream without event time.
    pub split: SplitId,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Batch { values: Vec::new(), times: Vec::new(), split: SplitId::default() }
    }
}

impl<T> Batch<T> {
    /// A batch without event times.
    pub fn untimed(values: Vec<T>) -> Self {
        Batch { values, times: Vec::new(), split: SplitId::default() }
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The event time of record `index`; [`Timestamp::MIN`] on a stream without event time.
    pub fn time(&self, index: usize) -> Timestamp {
        self.times.get(index).copied().unwrap_or(Timestamp::MIN)
    }

    /// The same times and split over other values, one for each.
    pub fn with_values<U>(&mut self, values: Vec<U>) -> Batch<U> {
        debug_assert!(self.times.is_empty() || self.times.len() == values.len());
        Batch { values, times: std::mem::take(&mut self.times), split: self.split }
    }

    /// What `f` makes of the records, in order; times and split stay.
    pub(crate) fn filter_map<U>(self, mut f: impl FnMut(T) -> Option<U>) -> Batch<U> {
        let mut made =
            Batch { values: Vec::with_capacity(self.values.len()), times: self.times, split: self.split };
        let mut kept = 0;
        for (number, value) in self.values.into_iter().enumerate() {
            let Some(value) = f(value) else { continue };
            made.values.push(value);
            if !made.times.is_empty() {
                made.times[kept] = made.times[number];
            }
            kept += 1;
        }
        made.times.truncate(kept);
        made
    }
}

/// Some records of a keyed stream: a batch with each record's key and the key's hash beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyedBatch<K, T> {
    /// Each record's key.
    pub keys: Vec<K>,
    /// Each key's [`key_hash`](highwater_state::hash::key_hash), computed once.
    pub hashes: Vec<u64>,
    /// The records.
    pub records: Batch<T>,
}

impl<K, T> Default for KeyedBatch<K, T> {
    fn default() -> Self {
        KeyedBatch { keys: Vec::new(), hashes: Vec::new(), records: Batch::default() }
    }
}

impl<K, T> KeyedBatch<K, T> {
    /// What `f` makes of the records, in order; keys, hashes, times and split stay.
    pub(crate) fn filter_map<U>(self, mut f: impl FnMut(&K, T) -> Option<U>) -> KeyedBatch<K, U> {
        let count = self.keys.len();
        let (mut keys, mut hashes) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut of = self.keys.into_iter().zip(self.hashes);
        let records = self.records.filter_map(|value| {
            let (key, hash) = of.next()?;
            let made = f(&key, value)?;
            keys.push(key);
            hashes.push(hash);
            Some(made)
        });
        KeyedBatch { keys, hashes, records }
    }
}

/// What travels over an edge: anything that holds a number of records in order.
pub trait Records: Default + 'static {
    /// How many records there are.
    fn count(&self) -> usize;

    /// Drops the first `count` records, which have been dealt with.
    fn drop_first(&mut self, count: usize);

    /// The event time of the last record; `None` on a stream without event time.
    fn last_time(&self) -> Option<Timestamp> {
        None
    }
}

impl<T: 'static> Records for Batch<T> {
    fn count(&self) -> usize {
        self.values.len()
    }

    fn drop_first(&mut self, count: usize) {
        self.values.drain(..count);
        if !self.times.is_empty() {
            self.times.drain(..count);
        }
    }

    fn last_time(&self) -> Option<Timestamp> {
        self.times.last().copied()
    }
}

impl<K: 'static, T: 'static> Records for KeyedBatch<K, T> {
    fn count(&self) -> usize {
        self.keys.len()
    }

    fn drop_first(&mut self, count: usize) {
        self.keys.drain(..count);
        self.hashes.drain(..count);
        self.records.drop_first(count);
    }
}

/// What travels to an operator with two inputs: a batch of the one or the other.
#[derive(Clone, Debug, PartialEq)]
pub enum Either<L, R> {
    /// From the first input.
    Left(L),
    /// From the second.
    Right(R),
}

impl<L: Default, R> Default for Either<L, R> {
    fn default() -> Self {
        Either::Left(L::default())
    }
}

impl<L: Records, R: Records> Records for Either<L, R> {
    fn count(&self) -> usize {
        match self {
            Either::Left(batch) => batch.count(),
            Either::Right(batch) => batch.count(),
        }
    }

    fn drop_first(&mut self, count: usize) {
        match self {
            Either::Left(batch) => batch.drop_first(count),
            Either::Right(batch) => batch.drop_first(count),
        }
    }
}
