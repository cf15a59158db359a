//! How a pattern is written: [`Pattern`] and what can be said of its stages.
//!
//! The type of a pattern says what its stages take, so that conditions and matches read it without names and casts. A
//! pattern that cannot be is refused when the topology is built.

use std::cmp::Ordering;
use std::marker::PhantomData;
use std::ops::{RangeFrom, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use highwater_state::Persist;

use crate::keyed::sorted::Ties;
use crate::limits::PATTERN_RUNS;
use crate::pattern::capture::{
    Capture, Close, Fold, Group, Many, Maybe, MaybeFold, MaybeGroup, Named, Nothing, One, Repeating, Rounds,
    Unordered,
};
use crate::pattern::fold::Folding;
use crate::pattern::plan::{AfterMatch, Condition, Contiguity, Inner, Kind, Plan, Stage};
use crate::pattern::taken::Taken;

/// A pattern: which records of a key, in which order, are a match.
///
/// `P` is what the finished stages take and `S` what the open one does, of which the verbs that follow speak.
///
/// ```
/// use std::time::Duration;
/// use highwater_operators::pattern::Pattern;
///
/// struct Login { ok: bool, address: u32 }
/// let stolen = Pattern::begin("failed", |login: &Login| !login.ok)
///     .times(3)
///     .followed_by("elsewhere", |login| login.ok)
///     .when(|login, (failed,)| failed.last().is_some_and(|last| last.address != login.address))
///     .within(Duration::from_secs(600));
/// # let _ = stolen;
/// ```
#[must_use = "a pattern does nothing until a stream is searched for it"]
pub struct Pattern<T, P, S> {
    pub(super) plan: Plan<T>,
    pub(super) ties: Option<Ties<T>>,
    marker: PhantomData<fn() -> (P, S)>,
}

/// How often: `3`, `2..=4` or `2..`.
pub struct Times {
    min: usize,
    max: Option<usize>,
}

impl From<usize> for Times {
    fn from(times: usize) -> Self {
        Times { min: times, max: Some(times) }
    }
}

impl From<RangeInclusive<usize>> for Times {
    fn from(times: RangeInclusive<usize>) -> Self {
        Times { min: *times.start(), max: Some(*times.end()) }
    }
}

impl From<RangeFrom<usize>> for Times {
    fn from(times: RangeFrom<usize>) -> Self {
        Times { min: times.start, max: None }
    }
}

/// A condition that every record satisfies.
pub fn any<T>(_: &T) -> bool {
    true
}

impl<T: 'static> Pattern<T, (), One> {
    /// A pattern whose first stage takes a record that satisfies `test`.
    pub fn begin(name: &str, test: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        Pattern::of(vec![Stage::take(name, Contiguity::Next, Condition::new(test))])
    }
}

impl<T: 'static, D> Pattern<T, (), Group<D>> {
    /// A pattern that begins with a group of stages.
    pub fn begin_group<P, S: Close<P, Closed = D>>(group: Pattern<T, P, S>) -> Self {
        let mut pattern = Pattern::of(Vec::new());
        pattern.add_group(Contiguity::Next, group);
        pattern
    }
}

impl<T: 'static, D> Pattern<T, (), Unordered<D>> {
    /// A pattern that begins with a record for each of the stages, in any order.
    pub fn all_of<A: AllOf<T, Captures = D>>(stages: A) -> Self {
        let mut pattern = Pattern::of(Vec::new());
        pattern.add_all_of(Contiguity::Next, stages);
        pattern
    }
}

impl<T: 'static> Pattern<T, (), Named> {
    /// A pattern of stages that are put together at run time; conditions and matches find what stages took by name.
    pub fn from_stages(stages: Vec<Stage<T>>) -> Self {
        let mut pattern = Pattern::of(stages);
        pattern.plan.named = true;
        pattern
    }
}

impl<T: 'static, P, S> Pattern<T, P, S> {
    fn of(stages: Vec<Stage<T>>) -> Self {
        let plan = Plan {
            stages,
            within: None,
            after_match: AfterMatch::NoSkip,
            fail_on_miss: false,
            unbounded: false,
            named: false,
            faults: Vec::new(),
            runs_per_key: PATTERN_RUNS,
        };
        Pattern { plan, ties: None, marker: PhantomData }
    }

    pub(super) fn with_types<Q, R>(self) -> Pattern<T, Q, R> {
        Pattern { plan: self.plan, ties: self.ties, marker: PhantomData }
    }

    fn then<Q, R>(mut self, stage: Stage<T>) -> Pattern<T, Q, R> {
        self.plan.stages.push(stage);
        self.with_types()
    }

    fn with_group<Q, R, A, B>(mut self, contiguity: Contiguity, group: Pattern<T, Q, R>) -> Pattern<T, A, B> {
        self.add_group(contiguity, group);
        self.with_types()
    }

    fn add_group<Q, R>(&mut self, contiguity: Contiguity, group: Pattern<T, Q, R>) {
        let fault = group.said_of_the_whole("a group");
        self.plan.faults.extend(group.plan.faults);
        self.plan.faults.extend(fault);
        self.plan.stages.push(Stage::group(contiguity, group.plan.stages));
    }

    fn add_all_of<A: AllOf<T>>(&mut self, contiguity: Contiguity, stages: A) {
        let mut members = Vec::new();
        stages.members(&mut members, &mut self.plan.faults);
        self.plan.stages.push(Stage::new("", contiguity, Kind::AllOf(members)));
    }

    /// What is said of a pattern and means nothing for a part of one.
    fn said_of_the_whole(&self, part: &str) -> Option<String> {
        let plan = &self.plan;
        let said = [
            (plan.within.is_some(), "`within`"),
            (plan.after_match != AfterMatch::NoSkip, "`after_match`"),
            (plan.fail_on_miss, "`fail_on_miss`"),
            (plan.unbounded, "`unbounded`"),
            (plan.runs_per_key != PATTERN_RUNS, "`runs_per_key`"),
            (self.ties.is_some(), "`order_ties_by`"),
            (plan.named, "`from_stages`"),
        ];
        let (_, verb) = said.into_iter().find(|(said, _)| *said)?;
        let first = plan.stages.first().map_or("", |stage| stage.name.as_str());
        Some(format!("stage `{first}`: {verb} is for a whole pattern, and here it stands in {part}"))
    }

    fn changed(mut self, change: impl FnOnce(&mut Stage<T>)) -> Self {
        // A pattern without stages is refused later.
        if let Some(stage) = self.plan.stages.last_mut() {
            change(stage);
        }
        self
    }

    fn condition(self, change: impl FnOnce(Condition<T>) -> Condition<T>) -> Self {
        self.changed(|stage| {
            if let Kind::Take(condition) | Kind::Refuse { condition, .. } = &mut stage.kind {
                let empty = Condition { any_of: Vec::new(), all_of: Vec::new() };
                *condition = change(std::mem::replace(condition, empty));
            }
        })
    }

    /// The whole match takes less than `duration`: a record that comes so long after the first one is too late.
    pub fn within(mut self, duration: Duration) -> Self {
        self.plan.within = Some(duration);
        self
    }

    /// The open stage takes its records less than `duration` after the record that the run took before each.
    pub fn within_previous(self, duration: Duration) -> Self {
        self.changed(|stage| stage.within_previous = Some(duration))
    }

    /// What becomes of other runs and matches when a match is given.
    pub fn after_match(mut self, after: AfterMatch) -> Self {
        self.plan.after_match = after;
        self
    }

    /// A match that took nothing for the stage that is to be skipped to, or that begins with it, ends the job with an
    /// error; without this nothing is skipped then.
    pub fn fail_on_miss(mut self) -> Self {
        self.plan.fail_on_miss = true;
        self
    }

    /// A run may take records for ever: needed where a stage repeats without a limit and the pattern has no time.
    pub fn unbounded(mut self) -> Self {
        self.plan.unbounded = true;
        self
    }

    /// How many live runs a key has at most, 10 000 without this; more drop those that began first, which is counted.
    pub fn runs_per_key(mut self, runs: usize) -> Self {
        self.plan.runs_per_key = runs;
        self
    }

    /// In which order records of one key and one time are looked at; without this in that of their coming.
    pub fn order_ties_by(mut self, order: impl Fn(&T, &T) -> Ordering + Send + Sync + 'static) -> Self {
        self.ties = Some(Arc::new(order));
        self
    }
}

impl<T: 'static, P, S: Close<P>> Pattern<T, P, S> {
    /// A stage that takes the very next record, which must satisfy `test`.
    pub fn next(
        self,
        name: &str,
        test: impl Fn(&T) -> bool + Send + Sync + 'static,
    ) -> Pattern<T, S::Closed, One> {
        self.then(Stage::take(name, Contiguity::Next, Condition::new(test)))
    }

    /// A stage that takes the next record that satisfies `test`; others between are passed over.
    pub fn followed_by(
        self,
        name: &str,
        test: impl Fn(&T) -> bool + Send + Sync + 'static,
    ) -> Pattern<T, S::Closed, One> {
        self.then(Stage::take(name, Contiguity::FollowedBy, Condition::new(test)))
    }

    /// A stage that takes any later record that satisfies `test`: one run for each of them.
    pub fn followed_by_any(
        self,
        name: &str,
        test: impl Fn(&T) -> bool + Send + Sync + 'static,
    ) -> Pattern<T, S::Closed, One> {
        self.then(Stage::take(name, Contiguity::FollowedByAny, Condition::new(test)))
    }

    /// A stage that takes nothing: the very next record does not satisfy `test`.
    pub fn not_next(
        self,
        name: &str,
        test: impl Fn(&T) -> bool + Send + Sync + 'static,
    ) -> Pattern<T, S::Closed, Nothing> {
        self.then(Stage::not_next(name, Condition::new(test)))
    }

    /// A stage that takes nothing: until the next stage takes a record, none satisfies `test`; as the last stage,
    /// none does until the pattern's time is over, and the match is given then.
    pub fn not_followed_by(
        self,
        name: &str,
        test: impl Fn(&T) -> bool + Send + Sync + 'static,
    ) -> Pattern<T, S::Closed, Nothing> {
        self.then(Stage::not_followed_by(name, Condition::new(test)))
    }

    /// A group of stages that begins with the very next record.
    pub fn next_group<Q, R: Close<Q>>(
        self,
        group: Pattern<T, Q, R>,
    ) -> Pattern<T, S::Closed, Group<R::Closed>> {
        self.with_group(Contiguity::Next, group)
    }

    /// A group of stages that begins with the next record that satisfies its first stage.
    pub fn followed_by_group<Q, R: Close<Q>>(
        self,
        group: Pattern<T, Q, R>,
    ) -> Pattern<T, S::Closed, Group<R::Closed>> {
        self.with_group(Contiguity::FollowedBy, group)
    }

    /// A group of stages that begins with any later record that satisfies its first stage.
    pub fn followed_by_any_group<Q, R: Close<Q>>(
        self,
        group: Pattern<T, Q, R>,
    ) -> Pattern<T, S::Closed, Group<R::Closed>> {
        self.with_group(Contiguity::FollowedByAny, group)
    }

    /// A record for each of the stages, in any order; records between that satisfy none of them are passed over.
    pub fn followed_by_all_of<A: AllOf<T>>(self, stages: A) -> Pattern<T, S::Closed, Unordered<A::Captures>> {
        let mut pattern = self.with_types();
        pattern.add_all_of(Contiguity::FollowedBy, stages);
        pattern
    }
}

/// Stages whose conditions can be said more of.
#[diagnostic::on_unimplemented(
    message = "this stage has no condition of its own: it is a group",
    label = "say it of a stage inside the group",
    note = "a stage takes records by a condition, a group by those of its stages"
)]
pub trait Tested {}
impl Tested for One {}
impl Tested for Maybe {}
impl Tested for Many {}
impl Tested for Nothing {}
impl<A> Tested for Fold<A> {}
impl<A> Tested for MaybeFold<A> {}

impl<T: 'static, P: Capture<T>, S> Pattern<T, P, S> {
    /// The record satisfies this test instead of that of the stage; what [`when`](Pattern::when) and
    /// [`each`](Pattern::each) say must hold all the same, wherever they stand.
    pub fn or(self, test: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self
    where
        S: Tested,
    {
        self.condition(|condition| condition.or(test))
    }

    /// The record also satisfies a test that sees what the earlier stages have taken in the run. Inside a group these
    /// are the stages of the group, in the round that the run is in.
    pub fn when(self, test: impl for<'a> Fn(&'a T, P::Run<'a>) -> bool + Send + Sync + 'static) -> Self
    where
        S: Tested,
    {
        self.condition(|condition| {
            condition.when(move |record, taken: Taken<'_, T>| {
                P::run(taken.first(), taken).is_some_and(|earlier| test(record, earlier))
            })
        })
    }
}

impl<T: 'static, P> Pattern<T, P, One> {
    /// The stage takes its record or none.
    pub fn optional(self) -> Pattern<T, P, Maybe> {
        self.changed(|stage| stage.quantifier.optional = true).with_types()
    }

    /// The stage takes records so often: `3`, `2..=4`, `2..`.
    pub fn times(self, times: impl Into<Times>) -> Pattern<T, P, Many> {
        self.changed(|stage| repeat(stage, &times.into())).with_types()
    }

    /// The stage takes one record or more.
    pub fn one_or_more(self) -> Pattern<T, P, Many> {
        self.times(1..)
    }

    /// The stage takes so many records or more.
    pub fn times_or_more(self, times: usize) -> Pattern<T, P, Many> {
        self.times(times..)
    }
}

fn repeat<T>(stage: &mut Stage<T>, times: &Times) {
    stage.quantifier.min = u32::try_from(times.min).unwrap_or(u32::MAX);
    stage.quantifier.max = times.max.map(|times| u32::try_from(times).unwrap_or(u32::MAX));
}

impl<T: 'static, P, S> Pattern<T, P, S> {
    /// As many records as there are: what follows takes none that this stage can take.
    pub fn greedy(self) -> Self
    where
        S: Repeating<T>,
    {
        self.changed(|stage| stage.quantifier.greedy = true)
    }
}

/// Stages that repeat.
#[diagnostic::on_unimplemented(
    message = "this stage does not repeat",
    label = "only for a stage or a group that repeats",
    note = "say how often before: `.times(2..=4)`, `.times_or_more(2)` or `.one_or_more()`"
)]
pub trait Repeats {}
impl Repeats for Many {}
impl<A> Repeats for Fold<A> {}
impl<A> Repeats for MaybeFold<A> {}
impl<D> Repeats for Rounds<D> {}

impl<T: 'static, P> Pattern<T, P, Many> {
    /// The stage may also take nothing.
    pub fn optional(self) -> Self {
        self.changed(|stage| stage.quantifier.optional = true)
    }
}

impl<T: 'static, P, A> Pattern<T, P, Fold<A>> {
    /// The stage may also take nothing.
    pub fn optional(self) -> Pattern<T, P, MaybeFold<A>> {
        self.changed(|stage| stage.quantifier.optional = true).with_types()
    }
}

impl<T: 'static, P, D> Pattern<T, P, Rounds<D>> {
    /// The group may also be gone around.
    pub fn optional(self) -> Self {
        self.changed(|stage| stage.quantifier.optional = true)
    }
}

impl<T: 'static, P, S> Pattern<T, P, S> {
    /// No record comes between two repetitions.
    pub fn consecutive(self) -> Self
    where
        S: Repeats,
    {
        self.changed(|stage| stage.quantifier.inner = Inner::Consecutive)
    }

    /// Any record may be passed over between two repetitions, also one that could be taken: one run for each choice.
    pub fn allow_combinations(self) -> Self
    where
        S: Repeats,
    {
        self.changed(|stage| stage.quantifier.inner = Inner::Combinations)
    }

    /// Once a record satisfies `test`, the stage takes nothing more; only where it repeats without a limit.
    pub fn until(self, test: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self
    where
        S: Repeats,
    {
        self.changed(|stage| stage.until = Some(Condition::new(test)))
    }
}

impl<T: 'static, P: Capture<T>, S: Repeating<T> + 'static> Pattern<T, P, S> {
    /// Each record that the stage takes also satisfies a test that sees what the earlier stages have taken and what
    /// this one has so far.
    pub fn each(
        self,
        test: impl for<'a> Fn(&'a T, P::Run<'a>, S::Own<'a>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.condition(|condition| condition.when(seeing_its_own::<T, P, S>(test))).sees_its_own()
    }

    /// As [`until`](Pattern::until), with a test that sees what the earlier stages have taken and what this one has
    /// so far.
    pub fn until_when(
        self,
        test: impl for<'a> Fn(&'a T, P::Run<'a>, S::Own<'a>) -> bool + Send + Sync + 'static,
    ) -> Self {
        let condition = Condition::new(any).when(seeing_its_own::<T, P, S>(test));
        self.changed(|stage| stage.until = Some(condition)).sees_its_own()
    }

    fn sees_its_own(self) -> Self {
        self.changed(|stage| stage.sees_its_own = true)
    }
}

fn seeing_its_own<T: 'static, P: Capture<T>, S: Repeating<T> + 'static>(
    test: impl for<'a> Fn(&'a T, P::Run<'a>, S::Own<'a>) -> bool + Send + Sync + 'static,
) -> impl Fn(&T, Taken<'_, T>) -> bool + Send + Sync + 'static {
    move |record, taken| {
        P::run(taken.first(), taken).is_some_and(|earlier| test(record, earlier, S::own(taken)))
    }
}

impl<T: 'static, P> Pattern<T, P, Many> {
    /// Keeps what the stage's records are folded into instead of the records: `initial` before the first, changed by
    /// `add` with each. A run keeps one value then, however many records it takes, and copies it where it becomes two
    /// runs.
    ///
    /// Stands before [`each`](Pattern::each), [`until_when`](Pattern::until_when) and [`optional`](Pattern::optional).
    pub fn fold<A: Persist + Clone>(
        mut self,
        initial: impl Fn() -> A + Send + Sync + 'static,
        add: impl Fn(&mut A, &T) + Send + Sync + 'static,
    ) -> Pattern<T, P, Fold<A>> {
        if let Some(stage) = self.plan.stages.last()
            && (stage.sees_its_own || stage.quantifier.optional)
        {
            let before = if stage.sees_its_own { "`each` and `until_when`" } else { "`optional`" };
            self.plan.faults.push(format!("stage `{}`: `fold` must stand before {before}", stage.name));
        }
        let fold = Folding { initial, add, marker: PhantomData };
        self.changed(|stage| stage.fold = Some(Arc::new(fold))).with_types()
    }
}

impl<T: 'static, P, D> Pattern<T, P, Group<D>> {
    /// The run goes through the group or around it.
    pub fn optional(self) -> Pattern<T, P, MaybeGroup<D>> {
        self.changed(|stage| stage.quantifier.optional = true).with_types()
    }

    /// The run goes through the group so often: `3`, `2..=4`, `2..`.
    pub fn times(self, times: impl Into<Times>) -> Pattern<T, P, Rounds<D>> {
        self.changed(|stage| repeat(stage, &times.into())).with_types()
    }

    /// The run goes through the group once or more often.
    pub fn one_or_more(self) -> Pattern<T, P, Rounds<D>> {
        self.times(1..)
    }

    /// The run goes through the group so often or more.
    pub fn times_or_more(self, times: usize) -> Pattern<T, P, Rounds<D>> {
        self.times(times..)
    }
}

/// Stages that may come in any order: a tuple of two to six patterns of one stage each that takes one record.
#[diagnostic::on_unimplemented(
    message = "`all_of` takes two to six stages, each of which takes one record",
    label = "write a tuple: `(Pattern::begin(\"a\", |_| ..), Pattern::begin(\"b\", |_| ..))`"
)]
pub trait AllOf<T> {
    /// What they take, in the order in which they are written.
    type Captures;
    #[doc(hidden)]
    fn members(self, members: &mut Vec<(String, Condition<T>)>, faults: &mut Vec<String>);
}

fn member<T: 'static>(
    pattern: Pattern<T, (), One>,
    members: &mut Vec<(String, Condition<T>)>,
    faults: &mut Vec<String>,
) {
    faults.extend(pattern.said_of_the_whole("`all_of`"));
    for stage in pattern.plan.stages {
        if stage.within_previous.is_some() {
            faults.push(format!(
                "stage `{}`: `within_previous` goes behind `all_of`, for all of them",
                stage.name
            ));
        }
        if let Kind::Take(condition) = stage.kind {
            members.push((stage.name, condition));
        }
    }
}

macro_rules! all_of {
    ($(($($one:ident $index:tt)+);)*) => {$(
        impl<T: 'static> AllOf<T> for ($(all_of!(@pattern $one),)+) {
            type Captures = ($($one,)+);
            fn members(self, members: &mut Vec<(String, Condition<T>)>, faults: &mut Vec<String>) {
                $(member(self.$index, members, faults);)+
            }
        }
    )*};
    (@pattern One) => { Pattern<T, (), One> };
}

all_of! {
    (One 0 One 1);
    (One 0 One 1 One 2);
    (One 0 One 1 One 2 One 3);
    (One 0 One 1 One 2 One 3 One 4);
    (One 0 One 1 One 2 One 3 One 4 One 5);
}
