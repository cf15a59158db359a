//! Patterns as plain descriptions, which both the model and the operator are given, and random ones. It does not know
//! what a pattern matches.

use std::fmt;
use std::time::Duration;

use highwater_operators::pattern::{
    AfterMatch, Condition, Contiguity, Inner, Named, Pattern, Quantifier, Stage,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// A record that may be several letters at once, each a bit.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rec {
    pub id: u32,
    pub key: u8,
    pub time: i64,
    pub letters: u8,
    pub value: u8,
}

impl fmt::Debug for Rec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rec { id, key, time, letters, value } = self;
        write!(out, "#{id} of key {key} at {time}: letters {letters:04b}, value {value}")
    }
}

/// The record is one of the letters, and not smaller than the last record that the run took for a stage.
#[derive(Clone, Debug)]
pub struct Test {
    pub letters: u8,
    pub not_below_last_of: Option<String>,
}

impl Test {
    pub fn holds(&self, record: &Rec, taken: &[(&str, Rec)]) -> bool {
        let last_of = |stage: &String| taken.iter().rev().find(|(name, _)| name == stage);
        record.letters & self.letters != 0
            && self
                .not_below_last_of
                .as_ref()
                .and_then(last_of)
                .is_none_or(|(_, of)| record.value >= of.value)
    }

    fn condition(&self) -> Condition<Rec> {
        let letters = self.letters;
        let condition = is(letters);
        let Some(stage) = self.not_below_last_of.clone() else { return condition };
        condition
            .when(move |record, taken| taken.of(&stage).last().is_none_or(|last| record.value >= last.value))
    }
}

fn is(letters: u8) -> Condition<Rec> {
    Condition::new(move |record: &Rec| record.letters & letters != 0)
}

#[derive(Clone, Debug)]
pub enum Kind {
    Take { name: String, test: Test },
    Not { name: String, letters: u8, next: bool },
    Group(Vec<Part>),
}

/// One stage.
#[derive(Clone)]
pub struct Part {
    pub kind: Kind,
    pub contiguity: Contiguity,
    pub quantifier: Quantifier,
    pub until: Option<u8>,
    pub step: Option<i64>,
}

impl fmt::Debug for Part {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Quantifier { min, max, optional, greedy, inner } = self.quantifier;
        match &self.kind {
            Kind::Take { name, test } => {
                write!(out, "{:?} {name} takes {:04b}", self.contiguity, test.letters)?;
                test.not_below_last_of.iter().try_for_each(|stage| write!(out, " not below {stage}"))?;
            }
            Kind::Not { name, letters, next } => write!(out, "not (next: {next}) {name} {letters:04b}")?,
            Kind::Group(parts) => write!(out, "{:?} group {parts:?}", self.contiguity)?,
        }
        if self.quantifier != Quantifier::default() {
            write!(out, " {min}..{max:?} optional: {optional} greedy: {greedy} {inner:?}")?;
        }
        self.until.iter().try_for_each(|until| write!(out, " until {until:04b}"))?;
        self.step.iter().try_for_each(|step| write!(out, " within {step} of the one before"))
    }
}

impl Part {
    pub fn is_not(&self) -> bool {
        matches!(self.kind, Kind::Not { .. })
    }

    pub fn may_be_left_out(&self) -> bool {
        self.quantifier.optional || self.quantifier.min == 0
    }

    fn is_single(&self) -> bool {
        self.quantifier.min <= 1 && self.quantifier.max == Some(1)
    }

    fn may_take_nothing(&self) -> bool {
        let inner =
            if let Kind::Group(parts) = &self.kind { &parts[..] } else { return self.may_be_left_out() };
        self.may_be_left_out() || inner.iter().all(|part| part.is_not() || part.may_take_nothing())
    }

    fn may_begin_without(&self) -> bool {
        let inner = if let Kind::Group(parts) = &self.kind { parts.first() } else { None };
        self.may_be_left_out() || inner.is_some_and(Part::may_begin_without)
    }

    fn must_be_there(&mut self) {
        self.quantifier.optional = false;
        self.quantifier.min = self.quantifier.min.max(1);
        if let Kind::Group(parts) = &mut self.kind {
            parts[0].must_be_there();
        }
    }

    fn stage(&self) -> Stage<Rec> {
        let stage = match &self.kind {
            Kind::Take { name, test } => Stage::take(name, self.contiguity, test.condition()),
            Kind::Not { name, letters, next: true } => Stage::not_next(name, is(*letters)),
            Kind::Not { name, letters, next: false } => Stage::not_followed_by(name, is(*letters)),
            Kind::Group(parts) => Stage::group(self.contiguity, parts.iter().map(Part::stage).collect()),
        };
        let stage = stage.quantified(self.quantifier);
        let stage = if let Some(until) = self.until { stage.until(is(until)) } else { stage };
        let Some(step) = self.step else { return stage };
        stage.within_previous(Duration::from_millis(step.unsigned_abs()))
    }
}

/// A pattern.
#[derive(Clone, Debug)]
pub struct Described {
    pub parts: Vec<Part>,
    pub within: Option<i64>,
    pub after: AfterMatch,
}

impl Described {
    pub fn pattern(&self) -> Pattern<Rec, (), Named> {
        let pattern = Pattern::from_stages(self.parts.iter().map(Part::stage).collect()).unbounded();
        let pattern = pattern.after_match(self.after.clone());
        let Some(within) = self.within else { return pattern };
        pattern.within(Duration::from_millis(within.unsigned_abs()))
    }

    pub fn has_steps(&self) -> bool {
        self.parts.iter().any(has_step)
    }
}

fn has_step(part: &Part) -> bool {
    let inner = if let Kind::Group(parts) = &part.kind { &parts[..] } else { &[] };
    part.step.is_some() || inner.iter().any(has_step)
}

fn one_of_the_letters() -> impl Strategy<Value = u8> {
    prop_oneof![4 => Just(1u8), 4 => Just(2), 3 => Just(4), 1 => Just(8), 1 => Just(15), 1 => Just(3)]
}

fn contiguity() -> impl Strategy<Value = Contiguity> {
    prop_oneof![Just(Contiguity::Next), Just(Contiguity::FollowedBy), Just(Contiguity::FollowedByAny)]
}

fn quantifier() -> impl Strategy<Value = Quantifier> {
    let times = prop_oneof![
        6 => Just((1, Some(1))),
        1 => Just((2, Some(2))),
        1 => Just((1, Some(2))),
        1 => Just((0, Some(2))),
        1 => Just((2, Some(3))),
        3 => Just((1, None)),
        1 => Just((2, None)),
        1 => Just((0, None)),
    ];
    let inner = prop_oneof![Just(Inner::Relaxed), Just(Inner::Consecutive), Just(Inner::Combinations)];
    (times, prop::bool::weighted(0.25), prop::bool::weighted(0.25), inner)
        .prop_map(|((min, max), optional, greedy, inner)| Quantifier { min, max, optional, greedy, inner })
}

fn leaf() -> impl Strategy<Value = Part> {
    let until = prop::option::weighted(0.3, one_of_the_letters());
    let step = prop::option::weighted(0.1, 1..5i64);
    let looks_back = prop::option::weighted(0.2, 0..4usize);
    (one_of_the_letters(), contiguity(), quantifier(), until, step, looks_back).prop_map(
        |(letters, contiguity, quantifier, until, step, looks_back)| {
            let not_below_last_of = looks_back.map(|stage| format!("s{stage}"));
            let kind = Kind::Take { name: String::new(), test: Test { letters, not_below_last_of } };
            Part { kind, contiguity, quantifier, until, step }
        },
    )
}

fn part(depth: u32) -> BoxedStrategy<Part> {
    let not = (one_of_the_letters(), any::<bool>()).prop_map(|(letters, next)| Part {
        kind: Kind::Not { name: String::new(), letters, next },
        contiguity: Contiguity::Next,
        quantifier: Quantifier::default(),
        until: None,
        step: None,
    });
    if depth == 0 {
        return prop_oneof![5 => leaf(), 1 => not].boxed();
    }
    let until = prop::option::weighted(0.3, one_of_the_letters());
    let parts = prop::collection::vec(part(depth - 1), 1..=3);
    let group =
        (parts, contiguity(), quantifier(), until).prop_map(|(parts, contiguity, quantifier, until)| Part {
            kind: Kind::Group(parts),
            contiguity,
            quantifier,
            until,
            step: None,
        });
    prop_oneof![10 => leaf(), 3 => not, 2 => group].boxed()
}

/// A pattern that the operator does not refuse.
pub fn described() -> impl Strategy<Value = Described> {
    let within = prop::option::weighted(0.6, 2..14i64);
    (prop::collection::vec(part(2), 1..=4), within).prop_map(|(parts, within)| {
        let parts = sensible(parts, true);
        let ends_open = parts.last().is_some_and(|part| matches!(part.kind, Kind::Not { next: false, .. }));
        let within = if ends_open { within.or(Some(6)) } else { within };
        let mut described = Described { parts, within, after: AfterMatch::NoSkip };
        shorten(&mut described.parts, within);
        name(&mut described.parts, &mut 0);
        described
    })
}

/// No stage has more time than the whole.
fn shorten(parts: &mut [Part], within: Option<i64>) {
    for part in parts {
        part.step = part.step.map(|step| within.map_or(step, |within| step.min(within)));
        if let Kind::Group(inner) = &mut part.kind {
            shorten(inner, within);
        }
    }
}

fn name(parts: &mut [Part], next: &mut usize) {
    for part in parts {
        match &mut part.kind {
            Kind::Take { name, .. } | Kind::Not { name, .. } => {
                *name = format!("s{next}");
                *next += 1;
            }
            Kind::Group(inner) => self::name(inner, next),
        }
    }
}

/// Changes a list of stages as little as it takes to make a pattern of it whose meaning is written down.
fn sensible(parts: Vec<Part>, is_top: bool) -> Vec<Part> {
    let mut list: Vec<Part> = Vec::new();
    for mut part in parts {
        let before = list.last();
        if part.is_not() && before.is_none_or(|before| before.is_not() || before.may_take_nothing()) {
            continue;
        }
        if let Kind::Group(inner) = part.kind {
            let mut inner = sensible(inner, false);
            if inner.is_empty() {
                continue;
            }
            if part.quantifier.max != Some(1) {
                inner[0].must_be_there();
            }
            part.kind = Kind::Group(inner);
            part.quantifier.greedy = false;
            // What `until` does to the gap before a group is not written down.
            part.until = part.until.filter(|_| is_top && list.is_empty());
        }
        quantify(&mut part, before.is_some_and(Part::is_not));
        if part.may_begin_without() {
            let taking = list.iter_mut().rev().find(|before| !before.is_not());
            taking.into_iter().for_each(|before| before.quantifier.greedy = false);
        }
        list.push(part);
    }
    end(&mut list, is_top);
    list
}

fn quantify(part: &mut Part, behind_not: bool) {
    let single = part.is_single();
    let quantifier = &mut part.quantifier;
    if single {
        quantifier.inner = Inner::Relaxed;
    } else {
        part.step = None;
    }
    let optional = quantifier.optional || quantifier.min == 0;
    if single || quantifier.inner == Inner::Combinations || (behind_not && optional) {
        quantifier.greedy = false;
    }
    if quantifier.max.is_some() {
        part.until = None;
    }
    if let Kind::Take { test, .. } = &mut part.kind
        && quantifier.greedy
    {
        test.not_below_last_of = None;
    }
}

/// What may not stand at the end, or before stages that are all left out.
fn end(list: &mut Vec<Part>, is_top: bool) {
    while !is_top && list.last().is_some_and(Part::is_not) {
        list.pop();
    }
    if !is_top && let Some(last) = list.last_mut() {
        last.quantifier.greedy = false;
    }
    let last_there = list.iter().rposition(|part| !part.may_begin_without() && !part.is_not());
    let ends = list.len();
    let mut at = 0;
    list.retain(|part| {
        at += 1;
        !(part.is_not() && last_there.is_none_or(|last| at - 1 > last) && at < ends)
    });
    if list.is_empty() && is_top {
        let test = Test { letters: 1, not_below_last_of: None };
        list.push(Part {
            kind: Kind::Take { name: String::new(), test },
            contiguity: Contiguity::Next,
            quantifier: Quantifier::default(),
            until: None,
            step: None,
        });
    }
}
