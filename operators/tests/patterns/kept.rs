//! What is kept for a key: enough to go on after a restart anywhere in a run, and nothing when its runs are over.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use highwater_operators::pattern::{AfterMatch, Pattern};
use highwater_operators::testkit::{Harness, at};
use serde::{Deserialize, Serialize};

use crate::letters::{Letter, begin, is, letters, millis, show, show_all};

/// Feeds a record each millisecond, with a restart after each.
fn feed(harness: &mut Harness<Letter, String>, text: &str) -> Vec<String> {
    for (record, time) in letters(text).into_iter().zip(0..) {
        harness.record(record, at(time));
        harness.watermark(at(time));
    }
    harness.watermark(at(1000));
    harness.take().into_iter().map(|(seen, _)| seen).collect()
}

#[test]
fn a_fold_goes_on_after_a_restart_in_the_middle_of_its_run() {
    /// Not a number alone: what is read back must be decoded as it was kept.
    #[derive(Clone, Default, Serialize, Deserialize)]
    struct Seen {
        numbers: Vec<i64>,
        name: Option<String>,
    }
    let mut harness = Harness::new(|stream| {
        let pattern = begin('a')
            .followed_by("b", is('b'))
            .times_or_more(2)
            .fold(Seen::default, |seen, b| {
                seen.numbers.push(b.number);
                seen.name = Some(format!("{} so far", seen.numbers.len()));
            })
            .each(|b, (a,), seen| seen.is_none_or(|seen| seen.numbers.len() < 3) && b.number > a.number)
            .followed_by("c", is('c'))
            .when(|c, (_, seen)| seen.numbers.iter().sum::<i64>() == c.number)
            .within(millis(100));
        let matches = stream.key_by(|_: &Letter| ()).pattern(pattern);
        let show = |(a, seen, c): (&Letter, &Seen, &Letter)| {
            format!("{} {:?} {:?} {}", show(a), seen.numbers, seen.name.as_deref(), show(c))
        };
        matches.select("m", move |(), taken| show(taken)).values()
    });
    let seen = feed(&mut harness, "a1 b2 x b1 b3 c4 b5 c10");
    assert_eq!(seen, ["a1 [2, 3, 5] Some(\"3 so far\") c10"]);
    assert_eq!(harness.rows(), 0);
}

#[test]
fn a_match_that_waits_survives_a_restart() {
    let mut harness = Harness::new(|stream| {
        let pattern = Pattern::begin("first", |letter: &Letter| letter.letter != 'c')
            .followed_by("c", is('c'))
            .when(|c, (first,)| c.number == first.number)
            .after_match(AfterMatch::SkipToNext)
            .within(millis(50));
        let matches = stream.key_by(|_: &Letter| ()).pattern(pattern);
        matches.select("m", |(), (first, c)| show_all(&[first, c])).values()
    });
    assert_eq!(feed(&mut harness, "a1 b2 c2 x9 c1"), ["a1 c1", "b2 c2"]);
    assert_eq!(harness.rows(), 0);
}

#[test]
fn a_key_without_runs_keeps_no_row() {
    let mut harness = Harness::new(|stream| {
        let pattern = begin('a').next("b", is('b')).next("c", is('c'));
        let matches = stream.key_by(|letter: &Letter| letter.number).pattern(pattern);
        matches.select("m", |_, (a, b, c)| show_all(&[a, b, c])).values()
    });
    let rows_after = |harness: &mut Harness<Letter, String>, text: &str, time| {
        for record in letters(text) {
            harness.record(record, at(time));
        }
        harness.watermark(at(time + 1));
        harness.rows()
    };
    assert_eq!(rows_after(&mut harness, "x1 y2 b3 c4", 0), 0, "nothing begins with these");
    assert_eq!(rows_after(&mut harness, "a1 a2 a3", 10), 3);
    assert_eq!(rows_after(&mut harness, "b1 x2", 20), 2, "the run of 2 is over");
    assert_eq!(rows_after(&mut harness, "c1 a3", 30), 1, "that of 1 is a match, and 3 has begun again");
    assert_eq!(rows_after(&mut harness, "x3", 40), 0);
}

#[test]
fn runs_that_never_end_leave_nothing_when_their_time_is_over() {
    let mut harness = Harness::new(|stream| {
        let pattern = begin('a').followed_by("never", is('n')).within(millis(100));
        let matches = stream.key_by(|letter: &Letter| letter.number).pattern(pattern);
        matches.select("m", |_, (a, never)| show_all(&[a, never])).values()
    });
    for number in 0..50 {
        harness.record(Letter { letter: 'a', number }, at(number));
    }
    harness.watermark(at(60));
    assert_eq!(harness.rows(), 100, "of each key its run and its timer");
    harness.watermark(at(120));
    assert_eq!(harness.rows(), 2 * 29, "those that began by 20 are over");
    harness.watermark(at(1000));
    assert_eq!(harness.rows(), 0);
}

#[test]
fn a_condition_of_the_record_alone_is_asked_once_for_however_many_runs() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&asked);
    let mut harness = Harness::new(|stream| {
        let pattern = begin('a')
            .followed_by("b", move |letter: &Letter| {
                counting.fetch_add(1, Ordering::Relaxed);
                letter.letter == 'b'
            })
            .within(millis(500));
        let matches = stream.key_by(|_: &Letter| ()).pattern(pattern);
        matches.select("m", |_, (a, b)| show_all(&[a, b])).values()
    });
    assert_eq!(feed(&mut harness, "a1 a2 a3 a4 b5").len(), 4);
    assert_eq!(asked.load(Ordering::Relaxed), 4, "of each record behind the first");
}
