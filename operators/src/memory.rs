//! Sources and sinks in memory, for tests, examples and results that the program itself uses.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use highwater_state::Epoch;

use crate::batch::Batch;
use crate::error::Cause;
use crate::sink::{Publish, Sink, Writer};
use crate::source::{Poll, Polled, Reader, Source};

/// Makes sources and sinks in memory.
pub struct Memory;

impl Memory {
    /// A source of these records, as one split; it ends after the last.
    pub fn source<T: Clone + Send + Sync + 'static>(records: impl IntoIterator<Item = T>) -> MemorySource<T> {
        Memory::splits([records.into_iter().collect()])
    }

    /// A source with several splits.
    pub fn splits<T: Clone + Send + Sync + 'static>(
        splits: impl IntoIterator<Item = Vec<T>>,
    ) -> MemorySource<T> {
        MemorySource { splits: splits.into_iter().map(Arc::new).collect(), ends: true }
    }

    /// A sink whose records can be taken out of any clone of it.
    pub fn sink<T: Send + 'static>() -> MemorySink<T> {
        MemorySink { kept: Arc::new(Mutex::new(Kept { staged: BTreeMap::new(), published: Vec::new() })) }
    }
}

/// Records in memory; the position in a split is the number of records before it.
#[derive(Clone)]
pub struct MemorySource<T> {
    splits: Vec<Arc<Vec<T>>>,
    ends: bool,
}

impl<T> MemorySource<T> {
    /// The same records in a source that does not end after the last, as if more were to come: event time does not
    /// go to its end, and a job runs until it is stopped.
    pub fn unending(mut self) -> Self {
        self.ends = false;
        self
    }
}

impl<T: Clone + Send + Sync + 'static> Source for MemorySource<T> {
    type Item = T;
    type Position = u64;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        Ok((0..self.splits.len()).map(|number| number.to_string()).collect())
    }

    fn open(
        &self,
        split: &str,
        from: Option<u64>,
    ) -> Result<Box<dyn Reader<Item = T, Position = u64>>, Cause> {
        let number: usize = split.parse()?;
        let records = self.splits.get(number).ok_or_else(|| format!("there is no split {split}"))?;
        let (records, next) = (Arc::clone(records), from.unwrap_or(0));
        Ok(Box::new(MemoryReader { records, next, ends: self.ends }))
    }
}

struct MemoryReader<T> {
    records: Arc<Vec<T>>,
    next: u64,
    ends: bool,
}

impl<T: Clone> Reader for MemoryReader<T> {
    type Item = T;
    type Position = u64;

    fn poll(&mut self, limit: usize, into: &mut Polled<T>) -> Result<Poll, Cause> {
        let from = usize::try_from(self.next)?.min(self.records.len());
        let until = self.records.len().min(from + limit);
        into.values.extend_from_slice(&self.records[from..until]);
        self.next = until as u64;
        Ok(match until < self.records.len() {
            true => Poll::Ready,
            false if self.ends => Poll::Finished,
            false => Poll::Pending,
        })
    }

    fn position(&self) -> u64 {
        self.next
    }

    fn lag(&self) -> Option<u64> {
        Some((self.records.len() as u64).saturating_sub(self.next))
    }
}

/// Keeps the records of committed epochs in memory.
pub struct MemorySink<T> {
    kept: Arc<Mutex<Kept<T>>>,
}

struct Kept<T> {
    staged: BTreeMap<(Epoch, usize), Vec<T>>,
    published: Vec<T>,
}

impl<T> Clone for MemorySink<T> {
    fn clone(&self) -> Self {
        MemorySink { kept: Arc::clone(&self.kept) }
    }
}

impl<T> MemorySink<T> {
    /// Takes out what has been published since the last call.
    pub fn take(&self) -> Vec<T> {
        std::mem::take(&mut self.lock().published)
    }

    /// What a panicking thread left behind is whole: every change under the lock is one call.
    fn lock(&self) -> MutexGuard<'_, Kept<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Publish for MemorySink<T> {
    fn recover(&self, last: Epoch, _: &[Vec<u8>]) -> Result<(), Cause> {
        self.publish(last, &[])?;
        self.lock().staged.clear();
        Ok(())
    }

    fn publish(&self, epoch: Epoch, _: &[Vec<u8>]) -> Result<(), Cause> {
        let mut kept = self.lock();
        let later = kept.staged.split_off(&(epoch.next(), 0));
        let staged = std::mem::replace(&mut kept.staged, later);
        kept.published.extend(staged.into_values().flatten());
        Ok(())
    }
}

impl<T: Send + 'static> Sink<T> for MemorySink<T> {
    fn open(&self, worker: usize) -> Result<Box<dyn Writer<T>>, Cause> {
        Ok(Box::new(MemoryWriter { sink: self.clone(), worker, records: Vec::new() }))
    }
}

struct MemoryWriter<T> {
    sink: MemorySink<T>,
    worker: usize,
    records: Vec<T>,
}

impl<T: Send> Writer<T> for MemoryWriter<T> {
    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), Cause> {
        self.records.append(&mut batch.values);
        Ok(())
    }

    fn stage(&mut self, epoch: Epoch) -> Result<Vec<u8>, Cause> {
        if self.records.is_empty() {
            return Ok(Vec::new());
        }
        let records = std::mem::take(&mut self.records);
        self.sink.lock().staged.insert((epoch, self.worker), records);
        Ok(vec![1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_does_not_end_leaves_event_time_where_its_records_brought_it() {
        let topology = crate::topology::Topology::new("unending");
        let sink = Memory::sink();
        let timed = topology
            .source("numbers", Memory::source([1, 12, 23]).unending())
            .event_time(|number| crate::testkit::at(*number), std::time::Duration::ZERO);
        let windows = crate::window::tumbling(std::time::Duration::from_millis(10));
        let counts = timed.key_by(|_| ()).window(windows).count("counts");
        counts.map(|counted| counted.window.start.as_millis()).sink("sink", sink.clone());
        crate::interpret::interpret_until_silent(topology).expect("runs");
        assert_eq!(sink.take(), [0, 10], "the window from 20 is open");
    }

    #[test]
    fn what_is_staged_shows_when_its_epoch_is_published_and_only_once() {
        let sink = Memory::sink();
        let mut writer = sink.open(0).expect("opens");
        writer.write(&mut Batch::untimed(vec![1, 2])).expect("writes");
        writer.stage(Epoch(1)).expect("stages");
        writer.write(&mut Batch::untimed(vec![3])).expect("writes");
        writer.stage(Epoch(2)).expect("stages");
        assert_eq!(sink.take(), [0; 0]);
        sink.publish(Epoch(1), &[]).expect("publishes");
        sink.publish(Epoch(1), &[]).expect("publishes");
        assert_eq!(sink.take(), [1, 2]);
        sink.recover(Epoch(1), &[]).expect("recovers");
        sink.publish(Epoch(2), &[]).expect("publishes");
        assert_eq!(sink.take(), [0; 0], "what was staged after the last epoch is gone");
    }
}
