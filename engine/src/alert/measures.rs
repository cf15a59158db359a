//! What a job measures, as records: the source of a topology that watches another job.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use highwater_operators::error::Cause;
use highwater_operators::source::{Poll, Polled, Reader, Source};
use highwater_state::Timestamp;
use serde::{Deserialize, Serialize};

use crate::query::{Health, Live, Queries};
use crate::report::{Aside, Gauges, NodeReport};

/// Every measure there is.
pub(super) const KNOWN: &[&str] = &[
    "up",
    "epoch_age",
    "epoch_seconds",
    "table_bytes",
    "hit_rate",
    "consumer_lag",
    "records_in",
    "records_out",
    "error_rate",
    "watermark_lag",
    "queue_batches",
];

/// One measure of a job at one time.
///
/// | name | of | |
/// | --- | --- | --- |
/// | `up` | the job | 1 while it runs, 0 when it has ended or failed |
/// | `epoch_age`, `epoch_seconds` | the job | seconds since the last epoch ended, and how long it took |
/// | `table_bytes` | the job | bytes of the rows that operators have in memory |
/// | `hit_rate` | the job | the part of the rows asked for that were in memory, since the last look; 1 without any |
/// | `consumer_lag` | `source/split` | records that are still to be read, of sources that know it |
/// | `records_in`, `records_out` | an operator | records a second, since the last look |
/// | `error_rate` | an operator | the part of its records that was refused or skipped, since the last look |
/// | `watermark_lag` | an operator | seconds by which event time is behind the time of day |
/// | `queue_batches` | an operator | batches that wait for it on their way from other workers |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// What is measured.
    pub name: String,
    /// Of what: an operator by its name, or its verb and number where it has none; empty for the job.
    pub of: String,
    /// The measure.
    pub value: f64,
    /// The time of day.
    pub at: Timestamp,
}

/// A source that looks at a job now and then; it has one split, and no end.
///
/// What it has read is not there to be read again: a restart goes on with what is then.
#[derive(Clone)]
pub struct Measures {
    live: Live,
    every: Duration,
}

impl Measures {
    /// Looks so often at the job that is live; its first look is at once.
    pub fn of(live: impl Into<Live>, every: Duration) -> Measures {
        Measures { live: live.into(), every }
    }
}

impl Source for Measures {
    type Item = Measure;
    type Position = u64;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        Ok(vec!["job".to_owned()])
    }

    fn open(
        &self,
        _: &str,
        from: Option<u64>,
    ) -> Result<Box<dyn Reader<Item = Measure, Position = u64>>, Cause> {
        let measures = self.clone();
        Ok(Box::new(Looking {
            measures,
            delivered: from.unwrap_or(0),
            last: None,
            rows: (0, 0),
            waiting: VecDeque::new(),
        }))
    }
}

struct Looking {
    measures: Measures,
    delivered: u64,
    /// When it looked last, and what had been counted then.
    last: Option<(Instant, Vec<NodeReport>)>,
    /// The rows that had been asked for and read then.
    rows: (u64, u64),
    waiting: VecDeque<Measure>,
}

impl Reader for Looking {
    type Item = Measure;
    type Position = u64;

    fn poll(&mut self, limit: usize, into: &mut Polled<Measure>) -> Result<Poll, Cause> {
        let is_due = self.last.as_ref().is_none_or(|(last, _)| last.elapsed() >= self.measures.every);
        if self.waiting.is_empty() && is_due {
            self.look();
        }
        let some = limit.min(self.waiting.len());
        into.values.extend(self.waiting.drain(..some));
        self.delivered += some as u64;
        Ok(if self.waiting.is_empty() { Poll::Pending } else { Poll::Ready })
    }

    fn position(&self) -> u64 {
        self.delivered
    }
}

impl Looking {
    fn look(&mut self) {
        let queries = self.measures.live.current();
        let (now, nodes) = (Instant::now(), queries.counters());
        let mut taken = Taken { at: time_of_day(), measures: VecDeque::new() };
        taken.of_job(&queries);
        let gauges = queries.gauges();
        taken.of_gauges(&gauges, &nodes);
        let before = std::mem::replace(&mut self.rows, (gauges.rows_asked, gauges.rows_read));
        taken.of_rows(before, self.rows);
        // A switch to another job begins anew.
        let same = |before: &&(Instant, Vec<NodeReport>)| before.1.len() == nodes.len();
        if let Some((since, before)) = self.last.as_ref().filter(same) {
            taken.of_rates(now - *since, before, &nodes);
        }
        self.last = Some((now, nodes));
        self.waiting = taken.measures;
    }
}

/// What one look finds.
struct Taken {
    at: Timestamp,
    measures: VecDeque<Measure>,
}

impl Taken {
    fn put(&mut self, name: &str, of: impl Into<String>, value: f64) {
        debug_assert!(KNOWN.contains(&name), "{name}");
        self.measures.push_back(Measure { name: name.to_owned(), of: of.into(), value, at: self.at });
    }

    fn of_job(&mut self, queries: &Queries) {
        let epochs = queries.epochs();
        self.put("up", "", f64::from(u8::from(queries.health() == Health::Running)));
        self.put("epoch_age", "", epochs.age.as_secs_f64());
        self.put("epoch_seconds", "", epochs.last_took.as_secs_f64());
    }

    fn of_rows(&mut self, before: (u64, u64), now: (u64, u64)) {
        let (asked, read) = (now.0.saturating_sub(before.0), now.1.saturating_sub(before.1));
        self.put("hit_rate", "", if asked > 0 { 1.0 - read as f64 / asked as f64 } else { 1.0 });
    }

    fn of_gauges(&mut self, gauges: &Gauges, nodes: &[NodeReport]) {
        self.put("table_bytes", "", gauges.table_bytes as f64);
        for (source, split, lag) in &gauges.lags {
            self.put("consumer_lag", format!("{source}/{split}"), *lag as f64);
        }
        for (number, waiting) in &gauges.queues {
            let Some(node) = nodes.get(*number) else { continue };
            self.put("queue_batches", name_of(*number, node), *waiting as f64);
        }
        for (number, (node, watermark)) in nodes.iter().zip(&gauges.watermarks).enumerate() {
            // At the end of all input there is nothing to wait for.
            let Some(watermark) = watermark.filter(|watermark| *watermark < Timestamp::MAX) else { continue };
            let behind = self.at.as_millis().saturating_sub(watermark.as_millis());
            self.put("watermark_lag", name_of(number, node), behind as f64 / 1000.0);
        }
    }

    fn of_rates(&mut self, passed: Duration, before: &[NodeReport], nodes: &[NodeReport]) {
        for (number, (before, node)) in before.iter().zip(nodes).enumerate() {
            let since = |count: fn(&NodeReport) -> u64| count(node).saturating_sub(count(before)) as f64;
            let a_second = |records: f64| records / passed.as_secs_f64().max(f64::EPSILON);
            let came = since(|node| node.records_in);
            self.put("records_in", name_of(number, node), a_second(came));
            self.put("records_out", name_of(number, node), a_second(since(|node| node.records_out)));
            if node.aside() == Aside::Refused {
                let refused = since(|node| node.records_aside + node.skipped);
                self.put("error_rate", name_of(number, node), if came > 0.0 { refused / came } else { 0.0 });
            }
        }
    }
}

fn name_of(number: usize, node: &NodeReport) -> String {
    node.name.clone().unwrap_or_else(|| format!("{}-{number}", node.verb))
}

fn time_of_day() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(0) + since_1970
}
