//! What stages took, as types: in matches, in conditions, and in matches that ran out of time.

use highwater_operators::pattern::{Pattern, any};

use crate::letters::{begin, found, is, millis, show, show_all, show_maybe};

#[test]
fn one_record_one_or_none_and_several_are_a_reference_an_option_and_a_slice() {
    let seen = found("a1 b2 c3 c4 d5", |letters| {
        let pattern = begin('a')
            .next("b", is('b'))
            .optional()
            .next("c", is('c'))
            .times(2)
            .next("x", is('x'))
            .optional()
            .next("d", is('d'));
        letters.pattern(pattern).select("m", |(), (a, b, c, x, d)| {
            format!("{} {} [{}] {} {}", show(a), show_maybe(b), show_all(c), show_maybe(x), show(d))
        })
    });
    assert_eq!(seen, ["a1 b2 [c3 c4] - d5"]);
}

#[test]
fn a_fold_is_what_the_records_of_its_stage_add_up_to_and_nothing_where_none_was_taken() {
    let sums = |text| {
        found(text, |letters| {
            let pattern = begin('a').next("b", is('b')).one_or_more().consecutive();
            let pattern = pattern.fold(|| 0i64, |sum, b| *sum += b.number).optional();
            let pattern = pattern.next("c", is('c')).unbounded();
            letters.pattern(pattern).select("m", |(), (a, sum, c)| format!("{} {sum:?} {}", show(a), show(c)))
        })
    };
    assert_eq!(sums("a1 b2 b3 b4 c5"), ["a1 Some(9) c5"]);
    assert_eq!(sums("a1 c5"), ["a1 None c5"]);
}

#[test]
fn each_of_two_runs_that_were_one_has_a_fold_of_its_own() {
    let seen = found("a1 b1 b10 b100", |letters| {
        let pattern = begin('a').followed_by("b", is('b')).one_or_more().allow_combinations();
        let pattern = pattern.fold(|| 0i64, |sum, b| *sum += b.number).unbounded();
        letters.pattern(pattern).select("m", |(), (_, sum)| sum.to_string())
    });
    assert_eq!(seen, ["1", "101", "11", "111"]);
}

#[test]
fn a_group_is_a_tuple_in_the_tuple_and_an_optional_one_an_option_of_it() {
    let seen = |text| {
        found(text, |letters| {
            let group = begin('b').next("c", is('c'));
            let maybe = begin('x').next("y", is('y'));
            let pattern = begin('a').next_group(group).next_group(maybe).optional().next("d", is('d'));
            letters.pattern(pattern).select("m", |(), (a, (b, c), maybe, d)| {
                let maybe = maybe.map(|(x, y)| show_all(&[x, y]));
                format!("{} {} {maybe:?} {}", show(a), show_all(&[b, c]), show(d))
            })
        })
    };
    assert_eq!(seen("a1 b2 c3 d4"), ["a1 b2 c3 None d4"]);
    assert_eq!(seen("a1 b2 c3 x4 y5 d6"), ["a1 b2 c3 Some(\"x4 y5\") d6"]);
}

#[test]
fn a_group_that_repeats_gives_what_each_round_took() {
    let seen = found("s b1 b2 c3 b4 c5 b6 d", |letters| {
        let round = begin('b').one_or_more().consecutive().next("c", is('c')).optional();
        let pattern =
            begin('s').next_group(round).times_or_more(3).consecutive().next("d", is('d')).unbounded();
        letters.pattern(pattern).select("m", |(), (_, rounds, _)| {
            let rounds = rounds.iter().map(|(b, c)| format!("({} {})", show_all(b), show_maybe(*c)));
            rounds.collect::<Vec<_>>().join(" ")
        })
    });
    assert_eq!(seen, ["(b1 -) (b2 c3) (b4 c5) (b6 -)", "(b1 b2 c3) (b4 c5) (b6 -)"]);
}

#[test]
fn rounds_in_rounds_are_told_apart() {
    let seen = found("a1 b2 b3 a4 b5 c", |letters| {
        let inner = begin('b');
        let outer = begin('a').next_group(inner).one_or_more().consecutive();
        let pattern = Pattern::begin_group(outer).one_or_more().consecutive().next("c", is('c')).unbounded();
        letters.pattern(pattern).select("m", |(), (rounds, _)| {
            let show_round = |(a, inner): &(&_, Vec<(&_,)>)| {
                format!("{}({})", show(a), show_all(&inner.iter().map(|(b,)| *b).collect::<Vec<_>>()))
            };
            rounds.iter().map(show_round).collect::<Vec<_>>().join(" ")
        })
    });
    assert_eq!(seen, ["a1(b2 b3) a4(b5)", "a4(b5)"]);
}

#[test]
fn a_group_of_nothing_but_a_group_that_repeats_has_all_its_rounds() {
    let seen = found("s b1 b2 b3 c", |letters| {
        let inner = Pattern::begin_group(begin('b')).times(3);
        let pattern = begin('s').next_group(inner).next("c", is('c')).when(|_, (_, (rounds,))| {
            assert_eq!(rounds.len(), 3);
            rounds.last().is_some_and(|(b,)| b.number == 3)
        });
        letters.pattern(pattern).select("m", |(), (_, (rounds,), _)| {
            rounds.iter().map(|(b,)| show(b)).collect::<Vec<_>>().join(" ")
        })
    });
    assert_eq!(seen, ["b1 b2 b3"]);
}

#[test]
fn a_fold_alone_in_an_optional_group_is_there_if_it_took_records() {
    let seen = |text| {
        found(text, |letters| {
            let group = begin('b').one_or_more().fold(|| 0i64, |sum, b| *sum += b.number);
            let pattern = begin('a').next_group(group).optional().next("c", is('c')).unbounded();
            let pattern = pattern.when(|c, (_, group)| {
                assert_eq!(group.is_some(), c.number > 0);
                true
            });
            letters.pattern(pattern).select("m", |(), (_, group, _)| format!("{group:?}"))
        })
    };
    assert_eq!(seen("a b1 b2 c1"), ["Some((3,))"]);
    assert_eq!(seen("a c0"), ["None"]);
}

#[test]
fn all_of_gives_its_records_in_the_order_of_writing_whatever_that_of_coming() {
    let seen = |text| {
        found(text, |letters| {
            let pattern =
                begin('s').followed_by_all_of((begin('a'), begin('b'), begin('c'))).next("e", is('e'));
            letters
                .pattern(pattern)
                .select("m", |(), (_, (a, b, c), e)| format!("{} {}", show_all(&[a, b, c]), show(e)))
        })
    };
    for text in ["s a1 b2 c3 e", "s c3 a1 b2 e", "s x b2 y c3 a1 e", "s c3 b2 x b9 a1 e"] {
        assert_eq!(seen(text), ["a1 b2 c3 e0"], "{text}");
    }
    assert_eq!(seen("s a1 b2 e c3"), Vec::<String>::new());
}

#[test]
fn a_match_that_ran_out_of_time_gives_what_was_taken_so_far() {
    let seen = |text| {
        found(text, |letters| {
            let group = begin('c').next("d", is('d'));
            let pattern = begin('a')
                .followed_by("b", is('b'))
                .times(2)
                .followed_by_group(group)
                .followed_by("e", is('e'))
                .within(millis(100));
            let (matches, partial) = letters.pattern(pattern).with_timed_out(|(), (a, b, group, e)| {
                let group = group.map(|(c, d)| format!("{} {}", show_maybe(c), show_maybe(d)));
                format!("{} [{}] {group:?} {}", show_maybe(a), show_all(b), show_maybe(e))
            });
            let _ = matches.select("m", |(), _| String::new());
            partial
        })
    };
    assert_eq!(seen("a1"), ["a1 [] None -"]);
    assert_eq!(seen("a1 b2"), ["a1 [b2] None -"]);
    assert_eq!(seen("a1 b2 b3 c4"), ["a1 [b2 b3] Some(\"c4 -\") -"]);
    assert_eq!(seen("a1 b2 b3 c4 d5 x"), ["a1 [b2 b3] Some(\"c4 d5\") -"]);
    assert_eq!(seen("a1 b2 b3 c4 d5 e6"), Vec::<String>::new());
}

#[test]
fn a_partial_match_gives_the_rounds_and_the_fold_so_far() {
    let seen = found("a1 b2 b3 c4 d5 c6", |letters| {
        let round = begin('c').next("d", is('d'));
        let pattern = begin('a')
            .followed_by("b", is('b'))
            .times(2)
            .fold(|| 0i64, |sum, b| *sum += b.number)
            .followed_by_group(round)
            .times(3)
            .within(millis(100));
        let (matches, partial) = letters.pattern(pattern).with_timed_out(|(), (a, sum, rounds)| {
            let rounds = rounds.iter().map(|(c, d)| format!("({} {})", show_maybe(*c), show_maybe(*d)));
            format!("{} {sum:?} {}", show_maybe(a), rounds.collect::<Vec<_>>().join(" "))
        });
        let _ = matches.select("m", |(), _| String::new());
        partial
    });
    assert_eq!(seen, ["a1 Some(5) (c4 d5) (c6 -)"]);
}

#[test]
fn stages_put_together_at_run_time_are_found_by_name() {
    use highwater_operators::pattern::{Condition, Contiguity, Stage};
    let seen = found("a1 b2", |letters| {
        let first = Stage::take("first", Contiguity::Next, Condition::new(any));
        let rises = Condition::new(any)
            .when(|record: &crate::letters::Letter, taken| record.number > taken.of("first")[0].number);
        let stages = vec![first, Stage::take("second", Contiguity::Next, rises)];
        letters.pattern(Pattern::from_stages(stages)).select("m", |(), taken| {
            let all: Vec<String> = taken.iter().map(|(name, of)| format!("{name}={}", show(of))).collect();
            assert!(taken.of("third").is_empty());
            all.join(" ")
        })
    });
    assert_eq!(seen, ["first=a1 second=b2"]);
}
