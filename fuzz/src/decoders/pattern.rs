//! Patterns that the bytes put together, over records that they make.
//!
//! Any stages at all: what makes no sense must be refused in words, and what is not refused must run over the records
//! with work in proportion to records and live runs, and to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use highwater::operators::interpret::{InterpretError, interpret};
use highwater::operators::pattern::{Condition, Contiguity, Inner, Quantifier, Sequence, Stage, Taken};
use highwater::prelude::*;

/// How many runs there are at most.
const RUNS: usize = 20;
/// How many records are looked at at most: what few records do not reach many do not either.
const RECORDS_MAX: usize = 100;
/// How deep groups lie in groups at most.
const DEPTH_MAX: usize = 3;

/// Its time in milliseconds, and a number below 8.
type Record = (i64, u8);

/// What is left of the bytes; zeros behind their end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let (first, rest) = super::first(self.0);
        self.0 = rest;
        first
    }

    fn below(&mut self, most: u8) -> u8 {
        self.next() % most
    }
}

/// Makes stages, and counts how often their conditions are asked.
struct Maker {
    asked: Arc<AtomicUsize>,
    conditions: usize,
    names: u8,
}

impl Maker {
    fn stages(&mut self, bytes: &mut Bytes<'_>, depth: usize) -> Vec<Stage<Record>> {
        let count = bytes.below(5);
        (0..count).map(|_| self.stage(bytes, depth)).collect()
    }

    fn stage(&mut self, bytes: &mut Bytes<'_>, depth: usize) -> Stage<Record> {
        let kind = bytes.next();
        let contiguity = [Contiguity::Next, Contiguity::FollowedBy, Contiguity::FollowedByAny];
        let contiguity = contiguity[usize::from(kind >> 4) % 3];
        let name = self.name(kind & 8 != 0);
        let stage = match kind % 8 {
            5 => Stage::not_next(&name, self.condition(bytes)),
            6 => Stage::not_followed_by(&name, self.condition(bytes)),
            7 if depth < DEPTH_MAX => Stage::group(contiguity, self.stages(bytes, depth + 1)),
            _ => Stage::take(&name, contiguity, self.condition(bytes)),
        };
        self.finished(stage, bytes)
    }

    /// The name of the next stage, or, now and then, the last one again.
    fn name(&mut self, again: bool) -> String {
        self.names += u8::from(!again || self.names == 0);
        char::from(b'a' + self.names % 26).to_string()
    }

    fn finished(&mut self, mut stage: Stage<Record>, bytes: &mut Bytes<'_>) -> Stage<Record> {
        let how = bytes.next();
        if how & 1 != 0 {
            let min = u32::from(bytes.next());
            // Most patterns of many places are refused.
            let min = if how & 64 == 0 { min % 4 } else { min };
            let more = u32::from(bytes.below(4));
            let max = (more < 3).then_some(min.saturating_add(more).saturating_sub(1));
            let inner =
                [Inner::Relaxed, Inner::Consecutive, Inner::Combinations][usize::from(bytes.below(3))];
            let (optional, greedy) = (how & 2 != 0, how & 4 != 0);
            stage = stage.quantified(Quantifier { min, max, optional, greedy, inner });
        }
        if how & 8 != 0 {
            stage = stage.until(self.condition(bytes));
        }
        if how & 16 != 0 {
            stage = stage.within_previous(Duration::from_millis(u64::from(bytes.below(20))));
        }
        stage
    }

    /// Holds for the numbers whose bit is set; now and then it also looks at what a stage has taken.
    fn condition(&mut self, bytes: &mut Bytes<'_>) -> Condition<Record> {
        self.conditions += 1;
        let (mask, looks_back) = (bytes.next(), bytes.next());
        let asked = Arc::clone(&self.asked);
        let condition = Condition::new(move |(_, number): &Record| {
            asked.fetch_add(1, Ordering::Relaxed);
            mask >> number & 1 != 0
        });
        if looks_back < 192 {
            return condition;
        }
        let asked = Arc::clone(&self.asked);
        let stage = char::from(b'a' + looks_back % 4).to_string();
        condition.when(move |(_, number): &Record, taken: Taken<'_, Record>| {
            asked.fetch_add(1, Ordering::Relaxed);
            let taken = taken.of(&stage);
            taken.len() < 3 || taken.iter().all(|(_, before)| before != number)
        })
    }
}

fn after_match(bytes: &mut Bytes<'_>) -> AfterMatch {
    let (which, stage) = (bytes.below(5), char::from(b'a' + bytes.below(4)).to_string());
    match which {
        0 => AfterMatch::NoSkip,
        1 => AfterMatch::SkipToNext,
        2 => AfterMatch::SkipPastLast,
        3 => AfterMatch::SkipToFirst(stage),
        _ => AfterMatch::SkipToLast(stage),
    }
}

fn records(bytes: &[u8]) -> Vec<Record> {
    let mut time = 0;
    let record = |byte: &u8| {
        time += i64::from(byte >> 4) / 2;
        (time, byte & 7)
    };
    bytes.iter().take(RECORDS_MAX).map(record).collect()
}

/// What a match took: each record once, in order.
fn told(taken: Sequence<'_, Record>) -> usize {
    let times: Vec<i64> = taken.iter().map(|(_, record)| record.0).collect();
    assert!(times.is_sorted() && !times.is_empty(), "a match takes records in their order: {times:?}");
    times.len()
}

/// A pattern, and the records that are left of the bytes.
pub fn pattern(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let mut maker = Maker { asked: Arc::default(), conditions: 0, names: 0 };
    let (how, within) = (bytes.next(), bytes.next());
    let after = after_match(&mut bytes);
    let mut pattern = Pattern::from_stages(maker.stages(&mut bytes, 0)).after_match(after).runs_per_key(RUNS);
    if how & 1 == 0 {
        pattern = pattern.within(Duration::from_millis(u64::from(within)));
    }
    if how & 2 != 0 {
        pattern = pattern.unbounded();
    }
    if how & 4 != 0 {
        pattern = pattern.fail_on_miss();
    }
    let records = records(bytes.0);
    let most = maker.conditions * records.len() * (RUNS + 3) * 2;
    let topology = Topology::new("pattern");
    let timed = topology.source("records", Memory::source(records));
    let timed = timed.event_time(|record| Timestamp::from_millis(record.0), Duration::ZERO);
    let matches = timed.key_by(|_| ()).pattern(pattern);
    let (matches, timed_out) = matches.with_timed_out(|(), taken| told(taken));
    let matches = matches.select("matches", |(), taken| told(taken));
    matches.values().merge(timed_out.values()).sink("told", Blackhole::new());
    match interpret(topology) {
        Ok(()) => {}
        Err(InterpretError::Topology(errors)) => {
            assert!(
                errors.iter().all(|error| error.to_string().len() > 20),
                "for a person to read: {errors:?}"
            );
        }
        Err(error) => assert!(how & 4 != 0, "a pattern that was not refused fails: {error}"),
    }
    let asked = maker.asked.load(Ordering::Relaxed);
    assert!(asked <= most, "conditions were asked {asked} times, more than {most}");
}
