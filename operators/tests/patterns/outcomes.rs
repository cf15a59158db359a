//! What is given when: after-match strategies, time, late records, ties, and the limit on runs.

use highwater_operators::interpret::interpret;
use highwater_operators::memory::Memory;
use highwater_operators::pattern::{AfterMatch, One, Pattern};
use highwater_operators::testkit::{Harness, at};
use highwater_operators::topology::Topology;

use crate::letters::{Letter, begin, each_millisecond, found, found_at, is, letters, millis, show, show_all};

fn none() -> Vec<String> {
    Vec::new()
}

fn timed(records: &[(i64, &str)]) -> Vec<(i64, Letter)> {
    records.iter().map(|(time, text)| (*time, letters(text)[0])).collect()
}

/// One or more `a` and then a `b`, with a strategy.
fn with(after: AfterMatch, text: &str) -> Vec<String> {
    found(text, |letters| {
        let pattern = begin('a').one_or_more().followed_by("b", is('b')).after_match(after).unbounded();
        letters.pattern(pattern).select("m", |(), (a, b)| format!("{} {}", show_all(a), show(b)))
    })
}

#[test]
fn without_skipping_every_match_is_given() {
    let all = ["a1 a2 a3 b4", "a1 a2 b4", "a1 b4", "a2 a3 b4", "a2 b4", "a3 b4"];
    assert_eq!(with(AfterMatch::NoSkip, "a1 a2 a3 b4"), all);
}

#[test]
fn skipping_to_the_next_drops_what_began_with_the_same_record() {
    assert_eq!(with(AfterMatch::SkipToNext, "a1 a2 a3 b4"), ["a1 a2 a3 b4", "a2 a3 b4", "a3 b4"]);
}

#[test]
fn skipping_past_the_last_drops_what_began_before_the_match_ended() {
    assert_eq!(with(AfterMatch::SkipPastLast, "a1 a2 a3 b4 a5 b6"), ["a1 a2 a3 b4", "a5 b6"]);
}

#[test]
fn skipping_to_the_first_or_last_record_of_a_stage_drops_what_began_before_it() {
    let found = |after| {
        found("a1 c2 c3 b4 b5", |letters| {
            let pattern = Pattern::begin("a", |_: &Letter| true)
                .next("c", is('c'))
                .one_or_more()
                .consecutive()
                .next("b", is('b'))
                .after_match(after)
                .within(millis(100));
            letters
                .pattern(pattern)
                .select("m", |(), (a, c, b)| format!("{} {} {}", show(a), show_all(c), show(b)))
        })
    };
    assert_eq!(found(AfterMatch::NoSkip), ["a1 c2 c3 b4", "c2 c3 b4"]);
    assert_eq!(found(AfterMatch::SkipToFirst("c".into())), ["a1 c2 c3 b4", "c2 c3 b4"]);
    assert_eq!(found(AfterMatch::SkipToLast("c".into())), ["a1 c2 c3 b4"]);
}

#[test]
fn a_match_waits_while_a_run_lives_that_began_before_it_and_has_the_time_at_which_that_ended() {
    let seen = found_at(timed(&[(0, "a1"), (1, "b1"), (2, "c1"), (9, "x")]), |letters| {
        let long = Pattern::begin("any", |record: &Letter| record.letter != 'c')
            .followed_by("c", |record| record.letter == 'c')
            .when(|_, (any,)| any.letter == 'b')
            .after_match(AfterMatch::SkipToNext)
            .within(millis(5));
        letters.pattern(long).select("m", |(), (any, c)| show_all(&[any, c]))
    });
    assert_eq!(seen, [(5, "b1 c1".to_owned())], "the run of `a1` lives until 5");
}

/// The error that ends a job that looks for `a b? c`, skipping to `b`.
fn missed(text: &str, pattern: Pattern<Letter, (), One>, after: AfterMatch) -> Result<Vec<String>, String> {
    let topology = Topology::new("shop");
    let source = topology.source("letters", Memory::source(each_millisecond(text)));
    let timed = source.event_time(|(time, _)| at(*time), millis(0)).map(|(_, letter)| letter);
    let sink = Memory::sink();
    let pattern = pattern.next("b", is('b')).optional().next("c", is('c')).after_match(after).fail_on_miss();
    let matches = timed.key_by(|_| ()).pattern(pattern);
    let matches = matches.select("theft", |(), (a, b, c)| show_all(&[a, b.unwrap_or(a), c]));
    matches.values().sink("out", sink.clone());
    interpret(topology).map(|()| sink.take()).map_err(|error| {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text += &format!(": {cause}");
            source = cause.source();
        }
        text
    })
}

#[test]
fn a_match_without_the_stage_to_skip_to_ends_the_job_if_that_was_asked_for() {
    let to_b = || AfterMatch::SkipToFirst("b".into());
    assert_eq!(missed("a b c", begin('a'), to_b()), Ok(vec!["a0 b0 c0".to_owned()]));
    let error = missed("a c", begin('a'), to_b()).expect_err("nothing to skip to");
    assert!(error.contains("stage `b`") && error.contains("theft"), "{error}");
    let to_a = AfterMatch::SkipToLast("a".into());
    let error = missed("a c", begin('a'), to_a).expect_err("it would find the match for ever");
    assert!(error.contains("stage `a`") && error.contains("for ever"), "{error}");
}

#[test]
fn a_window_is_open_at_its_right_end() {
    let seen = |time| {
        found_at(timed(&[(10, "a1"), (time, "b2")]), |letters| {
            let pattern = begin('a').followed_by("b", is('b')).within(millis(5));
            let (matches, partial) = letters.pattern(pattern).with_timed_out(|(), (a, b)| {
                assert_eq!(b, None);
                format!("only {}", show(a.expect("a run has taken a record")))
            });
            let matches = matches.select("m", |(), (a, b)| show_all(&[a, b]));
            matches.values().merge(partial.values()).key_by(|_| ())
        })
    };
    assert_eq!(seen(14), [(14, "a1 b2".to_owned())]);
    assert_eq!(seen(15), [(15, "only a1".to_owned())], "it has the time at which its own was over");
    assert_eq!(seen(99), [(15, "only a1".to_owned())]);
}

#[test]
fn a_step_has_a_time_of_its_own() {
    let seen = |records: &[(i64, &str)]| {
        found_at(timed(records), |letters| {
            let pattern = begin('a')
                .followed_by("b", is('b'))
                .within_previous(millis(3))
                .followed_by("c", is('c'))
                .within(millis(100));
            let (matches, partial) = letters
                .pattern(pattern)
                .with_timed_out(|(), (a, _, _)| format!("only {}", show(a.expect("a"))));
            let matches = matches.select("m", |(), (a, b, c)| show_all(&[a, b, c]));
            matches.values().merge(partial.values()).key_by(|_| ())
        })
    };
    assert_eq!(seen(&[(0, "a1"), (2, "b2"), (50, "c3")]), [(50, "a1 b2 c3".to_owned())]);
    assert_eq!(seen(&[(0, "a1"), (3, "b2"), (50, "c3")]), [(3, "only a1".to_owned())]);
}

#[test]
fn what_must_not_follow_is_known_when_the_time_is_over_even_if_no_record_comes() {
    let pattern = || begin('a').not_followed_by("b", is('b')).within(millis(10));
    let mut harness = Harness::new(|stream| {
        let (matches, partial) =
            stream.key_by(|_: &Letter| ()).pattern(pattern()).with_timed_out(|(), _| "timed out".to_owned());
        matches.select("m", |(), (a,)| show(a)).values().merge(partial.values())
    });
    harness.record(letters("a1")[0], at(0));
    harness.record(letters("a2")[0], at(5));
    harness.record(letters("b0")[0], at(12));
    harness.watermark(at(9));
    assert_eq!(harness.take(), []);
    harness.watermark(at(10));
    assert_eq!(harness.take(), [("a1".to_owned(), at(10))]);
    harness.watermark(at(100));
    assert_eq!(harness.take(), [], "`b0` comes within the time of `a2`");
    assert_eq!(harness.rows(), 0);
}

#[test]
fn what_must_not_follow_may_have_its_own_time_instead() {
    let seen = found_at(timed(&[(0, "a1"), (4, "b2"), (10, "a3"), (15, "b4")]), |letters| {
        let pattern = begin('a').not_followed_by("b", is('b')).within_previous(millis(5));
        letters.pattern(pattern).select("m", |(), (a,)| show(a))
    });
    assert_eq!(seen, [(15, "a3".to_owned())], "the record at the end of the time is too late");
}

#[test]
fn a_record_behind_the_watermark_is_in_the_late_stream_and_in_no_match() {
    let mut harness = Harness::new(|stream| {
        let pattern = begin('a').followed_by("b", is('b')).within(millis(100));
        let (matches, late) = stream.key_by(|_: &Letter| ()).pattern(pattern).with_late();
        let matches = matches.select("m", |(), (a, b)| show_all(&[a, b])).values();
        matches.merge(late.map(|record| format!("late {}", show(&record))))
    });
    harness.watermark(at(10));
    harness.record(letters("a1")[0], at(9));
    harness.record(letters("a2")[0], at(10));
    harness.record(letters("b3")[0], at(11));
    harness.watermark(at(20));
    assert_eq!(harness.take(), [("late a1".to_owned(), at(9)), ("a2 b3".to_owned(), at(11))]);
}

#[test]
fn records_of_one_time_come_in_the_order_of_arrival_or_as_the_pattern_orders_them() {
    let seen = |by_number: bool| {
        found_at(timed(&[(5, "a3"), (5, "a1"), (5, "a2")]), |letters| {
            let pattern = begin('a').next("then", is('a')).next("last", is('a'));
            let pattern =
                if by_number { pattern.order_ties_by(|a, b| a.number.cmp(&b.number)) } else { pattern };
            letters.pattern(pattern).select("m", |(), (a, b, c)| show_all(&[a, b, c]))
        })
    };
    assert_eq!(seen(false), [(5, "a3 a1 a2".to_owned())]);
    assert_eq!(seen(true), [(5, "a1 a2 a3".to_owned())]);
}

#[test]
fn of_too_many_runs_those_go_that_began_first() {
    let seen = found("a1 a2 a3 b4", |letters| {
        let pattern = begin('a').followed_by("b", is('b')).runs_per_key(2);
        letters.pattern(pattern).select("m", |(), (a, b)| show_all(&[a, b]))
    });
    assert_eq!(seen, ["a2 b4", "a3 b4"]);
}

#[test]
fn one_key_does_not_know_of_another() {
    let mut harness = Harness::new(|stream| {
        let pattern = begin('a').next("b", is('b'));
        let matches = stream.key_by(|letter: &Letter| letter.number).pattern(pattern);
        matches.select("m", |key, (a, b)| format!("{key}: {}", show_all(&[a, b]))).values()
    });
    for (record, time) in letters("a1 a2 b2 b1").into_iter().zip(0..) {
        harness.record(record, at(time));
    }
    harness.watermark(at(100));
    let seen: Vec<String> = harness.take().into_iter().map(|(seen, _)| seen).collect();
    assert_eq!(seen, ["2: a2 b2", "1: a1 b1"]);
    assert_eq!(found("", |letters| letters.pattern(begin('a')).select("m", |(), (a,)| show(a))), none());
}
