//! Operators whose results depend on how records interleave, brought to what no order changes: one result for each key
//! when the input has ended, of a window that holds all of time.

use highwater::prelude::*;

use super::build::{Group, Grouped, rec};
use super::case::{Rec, Whole};

/// Longer than from the first record to any clock.
const ALL_OF_TIME: Duration = Duration::from_millis(1_000_000_000_000_000);
const HALF_OF_TIME: Duration = Duration::from_millis(500_000_000_000_000);

fn whole() -> Tumbling {
    tumbling(ALL_OF_TIME).offset(HALF_OF_TIME)
}

/// The greatest number of each key in the end.
fn greatest(numbers: Stream<(Group, i64)>, name: &str) -> Stream<Rec> {
    let windows = numbers.key_by(|(key, _)| *key).window(whole());
    windows.aggregate(name, |a| a.max(|(_, number): &(Group, i64)| *number)).map(|w| rec(w.key, 4, w.value))
}

pub fn apply(stream: Grouped, what: Whole, name: &str) -> Stream<Rec> {
    let number = |name: &str| format!("{name}-in-the-end");
    match what {
        Whole::TwoStage => {
            let counts = stream.two_stage().count(name).to_stream();
            greatest(counts.map(|(key, count)| (key, count as i64)), &number(name))
        }
        Whole::TableJoin => {
            let (left, right) = halves(stream);
            let (left, right) = (left.count(&format!("{name}-l")), right.count(&format!("{name}-r")));
            let rows = left.join(right).outer(name).to_stream();
            let sum = |side: Option<u64>| side.unwrap_or(0) as i64;
            greatest(rows.map(move |(key, (l, r))| (key, sum(l) * 31 + sum(r))), &number(name))
        }
        Whole::StreamTable => {
            let (left, right) = halves(stream);
            let joined = left.join_table(right.count(&format!("{name}-r"))).left(name);
            joined.window(whole()).count(&number(name)).map(|w| rec(w.key, 5, w.value as i64))
        }
        Whole::Broadcast => {
            let (left, right) = halves(stream);
            let table = right.count(&format!("{name}-r"));
            let joined = left.entries().join_broadcast(table, |(key, _)| *key).left(name);
            let windows = joined.key_by(|((key, _), _)| *key).window(whole());
            windows.count(&number(name)).map(|w| rec(w.key, 6, w.value as i64))
        }
        Whole::ProcessingTime => {
            let again = stream.entries().untimed().processing_time().key_by(|(key, _)| *key);
            again.window(whole()).count(name).map(|w| rec(w.key, 7, w.value as i64))
        }
    }
}

fn halves(stream: Grouped) -> (Grouped, Grouped) {
    let other = stream.clone();
    (stream.filter(|_, rec| rec.value % 2 == 0), other.filter(|_, rec| rec.value % 2 != 0))
}
