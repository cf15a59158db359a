//! Sources and sinks that do what a test tells them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use highwater::operators::batch::Batch;
use highwater::operators::sink::{Publish, Sink, Writer};
use highwater::operators::source::{Poll, Polled, Reader, Source};
use highwater::prelude::Cause;
use highwater::state::Epoch;

#[derive(Default)]
struct Split {
    waiting: VecDeque<i64>,
    closed: bool,
}

/// A source whose records the test supplies while the job runs.
#[derive(Clone)]
pub struct Feed(Vec<Arc<Mutex<Split>>>);

impl Feed {
    pub fn of(splits: usize) -> Feed {
        Feed((0..splits).map(|_| Arc::default()).collect())
    }

    pub fn put(&self, split: usize, records: impl IntoIterator<Item = i64>) {
        self.0[split].lock().expect("no panic").waiting.extend(records);
    }

    pub fn close(&self) {
        self.0.iter().for_each(|split| split.lock().expect("no panic").closed = true);
    }
}

impl Source for Feed {
    type Item = i64;
    type Position = u64;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        Ok((0..self.0.len()).map(|split| split.to_string()).collect())
    }

    fn open(
        &self,
        split: &str,
        from: Option<u64>,
    ) -> Result<Box<dyn Reader<Item = i64, Position = u64>>, Cause> {
        let split = Arc::clone(&self.0[split.parse::<usize>()?]);
        Ok(Box::new(FeedReader { split, read: from.unwrap_or(0) }))
    }
}

struct FeedReader {
    split: Arc<Mutex<Split>>,
    read: u64,
}

impl Reader for FeedReader {
    type Item = i64;
    type Position = u64;

    fn poll(&mut self, limit: usize, into: &mut Polled<i64>) -> Result<Poll, Cause> {
        let mut split = self.split.lock().expect("no panic");
        let count = limit.min(split.waiting.len());
        into.values.extend(split.waiting.drain(..count));
        self.read += count as u64;
        let ended = split.closed && split.waiting.is_empty();
        Ok(if ended { Poll::Finished } else { Poll::Pending })
    }

    fn position(&self) -> u64 {
        self.read
    }
}

/// A source of the numbers from 0 that fails at one of them.
pub struct FailsAt(pub u64);

impl Source for FailsAt {
    type Item = i64;
    type Position = u64;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        Ok(vec!["only".to_owned()])
    }

    fn open(&self, _: &str, from: Option<u64>) -> Result<Box<dyn Reader<Item = i64, Position = u64>>, Cause> {
        Ok(Box::new(FailingReader { next: from.unwrap_or(0), fails_at: self.0 }))
    }
}

struct FailingReader {
    next: u64,
    fails_at: u64,
}

impl Reader for FailingReader {
    type Item = i64;
    type Position = u64;

    fn poll(&mut self, limit: usize, into: &mut Polled<i64>) -> Result<Poll, Cause> {
        if self.next >= self.fails_at {
            return Err("the disk is on fire".into());
        }
        let until = self.fails_at.min(self.next + limit as u64);
        into.values.extend((self.next..until).map(|number| number as i64));
        self.next = until;
        Ok(Poll::Ready)
    }

    fn position(&self) -> u64 {
        self.next
    }
}

/// When a sink fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fails {
    Never,
    Recover,
    Open,
    Write,
    Stage,
    Publish,
}

/// A sink that counts, is ready when it is told to, and fails when it is told to.
#[derive(Clone)]
pub struct Gate {
    pub open: Arc<AtomicBool>,
    pub written: Arc<AtomicU64>,
    fails: Fails,
}

impl Gate {
    pub fn that_fails_at(fails: Fails) -> Gate {
        Gate { open: Arc::new(AtomicBool::new(true)), written: Arc::default(), fails }
    }

    pub fn closed() -> Gate {
        let gate = Gate::that_fails_at(Fails::Never);
        gate.open.store(false, Ordering::SeqCst);
        gate
    }

    fn unless(&self, fails: Fails) -> Result<(), Cause> {
        if self.fails == fails { Err("the sink is on fire".into()) } else { Ok(()) }
    }
}

impl Publish for Gate {
    fn recover(&self, _: Epoch, _: &[Vec<u8>]) -> Result<(), Cause> {
        self.unless(Fails::Recover)
    }

    fn publish(&self, _: Epoch, _: &[Vec<u8>]) -> Result<(), Cause> {
        self.unless(Fails::Publish)
    }
}

impl<T: 'static> Sink<T> for Gate {
    fn open(&self, _: usize) -> Result<Box<dyn Writer<T>>, Cause> {
        self.unless(Fails::Open)?;
        Ok(Box::new(self.clone()))
    }
}

impl<T> Writer<T> for Gate {
    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), Cause> {
        self.written.fetch_add(batch.values.len() as u64, Ordering::SeqCst);
        batch.values.clear();
        self.unless(Fails::Write)
    }

    fn ready(&mut self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    fn stage(&mut self, _: Epoch) -> Result<Vec<u8>, Cause> {
        self.unless(Fails::Stage)?;
        Ok(vec![1])
    }
}
