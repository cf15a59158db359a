//! What a stage takes, as a type: what conditions see of it while a run goes on, and what a match gives.
//!
//! | stage | conditions see | a match gives | a partial match gives |
//! | --- | --- | --- | --- |
//! | [`One`] | `&T` | `&T` | `Option<&T>` |
//! | [`Maybe`] | `Option<&T>` | `Option<&T>` | `Option<&T>` |
//! | [`Many`] | [`Repeated`] | `&[&T]` | `&[&T]` |
//! | [`Fold<A>`] | `Option<&A>` | `Option<&A>` | `Option<&A>` |
//! | [`Group<D>`] | what `D`'s stages give | what `D`'s stages give | an `Option` of it |
//! | [`MaybeGroup<D>`] | an `Option` of it | an `Option` of it | an `Option` of it |
//! | [`Rounds<D>`] | [`RoundsSoFar`] | a `Vec` of it, one for each round | a `Vec` of it |
//! | [`Named`] | [`Taken`] | [`Sequence`] | [`Sequence`] |
//!
//! Several stages are a tuple. None of these types has a value: they stand in the type of a
//! [`Pattern`](crate::pattern::Pattern) alone.

use std::marker::PhantomData;

use highwater_state::Persist;

use crate::pattern::automaton::StageId;
use crate::pattern::taken::{Repeated, Sequence, Taken};

/// What stages take: a kind of stage, or a tuple of what several take.
#[diagnostic::on_unimplemented(
    message = "these stages cannot be told to a match",
    label = "at most 12 stages that take records, and accumulators that can be kept",
    note = "put stages that belong together into a group: it counts as one"
)]
pub trait Capture<T: 'static>: Sized + 'static {
    /// How many stages that take records it stands for.
    const STAGES: u16;
    /// What conditions see while the run goes on.
    type Run<'a>;
    /// What a match gives.
    type Match<'a>;
    /// What a match gives that ran out of time.
    type Partial<'a>;

    /// Reads what a run has taken for the stages from `first` on.
    #[doc(hidden)]
    fn run<'a>(first: StageId, taken: Taken<'a, T>) -> Self::Run<'a>;
    /// Reads what a match has taken for the stages from `first` on.
    #[doc(hidden)]
    fn matched<'a>(first: StageId, taken: Sequence<'a, T>) -> Self::Match<'a>;
    /// Reads what a run had taken for the stages from `first` on when its time was over.
    #[doc(hidden)]
    fn partial<'a>(first: StageId, taken: Sequence<'a, T>) -> Self::Partial<'a>;
}

/// How the stages of a pattern are counted together when the open one is closed.
#[diagnostic::on_unimplemented(
    message = "a pattern has at most 12 stages that take records",
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
/// Goes through stages once.
pub struct Group<D>(PhantomData<fn() -> D>);
/// Goes through stages once or not at all.
pub struct MaybeGroup<D>(PhantomData<fn() -> D>);
/// Goes through stages several times, or, if it is optional, not at all.
pub struct Rounds<D>(PhantomData<fn() -> D>);
/// Takes no record.
pub enum Nothing {}
/// Stages that are known by their names alone, because they were put together at run time.
pub enum Named {}

/// Panics: the automaton gives a match, or asks a later stage's condition, only behind a stage that has taken its record.
fn taken_before<R>(record: Option<R>) -> R {
    record.expect("a stage that must take a record has taken one before anything behind it is looked at")
}

impl<T: 'static> Capture<T> for One {
    const STAGES: u16 = 1;
    type Run<'a> = &'a T;
    type Match<'a> = &'a T;
    type Partial<'a> = Option<&'a T>;

    fn run<'a>(first: StageId, taken: Taken<'a, T>) -> &'a T {
        taken_before(taken.one(first))
    }
    fn matched<'a>(first: StageId, taken: Sequence<'a, T>) -> &'a T {
        taken_before(taken.one(first))
    }
    fn partial<'a>(first: StageId, taken: Sequence<'a, T>) -> Option<&'a T> {
        taken.one(first)
    }
}

impl<T: 'static> Capture<T> for Maybe {
    const STAGES: u16 = 1;
    type Run<'a> = Option<&'a T>;
    type Match<'a> = Option<&'a T>;
    type Partial<'a> = Option<&'a T>;

    fn run<'a>(first: StageId, taken: Taken<'a, T>) -> Option<&'a T> {
        taken.one(first)
    }
    fn matched<'a>(first: StageId, taken: Sequence<'a, T>) -> Option<&'a T> {
        taken.one(first)
    }
    fn partial<'a>(first: StageId, taken: Sequence<'a, T>) -> Option<&'a T> {
        taken.one(first)
    }
}

impl<T: 'static> Capture<T> for Many {
    const STAGES: u16 = 1;
    type Run<'a> = Repeated<'a, T>;
    type Match<'a> = &'a [&'a T];
    type Partial<'a> = &'a [&'a T];

    fn run<'a>(first: StageId, taken: Taken<'a, T>) -> Repeated<'a, T> {
        taken.many(first)
    }
    fn matched<'a>(first: StageId, taken: Sequence<'a, T>) -> &'a [&'a T] {
        taken.many(first)
    }
    fn partial<'a>(first: StageId, taken: Sequence<'a, T>) -> &'a [&'a T] {
        taken.many(first)
    }
}

impl<T: 'static, A: Persist> Capture<T> for Fold<A> {
    const STAGES: u16 = 1;
    type Run<'a> = Option<&'a A>;
    type Match<'a> = Option<&'a A>;
    type Partial<'a> = Option<&'a A>;

    fn run<'a>(first: StageId, taken: Taken<'a, T>) -> Option<&'a A> {
        taken.folded(first)
    }
    fn matched<'a>(first: StageId, taken: Sequence<'a, T>) -> Option<&'a A> {
        taken.folded(first)
    }
    fn partial<'a>(first: StageId, taken: Sequence<'a, T>) -> Option<&'a A> {
        taken.folded(first)
    }
}

impl<T: 'static, D: Capture<T>> Capture<T> for Group<D> {
    const STAGES: u16 = D::STAGES;
    type Run<'a> = D::Run<'a>;
    type Match<'a> = D::Match<'a>;
    type Partial<'a> = Option<D::Partial<'a>>;

    fn run<'a>(first: StageId, taken: Taken<'a, T>) -> D::Run<'a> {
        D::run(first, taken)
    }
    fn matched<'a>(first: StageId, taken: Sequence<'a, T>) -> D::Match<'a> {
        D::matched(first, taken.part(first, first + D::STAGES))
    }
    fn partial<'a>(first: StageId, taken: Sequence<'a, T>) -> Option<D::Partial<'a>> {
        let part = taken.part(first, first + D::STAGES);
        (!part.is_empty()).then(|| D::partial(first, part))
    }
}

impl<T: 'static, D: Capture<T>> Capture<T> for MaybeGroup<D> {
    const STAGES: u16 = D::STAGES;
    type Run<'a> = Option<D::Run<'a>>;
    type Match<'a> = Option<D::Match<'a>>;
    type Partial<'a> = Option<D::Partial<'a>>;

    fn run<'a>(first: StageId, taken: Taken<'a, T>) -> Option<D::Run<'a>> {
        taken.has_any(first, first + D::STAGES).then(|| D::run(first, taken))
    }
    fn matched<'a>(first: StageId, taken: Sequence<'a, T>) -> Option<D::Match<'a>> {
        let part = taken.part(first, first + D::STAGES);
        (!part.is_empty()).then(|| D::matched(first, part))
    }
    fn partial<'a>(first: StageId, taken: Sequence<'a, T>) -> Option<D::Partial<'a>> {
        <Group<D> as Capture<T>>::partial(first, taken)
    }
}

impl<T: 'static, D: Capture<T>> Capture<T> for Rounds<D> {
    const STAGES: u16 = D::STAGES;
    type Run<'a> = RoundsSoFar<'a, T, D>;
    type Match<'a> = Vec<D::Match<'a>>;
    type Partial<'a> = Vec<D::Partial<'a>>;

    fn run<'a>(first: StageId, taken: Taken<'a, T>) -> RoundsSoFar<'a, T, D> {
        RoundsSoFar { first, taken, marker: PhantomData }
    }
    fn matched<'a>(first: StageId, taken: Sequence<'a, T>) -> Vec<D::Match<'a>> {
        taken.rounds(first, first + D::STAGES).map(|round| D::matched(first, round)).collect()
    }
    fn partial<'a>(first: StageId, taken: Sequence<'a, T>) -> Vec<D::Partial<'a>> {
        taken.rounds(first, first + D::STAGES).map(|round| D::partial(first, round)).collect()
    }
}

impl<T: 'static> Capture<T> for Named {
    const STAGES: u16 = 0;
    type Run<'a> = Taken<'a, T>;
    type Match<'a> = Sequence<'a, T>;
    type Partial<'a> = Sequence<'a, T>;

    fn run<'a>(_: StageId, taken: Taken<'a, T>) -> Taken<'a, T> {
        taken
    }
    fn matched<'a>(_: StageId, taken: Sequence<'a, T>) -> Sequence<'a, T> {
        taken
    }
    fn partial<'a>(_: StageId, taken: Sequence<'a, T>) -> Sequence<'a, T> {
        taken
    }
}

/// The rounds of a group in a run that goes on.
pub struct RoundsSoFar<'a, T, D> {
    first: StageId,
    taken: Taken<'a, T>,
    marker: PhantomData<fn() -> D>,
}

impl<'a, T: 'static, D: Capture<T>> RoundsSoFar<'a, T, D> {
    /// How many rounds have begun; costs a walk along the run.
    pub fn len(&self) -> usize {
        self.taken.rounds(self.first, self.first + D::STAGES)
    }

    /// Whether none has begun.
    pub fn is_empty(&self) -> bool {
        !self.taken.has_any(self.first, self.first + D::STAGES)
    }

    /// What the stages took in the latest round.
    pub fn last(&self) -> Option<D::Run<'a>> {
        let until = self.first + D::STAGES;
        (!self.is_empty()).then(|| D::run(self.first, self.taken.latest_round(self.first, until)))
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

closes!(One, Maybe, Many, Fold<A>, Group<D>, MaybeGroup<D>, Rounds<D>);

/// One implementation per length, which Rust cannot say once for all.
macro_rules! tuples {
    ($(($($name:ident)*);)*) => {$(
        impl<S $(, $name)*> Append<S> for ($($name,)*) {
            type Longer = ($($name,)* S,);
        }
        impl<T: 'static $(, $name: Capture<T>)*> Capture<T> for ($($name,)*) {
            const STAGES: u16 = 0 $(+ $name::STAGES)*;
            type Run<'a> = ($($name::Run<'a>,)*);
            type Match<'a> = ($($name::Match<'a>,)*);
            type Partial<'a> = ($($name::Partial<'a>,)*);

            #[allow(unused_assignments, unused_mut, unused_variables, clippy::unused_unit)]
            fn run<'a>(mut first: StageId, taken: Taken<'a, T>) -> Self::Run<'a> {
                ($({
                    let at = first;
                    first += $name::STAGES;
                    $name::run(at, taken)
                },)*)
            }
            #[allow(unused_assignments, unused_mut, unused_variables, clippy::unused_unit)]
            fn matched<'a>(mut first: StageId, taken: Sequence<'a, T>) -> Self::Match<'a> {
                ($({
                    let at = first;
                    first += $name::STAGES;
                    $name::matched(at, taken)
                },)*)
            }
            #[allow(unused_assignments, unused_mut, unused_variables, clippy::unused_unit)]
            fn partial<'a>(mut first: StageId, taken: Sequence<'a, T>) -> Self::Partial<'a> {
                ($({
                    let at = first;
                    first += $name::STAGES;
                    $name::partial(at, taken)
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
