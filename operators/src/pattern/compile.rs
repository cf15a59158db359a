//! Makes the automaton of a plan, from its last stage to its first: each stage leads to the states of what follows it.
//!
//! Rules that are easy to get wrong, and where they stand:
//!
//! - the gap before a repetition's first record is the stage's own contiguity, the gaps between repetitions the inner
//!   one ([`Compiler::repeated`]);
//! - a stage that may be left out passes over a record in a state of its own, without the way around the stage, because
//!   what goes around it passes over the same record in the following stage ([`Compiler::place`]);
//! - `not_followed_by` forbids records where the following stage waits, in the loop directly before it, and behind
//!   optional stages that took nothing; once one of these takes a record it is lifted ([`Compiler::lifted`]);
//! - a greedy stage forbids its own records to the state that follows ([`Compiler::restrict`]);
//! - `until` restricts what a loop takes and passes over, not the gap before it nor what follows.

use crate::limits::PATTERN_STATES;
use crate::pattern::automaton::{Action, Automaton, Edge, Guard, Meaning, State, StateId, TestId};
use crate::pattern::lower::{Leaf, Lowered, LoweredKind, Numbered};
use crate::pattern::plan::Contiguity;

/// The state in which a run is a match.
const END: StateId = 0;
/// The state in which a run has failed.
const FAILED: StateId = 1;

/// Makes the automaton of a numbered plan; `timed` if the whole pattern has a time.
///
/// # Errors
/// If it takes more states than there are numbers for.
pub(super) fn compile<T>(numbered: Numbered<T>, timed: bool) -> Result<Automaton<T>, String> {
    let mut compiler = Compiler { states: Vec::new(), timed, inside: 0 };
    compiler.state(Meaning::Matches);
    compiler.state(Meaning::Fails);
    let start = compiler.list(&numbered.list, END, &Around::default());
    compiler.states.iter_mut().filter(|state| state.leads_on()).for_each(|state| state.step_millis = None);
    let states = compiler.states;
    if states.len() > PATTERN_STATES {
        return Err(format!("the pattern takes {} states; {PATTERN_STATES} are the most", states.len()));
    }
    let matches_in_time = (0..states.len()).map(|state| leads_to_a_match_in_time(&states, state)).collect();
    let Numbered { tests, stages, groups, .. } = numbered;
    Ok(Automaton { states, start, tests, stages, groups, matches_in_time })
}

/// Whether a run that stands in a state is a match when its time is over: there, or where free edges lead if no
/// record has come since.
fn leads_to_a_match_in_time(states: &[State], state: usize) -> bool {
    let mut reached = vec![state];
    let mut next = 0;
    while let Some(&state) = reached.get(next) {
        next += 1;
        if states[state].meaning == Meaning::MatchesInTime {
            return true;
        }
        let free = states[state].edges.iter().filter(|edge| edge.action == Action::Free);
        for target in
            free.filter(|edge| edge.guard.holds_without_a_record()).map(|edge| usize::from(edge.target))
        {
            if !reached.contains(&target) {
                reached.push(target);
            }
        }
    }
    false
}

/// What a list of stages has to know of the group that it makes.
#[derive(Default)]
struct Around<'a> {
    /// How records before the list's first record are treated.
    gap: Option<Contiguity>,
    /// The group may be left out here, so its first stage passes over records in a state of its own.
    may_go_around: bool,
    /// What no record of the group's stages satisfies.
    until: Option<TestId>,
    /// The groups of which the list's first record begins a round.
    opens: u32,
    /// What is forbidden while the list's first stage waits.
    forbidden: Vec<TestId>,
    /// The stage that follows the group.
    next: Option<&'a Lowered>,
}

/// One place where a record can be taken.
struct Place {
    leaf: Leaf,
    take: Guard,
    /// When a record is passed over; `None` for never.
    gap: Option<Guard>,
    /// Where a run is that has taken the record; `None` for the place itself, which is a loop then.
    target: Option<StateId>,
    /// Records are passed over in a state of its own.
    split: bool,
    step_millis: Option<i64>,
    opens: u32,
}

struct Compiler {
    states: Vec<State>,
    timed: bool,
    /// The groups that the states now made stand in.
    inside: u32,
}

impl Compiler {
    fn state(&mut self, meaning: Meaning) -> StateId {
        let inside = self.inside;
        self.states.push(State { meaning, edges: Vec::new(), step_millis: None, opens: 0, inside });
        (self.states.len() - 1) as StateId
    }

    fn edge(&mut self, from: StateId, action: Action, target: StateId, guard: Guard) {
        self.states[usize::from(from)].edges.push(Edge { action, target, guard });
    }

    /// The states of a list of stages, after which a run is at `exit`; gives the first.
    fn list(&mut self, stages: &[Lowered], mut exit: StateId, around: &Around<'_>) -> StateId {
        for (at, stage) in stages.iter().enumerate().rev() {
            exit = match stage.kind {
                LoweredKind::Refuse { test, only_next: true } => self.refuse_next(test, exit, around),
                LoweredKind::Refuse { test, only_next: false } => {
                    let ends_here = exit == END && (self.timed || stage.step_millis.is_some());
                    if ends_here {
                        self.refuse_until_the_end(test, stages, at, stage.step_millis)
                    } else {
                        exit
                    }
                }
                _ => self.repeated(stages, at, exit, around),
            };
        }
        exit
    }

    fn refuse_next(&mut self, test: TestId, exit: StateId, around: &Around<'_>) -> StateId {
        let refused = restricted(Guard::Is(test), around.until);
        let state = self.state(Meaning::Waits);
        // At the end of a pattern it takes a record to know that it is not the refused one.
        let action = if exit == END { Action::PassOver } else { Action::Free };
        self.edge(state, action, exit, refused.clone().not());
        self.edge(state, Action::Free, FAILED, refused);
        state
    }

    fn refuse_until_the_end(
        &mut self,
        test: TestId,
        stages: &[Lowered],
        at: usize,
        step_millis: Option<i64>,
    ) -> StateId {
        let state = self.state(Meaning::MatchesInTime);
        self.states[usize::from(state)].step_millis = step_millis;
        self.edge(state, Action::PassOver, state, Guard::Is(test).not());
        self.forbid(state, &[test]);
        self.forbid(state, &forbidden_before(stages, at));
        state
    }

    /// The states of one stage with its repetitions.
    fn repeated(&mut self, stages: &[Lowered], at: usize, exit: StateId, around: &Around<'_>) -> StateId {
        let stage = &stages[at];
        let next = stages.get(at + 1).or(around.next);
        let mut forbidden = forbidden_before(stages, at);
        let (mut gap, mut opens, mut split) = (stage.contiguity, 0, stage.quantifier.may_be_left_out());
        if at == 0 {
            gap = around.gap.unwrap_or(Contiguity::Next);
            (opens, split) = (around.opens, split || around.may_go_around);
            forbidden.extend(&around.forbidden);
        }
        let rounds = Rounds { stage, around, next, inner: stage.quantifier.inner.contiguity() };
        let may_be_left_out = stage.quantifier.may_be_left_out();
        let least = stage.quantifier.min.max(1);
        if stage.quantifier.max.is_some() {
            self.greedy(&rounds, exit);
        }
        let after = if may_be_left_out { self.lifted(exit, &forbidden) } else { exit };
        let ungreedy = if stage.quantifier.max.is_none() { self.greedy(&rounds, after) } else { None };
        let mut target = match stage.quantifier.max {
            None => self.looping(&rounds, after, ungreedy),
            Some(_) => after,
        };
        for _ in least..stage.quantifier.max.unwrap_or(least) {
            target = self.round(&rounds, target, Some(after), rounds.inner, true, &Head::default());
        }
        for _ in 1..least {
            target = self.round(&rounds, target, None, rounds.inner, false, &Head::default());
        }
        let head = Head { opens, forbidden, first: true };
        let first = self.round(&rounds, target, None, gap, split, &head);
        if may_be_left_out {
            self.way_around(first, stage.until.filter(|_| ungreedy.is_some()), exit, ungreedy);
        }
        first
    }

    /// Forbids the records of a greedy stage to what follows it. Where `until` ends the stage it does not: gives what
    /// follows then.
    fn greedy(&mut self, rounds: &Rounds<'_>, after: StateId) -> Option<StateId> {
        let stage = rounds.stage;
        let repeats = stage.quantifier.max.is_none_or(|max| max > stage.quantifier.min.max(1));
        let LoweredKind::Take(leaf) = stage.kind else { return None };
        if !stage.quantifier.greedy || !repeats {
            return None;
        }
        let ungreedy = stage.until.map(|_| self.copied(after));
        self.restrict(after, restricted(Guard::Is(leaf.test), rounds.around.until));
        ungreedy
    }

    /// The free edges from a state to what follows; `ungreedy` once the stage has been ended by `until`.
    fn way_around(&mut self, from: StateId, until: Option<TestId>, exit: StateId, ungreedy: Option<StateId>) {
        match until.zip(ungreedy) {
            None => self.edge(from, Action::Free, exit, Guard::Always),
            Some((until, ungreedy)) => {
                self.edge(from, Action::Free, ungreedy, Guard::Is(until));
                self.edge(from, Action::Free, exit, Guard::Is(until).not());
            }
        }
    }

    /// The states in which a stage without an upper limit goes on.
    fn looping(&mut self, rounds: &Rounds<'_>, after: StateId, ungreedy: Option<StateId>) -> StateId {
        let stage = rounds.stage;
        if !matches!(stage.kind, LoweredKind::Take(_)) {
            let again = self.state(Meaning::Waits);
            let first = self.round(rounds, again, Some(after), rounds.inner, true, &Head::default());
            self.edge(again, Action::Free, first, Guard::Always);
            return first;
        }
        let state = self.leaf(rounds, None, rounds.inner, true, &Head::default());
        self.way_around(state, stage.until.filter(|_| ungreedy.is_some()), after, ungreedy);
        state
    }

    /// The states of one repetition of a stage, after which a run is at `target`.
    fn round(
        &mut self,
        rounds: &Rounds<'_>,
        target: StateId,
        around: Option<StateId>,
        gap: Contiguity,
        split: bool,
        head: &Head,
    ) -> StateId {
        let stage = rounds.stage;
        let first = match &stage.kind {
            LoweredKind::Take(_) => self.leaf(rounds, Some(target), gap, split, head),
            LoweredKind::Group { bit, stages } => {
                let inside = Around {
                    gap: Some(gap),
                    may_go_around: split,
                    until: stage.until,
                    opens: head.opens | bit,
                    forbidden: head.forbidden.clone(),
                    next: rounds.next,
                };
                self.inside |= bit;
                let first = self.list(stages, target, &inside);
                self.inside &= !bit;
                first
            }
            LoweredKind::AllOf(leaves) => self.all_of(leaves, target, gap, split, head, rounds),
            LoweredKind::Refuse { .. } => target,
        };
        if let Some(around) = around {
            self.edge(first, Action::Free, around, Guard::Always);
        }
        first
    }

    /// One repetition of a stage that takes a record.
    fn leaf(
        &mut self,
        rounds: &Rounds<'_>,
        target: Option<StateId>,
        gap: Contiguity,
        split: bool,
        head: &Head,
    ) -> StateId {
        let (stage, around) = (rounds.stage, rounds.around);
        let LoweredKind::Take(leaf) = stage.kind else { return END };
        let take = restricted(restricted(Guard::Is(leaf.test), around.until), stage.until);
        let mut over = passing(gap, &[leaf.test]).map(|over| restricted(over, around.until));
        if !head.first {
            over = over.map(|over| restricted(over, stage.until));
        }
        let (step_millis, opens) = (stage.step_millis, head.opens);
        self.place(&Place { leaf, take, gap: over, target, split, step_millis, opens }, head, rounds)
    }

    /// The state in which a record is waited for, and another one where it is passed over if the stage may be left out.
    fn place(&mut self, place: &Place, head: &Head, rounds: &Rounds<'_>) -> StateId {
        let state = self.state(Meaning::Waits);
        let target = place.target.unwrap_or(state);
        self.wait(state, target, place, head, rounds);
        let Some(gap) = &place.gap else { return state };
        let waits_on = if place.split { self.state(Meaning::Waits) } else { state };
        if place.split {
            self.wait(waits_on, target, place, head, rounds);
            self.edge(waits_on, Action::PassOver, waits_on, gap.clone());
        }
        self.edge(state, Action::PassOver, waits_on, gap.clone());
        state
    }

    fn wait(&mut self, state: StateId, target: StateId, place: &Place, head: &Head, rounds: &Rounds<'_>) {
        let at = &mut self.states[usize::from(state)];
        (at.step_millis, at.opens) = (place.step_millis, place.opens);
        self.edge(state, Action::Take(place.leaf.stage), target, place.take.clone());
        self.forbid(state, &head.forbidden);
        if !head.first {
            self.forbid(state, &rounds.forbidden_inside());
        }
    }

    /// The states in which some of the conditions have taken their record, for every choice of some.
    fn all_of(
        &mut self,
        leaves: &[Leaf],
        target: StateId,
        gap: Contiguity,
        split: bool,
        head: &Head,
        rounds: &Rounds<'_>,
    ) -> StateId {
        let full = (1usize << leaves.len()) - 1;
        let mut of_choice = vec![target; full + 1];
        for taken in (0..full).rev() {
            let open: Vec<(usize, Leaf)> =
                leaves.iter().copied().enumerate().filter(|(at, _)| taken & (1 << at) == 0).collect();
            let tests: Vec<TestId> = open.iter().map(|(_, leaf)| leaf.test).collect();
            let gap = if taken == 0 { gap } else { rounds.inner };
            let over = passing(gap, &tests).map(|over| restricted(over, rounds.around.until));
            let inner = Head::default();
            let head = if taken == 0 { head } else { &inner };
            let states = 1 + usize::from(taken == 0 && split && over.is_some());
            let made: Vec<StateId> = (0..states).map(|_| self.state(Meaning::Waits)).collect();
            for &state in &made {
                let at = &mut self.states[usize::from(state)];
                (at.step_millis, at.opens) = (rounds.stage.step_millis, head.opens);
                for (at, leaf) in &open {
                    let take = restricted(Guard::Is(leaf.test), rounds.around.until);
                    self.edge(state, Action::Take(leaf.stage), of_choice[taken | (1 << at)], take);
                }
                self.forbid(state, &head.forbidden);
                if let Some(over) = &over {
                    self.edge(state, Action::PassOver, made[states - 1], over.clone());
                }
            }
            of_choice[taken] = made[0];
        }
        of_choice[0]
    }

    fn forbid(&mut self, state: StateId, tests: &[TestId]) {
        tests.iter().for_each(|&test| self.edge(state, Action::Free, FAILED, Guard::Is(test)));
    }

    /// Adds to every edge of a state that the guard must not hold.
    fn restrict(&mut self, state: StateId, guard: Guard) {
        for edge in &mut self.states[usize::from(state)].edges {
            let own = std::mem::replace(&mut edge.guard, Guard::Always);
            edge.guard = own.and(guard.clone().not());
        }
    }

    /// Another state with the same edges.
    fn copied(&mut self, state: StateId) -> StateId {
        if state == END {
            return END;
        }
        let mut copy = self.states[usize::from(state)].clone();
        let number = self.states.len() as StateId;
        copy.edges.iter_mut().filter(|edge| edge.target == state).for_each(|edge| edge.target = number);
        self.states.push(copy);
        number
    }

    /// The state without what is forbidden there by `tests`, and so are those that free edges lead to.
    fn lifted(&mut self, state: StateId, tests: &[TestId]) -> StateId {
        if !self.is_forbidden(state, tests) {
            return state;
        }
        let copy = self.copied(state);
        let mut edges = std::mem::take(&mut self.states[usize::from(copy)].edges);
        edges.retain(|edge| !lifts(edge, tests));
        for edge in edges.iter_mut().filter(|edge| edge.action == Action::Free) {
            edge.target = self.lifted(edge.target, tests);
        }
        self.states[usize::from(copy)].edges = edges;
        copy
    }

    fn is_forbidden(&self, state: StateId, tests: &[TestId]) -> bool {
        let edges = &self.states[usize::from(state)].edges;
        let free = |edge: &&Edge| edge.action == Action::Free;
        edges.iter().filter(free).any(|edge| lifts(edge, tests) || self.is_forbidden(edge.target, tests))
    }
}

impl State {
    /// Whether a run that stands here stands somewhere else as well, so that its time does not end here.
    fn leads_on(&self) -> bool {
        self.edges.iter().any(|edge| edge.action == Action::Free && edge.target != FAILED)
    }
}

/// Whether an edge forbids a record by one of the tests.
fn lifts(edge: &Edge, tests: &[TestId]) -> bool {
    edge.target == FAILED && tests.iter().any(|&test| asks(&edge.guard, test))
}

fn asks(guard: &Guard, wanted: TestId) -> bool {
    match guard {
        Guard::Is(test) => *test == wanted,
        Guard::All(all) => all.iter().any(|guard| asks(guard, wanted)),
        Guard::Always | Guard::Not(_) => false,
    }
}

/// What holds for a repetition.
#[derive(Default)]
struct Head {
    /// It is the first: the gap before it is not one between repetitions.
    first: bool,
    opens: u32,
    forbidden: Vec<TestId>,
}

/// A stage with what is around it.
struct Rounds<'a> {
    stage: &'a Lowered,
    around: &'a Around<'a>,
    next: Option<&'a Lowered>,
    inner: Contiguity,
}

impl Rounds<'_> {
    /// What is forbidden between two repetitions: what a `not_followed_by` right behind the stage refuses.
    fn forbidden_inside(&self) -> Vec<TestId> {
        match self.next.map(|next| &next.kind) {
            Some(&LoweredKind::Refuse { test, only_next: false }) => vec![test],
            _ => Vec::new(),
        }
    }
}

/// What the `not_followed_by` stages refuse that stand before a stage, with only optional stages between.
fn forbidden_before(stages: &[Lowered], at: usize) -> Vec<TestId> {
    let mut forbidden = Vec::new();
    for stage in stages[..at].iter().rev() {
        match stage.kind {
            LoweredKind::Refuse { test, only_next: false } => forbidden.push(test),
            _ if stage.quantifier.may_be_left_out() => {}
            _ => break,
        }
    }
    forbidden
}

/// When a record is passed over that none of the conditions may be waiting for.
fn passing(gap: Contiguity, tests: &[TestId]) -> Option<Guard> {
    match gap {
        Contiguity::Next => None,
        Contiguity::FollowedBy => {
            Some(tests.iter().fold(Guard::Always, |guard, &test| guard.and(Guard::Is(test).not())))
        }
        Contiguity::FollowedByAny => Some(Guard::Always),
    }
}

/// The guard, and not what `until` says.
fn restricted(guard: Guard, until: Option<TestId>) -> Guard {
    match until {
        None => guard,
        Some(until) => guard.and(Guard::Is(until).not()),
    }
}
