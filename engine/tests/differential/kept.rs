//! Operators that keep more than a sum: all records of a window, windows of one's own, values that die, tables with
//! deletions.

use highwater::prelude::*;

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
