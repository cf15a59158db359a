//! Random patterns, over whatever stages may be put together, and the records that their matches become.
//!
//! [`legal`] brings what was drawn to what the library accepts; what it refuses is for other tests. Every pattern has a
//! time and few runs a key, so that it ends, and so that runs are dropped, too, for which the order of records counts.

use highwater::operators::pattern::{Condition, Contiguity, Inner, Quantifier, Sequence, Stage, Taken};
use highwater::prelude::*;
use proptest::bool::ANY;
use proptest::prelude::{Just, Strategy, prop, prop_oneof};

use super::build::{Group, Grouped, Outs, millis, rec};
use super::case::Rec;

/// How many runs a key has at most.
const RUNS: usize = 12;

/// A pattern of up to four stages.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    parts: [Part; 4],
    count: usize,
    /// From this stage on, the stages are a group, if there are two.
    group: Option<(usize, Repeats)>,
    within: u16,
    after: u8,
    with_late: bool,
    with_timed_out: bool,
    /// Records of one time in an order of their own.
    ties: bool,
}

impl Search {
    /// The same of records of one time that come in any order.
    pub fn in_any_order(self) -> Search {
        Search { ties: true, ..self }
    }

    /// The same with its matches as the only output.
    pub fn with_nothing_aside(self) -> Search {
        Search { with_late: false, with_timed_out: false, ..self }
    }
}

/// One stage; its condition holds for the values that leave `rest` behind or less.
#[derive(Clone, Copy, Debug)]
struct Part {
    does: Does,
    divisor: i64,
    rest: i64,
    /// Whether the condition also asks what the first stage has taken.
    looks_back: bool,
    repeats: Repeats,
    /// 0 for none.
    within_previous: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Next,
    FollowedBy,
    FollowedByAny,
    NotNext,
    NotFollowedBy,
}

impl Does {
    fn refuses(self) -> bool {
        matches!(self, Does::NotNext | Does::NotFollowedBy)
    }

    fn contiguity(self) -> Contiguity {
        match self {
            Does::FollowedBy => Contiguity::FollowedBy,
            Does::FollowedByAny => Contiguity::FollowedByAny,
            Does::Next | Does::NotNext | Does::NotFollowedBy => Contiguity::Next,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Repeats {
    min: u32,
    /// So many more than `min`; without a limit where it is `None`.
    more: Option<u32>,
    optional: bool,
    greedy: bool,
    inner: u8,
    until: bool,
}

impl Repeats {
    const ONCE: Repeats =
        Repeats { min: 1, more: Some(0), optional: false, greedy: false, inner: 0, until: false };

    fn is_single(self) -> bool {
        self.min == 1 && self.more == Some(0)
    }

    /// What can be said of a stage, or of a group, at once.
    fn legal(self, is_group: bool) -> Repeats {
        let single = self.is_single();
        let inner = if single { 0 } else { self.inner };
        let greedy = self.greedy && !single && !is_group && inner != 2;
        Repeats { greedy, inner, until: self.until && self.more.is_none(), ..self }
    }

    fn quantifier(self) -> Quantifier {
        let inner = [Inner::Relaxed, Inner::Consecutive, Inner::Combinations][usize::from(self.inner)];
        let max = self.more.map(|more| self.min + more);
        Quantifier { min: self.min, max, optional: self.optional, greedy: self.greedy, inner }
    }
}

fn repeats() -> impl Strategy<Value = Repeats> {
    let more = prop_oneof![2 => (0u32..3).prop_map(Some), 1 => Just(None)];
    let some = (1u32..3, more, prop::bool::weighted(0.25), ANY, 0u8..3, ANY);
    let some = some.prop_map(|(min, more, optional, greedy, inner, until)| Repeats {
        min,
        more,
        optional,
        greedy,
        inner,
        until,
    });
    prop_oneof![1 => Just(Repeats::ONCE), 1 => some]
}

fn part() -> impl Strategy<Value = Part> {
    let does = prop_oneof![
        2 => Just(Does::Next),
        4 => Just(Does::FollowedBy),
        2 => Just(Does::FollowedByAny),
        1 => Just(Does::NotNext),
        1 => Just(Does::NotFollowedBy),
    ];
    let within_previous = prop_oneof![4 => Just(0u16), 1 => 1u16..40];
    let looks_back = prop::bool::weighted(0.25);
    (does, 1i64..5, 0i64..3, looks_back, repeats(), within_previous).prop_map(
        |(does, divisor, rest, looks_back, repeats, within_previous)| Part {
            does,
            divisor,
            rest,
            looks_back,
            repeats,
            within_previous,
        },
    )
}

pub fn search() -> impl Strategy<Value = Search> {
    let group = prop_oneof![3 => Just(None), 1 => (0usize..3, repeats()).prop_map(Some)];
    let parts = prop::array::uniform4(part());
    let flags = (ANY, ANY, ANY);
    (parts, 1usize..5, group, 1u16..90, 0u8..5, flags).prop_map(
        |(parts, count, group, within, after, (with_late, with_timed_out, ties))| {
            legal(Search { parts, count, group, within, after, with_late, with_timed_out, ties })
        },
    )
}

/// What the library accepts.
fn legal(mut search: Search) -> Search {
    search.group = search.group.filter(|(from, _)| from + 1 < search.count);
    let group_from = search.group.map_or(search.count, |(from, _)| from);
    for at in 0..search.count {
        let before = at.checked_sub(1).map(|before| search.parts[before].repeats);
        // The first stage of the pattern, and of a group, takes a record.
        let begins = at == 0 || at == group_from;
        let part = &mut search.parts[at];
        part.within_previous = part.within_previous.min(search.within);
        part.repeats = if part.does.refuses() { Repeats::ONCE } else { part.repeats.legal(false) };
        if begins && part.does.refuses() {
            part.does = Does::FollowedBy;
        }
        let Some(before) = before.filter(|_| at != group_from) else { continue };
        if part.does.refuses() && before.optional {
            part.does = Does::FollowedBy;
        }
        part.repeats.optional &= !before.greedy;
    }
    if let Some((from, repeats)) = &mut search.group {
        *repeats = repeats.legal(true);
        repeats.optional &= !from.checked_sub(1).is_some_and(|before| search.parts[before].repeats.greedy);
        // A round takes something.
        search.parts[*from].repeats.optional = false;
    }
    search
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

impl Part {
    fn condition(self) -> Condition<Rec> {
        let Part { divisor, rest, looks_back, .. } = self;
        let condition = Condition::new(move |rec: &Rec| rec.value % divisor <= rest);
        if !looks_back {
            return condition;
        }
        condition.when(|rec, taken: Taken<'_, Rec>| {
            let sum: i64 = taken.of(NAMES[0]).iter().map(|taken| taken.value).sum();
            (sum + rec.value) % 3 != 0
        })
    }

    fn stage(self, name: &str) -> Stage<Rec> {
        let stage = match self.does {
            Does::NotNext => return Stage::not_next(name, self.condition()),
            Does::NotFollowedBy => return Stage::not_followed_by(name, self.condition()),
            does => Stage::take(name, does.contiguity(), self.condition()),
        };
        let stage = until(stage, self.repeats).quantified(self.repeats.quantifier());
        match self.within_previous {
            0 => stage,
            within => stage.within_previous(millis(within)),
        }
    }
}

fn until(stage: Stage<Rec>, repeats: Repeats) -> Stage<Rec> {
    if repeats.until { stage.until(Condition::new(|rec: &Rec| rec.value % 4 == 3)) } else { stage }
}

/// Where the matches go on; late records and what ran out of time go to the sink where the case wants them.
pub fn apply(stream: Grouped, search: Search, name: &str, outs: &mut Outs) -> Stream<Rec> {
    let mut stages: Vec<Stage<Rec>> =
        search.parts[..search.count].iter().zip(NAMES).map(|(part, name)| part.stage(name)).collect();
    let mut skipped_to = NAMES[(search.after as usize + search.count) % search.count];
    if let Some((from, repeats)) = search.group {
        let contiguity = search.parts[from].does.contiguity();
        let group = Stage::group(contiguity, stages.split_off(from));
        stages.push(until(group, repeats).quantified(repeats.quantifier()));
        skipped_to = if from > 0 { NAMES[0] } else { "" };
    }
    let after = match search.after {
        1 => AfterMatch::SkipToNext,
        2 => AfterMatch::SkipPastLast,
        3 if !skipped_to.is_empty() => AfterMatch::SkipToFirst(skipped_to.to_owned()),
        4 if !skipped_to.is_empty() => AfterMatch::SkipToLast(skipped_to.to_owned()),
        _ => AfterMatch::NoSkip,
    };
    let pattern = Pattern::from_stages(stages).after_match(after).runs_per_key(RUNS);
    let pattern = pattern.within(millis(search.within));
    let pattern = if search.ties { pattern.order_ties_by(Rec::cmp) } else { pattern };
    let mut matches = stream.pattern(pattern);
    if search.with_late {
        let late;
        (matches, late) = matches.with_late();
        outs.add(late);
    }
    if search.with_timed_out {
        let (matches, timed_out) = matches.with_timed_out(|key, taken| row(*key, 9, taken));
        outs.add(timed_out.values());
        return matches.select(name, |key, taken| row(*key, 1, taken)).values();
    }
    matches.select(name, |key, taken| row(*key, 1, taken)).values()
}

/// Depends on every record, its stage, and the order.
fn row(key: Group, kind: i64, taken: Sequence<'_, Rec>) -> Rec {
    let number = taken.iter().fold(kind, |sum, (stage, rec)| {
        (sum * 31 + i64::from(stage.as_bytes()[0]) * 7 + rec.at * 3 + rec.value).rem_euclid(1_000_003)
    });
    rec(key, taken.iter().next().map_or(0, |(_, rec)| rec.at), number)
}

/// A pattern by types: what stands in no random one is an accumulator, a round's own records, and any order.
pub fn apply_typed(stream: Grouped, within: u16, name: &str, outs: &mut Outs) -> Stream<Rec> {
    let round = Pattern::begin("even", |rec: &Rec| rec.value % 2 == 0)
        .followed_by("more", any)
        .when(|rec, (even,)| rec.value > even.value);
    let pattern = Pattern::begin("some", |rec: &Rec| rec.value % 3 == 0)
        .one_or_more()
        .fold(|| 7, |kept: &mut i64, rec: &Rec| *kept = (*kept * 31 + rec.value).rem_euclid(1009))
        .followed_by_group(round)
        .times(1..=2)
        .followed_by_all_of((
            Pattern::begin("odd", |rec: &Rec| rec.value % 2 != 0),
            Pattern::begin("third", |rec: &Rec| rec.value % 3 == 1),
        ))
        .order_ties_by(Rec::cmp)
        .runs_per_key(RUNS)
        .after_match(AfterMatch::SkipToNext)
        .within(millis(within));
    let (matches, timed_out) = stream.pattern(pattern).with_timed_out(|key, (some, rounds, last)| {
        let odd = last.and_then(|(odd, _)| odd).map_or(0, |odd| odd.at);
        rec(*key, 3, some.copied().unwrap_or(0) * 5 + rounds.len() as i64 + odd)
    });
    outs.add(timed_out.values());
    let matches = matches.select(name, |key, (some, rounds, (odd, third))| {
        let rounds = rounds.iter().fold(0, |sum, (even, more)| sum * 7 + even.value * 3 + more.at);
        rec(*key, odd.at, *some + rounds * 11 + odd.value * 3 + third.value)
    });
    matches.values()
}
