//! Operators that keep more than a sum: all records of a window, windows of one's own, values that die, tables with
//! deletions, aggregates that are made of events, sagas.

use highwater::operators::saga::Direction;
use highwater::prelude::*;
use serde::{Deserialize, Serialize};

use super::build::{Group, Grouped, rec};
use super::case::Rec;

/// What all records of a window come to, in the order of their values.
pub fn apply(windows: WindowedStream<Group, Rec, Tumbling>, name: &str) -> Stream<Rec> {
    windows.apply(name, |key, window, mut records: Vec<Rec>| {
        records.sort();
        let sum = records.iter().fold(0, |sum, rec| (sum * 31 + rec.value + rec.at).rem_euclid(1_000_003));
        [rec(*key, window.start.as_millis(), sum)]
    })
}

/// Two windows for each record, one twice as long as the other; none for some.
#[derive(Clone)]
pub struct Uneven(pub i64);

impl AssignWindows for Uneven {
    fn windows_of(&self, time: Timestamp, into: &mut Vec<TimeRange>) {
        let time = time.as_millis();
        if time.rem_euclid(11) == 0 {
            return;
        }
        for size in [self.0, 2 * self.0] {
            let start = time - time.rem_euclid(size);
            let (start, end) = (Timestamp::from_millis(start), Timestamp::from_millis(start + size));
            into.push(TimeRange { start, end });
        }
    }
}

/// Emits each record with what is left of the one before it.
pub struct Dying {
    pub last: Value<i64>,
}

impl KeyedOperator<Group, Rec> for Dying {
    type Out = Rec;

    fn on_record(&mut self, record: Rec, context: &mut Context<'_, Group, Rec>) -> Result<(), Cause> {
        let last = self.last.get(context)?.copied().unwrap_or(-1);
        self.last.set(context, record.value)?;
        context.emit(rec(*context.key(), record.at, last * 13 + record.value));
        Ok(())
    }
}

/// Every change of a table in which a record sets its key's row or deletes it.
pub fn upsert(stream: Grouped, divisor: i64, name: &str) -> Stream<Rec> {
    let set = move |rec: Rec| (rec.value % divisor != 0).then_some(rec.value);
    stream.upsert(name, set).changes().map(|change| {
        let number = |value: Option<i64>| value.unwrap_or(-1);
        rec(change.key, 8, number(change.old) * 17 + number(change.new))
    })
}

/// A number that events make.
#[derive(Default, Serialize, Deserialize)]
pub struct Tally(i64);

#[derive(Clone, Serialize, Deserialize)]
pub enum Tallied {
    Added(i64),
    Doubled { from: i64 },
}

impl EventSourced for Tally {
    type Command = i64;
    type Event = Tallied;
    type Rejection = i64;

    fn decide(&self, number: i64) -> Result<Vec<Tallied>, i64> {
        match number.rem_euclid(5) {
            0 => Err(self.0),
            1 => Ok(vec![Tallied::Doubled { from: self.0 }, Tallied::Added(number)]),
            2 => Ok(Vec::new()),
            _ => Ok(vec![Tallied::Added(number)]),
        }
    }

    fn evolve(&mut self, event: &Tallied) {
        let sum = match event {
            Tallied::Added(number) => self.0 * 31 + number,
            Tallied::Doubled { from } => self.0 + from,
        };
        self.0 = sum.rem_euclid(1_000_003);
    }
}

/// The events and replies of an aggregate, of which some commands expect a version.
pub fn sourced(stream: Grouped, name: &str) -> Stream<Rec> {
    let commands = stream.map_values(|rec: Rec| {
        let command = Command::new(rec.value.to_string(), rec.value);
        if rec.value % 7 == 0 { command.expecting(rec.at.unsigned_abs() % 4) } else { command }
    });
    let (events, replies) = commands.event_sourced(name, Sourcing::<Tally>::new().snapshot_every(3));
    let events = events.values().map(|event: Envelope<Group, Tallied>| {
        let number = match event.event {
            Tallied::Added(number) => number,
            Tallied::Doubled { from } => -from,
        };
        rec(event.aggregate, event.version as i64, number)
    });
    let replies = replies.values().map(|reply| {
        let said = match reply.outcome {
            Ok(accepted) => accepted.version as i64 * 10,
            Err(Denial::Rejected(sum)) => sum * 10 + 1,
            Err(Denial::Conflict(conflict)) => conflict.found as i64 * 10 + 2,
            Err(Denial::TooMany { .. }) => 3,
        };
        rec(reply.aggregate, -1, said)
    });
    events.merge(replies)
}

/// What sagas ask for, how they end, and what they ignore; the records are starts and replies, most of which nobody
/// waits for.
pub fn sagas(stream: Grouped, name: &str) -> Stream<Rec> {
    let saga = Saga::new(name)
        .step("one", |sum: &i64| *sum)
        .compensate(|sum| -sum)
        .learn(|sum, more: i64| *sum = (*sum * 31 + more).rem_euclid(10_007))
        .timeout(Duration::from_millis(7))
        .retries(1, Duration::from_millis(3))
        .compensation_retries(1, Duration::ZERO)
        .step("two", |sum| sum * 2)
        .timeout(Duration::from_millis(11))
        .retries(0, Duration::ZERO)
        .remember(Duration::from_millis(40));
    let inputs = stream.map_values(|Rec { split, key, value, .. }| {
        let number = value.rem_euclid(36);
        if number % 3 == 0 {
            return SagaInput::Start(value);
        }
        let answer = match number % 5 {
            0 => SagaAnswer::Refused(String::new()),
            1 => SagaAnswer::Failed(String::new()),
            _ => SagaAnswer::Done(value),
        };
        let (step, direction) = match number % 4 {
            0 => ("one", Direction::Undo),
            1 => ("two", Direction::Do),
            _ => ("one", Direction::Do),
        };
        let attempt = 1 + (number % 7 == 0) as u32;
        SagaInput::Reply(SagaReply { saga: (split, key), step: step.to_owned(), direction, attempt, answer })
    });
    let SagaStreams { requests, ends, ignored } = inputs.saga(saga);
    let requests = requests.values().map(|asked| rec(asked.saga, i64::from(asked.attempt), asked.body));
    let ends = ends.values().map(|end| {
        let how = match end.outcome {
            SagaOutcome::Completed => 5,
            SagaOutcome::Compensated { .. } => 6,
            SagaOutcome::NeedsHelp { .. } => 7,
        };
        rec(end.saga, how, end.data)
    });
    let ignored = ignored.entries().map(|(saga, input)| match input {
        SagaInput::Start(number) => rec(saga, 8, number),
        SagaInput::Reply(reply) => rec(saga, 9, i64::from(reply.attempt)),
    });
    requests.merge(ends).merge(ignored)
}
