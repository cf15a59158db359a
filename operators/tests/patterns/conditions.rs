//! Conditions that see what the run has taken: `when`, `each`, `until_when`.

use crate::letters::{begin, found, is, show, show_all};

#[test]
fn when_sees_what_the_earlier_stages_of_its_own_run_took() {
    let seen = found("a5 a3 b4 b6", |letters| {
        let pattern = begin('a').followed_by("b", is('b')).when(|b, (a,)| b.number > a.number);
        letters.pattern(pattern).select("m", |(), (a, b)| show_all(&[a, b]))
    });
    // `b4` is passed over by the run that began with `a5` alone: only for that one it does not satisfy the condition.
    assert_eq!(seen, ["a3 b4", "a5 b6"]);
}

#[test]
fn a_stage_with_two_conditions_takes_what_satisfies_both_and_or_stands_for_the_first() {
    let seen = found("a1 b9 c3 c0 b2", |letters| {
        let pattern = begin('a')
            .followed_by("b", is('b'))
            .or(is('c'))
            .when(|record, (a,)| record.number > a.number)
            .when(|record, _| record.number < 9);
        letters.pattern(pattern).select("m", |(), (_, b)| show(b))
    });
    assert_eq!(seen, ["c3"]);
}

#[test]
fn each_sees_the_records_that_its_stage_has_so_far() {
    let seen = found("s a1 a3 a2 a4 e", |letters| {
        let pattern = begin('s')
            .next("a", is('a'))
            .one_or_more()
            .each(|a, _, so_far| so_far.last().is_none_or(|last| a.number > last.number))
            .followed_by("e", is('e'))
            .unbounded();
        letters.pattern(pattern).select("m", |(), (_, a, _)| show_all(a))
    });
    assert_eq!(seen, ["a1", "a1 a3", "a1 a3 a4"]);
}

#[test]
fn what_a_stage_has_so_far_is_counted_and_read_from_both_ends() {
    let seen = found("a1 a2 a3 a4 e", |letters| {
        let pattern = begin('a')
            .times(3)
            .each(|_, (), so_far| {
                let newest: Vec<i64> = so_far.newest_first().map(|a| a.number).collect();
                let first = so_far.first().map(|a| a.number);
                assert_eq!((newest.len(), newest.last().copied()), (so_far.len(), first));
                assert_eq!(so_far.is_empty(), newest.is_empty());
                assert!(newest.windows(2).all(|pair| pair[0] == pair[1] + 1));
                true
            })
            .consecutive();
        letters.pattern(pattern).select("m", |(), (a,)| show_all(a))
    });
    assert_eq!(seen, ["a1 a2 a3", "a2 a3 a4"]);
}

#[test]
fn a_fold_is_an_aggregate_that_conditions_read_while_it_runs() {
    let seen = found("a1 a2 a3 a4 e9", |letters| {
        let pattern = begin('a')
            .one_or_more()
            .fold(|| 0i64, |sum, a| *sum += a.number)
            .each(|a, (), sum| sum.copied().unwrap_or(0) + a.number <= 6)
            .followed_by("e", is('e'))
            .when(|e, (sum,)| *sum < e.number)
            .unbounded();
        letters.pattern(pattern).select("m", |(), (sum, _)| format!("{sum:?}"))
    });
    assert_eq!(seen, ["1", "2", "3", "3", "4", "5", "6"], "1; 2; 3; 4; 1+2; 2+3; 1+2+3");
}

#[test]
fn until_when_ends_a_stage_by_what_it_has_so_far() {
    let seen = found("s a1 a2 a3 a4 e", |letters| {
        let pattern = begin('s')
            .next("a", is('a'))
            .one_or_more()
            .until_when(|_, _, so_far| so_far.len() == 2)
            .followed_by("e", is('e'))
            .unbounded();
        letters.pattern(pattern).select("m", |(), (_, a, _)| show_all(a))
    });
    assert_eq!(seen, ["a1", "a1 a2"]);
}

#[test]
fn a_condition_in_a_group_sees_its_own_round_alone() {
    let seen = found("s a5 b6 a1 b2 e", |letters| {
        let round = begin('a').next("b", is('b')).when(|b, (a,)| b.number == a.number + 1);
        let pattern =
            begin('s').next_group(round).times(2).consecutive().next("e", is('e')).when(|_, (_, rounds)| {
                assert_eq!(rounds.len(), 2);
                rounds.last().is_some_and(|(a, b)| (a.number, b.number) == (1, 2))
            });
        letters.pattern(pattern).select("m", |(), (_, rounds, _)| {
            rounds.iter().map(|(a, b)| show_all(&[a, b])).collect::<Vec<_>>().join(", ")
        })
    });
    assert_eq!(seen, ["a5 b6, a1 b2"]);
}

#[test]
fn behind_a_group_that_may_go_on_conditions_see_its_latest_round() {
    let seen = found("s a1 b2 a3 b4 e f", |letters| {
        let round = begin('a').next("b", is('b'));
        let pattern = begin('s')
            .next_group(round)
            .one_or_more()
            .consecutive()
            .next("e", is('e'))
            .when(|_, (_, rounds)| {
                assert_eq!(rounds.len(), 2);
                rounds.last().is_some_and(|(a, b)| (a.number, b.number) == (3, 4))
            })
            .next("f", is('f'))
            .when(|_, (_, rounds, _)| {
                assert_eq!(rounds.len(), 2);
                rounds.last().is_some_and(|(a, _)| a.number == 3)
            })
            .unbounded();
        letters.pattern(pattern).select("m", |(), (_, rounds, _, _)| format!("{} rounds", rounds.len()))
    });
    assert_eq!(seen, ["2 rounds"]);
}

#[test]
fn a_record_that_its_round_cannot_take_any_more_begins_the_next_one() {
    let seen = found("s a1 a2 a3 e", |letters| {
        let two_at_most = begin('a').one_or_more().consecutive().each(|_, (), so_far| so_far.len() < 2);
        let pattern =
            begin('s').next_group(two_at_most).one_or_more().consecutive().next("e", is('e')).unbounded();
        letters.pattern(pattern).select("m", |(), (_, rounds, _)| {
            rounds.iter().map(|(a,)| show_all(a)).collect::<Vec<_>>().join(", ")
        })
    });
    assert_eq!(seen, ["a1 a2, a3", "a1, a2 a3", "a1, a2, a3"]);
}

#[test]
fn the_rounds_so_far_are_none_before_the_first_and_not_those_of_another_group() {
    let seen = found("a b1 c d1 d2 e", |letters| {
        let first = begin('b').next("c", is('c'));
        let second = begin('d');
        let pattern = begin('a')
            .next_group(first)
            .times(0..=2)
            .next_group(second)
            .times(1..=2)
            .next("e", is('e'))
            .when(|_, (_, first, second)| {
                assert_eq!((first.len(), second.len(), first.is_empty()), (1, 2, false));
                true
            });
        letters
            .pattern(pattern)
            .select("m", |(), (_, first, second, _)| format!("{} {}", first.len(), second.len()))
    });
    assert_eq!(seen, ["1 2"]);
}
