//! Numbers the stages and conditions of a plan, which stand in its automaton under these numbers.
//!
//! A repeated stage becomes several states that ask the same condition, so conditions are numbered before any state is
//! made. Invariant: the numbers depend on the plan alone.

use std::fmt::Write as _;
use std::sync::Arc;

use highwater_state::time::duration_millis;

use crate::pattern::automaton::{Group, Position, StageId, TakingStage, Test, TestId};
use crate::pattern::fold::FoldOf;
use crate::pattern::plan::{AfterMatch, Condition, Contiguity, Kind, Plan, Quantifier, Stage};

/// How states are numbered; changes with the compiler, so that runs which another one kept are refused.
const STATES_AS_OF: &str = " (1)";

/// A stage with numbers in the place of conditions.
pub(super) struct Lowered {
    pub(super) contiguity: Contiguity,
    pub(super) kind: LoweredKind,
    pub(super) quantifier: Quantifier,
    pub(super) until: Option<TestId>,
    pub(super) step_millis: Option<i64>,
}

pub(super) enum LoweredKind {
    Take(Leaf),
    Refuse { test: TestId, only_next: bool },
    Group { bit: u32, stages: Vec<Lowered> },
    AllOf(Vec<Leaf>),
}

/// A condition, and the stage for which records that satisfy it are taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf {
    pub(super) stage: StageId,
    pub(super) test: TestId,
}

/// A plan's stages, and what stands under which number.
pub(super) struct Numbered<T> {
    pub(super) list: Vec<Lowered>,
    pub(super) tests: Vec<Test<T>>,
    pub(super) stages: Vec<TakingStage>,
    pub(super) groups: Vec<Group>,
    pub(super) folds: Vec<Arc<dyn FoldOf<T>>>,
    /// The plan as text, by which a changed pattern is told from the one that wrote the state.
    pub(super) text: String,
}

/// Numbers a plan that makes sense.
pub(super) fn lower<T>(plan: Plan<T>) -> Numbered<T> {
    let mut numbered = Numbered {
        list: Vec::new(),
        tests: Vec::new(),
        stages: Vec::new(),
        groups: Vec::new(),
        folds: Vec::new(),
        text: String::new(),
    };
    let list = numbered.list_of(plan.stages, 0);
    numbered.list = list;
    let within = plan.within.map(|within| format!(" within {} ms", duration_millis(within)));
    let after = match &plan.after_match {
        AfterMatch::NoSkip => String::new(),
        after => format!(" {after:?}"),
    };
    numbered.text += &(within.unwrap_or_default() + &after + STATES_AS_OF);
    numbered
}

impl<T> Numbered<T> {
    fn list_of(&mut self, stages: Vec<Stage<T>>, group: u32) -> Vec<Lowered> {
        let first = Position { stage: self.next_stage(), group: self.groups.len() as u16 };
        stages.into_iter().map(|stage| self.stage_of(stage, group, first)).collect()
    }

    fn stage_of(&mut self, stage: Stage<T>, group: u32, first: Position) -> Lowered {
        let Stage { name, contiguity, kind, quantifier, until, within_previous, fold, .. } = stage;
        let step_millis = within_previous.map(duration_millis);
        let own = self.next_stage();
        self.text += if self.text.is_empty() { "" } else { " " };
        let kind = match kind {
            Kind::Take(condition) => {
                let test = self.test(condition, group, first, own);
                let fold = fold.map(|fold| {
                    self.folds.push(fold);
                    (self.folds.len() - 1) as u16
                });
                self.describe(contiguity, &name);
                if let Some(fold) = fold {
                    self.text += &format!("=>{}", self.folds[usize::from(fold)].shape());
                }
                self.stages.push(TakingStage { name, step_millis, fold });
                LoweredKind::Take(Leaf { stage: own, test })
            }
            Kind::Refuse { condition, only_next } => {
                self.text += if only_next { "not_next " } else { "not_followed_by " };
                self.text += &name;
                LoweredKind::Refuse { test: self.test(condition, group, first, own), only_next }
            }
            Kind::Group(stages) => {
                let bit = 1 << self.groups.len();
                let at = self.groups.len();
                self.groups.push(Group { first: own, until: own, bit });
                self.describe(contiguity, "(");
                let stages = self.list_of(stages, bit);
                self.text += " )";
                self.groups[at].until = self.next_stage();
                LoweredKind::Group { bit, stages }
            }
            Kind::AllOf(members) => {
                self.describe(contiguity, "all of");
                let leaves = members.into_iter().map(|(name, condition)| {
                    let stage = self.next_stage();
                    let test = self.test(condition, group, first, stage);
                    let _ = write!(self.text, " {name}");
                    self.stages.push(TakingStage { name, step_millis, fold: None });
                    Leaf { stage, test }
                });
                LoweredKind::AllOf(leaves.collect())
            }
        };
        let until = until.map(|condition| self.test(condition, group, first, own));
        self.describe_repetition(&quantifier, until.is_some(), step_millis);
        Lowered { contiguity, kind, quantifier, until, step_millis }
    }

    fn next_stage(&self) -> StageId {
        self.stages.len() as StageId
    }

    fn test(&mut self, condition: Condition<T>, group: u32, first: Position, own: StageId) -> TestId {
        self.tests.push(Test { condition, group, first, own });
        (self.tests.len() - 1) as TestId
    }

    fn describe(&mut self, contiguity: Contiguity, name: &str) {
        let before = match contiguity {
            _ if self.stages.is_empty() => "",
            Contiguity::Next => "next ",
            Contiguity::FollowedBy => "followed_by ",
            Contiguity::FollowedByAny => "followed_by_any ",
        };
        self.text += before;
        self.text += name;
    }

    fn describe_repetition(&mut self, quantifier: &Quantifier, until: bool, step_millis: Option<i64>) {
        let Quantifier { min, max, optional, greedy, inner } = quantifier;
        if !quantifier.is_plain() {
            let max = max.map_or_else(String::new, |max| max.to_string());
            let _ = write!(self.text, "{{{min},{max}}}");
            self.text += if *optional { "?" } else { "" };
            self.text += if *greedy { " greedy" } else { "" };
            let _ = write!(self.text, " {inner:?}");
        }
        self.text += if until { " until" } else { "" };
        if let Some(millis) = step_millis {
            let _ = write!(self.text, " within_previous {millis} ms");
        }
    }
}
