//! Which patterns make sense; the others are refused when the topology is built, naming the stage.
//!
//! Every rule here is one that a user can break; what the types of [`Pattern`](crate::pattern::Pattern) rule out stands
//! here as well, for patterns that are put together at run time.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::limits::{PATTERN_ALL_OF, PATTERN_GROUPS, PATTERN_PLACES};
use crate::pattern::plan::{Inner, Kind, Plan, Stage};

/// Event time is kept in milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);

/// The first fault of a pattern, in the order of its stages.
///
/// # Errors
/// What is wrong, at which stage, and what would be right.
pub(super) fn check<T>(plan: &Plan<T>) -> Result<(), String> {
    if let Some(fault) = plan.faults.first() {
        return Err(fault.clone());
    }
    if plan.stages.is_empty() {
        return Err("a pattern needs a stage".to_owned());
    }
    let mut names = BTreeSet::new();
    sequence(&plan.stages, &mut names)?;
    if !plan.named {
        told_apart(&plan.stages, false)?;
    }
    if plan.runs_per_key == 0 {
        return Err("with no run per key nothing can match".to_owned());
    }
    let stages = places(&plan.stages);
    if stages > PATTERN_PLACES {
        return Err(format!(
            "repetitions counted, the pattern has {stages} places; {PATTERN_PLACES} are the most"
        ));
    }
    let groups = groups_in(&plan.stages);
    if groups > PATTERN_GROUPS {
        return Err(format!("the pattern has {groups} groups; {PATTERN_GROUPS} are the most"));
    }
    times(plan)?;
    skips(plan)?;
    match plan.stages.first() {
        Some(first) if first.refuses() => {
            Err(format!("{}: a pattern begins with a stage that takes a record", named(first)))
        }
        _ => Ok(()),
    }
}

fn named<T>(stage: &Stage<T>) -> String {
    match &stage.kind {
        Kind::Group(stages) => stages.first().map_or("an empty group".to_owned(), |first| {
            format!("the group that begins with {}", named(first))
        }),
        Kind::AllOf(members) => {
            let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
            format!("all_of ({})", names.join(", "))
        }
        _ => format!("stage `{}`", stage.name),
    }
}

/// Checks the stages of a list, and of the groups in it.
fn sequence<'a, T>(stages: &'a [Stage<T>], names: &mut BTreeSet<&'a str>) -> Result<(), String> {
    let mut before: Option<&Stage<T>> = None;
    for stage in stages {
        match &stage.kind {
            Kind::Group(inner) => {
                group(stage, inner)?;
                sequence(inner, names)?;
            }
            Kind::AllOf(members) => {
                members.iter().try_for_each(|(name, _)| unique(name, names))?;
                if members.len() < 2 || members.len() > PATTERN_ALL_OF {
                    return Err(format!("{}: takes 2 to {PATTERN_ALL_OF} conditions", named(stage)));
                }
            }
            _ => unique(&stage.name, names)?,
        }
        quantified(stage)?;
        if let Some(before) = before {
            neighbours(before, stage)?;
        }
        before = Some(stage);
    }
    Ok(())
}

/// Checks what a group consists of.
fn group<T>(stage: &Stage<T>, inner: &[Stage<T>]) -> Result<(), String> {
    let Some(first) = inner.first() else { return Err("a group needs a stage".to_owned()) };
    if first.refuses() {
        return Err(format!("{}: a group begins with a stage that takes a record", named(first)));
    }
    if stage.quantifier.max.is_none() && inner.iter().all(may_take_nothing) {
        return Err(format!("{}: a round that may take nothing cannot repeat without a limit", named(stage)));
    }
    Ok(())
}

fn may_take_nothing<T>(stage: &Stage<T>) -> bool {
    let inside = match &stage.kind {
        Kind::Group(inner) => inner.iter().all(may_take_nothing),
        Kind::Refuse { .. } => true,
        _ => false,
    };
    inside || stage.quantifier.may_be_left_out()
}

/// Checks what stands in the way of telling by types what stages took, and what would have no effect; `repeats`
/// inside a group that does.
fn told_apart<T>(stages: &[Stage<T>], repeats: bool) -> Result<(), String> {
    let mut after: Option<&Stage<T>> = None;
    for stage in stages {
        let of = named(stage);
        if let Kind::Group(inner) = &stage.kind {
            let repeats = repeats || stage.quantifier.max != Some(1);
            if repeats && inner.first().is_some_and(may_take_nothing) {
                return Err(format!(
                    "{of}: in a group that repeats the first stage cannot be optional: where a round begins could \
                     not be told"
                ));
            }
            if let Some(last) =
                inner.last().filter(|last| matches!(last.kind, Kind::Refuse { only_next: false, .. }))
            {
                return Err(format!(
                    "{}: at the end of a group it has no effect; put it behind the group",
                    named(last)
                ));
            }
            told_apart(inner, repeats)?;
        }
        if repeats && stage.fold.is_some() {
            return Err(format!("{of}: a fold cannot stand in a group that repeats"));
        }
        let refuses_next = matches!(stage.kind, Kind::Refuse { only_next: true, .. });
        let after_refusal =
            after.is_some_and(|after| matches!(after.kind, Kind::Refuse { only_next: false, .. }));
        if refuses_next && after_refusal {
            return Err(format!("{of}: right behind a not_followed_by; put it before that"));
        }
        let is_last = stages.last().is_some_and(|last| std::ptr::eq(last, stage)) && !repeats;
        let has_step = match stage.kind {
            Kind::Take(_) | Kind::AllOf(_) => true,
            Kind::Refuse { only_next, .. } => !only_next && is_last,
            Kind::Group(_) => false,
        };
        if stage.within_previous.is_some() && !has_step {
            return Err(format!(
                "{of}: `within_previous` is for stages that take records, and for the last one"
            ));
        }
        after = Some(stage);
    }
    Ok(())
}

fn unique<'a>(name: &'a str, names: &mut BTreeSet<&'a str>) -> Result<(), String> {
    if name.is_empty() {
        return Err("a stage needs a name".to_owned());
    }
    if name.contains(':') {
        return Err(format!("stage `{name}`: a stage's name has no colon in it"));
    }
    if !names.insert(name) {
        return Err(format!("stage `{name}`: two stages have this name; each needs its own"));
    }
    Ok(())
}

/// Checks what a stage says of its repetitions.
fn quantified<T>(stage: &Stage<T>) -> Result<(), String> {
    let (of, quantifier) = (named(stage), &stage.quantifier);
    if stage.refuses() && !quantifier.is_plain() {
        return Err(format!("{of}: a stage that refuses records cannot be repeated, optional or greedy"));
    }
    if quantifier.max == Some(0) || quantifier.max.is_some_and(|max| max < quantifier.min) {
        return Err(format!(
            "{of}: repeats at least {} and at most {} times",
            quantifier.min,
            quantifier.max.unwrap_or(0)
        ));
    }
    if stage.until.is_some() && quantifier.max.is_some() {
        return Err(format!("{of}: `until` ends a repetition without a limit; this one ends by itself"));
    }
    if matches!(stage.kind, Kind::AllOf(_)) && (!quantifier.is_single() || quantifier.may_be_left_out()) {
        return Err(format!("{of}: cannot be repeated or optional"));
    }
    if quantifier.is_single() && quantifier.inner != Inner::Relaxed && !matches!(stage.kind, Kind::AllOf(_)) {
        return Err(format!("{of}: takes one record, so there is nothing between its repetitions"));
    }
    if quantifier.greedy {
        if !matches!(stage.kind, Kind::Take(_)) {
            return Err(format!("{of}: only a stage that takes records by itself can be greedy"));
        }
        if quantifier.is_single() {
            return Err(format!("{of}: takes one record, and cannot be greedy"));
        }
        if quantifier.inner == Inner::Combinations {
            return Err(format!("{of}: a greedy stage leaves nothing out, and cannot allow combinations"));
        }
    }
    if stage.within_previous.is_some_and(|step| step < SHORTEST) {
        return Err(format!("{of}: within less than a millisecond no record can come"));
    }
    Ok(())
}

/// Checks what cannot follow what.
fn neighbours<T>(before: &Stage<T>, stage: &Stage<T>) -> Result<(), String> {
    if before.quantifier.greedy && !stage.refuses() && stage.quantifier.may_be_left_out() {
        return Err(format!(
            "{}: an optional stage cannot follow the greedy {}",
            named(stage),
            named(before)
        ));
    }
    if stage.refuses() && before.quantifier.may_be_left_out() {
        return Err(format!("{}: cannot follow the optional {}", named(stage), named(before)));
    }
    Ok(())
}

/// Checks that a run ends: by its form, by its time, or because the user says that it need not.
fn times<T>(plan: &Plan<T>) -> Result<(), String> {
    if plan.within.is_some_and(|within| within < SHORTEST) {
        return Err("within less than a millisecond nothing can match".to_owned());
    }
    if let Some(stage) = plan.stages.last()
        && matches!(stage.kind, Kind::Refuse { only_next: false, .. })
        && plan.within.is_none()
        && stage.within_previous.is_none()
    {
        return Err(format!("{}: not_followed_by at the end needs `within`: until when?", named(stage)));
    }
    if let Some(within) = plan.within {
        let has_more = |stage: &Stage<T>| stage.within_previous.is_some_and(|step| step > within);
        if let Some(stage) = first_that(&plan.stages, &has_more) {
            return Err(format!("{}: is given more time than the whole pattern", named(stage)));
        }
        return Ok(());
    }
    match first_that(&plan.stages, &|stage| stage.quantifier.max.is_none()) {
        Some(stage) if !plan.unbounded => Err(format!(
            "{}: repeats without a limit, and the pattern has no `within`: a run could take records for ever; add \
             `within(..)`, or `unbounded()` if that is meant",
            named(stage)
        )),
        _ => Ok(()),
    }
}

/// The first of the stages, and of those in their groups, that is so.
fn first_that<'a, T>(stages: &'a [Stage<T>], is_so: &impl Fn(&Stage<T>) -> bool) -> Option<&'a Stage<T>> {
    stages.iter().find_map(|stage| match &stage.kind {
        _ if is_so(stage) => Some(stage),
        Kind::Group(inner) => first_that(inner, is_so),
        _ => None,
    })
}

fn skips<T>(plan: &Plan<T>) -> Result<(), String> {
    let Some(target) = plan.after_match.stage() else { return Ok(()) };
    let is_target = |stage: &Stage<T>| match &stage.kind {
        Kind::AllOf(members) => members.iter().any(|(name, _)| name == target),
        _ => stage.name == target,
    };
    if plan.stages.iter().any(is_target) {
        return Ok(());
    }
    Err(format!(
        "the pattern has no stage `{target}` to skip to; stages inside a group cannot be named there"
    ))
}

/// How many states the stages make, about.
fn places<T>(stages: &[Stage<T>]) -> usize {
    let place = |stage: &Stage<T>| {
        let one = match &stage.kind {
            Kind::Group(inner) => places(inner),
            Kind::AllOf(members) => 1 << members.len().min(20),
            _ => 1,
        };
        let most = stage.quantifier.max.unwrap_or(stage.quantifier.min.saturating_add(1));
        one.saturating_mul(most.max(1) as usize)
    };
    stages.iter().map(place).fold(0, usize::saturating_add)
}

fn groups_in<T>(stages: &[Stage<T>]) -> usize {
    let groups = |stage: &Stage<T>| match &stage.kind {
        Kind::Group(inner) => 1 + groups_in(inner),
        _ => 0,
    };
    stages.iter().map(groups).sum()
}
