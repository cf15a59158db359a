//! Patterns that cannot be are refused when the topology is built: the stage is named, and the user's line.

use std::panic::Location;

use highwater_operators::memory::Memory;
use highwater_operators::pattern::{
    AfterMatch, Capture, Close, Condition, Contiguity, Inner, Named, Pattern, Quantifier, Stage, any,
};
use highwater_operators::testkit::at;
use highwater_operators::topology::Topology;

use crate::letters::{Letter, begin, is, millis};

/// What a topology with the pattern is refused with.
#[track_caller]
fn refused<P, S>(pattern: Pattern<Letter, P, S>) -> String
where
    P: 'static,
    S: Close<P>,
    S::Closed: Capture<Letter>,
{
    let topology = Topology::new("shop");
    let source = topology.source("letters", Memory::source(Vec::<Letter>::new()));
    let timed = source.event_time(|_| at(0), millis(0));
    let line = Location::caller().line();
    let matches = timed.key_by(|_| ()).pattern(pattern).select("theft", |(), _| ());
    matches.values().sink("out", Memory::sink());
    let errors = topology.finish().err().expect("the pattern is refused");
    let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(text.contains("`theft`"), "{text}");
    assert!(text.contains(&format!("refused.rs:{line}")), "{text}");
    text
}

#[track_caller]
fn says<P, S>(pattern: Pattern<Letter, P, S>, parts: &[&str])
where
    P: 'static,
    S: Close<P>,
    S::Closed: Capture<Letter>,
{
    let text = refused(pattern);
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
}

fn take(name: &str) -> Stage<Letter> {
    Stage::take(name, Contiguity::FollowedBy, Condition::new(any))
}

fn quantified(name: &str, quantifier: Quantifier) -> Stage<Letter> {
    take(name).quantified(quantifier)
}

fn often(min: u32, max: Option<u32>) -> Quantifier {
    Quantifier { min, max, ..Quantifier::default() }
}

fn of(stages: impl IntoIterator<Item = Stage<Letter>>) -> Pattern<Letter, (), Named> {
    Pattern::from_stages(stages.into_iter().collect())
}

#[test]
fn no_stages_and_empty_groups() {
    says(of([]), &["needs a stage"]);
    says(of([take("a"), Stage::group(Contiguity::Next, Vec::new())]), &["a group needs a stage"]);
}

#[test]
fn a_repetition_without_a_limit_needs_a_time_or_that_none_is_meant() {
    says(begin('a').one_or_more(), &["stage `a`", "`within(..)`", "`unbounded()`"]);
    says(begin('a').next("b", is('b')).times_or_more(3), &["stage `b`", "`unbounded()`"]);
    says(begin('a').next_group(begin('b')).one_or_more(), &["begins with stage `b`", "`unbounded()`"]);
    let hidden = begin('b').next("c", is('c')).one_or_more();
    says(begin('a').next_group(hidden), &["stage `c`", "`unbounded()`"]);
}

#[test]
fn names_that_are_empty_taken_or_hold_a_colon() {
    says(begin('a').next("a", is('b')), &["stage `a`", "two stages have this name"]);
    says(begin('a').next_group(begin('b').next("a", is('a'))), &["stage `a`", "two stages"]);
    says(begin('a').not_next("a", is('b')).next("c", is('c')), &["stage `a`", "two stages"]);
    says(begin('a').followed_by_all_of((begin('b'), begin('a'))), &["stage `a`", "two stages"]);
    says(begin('a').next("", is('b')), &["needs a name"]);
    says(begin('a').next("b:c", is('b')), &["stage `b:c`", "colon"]);
}

#[test]
fn a_refusing_stage_at_the_beginning_or_behind_an_optional_one() {
    let refuse = || Stage::not_next("x", Condition::new(any));
    says(of([refuse(), take("a")]), &["stage `x`", "begins with a stage that takes"]);
    let group = Stage::group(Contiguity::Next, vec![refuse(), take("b")]);
    says(of([take("a"), group]), &["stage `x`", "a group begins with"]);
    let optional = begin('a').next("b", is('b')).optional();
    says(optional.not_next("x", is('x')).next("c", is('c')), &["stage `x`", "optional stage `b`"]);
    let optional = begin('a').next_group(begin('b')).optional();
    says(optional.not_followed_by("x", is('x')).next("c", is('c')), &["stage `x`", "stage `b`"]);
    says(of([take("a"), refuse().quantified(often(2, Some(2)))]), &["stage `x`", "cannot be repeated"]);
}

#[test]
fn a_refusing_stage_at_the_end_without_a_time() {
    says(begin('a').not_followed_by("x", is('x')), &["stage `x`", "needs `within`"]);
}

#[test]
fn numbers_of_repetitions_that_cannot_be() {
    says(begin('a').times(0), &["stage `a`", "at most 0 times"]);
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
    let reversed = begin('a').times(3..=2);
    says(reversed, &["stage `a`", "at least 3 and at most 2"]);
    says(begin('a').times(20_000), &["20000 places"]);
    says(begin('a').next_group(begin('b').times(200)).times(200), &["40001 places"]);
}

#[test]
fn until_where_nothing_goes_on() {
    says(begin('a').times(2).until(is('x')), &["stage `a`", "`until`"]);
}

#[test]
fn what_a_greedy_stage_cannot_be_or_stand_before() {
    let greedy = |quantifier| of([quantified("a", Quantifier { greedy: true, ..quantifier })]);
    says(greedy(often(1, Some(1))), &["stage `a`", "cannot be greedy"]);
    let combinations = Quantifier { inner: Inner::Combinations, ..often(2, Some(3)) };
    says(greedy(combinations), &["stage `a`", "greedy"]);
    let group = Stage::group(Contiguity::Next, vec![take("a")])
        .quantified(Quantifier { greedy: true, ..often(2, Some(3)) });
    says(of([group]), &["stage `a`", "can be greedy"]);
    let before = begin('a').times(1..=2).greedy().next("b", is('b')).optional();
    says(before, &["stage `b`", "greedy stage `a`"]);
    let zero = quantified("b", often(0, Some(2)));
    says(
        of([quantified("a", Quantifier { greedy: true, ..often(1, Some(2)) }), zero]),
        &["greedy stage `a`"],
    );
}

#[test]
fn gaps_between_the_repetitions_of_what_does_not_repeat() {
    let single = Quantifier { inner: Inner::Consecutive, ..Quantifier::default() };
    says(of([quantified("a", single)]), &["stage `a`", "takes one record"]);
}

#[test]
fn times_that_are_nothing_or_more_than_there_is() {
    says(begin('a').within(millis(0)), &["within less than a millisecond"]);
    says(begin('a').next("b", is('b')).within_previous(millis(0)), &["stage `b`", "less than a millisecond"]);
    let more = || begin('b').next("c", is('c')).within_previous(millis(9));
    says(more().within(millis(8)), &["stage `c`", "more time than the whole"]);
    says(begin('a').next_group(more()).within(millis(8)), &["stage `c`", "more time than the whole"]);
}

#[test]
fn skipping_to_a_stage_that_is_not_there() {
    let to = |stage: &str| AfterMatch::SkipToFirst(stage.to_owned());
    says(begin('a').after_match(to("b")), &["no stage `b`"]);
    says(begin('a').next_group(begin('b')).after_match(to("b")), &["no stage `b`", "inside a group"]);
}

#[test]
fn rounds_that_may_take_nothing_or_whose_beginning_could_not_be_told() {
    let optional = || quantified("a", Quantifier { optional: true, ..Quantifier::default() });
    let group = |stages| Stage::group(Contiguity::Next, stages);
    says(
        of([group(vec![optional()]).quantified(often(1, None))]).unbounded(),
        &["stage `a`", "may take nothing"],
    );
    let nested = group(vec![group(vec![optional()])]).quantified(often(1, None));
    says(of([nested]).unbounded(), &["stage `a`", "may take nothing"]);
    let typed = Pattern::begin_group(begin('a').optional().next("b", is('b'))).times(2);
    says(typed, &["stage `a`", "first stage cannot be optional"]);
}

#[test]
fn a_fold_in_rounds() {
    let fold = |name: char| begin(name).times(2).fold(|| 0i64, |sum, a| *sum += a.number);
    says(
        Pattern::begin_group(fold('a')).times(2),
        &["stage `a`", "a fold cannot stand in a group that repeats"],
    );
    let nested = begin('a').next_group(fold('b'));
    says(Pattern::begin_group(nested).times(2), &["stage `b`", "a fold cannot stand"]);
}

#[test]
fn what_is_said_of_a_group_and_holds_for_the_whole_alone() {
    let group = || begin('b').next("c", is('c'));
    let verbs = [
        ("within", group().within(millis(5))),
        ("after_match", group().after_match(AfterMatch::SkipToNext)),
        ("fail_on_miss", group().fail_on_miss()),
        ("unbounded", group().unbounded()),
        ("runs_per_key", group().runs_per_key(5)),
        ("order_ties_by", group().order_ties_by(|a, b| a.number.cmp(&b.number))),
    ];
    for (verb, group) in verbs {
        says(begin('a').followed_by_group(group), &["stage `b`", &format!("`{verb}`"), "a whole pattern"]);
    }
    says(Pattern::begin_group(group().within(millis(5))), &["stage `b`", "`within`"]);
    let hidden = begin('x').next_group(group().within(millis(5)));
    says(begin('a').next_group(hidden), &["stage `b`", "`within`"]);
}

#[test]
fn too_many_groups() {
    let groups = (0..33).map(|number| Stage::group(Contiguity::Next, vec![take(&format!("s{number}"))]));
    says(of(groups), &["33 groups", "32 are the most"]);
}
