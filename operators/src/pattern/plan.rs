//! What a pattern says, before it is made into an automaton: its stages in order, without the types of what they take.
//!
//! [`Pattern`](crate::pattern::Pattern) writes a plan down with types; a program that learns its patterns at run time
//! writes [`Stage`]s itself and hands them to [`Pattern::from_stages`](crate::pattern::Pattern::from_stages). Nothing
//! is judged here; `check` says which plans make sense.

use std::sync::Arc;
use std::time::Duration;

use crate::pattern::fold::FoldOf;
use crate::pattern::taken::Taken;

/// How the records before a stage's first one are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contiguity {
    /// Strict: there are none between.
    Next,
    /// Relaxed: records that do not satisfy the stage are passed over; the first one that does is taken.
    FollowedBy,
    /// Relaxed without determinism: any record may be passed over, also one that satisfies the stage.
    FollowedByAny,
}

/// How the records between the repetitions of a stage are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Inner {
    /// Records that do not satisfy the stage are passed over.
    #[default]
    Relaxed,
    /// There are none.
    Consecutive,
    /// Any may be passed over.
    Combinations,
}

impl Inner {
    pub(super) fn contiguity(self) -> Contiguity {
        match self {
            Inner::Relaxed => Contiguity::FollowedBy,
            Inner::Consecutive => Contiguity::Next,
            Inner::Combinations => Contiguity::FollowedByAny,
        }
    }
}

/// How often a stage takes a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantifier {
    /// At least so often, if at all.
    pub min: u32,
    /// At most so often; `None`: without a limit.
    pub max: Option<u32>,
    /// The stage may take nothing at all.
    pub optional: bool,
    /// As many as there are: the stage after it takes nothing that this one can take.
    pub greedy: bool,
    /// What may come between the repetitions.
    pub inner: Inner,
}

impl Default for Quantifier {
    fn default() -> Self {
        Quantifier { min: 1, max: Some(1), optional: false, greedy: false, inner: Inner::Relaxed }
    }
}

impl Quantifier {
    /// Whether it says anything at all.
    pub(super) fn is_plain(&self) -> bool {
        *self == Quantifier::default()
    }

    /// Whether the stage takes one record at most.
    pub(super) fn is_single(&self) -> bool {
        self.min <= 1 && self.max == Some(1)
    }

    /// Whether the stage may take nothing.
    pub(super) fn may_be_left_out(&self) -> bool {
        self.optional || self.min == 0
    }
}

type Test<T> = Arc<dyn Fn(&T) -> bool + Send + Sync>;
type RunTest<T> = Arc<dyn Fn(&T, Taken<'_, T>) -> bool + Send + Sync>;

/// What a record must satisfy: one of several tests of the record alone, and every test of the record in its run.
pub struct Condition<T> {
    pub(super) any_of: Vec<Test<T>>,
    pub(super) all_of: Vec<RunTest<T>>,
}

impl<T> Clone for Condition<T> {
    fn clone(&self) -> Self {
        Condition { any_of: self.any_of.clone(), all_of: self.all_of.clone() }
    }
}

impl<T> Condition<T> {
    /// A condition that looks at the record alone. It is asked once per record, for however many runs.
    pub fn new(test: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        Condition { any_of: vec![Arc::new(test)], all_of: Vec::new() }
    }

    /// The record satisfies this test instead.
    pub fn or(mut self, test: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        self.any_of.push(Arc::new(test));
        self
    }

    /// The record also satisfies a test that sees what the run has taken before it. It is asked once per record and
    /// run.
    pub fn when(mut self, test: impl Fn(&T, Taken<'_, T>) -> bool + Send + Sync + 'static) -> Self {
        self.all_of.push(Arc::new(test));
        self
    }
}

/// What a stage does.
pub(super) enum Kind<T> {
    /// It takes records that satisfy a condition.
    Take(Condition<T>),
    /// No record may satisfy the condition: the very next one, or any until the next stage takes one.
    Refuse { condition: Condition<T>, only_next: bool },
    /// It goes through stages of its own, as often as its quantifier says.
    Group(Vec<Stage<T>>),
    /// Each of its conditions takes one record, in any order.
    AllOf(Vec<(String, Condition<T>)>),
}

/// One stage of a pattern.
pub struct Stage<T> {
    /// Empty for groups, which have none.
    pub(super) name: String,
    pub(super) contiguity: Contiguity,
    pub(super) kind: Kind<T>,
    pub(super) quantifier: Quantifier,
    pub(super) until: Option<Condition<T>>,
    pub(super) within_previous: Option<Duration>,
    /// What is kept in the place of the records.
    pub(super) fold: Option<Arc<dyn FoldOf<T>>>,
    /// Its conditions look at what it has taken so far, and at records.
    pub(super) sees_its_own: bool,
}

impl<T> Stage<T> {
    pub(super) fn new(name: &str, contiguity: Contiguity, kind: Kind<T>) -> Self {
        Stage {
            name: name.to_owned(),
            contiguity,
            kind,
            quantifier: Quantifier::default(),
            until: None,
            within_previous: None,
            fold: None,
            sees_its_own: false,
        }
    }

    /// A stage that takes records that satisfy a condition. The contiguity of a pattern's first stage means nothing.
    pub fn take(name: &str, contiguity: Contiguity, condition: Condition<T>) -> Self {
        Stage::new(name, contiguity, Kind::Take(condition))
    }

    /// A stage that refuses the very next record if it satisfies the condition.
    pub fn not_next(name: &str, condition: Condition<T>) -> Self {
        Stage::new(name, Contiguity::Next, Kind::Refuse { condition, only_next: true })
    }

    /// A stage that refuses records that satisfy the condition until the next stage has taken one, or until the
    /// pattern's time is over.
    pub fn not_followed_by(name: &str, condition: Condition<T>) -> Self {
        Stage::new(name, Contiguity::FollowedBy, Kind::Refuse { condition, only_next: false })
    }

    /// A stage made of stages. Its contiguity holds before its first record in the first round, and the quantifier's
    /// [`Inner`] before that in the others.
    pub fn group(contiguity: Contiguity, stages: Vec<Stage<T>>) -> Self {
        Stage::new("", contiguity, Kind::Group(stages))
    }

    /// As often as `quantifier` says.
    #[must_use]
    pub fn quantified(mut self, quantifier: Quantifier) -> Self {
        self.quantifier = quantifier;
        self
    }

    /// Once a record satisfies `condition`, the stage takes nothing more; only for stages without an upper limit.
    #[must_use]
    pub fn until(mut self, condition: Condition<T>) -> Self {
        self.until = Some(condition);
        self
    }

    /// The stage's record comes less than `duration` after the record that the run took before it.
    #[must_use]
    pub fn within_previous(mut self, duration: Duration) -> Self {
        self.within_previous = Some(duration);
        self
    }

    /// Whether the stage takes no record.
    pub(super) fn refuses(&self) -> bool {
        matches!(self.kind, Kind::Refuse { .. })
    }
}

/// What becomes of the other runs and matches of a key when a match has been given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AfterMatch {
    /// Nothing: every match is given, at once.
    #[default]
    NoSkip,
    /// Those that began with the same record are dropped.
    SkipToNext,
    /// Those that began with any record up to the last one of the match are dropped.
    SkipPastLast,
    /// Those that began before the first record that the match took for this stage are dropped.
    SkipToFirst(String),
    /// Those that began before the last record that the match took for this stage are dropped.
    SkipToLast(String),
}

impl AfterMatch {
    /// The stage that it names.
    pub(super) fn stage(&self) -> Option<&str> {
        match self {
            AfterMatch::SkipToFirst(stage) | AfterMatch::SkipToLast(stage) => Some(stage),
            _ => None,
        }
    }
}

/// A whole pattern.
pub(crate) struct Plan<T> {
    pub(super) stages: Vec<Stage<T>>,
    pub(super) within: Option<Duration>,
    pub(super) after_match: AfterMatch,
    /// A match that took nothing for the stage to skip to, or that begins there, is an error.
    pub(super) fail_on_miss: bool,
    pub(super) unbounded: bool,
    /// What stages took is found by their names, and not by types that tell rounds apart.
    pub(super) named: bool,
    /// What was said where it means nothing.
    pub(super) faults: Vec<String>,
    pub(super) runs_per_key: usize,
}
