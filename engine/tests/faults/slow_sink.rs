//! A sink that does not come back for a while: what is on its way to it stays bounded, and nothing is lost.
//!
//! `HIGHWATER_SLOW_SINK=60` sets for how many seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use highwater::operators::batch::Batch;
use highwater::operators::error::Cause;
use highwater::operators::sink::{Publish, Sink, Writer};
use highwater::operators::source::{Poll, Polled, Reader, Source};
use highwater::prelude::*;
use highwater::state::Epoch;
use serde::{Deserialize, Serialize};

use crate::child::Orders;

/// Bytes of memory that the process may need more while the sink is slow: what the edges and one epoch hold.
const GROWTH_MAX: u64 = 96 << 20;
/// How many records are read at most until the sink is back: far more than memory would hold.
const ENDLESS: u64 = u64::MAX;

/// In which way a sink is slow.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum How {
    /// It says that it is not ready.
    NotReady,
    /// It does not return.
    Blocks,
    /// It does not return from making an epoch durable.
    BlocksAtTheEnd,
}

/// Counts up, a kilobyte a record, until it is told to end.
struct Texts(Arc<AtomicU64>);

struct TextReader {
    next: u64,
    end: Arc<AtomicU64>,
}

impl Source for Texts {
    type Item = (u64, String);
    type Position = u64;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        Ok(vec!["all".to_owned()])
    }

    fn open(
        &self,
        _: &str,
        from: Option<u64>,
    ) -> Result<Box<dyn Reader<Item = (u64, String), Position = u64>>, Cause> {
        Ok(Box::new(TextReader { next: from.unwrap_or(0), end: Arc::clone(&self.0) }))
    }
}

impl Reader for TextReader {
    type Item = (u64, String);
    type Position = u64;

    fn poll(&mut self, limit: usize, into: &mut Polled<(u64, String)>) -> Result<Poll, Cause> {
        let end = self.end.load(Ordering::Relaxed).min(self.next + limit as u64);
        into.values.extend((self.next..end).map(|number| (number, "x".repeat(1_000))));
        self.next = self.next.max(end);
        Ok(if self.end.load(Ordering::Relaxed) <= self.next { Poll::Finished } else { Poll::Ready })
    }

    fn position(&self) -> u64 {
        self.next
    }
}

/// What a slow sink has seen.
#[derive(Clone)]
struct Slow {
    how: How,
    begins: Instant,
    ends: Instant,
    records: Arc<AtomicU64>,
    sum: Arc<AtomicU64>,
}

impl Slow {
    fn is_slow(&self) -> bool {
        (self.begins..self.ends).contains(&Instant::now())
    }

    fn wait(&self) {
        if self.is_slow() {
            std::thread::sleep(self.ends.saturating_duration_since(Instant::now()));
        }
    }
}

impl Publish for Slow {
    fn recover(&self, _: Epoch, _: &[Vec<u8>]) -> Result<(), Cause> {
        Ok(())
    }

    fn publish(&self, _: Epoch, _: &[Vec<u8>]) -> Result<(), Cause> {
        Ok(())
    }
}

impl Sink<(u64, String)> for Slow {
    fn open(&self, _: usize) -> Result<Box<dyn Writer<(u64, String)>>, Cause> {
        Ok(Box::new(self.clone()))
    }
}

impl Writer<(u64, String)> for Slow {
    fn write(&mut self, batch: &mut Batch<(u64, String)>) -> Result<(), Cause> {
        if matches!(self.how, How::Blocks) {
            self.wait();
        }
        for (number, _) in batch.values.drain(..) {
            self.records.fetch_add(1, Ordering::Relaxed);
            self.sum.fetch_add(number, Ordering::Relaxed);
        }
        batch.times.clear();
        Ok(())
    }

    fn ready(&mut self) -> bool {
        !(matches!(self.how, How::NotReady) && self.is_slow())
    }

    fn stage(&mut self, _: Epoch) -> Result<Vec<u8>, Cause> {
        if matches!(self.how, How::BlocksAtTheEnd) {
            self.wait();
        }
        Ok(Vec::new())
    }
}

/// Bytes of memory that this process has at present.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.expect("the system says how much memory a process has") * 1024
}

/// What the process under test does.
pub fn write(how: How, slow: Duration) {
    let begins = Instant::now() + Duration::from_secs(2);
    let sink = Slow { how, begins, ends: begins + slow, records: Arc::default(), sum: Arc::default() };
    let end = Arc::new(AtomicU64::new(ENDLESS));
    let topology = Topology::new("slow");
    let texts = topology.source("texts", Texts(Arc::clone(&end)));
    let counted = texts.key_by(|(number, _)| number % 50_000).reduce("last", |_, new| new);
    counted.to_stream().map(|(_, last)| last).sink("slow", sink.clone());
    let state = crate::directory();
    let job = Job::new(topology).workers(2).state(state.path()).memory(64 << 20);
    let running = job.epoch_interval(Duration::from_millis(200)).start().expect("it starts");
    std::thread::sleep(begins.saturating_duration_since(Instant::now()));
    let (before, mut most) = (resident(), 0);
    while Instant::now() < sink.ends {
        most = most.max(resident());
        assert!(!running.is_finished(), "the job waits for its sink");
        std::thread::sleep(Duration::from_millis(20));
    }
    let read: u64 = running.counters().iter().map(|node| node.records_in).max().unwrap_or(0);
    // Whatever has been read by now and a little more.
    end.store(read + 10_000, Ordering::Relaxed);
    let report = running.wait().expect("the job runs");
    assert!(report.finished);
    let growth = most.saturating_sub(before);
    eprintln!("{how:?} for {slow:?}: {read} records read, {} MiB more memory", growth >> 20);
    assert!(growth < GROWTH_MAX, "{how:?}: {} MiB more memory", growth >> 20);
    let records = sink.records.load(Ordering::Relaxed);
    assert!(records >= read, "{records} of {read}");
    assert_eq!(sink.sum.load(Ordering::Relaxed), records * (records - 1) / 2, "each record once");
}

#[test]
fn a_sink_that_is_slow_holds_the_source_up_and_memory_stays_bounded() {
    let seconds = std::env::var("HIGHWATER_SLOW_SINK").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let running: Vec<_> = [How::NotReady, How::Blocks, How::BlocksAtTheEnd]
        .into_iter()
        .map(|how| Orders::SlowSink { how, seconds }.start())
        .collect();
    running.into_iter().for_each(|running| assert!(running.ends()));
    println!("slow for {seconds} s in three ways");
}
