//! From a join of a case to the topology of it.

use highwater::prelude::*;

use super::build::{Group, Grouped, Outs, rec};
use super::case::{Join, JoinKind, Mode, Rec};

/// Joins the two sides; the late records of both go to the sink where the case wants them.
pub fn apply_join(left: Grouped, right: Grouped, join: Join, name: &str, outs: &mut Outs) -> Stream<Rec> {
    let millis = |n: u16| Duration::from_millis(u64::from(n));
    match join.kind {
        JoinKind::Interval { lower, upper } => {
            by_mode(left.join(right, between_millis(lower, upper)), join, name, outs)
        }
        JoinKind::Window { size, offset } => {
            by_mode(left.join(right, tumbling(millis(size)).offset(millis(offset))), join, name, outs)
        }
        JoinKind::AsOf => {
            let mut joined = left.join_as_of(right);
            if join.with_late {
                let (kept, late_left, late_right) = joined.with_late();
                outs.add(late_left);
                outs.add(late_right);
                joined = kept;
            }
            match join.mode {
                Mode::Inner => joined.inner(name).entries().map(|(key, (l, r))| row(key, Some(l), Some(r))),
                _ => joined.left(name).entries().map(|(key, (l, r))| row(key, Some(l), r)),
            }
        }
    }
}

fn by_mode(
    mut joined: JoinedStream<Group, Rec, Rec>,
    join: Join,
    name: &str,
    outs: &mut Outs,
) -> Stream<Rec> {
    if join.with_late {
        let (kept, late_left, late_right) = joined.with_late();
        outs.add(late_left);
        outs.add(late_right);
        joined = kept;
    }
    match join.mode {
        Mode::Inner => joined.inner(name).entries().map(|(key, (l, r))| row(key, Some(l), Some(r))),
        Mode::Left => joined.left(name).entries().map(|(key, (l, r))| row(key, Some(l), r)),
        Mode::Right => joined.right(name).entries().map(|(key, (l, r))| row(key, l, Some(r))),
        Mode::Outer => joined.outer(name).entries().map(|(key, (l, r))| row(key, l, r)),
    }
}

fn row(key: Group, left: Option<Rec>, right: Option<Rec>) -> Rec {
    let number = |side: Option<Rec>| side.map_or(-1, |rec| rec.value * 7 + rec.at);
    rec(key, 2, number(left) * 31 + number(right))
}
