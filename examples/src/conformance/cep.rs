//! Cases of patterns: the matches, what each stage took, and what ran out of time.
//!
//! The pattern is put together from its declaration. Where a case does not say to what time to go on after its last
//! event, time stops there: what the end of the input makes known is of a later time, and is left out.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use highwater::operators::interpret::{InterpretError, interpret};
use highwater::operators::pattern::{
    Condition, Contiguity, Inner, Named, Quantifier, Sequence, Stage, Taken,
};
use highwater::operators::testkit::Harness;
use highwater::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::run::{How, part};

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Event {
    id: u64,
    name: String,
    price: f64,
    ts: i64,
    volume: Option<f64>,
    #[serde(default)]
    key: i64,
}

#[derive(Deserialize)]
struct Case {
    pattern: Vec<StageText>,
    within_ms: Option<u64>,
    skip: SkipText,
    events: Vec<Event>,
    #[serde(default)]
    keyed: bool,
    #[serde(default)]
    advance_to: Vec<i64>,
    arrival: Option<Arrival>,
    same_ts_order: Option<String>,
}

/// In which order the events come, and by how much they may be late.
#[derive(Deserialize)]
struct Arrival {
    order: Vec<u64>,
    watermark_lag_ms: u64,
}

#[derive(Deserialize)]
struct SkipText {
    strategy: String,
    stage: Option<String>,
    #[serde(default)]
    throw_on_miss: bool,
}

#[derive(Deserialize)]
struct StageText {
    name: Option<String>,
    contiguity: String,
    condition: Option<Value>,
    group: Option<Vec<StageText>>,
    quantifier: Option<QuantifierText>,
    until: Option<Value>,
    within_previous_ms: Option<u64>,
}

#[derive(Deserialize)]
struct QuantifierText {
    min: i64,
    max: Option<i64>,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    greedy: bool,
    inner: Option<String>,
}

/// What became of a run: what each stage took, or what had been taken when its time was over.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Told {
    Match(BTreeMap<String, Vec<u64>>),
    TimedOut(Vec<u64>),
}

/// Runs a case; gives `matches`, `by_stage` and `timeouts`. A pattern that is refused, and one that fails, are errors
/// that begin with `build` and `runtime`.
pub(super) fn run(case: &Value, how: How) -> Result<Map<String, Value>, Cause> {
    let case: Case = part(case)?;
    let pattern = pattern(&case).map_err(|reason| format!("build: {reason}"))?;
    let (last, lag, keyed) = (case.last(), case.lag_ms(), case.keyed);
    let topology = Topology::new("case");
    let sink = Memory::sink();
    let events = topology.source("events", Memory::source(arriving(case)));
    let timed = events.event_time(|event| Timestamp::from_millis(event.ts), Duration::from_millis(lag));
    searched(timed, pattern, keyed).sink("told", sink.clone());
    execute(topology, how)?;
    Ok(written(sink.take(), last))
}

/// As [`run`], event by event with a restart after each of them and after each step of time.
///
/// # Panics
/// If the pattern fails while it runs.
pub(super) fn run_restarting(case: &Value) -> Result<Map<String, Value>, Cause> {
    let case: Case = part(case)?;
    let pattern = pattern(&case).map_err(|reason| format!("build: {reason}"))?;
    let (last, lag, keyed) = (case.last(), case.lag_ms() as i64, case.keyed);
    let mut harness = Harness::new(|events| searched(events, pattern, keyed));
    let mut reached = i64::MIN;
    for event in arriving(case) {
        let at = event.ts;
        harness.record(event, Timestamp::from_millis(at));
        if at - lag > reached {
            reached = at - lag;
            harness.watermark(Timestamp::from_millis(reached));
        }
    }
    harness.watermark(Timestamp::MAX);
    Ok(written(harness.take().into_iter().map(|(told, _)| told).collect(), last))
}

impl Case {
    /// To when time goes on.
    fn last(&self) -> Option<i64> {
        self.advance_to.iter().copied().chain(self.events.iter().map(|event| event.ts)).max()
    }

    fn lag_ms(&self) -> u64 {
        self.arrival.as_ref().map_or(0, |arrival| arrival.watermark_lag_ms)
    }
}

/// What became of the runs of a pattern, with the time at which it was known.
fn searched(events: Stream<Event>, pattern: EventPattern, keyed: bool) -> Stream<(Timestamp, Told)> {
    let matches = events.key_by(move |event| if keyed { event.key } else { 0 }).pattern(pattern);
    let (matches, timed_out) = matches.with_timed_out(|_, taken| Told::TimedOut(ids(taken)));
    let matches = matches.select("pattern", |_, taken| Told::Match(by_stage(taken))).values();
    matches.merge(timed_out.values()).key_by(|_| ()).process("times", |_| Stamp).values()
}

/// Gives each record with its time.
struct Stamp;

impl KeyedOperator<(), Told> for Stamp {
    type Out = (Timestamp, Told);

    fn on_record(&mut self, told: Told, context: &mut Context<'_, (), Self::Out>) -> Result<(), Cause> {
        let at = context.time();
        context.emit((at, told));
        Ok(())
    }
}

fn execute(topology: Topology, how: How) -> Result<(), Cause> {
    let failed = |is_refused: bool, error: String| {
        format!("{}: {error}", if is_refused { "build" } else { "runtime" })
    };
    let result = match how {
        How::Interpreter => interpret(topology)
            .map_err(|error| failed(matches!(error, InterpretError::Topology(_)), error.to_string())),
        How::Job { workers } => {
            let job = Job::new(topology).workers(workers).idle_after(Duration::MAX);
            let ran = job.run().map(drop);
            ran.map_err(|error| failed(matches!(error, JobError::Topology(_)), error.to_string()))
        }
    };
    Ok(result?)
}

fn arriving(case: Case) -> Vec<Event> {
    let Some(arrival) = case.arrival else { return case.events };
    let find = |id: &u64| case.events.iter().find(|event| event.id == *id).cloned();
    arrival.order.iter().filter_map(find).collect()
}

fn ids(taken: Sequence<'_, Event>) -> Vec<u64> {
    taken.iter().map(|(_, event)| event.id).collect()
}

fn by_stage(taken: Sequence<'_, Event>) -> BTreeMap<String, Vec<u64>> {
    let mut stages: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    taken.iter().for_each(|(stage, event)| stages.entry(stage.to_owned()).or_default().push(event.id));
    stages
}

/// The fields of what was known up to `last`: what only the end of the input made known is left out.
fn written(told: Vec<(Timestamp, Told)>, last: Option<i64>) -> Map<String, Value> {
    let (mut matches, mut stages, mut timeouts) = (Vec::new(), Vec::new(), Vec::new());
    for (at, told) in told.into_iter().filter(|(at, _)| Some(at.as_millis()) <= last) {
        match told {
            Told::Match(taken) => {
                let mut all: Vec<u64> = taken.values().flatten().copied().collect();
                all.sort_unstable();
                matches.push(json!(all));
                stages.push(json!(taken));
            }
            Told::TimedOut(events) => timeouts.push(json!({"events": events, "ts": at.as_millis()})),
        }
    }
    Map::from_iter([
        ("matches".to_owned(), json!(matches)),
        ("by_stage".to_owned(), json!(stages)),
        ("timeouts".to_owned(), json!(timeouts)),
    ])
}

type EventPattern = Pattern<Event, (), Named>;

fn pattern(case: &Case) -> Result<EventPattern, String> {
    let mut pattern =
        Pattern::from_stages(stages(&case.pattern)?).after_match(after_match(&case.skip)?).unbounded();
    if case.skip.throw_on_miss {
        pattern = pattern.fail_on_miss();
    }
    if let Some(within) = case.within_ms {
        pattern = pattern.within(Duration::from_millis(within));
    }
    match case.same_ts_order.as_deref() {
        None => Ok(pattern),
        Some("price") => Ok(pattern.order_ties_by(|one, other| one.price.total_cmp(&other.price))),
        Some(order) => Err(format!("there is no order of equal times called `{order}`")),
    }
}

fn after_match(skip: &SkipText) -> Result<AfterMatch, String> {
    let stage = || skip.stage.clone().ok_or_else(|| format!("{} needs a stage", skip.strategy));
    match skip.strategy.as_str() {
        "noSkip" => Ok(AfterMatch::NoSkip),
        "skipToNext" => Ok(AfterMatch::SkipToNext),
        "skipPastLastEvent" => Ok(AfterMatch::SkipPastLast),
        "skipToFirst" => Ok(AfterMatch::SkipToFirst(stage()?)),
        "skipToLast" => Ok(AfterMatch::SkipToLast(stage()?)),
        other => Err(format!("there is no strategy called `{other}`")),
    }
}

fn stages(texts: &[StageText]) -> Result<Vec<Stage<Event>>, String> {
    let first = |at: usize, text: &StageText| (at == 0) == (text.contiguity == "begin");
    match texts.iter().enumerate().find(|(at, text)| !first(*at, text)) {
        Some((_, text)) => Err(format!("`begin` is for the first stage, and `{}` is none", text.contiguity)),
        None => texts.iter().map(stage).collect(),
    }
}

fn stage(text: &StageText) -> Result<Stage<Event>, String> {
    let named = || {
        let (name, test) =
            text.name.as_ref().zip(text.condition.as_ref()).ok_or("a stage needs a name and a condition")?;
        Ok::<_, String>((name, condition(test)?))
    };
    let contiguity = match text.contiguity.as_str() {
        "begin" | "next" => Contiguity::Next,
        "followedBy" => Contiguity::FollowedBy,
        "followedByAny" => Contiguity::FollowedByAny,
        "notNext" | "notFollowedBy" => {
            let (name, test) = named()?;
            let refuse = if text.contiguity == "notNext" { Stage::not_next } else { Stage::not_followed_by };
            return finished(refuse(name, test), text);
        }
        other => return Err(format!("there is no contiguity called `{other}`")),
    };
    let stage = match &text.group {
        Some(group) => Stage::group(contiguity, stages(group)?),
        None => {
            let (name, test) = named()?;
            Stage::take(name, contiguity, test)
        }
    };
    finished(stage, text)
}

fn finished(mut stage: Stage<Event>, text: &StageText) -> Result<Stage<Event>, String> {
    if let Some(quantifier) = &text.quantifier {
        stage = stage.quantified(self::quantifier(quantifier)?);
    }
    if let Some(until) = &text.until {
        stage = stage.until(condition(until)?);
    }
    if let Some(within) = text.within_previous_ms {
        stage = stage.within_previous(Duration::from_millis(within));
    }
    Ok(stage)
}

fn quantifier(text: &QuantifierText) -> Result<Quantifier, String> {
    let number = |number: i64| u32::try_from(number).map_err(|_| format!("{number} times cannot be"));
    Ok(Quantifier {
        min: number(text.min)?,
        max: text.max.map(number).transpose()?,
        optional: text.optional,
        greedy: text.greedy,
        inner: match text.inner.as_deref() {
            None | Some("relaxed") => Inner::Relaxed,
            Some("consecutive") => Inner::Consecutive,
            Some("combinations") => Inner::Combinations,
            Some(other) => return Err(format!("there is no inner contiguity called `{other}`")),
        },
    })
}

/// A condition as it is declared. One that looks at the run does so as a whole, because it may stand inside an `or`.
fn condition(text: &Value) -> Result<Condition<Event>, String> {
    let test = Test::read(text)?;
    if test.looks_at_run() {
        return Ok(Condition::new(any).when(move |event, taken| test.holds(event, Some(taken))));
    }
    Ok(Condition::new(move |event| test.holds(event, None)))
}

enum Test {
    Any,
    Name(String),
    NameContains(String),
    NameStartsWith(String),
    PriceOver(f64),
    Price(f64),
    HasVolume,
    VolumeOver(f64),
    And(Vec<Test>),
    Or(Vec<Test>),
    Not(Box<Test>),
    Sum(SumText),
}

/// A test of a number that is made of what a stage took.
#[derive(Deserialize)]
struct SumText {
    agg: AggText,
    cmp: String,
    value: Value,
}

#[derive(Deserialize)]
struct AggText {
    #[serde(rename = "fn")]
    function: String,
    stage: String,
    include_current: bool,
}

impl Test {
    fn read(text: &Value) -> Result<Test, String> {
        if text.get("agg").is_some() {
            return SumText::deserialize(text).map(Test::Sum).map_err(|error| error.to_string());
        }
        let unknown = || format!("there is no condition like {text}");
        let (kind, value) = text.as_object().and_then(|fields| fields.iter().next()).ok_or_else(unknown)?;
        let word = || value.as_str().map(str::to_owned).ok_or_else(unknown);
        let number = || value.as_f64().ok_or_else(unknown);
        let several =
            || value.as_array().ok_or_else(unknown)?.iter().map(Test::read).collect::<Result<_, _>>();
        Ok(match kind.as_str() {
            "any" => Test::Any,
            "name" => Test::Name(word()?),
            "name_contains" => Test::NameContains(word()?),
            "name_starts_with" => Test::NameStartsWith(word()?),
            "price_gt" => Test::PriceOver(number()?),
            "price_eq" => Test::Price(number()?),
            "has_volume" => Test::HasVolume,
            "volume_gt" => Test::VolumeOver(number()?),
            "and" => Test::And(several()?),
            "or" => Test::Or(several()?),
            "not" => Test::Not(Box::new(Test::read(value)?)),
            _ => return Err(unknown()),
        })
    }

    fn looks_at_run(&self) -> bool {
        match self {
            Test::Sum(_) => true,
            Test::And(tests) | Test::Or(tests) => tests.iter().any(Test::looks_at_run),
            Test::Not(test) => test.looks_at_run(),
            _ => false,
        }
    }

    fn holds(&self, event: &Event, taken: Option<Taken<'_, Event>>) -> bool {
        match self {
            Test::Any => true,
            Test::Name(name) => event.name == *name,
            Test::NameContains(part) => event.name.contains(part),
            Test::NameStartsWith(start) => event.name.starts_with(start),
            Test::PriceOver(price) => event.price > *price,
            Test::Price(price) => event.price == *price,
            Test::HasVolume => event.volume.is_some(),
            Test::VolumeOver(volume) => event.volume.is_some_and(|own| own > *volume),
            Test::And(tests) => tests.iter().all(|test| test.holds(event, taken)),
            Test::Or(tests) => tests.iter().any(|test| test.holds(event, taken)),
            Test::Not(test) => !test.holds(event, taken),
            Test::Sum(sum) => sum.holds(event, taken),
        }
    }
}

impl SumText {
    fn holds(&self, event: &Event, taken: Option<Taken<'_, Event>>) -> bool {
        let mut events = taken.map_or(Vec::new(), |taken| taken.of(&self.agg.stage));
        events.extend(self.agg.include_current.then_some(event));
        let made = match self.agg.function.as_str() {
            "sum" => Some(events.iter().map(|event| event.price).sum()),
            "count" => Some(events.len() as f64),
            "first" => events.first().map(|event| event.price),
            "last" => events.last().map(|event| event.price),
            _ => None,
        };
        let value = self.value.as_f64().unwrap_or(event.price);
        let Some(order) = made.and_then(|made: f64| made.partial_cmp(&value)) else { return false };
        match self.cmp.as_str() {
            "lt" => order == Ordering::Less,
            "le" => order != Ordering::Greater,
            "gt" => order == Ordering::Greater,
            "ge" => order != Ordering::Less,
            "eq" => order == Ordering::Equal,
            "ne" => order != Ordering::Equal,
            _ => false,
        }
    }
}
