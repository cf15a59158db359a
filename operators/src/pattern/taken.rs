//! What a run has taken: as its conditions see it while it goes on, and as a match gives it in the end.
//!
//! Conditions are asked for every record and run, so [`Taken`] reads what it is asked for from the run's chain, newest
//! first, and copies nothing. A match is read once, so [`Sequence`] lays its records out in order.

use std::any::Any;

use crate::pattern::automaton::{Automaton, Position, StageId};
use crate::pattern::buffer::{Buffer, Node, NodeId};
use crate::pattern::run::{Folded, Run};

/// What a run has taken before the record that is looked at.
pub struct Taken<'a, T> {
    buffer: &'a Buffer<T>,
    automaton: &'a Automaton<T>,
    folds: &'a [Option<Folded>],
    last: NodeId,
    /// The groups of which the record would begin a round where it is looked at.
    opens: u32,
    /// The group whose condition is asked, as its bit: only the round that it is in counts for typed conditions.
    group: u32,
    /// The first stage and group of the list that the asking stage is in.
    first: Position,
    /// The stage that asks.
    own: StageId,
}

impl<T> Clone for Taken<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Taken<'_, T> {}

impl<'a, T> Taken<'a, T> {
    pub(super) fn new(
        automaton: &'a Automaton<T>,
        buffer: &'a Buffer<T>,
        last: NodeId,
        folds: &'a [Option<Folded>],
    ) -> Self {
        Taken { automaton, buffer, folds, last, opens: 0, group: 0, first: Position::default(), own: 0 }
    }

    /// As seen from a state.
    pub(super) fn in_state(self, opens: u32) -> Self {
        Taken { opens, ..self }
    }

    /// As seen by a condition.
    pub(super) fn asked_by(self, group: u32, first: Position, own: StageId) -> Self {
        Taken { group, first, own, ..self }
    }

    /// The records of the stage of this name, in the order in which they came; none if there is no such stage.
    ///
    /// Costs a walk along the whole run, for the records of a stage in all rounds of its groups.
    pub fn of(&self, stage: &str) -> Vec<&'a T> {
        let wanted = self.automaton.stages.iter().position(|known| known.name == stage);
        let chain = self.buffer.back_from(self.last);
        let records = chain.filter(|node| Some(usize::from(node.stage)) == wanted);
        let mut records: Vec<&T> = records.map(|node| self.buffer.record_of(node)).collect();
        records.reverse();
        records
    }

    /// Whether the record would begin a round of the asking condition's group, where it is looked at.
    pub(super) fn begins_round(&self) -> bool {
        self.opens & self.group != 0
    }

    pub(super) fn first(&self) -> Position {
        self.first
    }

    pub(super) fn own_stage(&self) -> StageId {
        self.own
    }

    /// The last node of a stage, in the round that the asking condition is in.
    pub(super) fn last_of(&self, stage: StageId) -> Option<&'a Node> {
        if self.begins_round() {
            return None;
        }
        let mut at = self.last;
        while let Some(node) = self.buffer.node(at) {
            if node.stage == stage {
                return Some(node);
            }
            if self.group == 0 {
                at = node.before_stage;
            } else if node.opens & self.group != 0 {
                return None;
            } else {
                at = node.previous;
            }
        }
        None
    }

    pub(super) fn one(&self, stage: StageId) -> Option<&'a T> {
        Some(self.buffer.record_of(self.last_of(stage)?))
    }

    /// The records that a stage has taken in a row.
    pub(super) fn many(&self, stage: StageId) -> Repeated<'a, T> {
        Repeated { buffer: self.buffer, last: self.last_of(stage) }
    }

    pub(super) fn folded<A: Any>(&self, stage: StageId) -> Option<&'a A> {
        accumulator(self.automaton, self.folds, stage)
    }

    /// Whether the run has taken anything for the stages from `first` to before `until`, in the round of the asking
    /// condition.
    pub(super) fn has_any(&self, first: StageId, until: StageId) -> bool {
        (first..until).any(|stage| self.last_of(stage).is_some())
            || has_folded(self.automaton, self.folds, first, until)
    }

    /// How many rounds of a group the run has begun, in the round of the asking condition.
    pub(super) fn rounds(&self, group: u16) -> usize {
        if self.begins_round() {
            return 0;
        }
        let bit = self.automaton.groups[usize::from(group)].bit;
        let mut rounds = 0;
        for node in self.buffer.back_from(self.last) {
            rounds += usize::from(node.opens & bit != 0);
            if node.opens & self.group != 0 {
                break;
            }
        }
        rounds
    }

    /// As seen from inside the latest round of a group.
    pub(super) fn latest_round(self, group: u16) -> Self {
        Taken { group: self.automaton.groups[usize::from(group)].bit, ..self }
    }
}

/// Whether anything was folded for the stages from `first` to before `until`.
fn has_folded<T>(automaton: &Automaton<T>, folds: &[Option<Folded>], first: StageId, until: StageId) -> bool {
    let stages = &automaton.stages[usize::from(first)..usize::from(until)];
    let mut numbers = stages.iter().filter_map(|stage| stage.fold);
    numbers.any(|number| folds.get(usize::from(number)).is_some_and(Option::is_some))
}

fn accumulator<'a, A: Any, T>(
    automaton: &Automaton<T>,
    folds: &'a [Option<Folded>],
    stage: StageId,
) -> Option<&'a A> {
    let number = automaton.stages.get(usize::from(stage))?.fold?;
    folds.get(usize::from(number))?.as_ref()?.kept.get()?.value().downcast_ref()
}

/// The records that a repeating stage has taken in a run that goes on.
pub struct Repeated<'a, T> {
    buffer: &'a Buffer<T>,
    last: Option<&'a Node>,
}

impl<T> Clone for Repeated<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Repeated<'_, T> {}

impl<'a, T> Repeated<'a, T> {
    /// How many there are; costs nothing.
    pub fn len(&self) -> usize {
        self.last.map_or(0, |node| node.count as usize)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// The one that came last; costs nothing.
    pub fn last(&self) -> Option<&'a T> {
        Some(self.buffer.record_of(self.last?))
    }

    /// The one that came first; costs a walk along all of them.
    pub fn first(&self) -> Option<&'a T> {
        self.newest_first().last()
    }

    /// From the one that came last to the first. What needs all of them for every record is better kept as a
    /// [`fold`](crate::pattern::Pattern::fold).
    pub fn newest_first(&self) -> impl Iterator<Item = &'a T> + use<'a, T> {
        let buffer = self.buffer;
        let before = move |node: &&'a Node| buffer.node(node.previous);
        std::iter::successors(self.last, before).take(self.len()).map(move |node| buffer.record_of(node))
    }
}

/// What one record was taken for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    stage: StageId,
    opens: u32,
}

/// The records of a run in order, laid out to be read.
pub(super) struct Listed<'a, T> {
    automaton: &'a Automaton<T>,
    records: Vec<&'a T>,
    marks: Vec<Mark>,
    folds: &'a [Option<Folded>],
}

impl<'a, T> Listed<'a, T> {
    pub(super) fn new(automaton: &'a Automaton<T>, buffer: &'a Buffer<T>, run: &'a Run) -> Self {
        let chain = buffer.back_from(run.node);
        let (mut records, mut marks): (Vec<&T>, Vec<Mark>) =
            chain.map(|node| (buffer.record_of(node), Mark { stage: node.stage, opens: node.opens })).unzip();
        records.reverse();
        marks.reverse();
        Listed { automaton, records, marks, folds: &run.folds }
    }

    pub(super) fn all(&self) -> Sequence<'_, T> {
        let Listed { automaton, records, marks, folds } = self;
        Sequence { automaton, records, marks, folds }
    }
}

/// Records that a match took, in the order in which they came.
pub struct Sequence<'a, T> {
    automaton: &'a Automaton<T>,
    records: &'a [&'a T],
    marks: &'a [Mark],
    folds: &'a [Option<Folded>],
}

impl<T> Clone for Sequence<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Sequence<'_, T> {}

impl<'a, T> Sequence<'a, T> {
    /// Each record with the name of the stage that took it.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a T)> + use<'a, T> {
        let automaton = self.automaton;
        let names =
            self.marks.iter().map(move |mark| automaton.stages[usize::from(mark.stage)].name.as_str());
        names.zip(self.records.iter().copied())
    }

    /// The records of the stage of this name; none if there is no such stage.
    pub fn of(&self, stage: &str) -> Vec<&'a T> {
        self.iter().filter(|(name, _)| *name == stage).map(|(_, record)| record).collect()
    }

    pub(super) fn one(&self, stage: StageId) -> Option<&'a T> {
        let at = self.marks.iter().position(|mark| mark.stage == stage)?;
        Some(self.records[at])
    }

    /// The records of a stage that stand in a row.
    pub(super) fn many(&self, stage: StageId) -> &'a [&'a T] {
        let from = self.marks.iter().position(|mark| mark.stage == stage).unwrap_or(self.marks.len());
        let count = self.marks[from..].iter().take_while(|mark| mark.stage == stage).count();
        &self.records[from..from + count]
    }

    pub(super) fn folded<A: Any>(&self, stage: StageId) -> Option<&'a A> {
        accumulator(self.automaton, self.folds, stage)
    }

    /// The part that was taken for the stages from `first` to before `until`.
    pub(super) fn part(self, first: StageId, until: StageId) -> Self {
        let inside = |mark: &Mark| (first..until).contains(&mark.stage);
        let from = self.marks.iter().position(inside).unwrap_or(self.marks.len());
        let count = self.marks[from..].iter().take_while(|mark| inside(mark)).count();
        self.between(from, from + count)
    }

    /// The rounds of a group.
    pub(super) fn rounds(self, group: u16) -> impl Iterator<Item = Sequence<'a, T>> {
        let group = &self.automaton.groups[usize::from(group)];
        let (bit, part) = (group.bit, self.part(group.first, group.until));
        let mut at = 0;
        std::iter::from_fn(move || {
            let from = at;
            let later = part.marks.get(from + 1..)?.iter().position(|mark| mark.opens & bit != 0);
            at = later.map_or(part.marks.len(), |later| from + 1 + later);
            Some(part.between(from, at))
        })
    }

    /// Whether anything was taken for the stages from `first` to before `until`; what was folded counts for the whole
    /// run.
    pub(super) fn has_any(&self, first: StageId, until: StageId) -> bool {
        !self.part(first, until).marks.is_empty() || has_folded(self.automaton, self.folds, first, until)
    }

    fn between(self, from: usize, until: usize) -> Self {
        Sequence { records: &self.records[from..until], marks: &self.marks[from..until], ..self }
    }
}
