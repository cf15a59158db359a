//! Runs the topology of a case, in the interpreter or as a job.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use highwater::operators::interpret::{interpret, interpret_until_silent};
use highwater::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::case::{Record, Timeline};

/// What runs a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The reference interpreter, record by record.
    Interpreter,
    /// A job with so many workers.
    Job {
        /// The number of workers.
        workers: usize,
    },
}

/// Reads the part of a case that a type describes.
pub(super) fn part<T: DeserializeOwned>(case: &Value) -> Result<T, Cause> {
    T::deserialize(case).map_err(|error| format!("the case cannot be read: {error}").into())
}

/// What a chain gives for the records of a case.
pub(super) fn run<O: Send + 'static>(
    timeline: Timeline,
    how: How,
    chain: impl FnOnce(Stream<Record>) -> Stream<O>,
) -> Result<Vec<O>, Cause> {
    let (count, stops, lag) = (timeline.records.len(), timeline.stops(), timeline.lag_ms);
    let places = timeline.records.into_iter().enumerate();
    let records = Memory::source(places.map(|(place, record)| Record { place, ..record }));
    let records = if stops { records.unending() } else { records };
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);

    let topology = Topology::new("case");
    let sink = Memory::sink();
    let records = topology.source("records", records);
    let records = records.inspect(move |_| _ = counter.fetch_add(1, Ordering::Relaxed));
    let timed = records.event_time(|record| Timestamp::from_millis(record.ts), Duration::from_millis(lag));
    chain(timed).sink("results", sink.clone());
    match how {
        How::Interpreter if stops => interpret_until_silent(topology)?,
        How::Interpreter => interpret(topology)?,
        How::Job { workers } => {
            let job = Job::new(topology).workers(workers).idle_after(Duration::MAX).start()?;
            while stops && seen.load(Ordering::Relaxed) < count && !job.is_finished() {
                std::thread::sleep(Duration::from_millis(1));
            }
            if stops {
                job.stop();
            }
            job.wait()?;
        }
    }
    Ok(sink.take())
}
