//! What a stage takes, as a type: what conditions see of it while a run goes on, and what a match gives.
//!
//! | stage | conditions see | a match gives | a partial match gives |
//! | --- | --- | --- | --- |
//! | [`One`] | `&T` | `&T` | `Option<&T>` |
//! | [`Maybe`] | `Option<&T>` | `Option<&T>` | `Option<&T>` |
//! | [`Many`] | [`Repeated`] | `&[&T]` | `&[&T]` |
//! | [`Fold<A>`] | `&A` | `&A` | `Option<&A>` |
//! | [`MaybeFold<A>`] | `Option<&A>` | `Option<&A>` | `Option<&A>` |
//! | [`Group<D>`], [`Unordered<D>`] | what `D`'s stages give | what `D`'s stages give | an `Option` of it |
//! | [`MaybeGroup<D>`] | an `Option` of it | an `Option` of it | an `Option` of it |
//! | [`Rounds<D>`] | [`RoundsSoFar`] | a `Vec` of it, one for each round | a `Vec` of it |
//! | [`Named`] | [`Taken`] | [`Sequence`] | [`Sequence`] |
//!
//! Several stages are a tuple, of twelve at most. None of these types has a value: they stand in the type of a
//! [`Pattern`](crate::pattern::Pattern) alone. Invariant: a condition that asks for what the run has not taken yet
//! does not hold.

use std::marker::PhantomData;

use highwater_state::Persist;

use crate::pattern::automaton::Position;
use crate::pattern::taken::{Repeated, Sequence, Taken};

/// What stages take: a kind of stage, or a tuple of what several take.
#[diagnostic::on_unimplemented(
    message = "these stages cannot be told to a match",
    label = "at most 12 stages that take records, and accumulators that can be kept",
    note = "put stages that belong together into a group: it counts as one"
)]
pub trait Capture<T: 'static>: Sized + 'static {
    /// How many stages that take records it stands for.
    #[doc(hidden)]
    const STAGES: u16;
    /// How many groups it stands for.
    #[doc(hidden)]
    const GROUPS: u16;
    /// What conditions see while the run goes on.
    type Run<'a>;
    /// What a match gives.
    type Match<'a>;
    /// What a match gives that ran out of time.
    type Partial<'a>;

    /// What a run has taken for the stages from `at` on; `None` if that is not all that a match takes.
    #[doc(hidden)]
    fn run<'a>(at: Position, taken: Taken<'a, T>) -> Option<Self::Run<'a>>;
    /// What a match has taken for the stages from `at` on; `None` if it is none, because its row is damaged.
    #[doc(hidden)]
    fn matched<'a>(at: Position, taken: Sequence<'a, T>) -> Option<Self::Match<'a>>;
    /// What a run had taken for the stages from `at` on when its time was over.
    #[doc(hidden)]
    fn partial<'a>(at: Position, taken: Sequence<'a, T>) -> Self::Partial<'a>;
}

/// How the stages of a pattern are counted together when the open one is closed.
#[diagnostic::on_unimplemented(
    message = "a pattern has at most 12 stages that take records, and one of `from_stages` has all its stages",
    label = "one stage too many",
    note = "put stages that belong together into a group: it counts as one"
)]
pub trait Close<P> {
    /// What all stages take.
    type Closed;
}

/// Takes one record.
pub enum One {}
/// Takes one record or none.
pub enum Maybe {}
/// Takes several records, or, if it is optional, none.
pub enum Many {}
/// Takes several records and keeps what they are folded into.
pub struct Fold<A>(PhantomData<fn() -> A>);
/// Takes several records or none, and keeps what they are folded into.
pub struct MaybeFold<A>(PhantomData<fn() -> A>);
/// Goes through stages once.
pub struct Group<D>(PhantomData<fn() -> D>);
/// Goes through stages once or not at all.
pub struct MaybeGroup<D>(PhantomData<fn() -> D>);
/// Goes through stages several times, or, if it is optional, not at all.
pub struct Rounds<D>(PhantomData<fn() -> D>);
/// Takes a record for each of several stages, in any order.
pub struct Unordered<D>(PhantomData<fn() -> D>);
/// Takes no record.
pub enum Nothing {}
/// Stages that are known by their names alone, because they were put together at run time.
pub enum Named {}

/// The first stage and group inside a group, and the stage after it.
fn inside<T: 'static, D: Capture<T>>(at: Position) -> (Position, u16) {
    (Position { stage: at.stage, group: at.group + 1 }, at.stage + D::STAGES)
}

impl<T: 'static> Capture<T> for One {
    const STAGES: u16 = 1;
    const GROUPS: u16 = 0;
    type Run<'a> = &'a T;
    type Match<'a> = &'a T;
    type Partial<'a> = Option<&'a T>;

    fn run<'a>(at: Position, taken: Taken<'a, T>) -> Option<&'a T> {
        taken.one(at.stage)
    }
    fn matched<'a>(at: Position, taken: Sequence<'a, T>) -> Option<&'a T> {
        taken.one(at.stage)
    }
    fn partial<'a>(at: Position, taken: Sequence<'a, T>) -> Option<&'a T> {
        taken.one(at.stage)
    }
}

impl<T: 'static> Capture<T> for Maybe {
    const STAGES: u16 = 1;
    const GROUPS: u16 = 0;
    type Run<'a> = Option<&'a T>;
    type Match<'a> = Option<&'a T>;
    type Partial<'a> = Option<&'a T>;

    fn run<'a>(at: Position, taken: Taken<'a, T>) -> Option<Option<&'a T>> {
        Some(taken.one(at.stage))
    }
    fn matched<'a>(at: Position, taken: Sequence<'a, T>) -> Option<Option<&'a T>> {
        Some(taken.one(at.stage))
    }
    fn partial<'a>(at: Position, taken: Sequence<'a, T>) -> Option<&'a T> {
        taken.one(at.stage)
    }
}

impl<T: 'static> Capture<T> for Many {
    const STAGES: u16 = 1;
    const GROUPS: u16 = 0;
    type Run<'a> = Repeated<'a, T>;
    type Match<'a> = &'a [&'a T];
    type Partial<'a> = &'a [&'a T];

    fn run<'a>(at: Position, taken: Taken<'a, T>) -> Option<Repeated<'a, T>> {
        Some(taken.many(at.stage))
    }
    fn matched<'a>(at: Position, taken: Sequence<'a, T>) -> Option<&'a [&'a T]> {
        Some(taken.many(at.stage))
    }
    fn partial<'a>(at: Position, taken: Sequence<'a, T>) -> &'a [&'a T] {
        taken.many(at.stage)
    }
}

impl<T: 'static, A: Persist> Capture<T> for Fold<A> {
    const STAGES: u16 = 1;
    const GROUPS: u16 = 0;
    type Run<'a> = &'a A;
    type Match<'a> = &'a A;
    type Partial<'a> = Option<&'a A>;

    fn run<'a>(at: Position, taken: Taken<'a, T>) -> Option<&'a A> {
        taken.folded(at.stage)
    }
    fn matched<'a>(at: Position, taken: Sequence<'a, T>) -> Option<&'a A> {
        taken.folded(at.stage)
    }
    fn partial<'a>(at: Position, taken: Sequence<'a, T>) -> Option<&'a A> {
        taken.folded(at.stage)
    }
}

impl<T: 'static, A: Persist> Capture<T> for MaybeFold<A> {
    const STAGES: u16 = 1;
    const GROUPS: u16 = 0;
    type Run<'a> = Option<&'a A>;
    type Match<'a> = Option<&'a A>;
    type Partial<'a> = Option<&'a A>;

    fn run<'a>(at: Position, taken: Taken<'a, T>) -> Option<Option<&'a A>> {
        Some(taken.folded(at.stage))
    }
    fn matched<'a>(at: Position, taken: Sequence<'a, T>) -> Option<Option<&'a A>> {
        Some(taken.folded(at.stage))
    }
    fn partial<'a>(at: Position, taken: Sequence<'a, T>) -> Option<&'a A> {
        taken.folded(at.stage)
    }
}

impl<T: 'static, D: Capture<T>> Capture<T> for Unordered<D> {
    const STAGES: u16 = D::STAGES;
    const GROUPS: u16 = 0;
    type Run<'a> = D::Run<'a>;
    type Match<'a> = D::Match<'a>;
    type Partial<'a> = Option<D::Partial<'a>>;

    fn run<'a>(at: Position, taken: Taken<'a, T>) -> Option<D::Run<'a>> {
        D::run(at, taken)
    }
    fn matched<'a>(at: Position, taken: Sequence<'a, T>) -> Option<D::Match<'a>> {
        D::matched(at, taken.part(at.stage, at.stage + D::STAGES))
    }
    fn partial<'a>(at: Position, taken: Sequence<'a, T>) -> Option<D::Partial<'a>> {
        let until = at.stage + D::STAGES;
        taken.has_any(at.stage, until).then(|| D::partial(at, taken.part(at.stage, until)))
    }
}

impl<T: 'static, D: Capture<T>> Capture<T> for Group<D> {
    const STAGES: u16 = D::STAGES;
    const GROUPS: u16 = 1 + D::GROUPS;
    type Run<'a> = D::Run<'a>;
    type Match<'a> = D::Match<'a>;
    type Partial<'a> = Option<D::Partial<'a>>;

    fn run<'a>(at: Position, taken: Taken<'a, T>) -> Option<D::Run<'a>> {
        D::run(inside::<T, D>(at).0, taken)
    }
    fn matched<'a>(at: Position, taken: Sequence<'a, T>) -> Option<D::Match<'a>> {
        let (first, until) = inside::<T, D>(at);
        D::matched(first, taken.part(first.stage, until))
    }
    fn partial<'a>(at: Position, taken: Sequence<'a, T>) -> Option<D::Partial<'a>> {
        let (first, until) = inside::<T, D>(at);
        taken.has_any(first.stage, until).then(|| D::partial(first, taken.part(first.stage, until)))
    }
}

impl<T: 'static, D: Capture<T>> Capture<T> for MaybeGroup<D> {
    const STAGES: u16 = D::STAGES;
    const GROUPS: u16 = 1 + D::GROUPS;
    type Run<'a> = Option<D::Run<'a>>;
    type Match<'a> = Option<D::Match<'a>>;
    type Partial<'a> = Option<D::Partial<'a>>;

    fn run<'a>(at: Position, taken: Taken<'a, T>) -> Option<Option<D::Run<'a>>> {
        let (first, until) = inside::<T, D>(at);
        Some(if taken.has_any(first.stage, until) { D::run(first, taken) } else { None })
    }
    fn matched<'a>(at: Position, taken: Sequence<'a, T>) -> Option<Option<D::Match<'a>>> {
        let (first, until) = inside::<T, D>(at);
        if !taken.has_any(first.stage, until) {
            return Some(None);
        }
        D::matched(first, taken.part(first.stage, until)).map(Some)
    }
    fn partial<'a>(at: Position, taken: Sequence<'a, T>) -> Option<D::Partial<'a>> {
        <Group<D> as Capture<T>>::partial(at, taken)
    }
}

impl<T: 'static, D: Capture<T>> Capture<T> for Rounds<D> {
    const STAGES: u16 = D::STAGES;
    const GROUPS: u16 = 1 + D::GROUPS;
    type Run<'a> = RoundsSoFar<'a, T, D>;
    type Match<'a> = Vec<D::Match<'a>>;
    type Partial<'a> = Vec<D::Partial<'a>>;

    fn run<'a>(at: Position, taken: Taken<'a, T>) -> Option<RoundsSoFar<'a, T, D>> {
        Some(RoundsSoFar { at, taken, marker: PhantomData })
    }
    fn matched<'a>(at: Position, taken: Sequence<'a, T>) -> Option<Vec<D::Match<'a>>> {
        taken.rounds(at.group).map(|round| D::matched(inside::<T, D>(at).0, round)).collect()
    }
    fn partial<'a>(at: Position, taken: Sequence<'a, T>) -> Vec<D::Partial<'a>> {
        taken.rounds(at.group).map(|round| D::partial(inside::<T, D>(at).0, round)).collect()
    }
}

impl<T: 'static> Capture<T> for Named {
    const STAGES: u16 = 0;
    const GROUPS: u16 = 0;
    type Run<'a> = Taken<'a, T>;
    type Match<'a> = Sequence<'a, T>;
    type Partial<'a> = Sequence<'a, T>;

    fn run<'a>(_: Position, taken: Taken<'a, T>) -> Option<Taken<'a, T>> {
        Some(taken)
    }
    fn matched<'a>(_: Position, taken: Sequence<'a, T>) -> Option<Sequence<'a, T>> {
        Some(taken)
    }
    fn partial<'a>(_: Position, taken: Sequence<'a, T>) -> Sequence<'a, T> {
        taken
    }
}

/// Stages that repeat by themselves, and what their conditions see of what they have taken so far.
#[diagnostic::on_unimplemented(
    message = "this stage does not repeat",
    label = "only for a stage that takes records more than once",
    note = "say how often before: `.times(2..=4)`, `.times_or_more(2)` or `.one_or_more()`"
)]
pub trait Repeating<T: 'static> {
    /// [`Repeated`] records, or an accumulator: `None` before the first record.
    type Own<'a>;
    #[doc(hidden)]
    fn own<'a>(taken: Taken<'a, T>) -> Self::Own<'a>;
}

impl<T: 'static> Repeating<T> for Many {
    type Own<'a> = Repeated<'a, T>;
    fn own<'a>(taken: Taken<'a, T>) -> Repeated<'a, T> {
        taken.many(taken.own_stage())
    }
}

impl<T: 'static, A: Persist> Repeating<T> for Fold<A> {
    type Own<'a> = Option<&'a A>;
    fn own<'a>(taken: Taken<'a, T>) -> Option<&'a A> {
        taken.folded(taken.own_stage())
    }
}

impl<T: 'static, A: Persist> Repeating<T> for MaybeFold<A> {
    type Own<'a> = Option<&'a A>;
    fn own<'a>(taken: Taken<'a, T>) -> Option<&'a A> {
        taken.folded(taken.own_stage())
    }
}

/// The rounds of a group in a run that goes on.
pub struct RoundsSoFar<'a, T, D> {
    at: Position,
    taken: Taken<'a, T>,
    marker: PhantomData<fn() -> D>,
}

impl<'a, T: 'static, D: Capture<T>> RoundsSoFar<'a, T, D> {
    /// How many rounds have begun; costs a walk along the run.
    pub fn len(&self) -> usize {
        self.taken.rounds(self.at.group)
    }

    /// Whether none has begun.
    pub fn is_empty(&self) -> bool {
        !self.taken.has_any(self.at.stage, self.at.stage + D::STAGES)
    }

    /// What the stages took in the latest round; `None` before there is one.
    pub fn last(&self) -> Option<D::Run<'a>> {
        if self.is_empty() {
            return None;
        }
        D::run(inside::<T, D>(self.at).0, self.taken.latest_round(self.at.group))
    }
}

impl<P> Close<P> for Nothing {
    type Closed = P;
}

impl Close<()> for Named {
    type Closed = Named;
}

/// A tuple to which one more can be added.
#[diagnostic::on_unimplemented(
    message = "a pattern has at most 12 stages that take records",
    label = "one stage too many",
    note = "put stages that belong together into a group: it counts as one"
)]
pub trait Append<S> {
    /// The longer tuple.
    type Longer;
}

macro_rules! closes {
    ($($kind:ident $(<$inner:ident>)?),+) => {$(
        impl<P: Append<Self> $(, $inner)?> Close<P> for $kind $(<$inner>)? {
            type Closed = P::Longer;
        }
    )+};
}

closes!(One, Maybe, Many, Fold<A>, MaybeFold<A>, Group<D>, MaybeGroup<D>, Rounds<D>, Unordered<D>);

/// One implementation per length, which Rust cannot say once for all.
macro_rules! tuples {
    ($(($($name:ident)*);)*) => {$(
        impl<S $(, $name)*> Append<S> for ($($name,)*) {
            type Longer = ($($name,)* S,);
        }
        impl<T: 'static $(, $name: Capture<T>)*> Capture<T> for ($($name,)*) {
            const STAGES: u16 = 0 $(+ $name::STAGES)*;
            const GROUPS: u16 = 0 $(+ $name::GROUPS)*;
            type Run<'a> = ($($name::Run<'a>,)*);
            type Match<'a> = ($($name::Match<'a>,)*);
            type Partial<'a> = ($($name::Partial<'a>,)*);

            #[allow(unused_assignments, unused_mut, unused_variables, clippy::unused_unit)]
            fn run<'a>(mut at: Position, taken: Taken<'a, T>) -> Option<Self::Run<'a>> {
                Some(($({
                    let own = at;
                    at.stage += $name::STAGES;
                    at.group += $name::GROUPS;
                    $name::run(own, taken)?
                },)*))
            }
            #[allow(unused_assignments, unused_mut, unused_variables, clippy::unused_unit)]
            fn matched<'a>(mut at: Position, taken: Sequence<'a, T>) -> Option<Self::Match<'a>> {
                Some(($({
                    let own = at;
                    at.stage += $name::STAGES;
                    at.group += $name::GROUPS;
                    $name::matched(own, taken)?
                },)*))
            }
            #[allow(unused_assignments, unused_mut, unused_variables, clippy::unused_unit)]
            fn partial<'a>(mut at: Position, taken: Sequence<'a, T>) -> Self::Partial<'a> {
                ($({
                    let own = at;
                    at.stage += $name::STAGES;
                    at.group += $name::GROUPS;
                    $name::partial(own, taken)
                },)*)
            }
        }
    )*};
}

tuples! {
    ();
    (A);
    (A B);
    (A B C);
    (A B C D);
    (A B C D E);
    (A B C D E F);
    (A B C D E F G);
    (A B C D E F G H);
    (A B C D E F G H I);
    (A B C D E F G H I J);
    (A B C D E F G H I J K);
    (A B C D E F G H I J K L);
}
