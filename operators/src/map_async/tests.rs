//! What `map_async` promises: every result once, in the order that was asked for, beside the right watermarks, within
//! its bounds; over restarts, timeouts and failures. If a test fails here, answers are lost or doubled, late records
//! come on time, or a job hangs on a service that does.

mod rig;

use std::collections::BTreeSet;
use std::time::Duration;

use highwater_state::Timestamp;
use proptest::prelude::*;

use crate::interpret::interpret;
use crate::limits::Limits;
use crate::map_async::Requests;
use crate::memory::Memory;
use crate::stateless::tried::Refused;
use crate::stream::Stream;
use crate::testkit::{Harness, at};
use crate::topology::Topology;
use rig::{Event, Outside, Rig};

type Asking = Requests<Stream<String>, Stream<Refused<i64>>>;

/// A chain of `map_async` alone, and the service that it asks.
fn rig(times: &[i64], how: impl FnOnce(Asking) -> Stream<String>) -> (Rig<String>, Outside) {
    let outside = Outside::default();
    let asked = outside.clone();
    let records: Vec<(i64, i64)> = times.iter().copied().zip(0..).collect();
    let rig = Rig::new(&records, Limits::default(), |stream| {
        how(stream.map_async("ask", move |number| asked.ask(number)))
    });
    (rig, outside)
}

fn records(events: &[Event<String>]) -> Vec<&str> {
    let records = events.iter().filter_map(|event| match event {
        Event::Record(record, _) => Some(record.as_str()),
        Event::Watermark(_) => None,
    });
    records.collect()
}

#[test]
fn results_survive_a_restart_after_every_input_also_on_a_keyed_stream() {
    let mut harness = Harness::new(|stream: Stream<i64>| {
        let doubled =
            stream.map_async("double", |number| async move { Ok::<_, String>(number * 2) }).or_fail();
        let keyed = doubled.key_by(|number| number % 3);
        keyed
            .map_async("text", |number| async move { Ok::<_, String>(number.to_string()) })
            .unordered()
            .or_fail()
            .values()
    });
    for number in 0..6 {
        harness.record(number, at(number * 10));
        harness.watermark(at(number * 10));
    }
    let expected: Vec<_> = (0..6).map(|number| ((number * 2).to_string(), at(number * 10))).collect();
    assert_eq!(harness.take(), expected);
}

#[test]
fn results_leave_in_the_order_of_their_records_or_as_they_come() {
    for (ordered, expected) in [(true, ["0", "1", "2"]), (false, ["2", "0", "1"])] {
        let (mut rig, outside) =
            rig(&[1, 2, 3], |asking| if ordered { asking.or_fail() } else { asking.unordered().or_fail() });
        rig.run();
        assert_eq!(outside.asked(), [0, 1, 2]);
        for number in [2, 0, 1] {
            outside.answer(number, Ok(&number.to_string()));
            rig.run();
        }
        rig.commit();
        let events = rig.take();
        assert_eq!(records(&events), expected);
    }
}

#[test]
fn nothing_overtakes_a_watermark_in_either_direction() {
    // A record at the watermark meets it: it stands between the first and the second. The third is late.
    let (mut rig, outside) = rig(&[10, 10, 5], |asking| asking.unordered().or_fail());
    rig.run();
    outside.answer(2, Ok("late"));
    outside.answer(1, Ok("second"));
    rig.run();
    rig.commit();
    let first = rig.take();
    assert!(first.is_empty(), "the first record holds up time: {first:?}");
    outside.answer(0, Ok("first"));
    rig.run();
    rig.commit();
    let record = |name: &str, time| Event::Record(name.to_owned(), at(time));
    let events = rig.take();
    assert_eq!(records(&events), ["first", "second", "late"]);
    let late = events.iter().position(|event| *event == record("late", 5));
    let watermark = events.iter().position(|event| *event == Event::Watermark(at(10)));
    assert!(watermark < late, "a late record is late behind a request too: {events:?}");
}

#[test]
fn no_more_is_requested_than_may_be_and_nothing_is_taken_before_there_is_room() {
    let (mut rig, outside) =
        rig(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], |asking| asking.in_flight(3).unordered().or_fail());
    rig.run();
    assert_eq!((outside.asked(), rig.executor.running()), (vec![0, 1, 2], 3));
    outside.answer(1, Ok("1"));
    rig.run();
    assert_eq!((outside.asked(), rig.executor.running()), (vec![3], 3));
    rig.end_epoch(false, || {
        for number in outside.asked().into_iter().chain([0, 2, 3]) {
            outside.answer(number, Ok("x"));
        }
    });
    rig.crash();
    rig.run();
    assert!(rig.executor.running() <= 3);
}

#[test]
fn an_attempt_that_takes_too_long_is_aborted_and_repeated_after_a_pause_that_doubles() {
    let how = |asking: Asking| {
        let asking = asking.timeout(Duration::from_millis(1000)).retries(2, Duration::from_millis(100));
        let (good, bad) = asking.or_dead_letter();
        good.merge(bad.map(|bad| format!("{}: {}", bad.record, bad.reason)))
    };
    let (mut rig, outside) = rig(&[7], how);
    rig.run();
    assert_eq!(outside.asked(), [0]);
    let moments =
        [(999, 0, 1), (1, 0, 0), (99, 0, 0), (1, 1, 1), (1000, 0, 0), (199, 0, 0), (1, 1, 1), (999, 0, 1)];
    for (waited, asked, running) in moments {
        rig.wait(waited);
        assert_eq!((outside.asked().len(), rig.executor.running()), (asked, running), "{:?}", rig.clock);
    }
    rig.wait(1);
    rig.commit();
    let events = rig.take();
    assert_eq!(records(&events), ["0: there was no answer within 1s (attempt 3 of 3)"]);
}

#[test]
fn an_attempt_that_fails_is_repeated_and_one_that_is_aborted_takes_no_answer() {
    let (mut rig, outside) = rig(&[1], |asking| asking.timeout(Duration::from_millis(10)).or_skip());
    rig.run();
    outside.answer(0, Err("not now"));
    rig.run();
    assert_eq!(rig.executor.running(), 0);
    rig.wait(100);
    assert_eq!(outside.asked(), [0, 0]);
    rig.wait(10);
    assert_eq!(rig.executor.running(), 0, "the attempt is aborted");
    outside.answer(0, Ok("third"));
    rig.wait(200);
    rig.commit();
    assert_eq!(records(&rig.take()), ["third"]);
}

#[test]
fn a_record_whose_attempts_are_used_up_fails_the_job_or_is_skipped_and_counted_or_comes_back() {
    let run = |how: fn(Asking) -> Stream<String>| {
        let (mut rig, outside) = rig(&[1, 2], |asking| how(asking.retries(0, Duration::ZERO)));
        rig.run();
        outside.answer(0, Err("gone"));
        outside.answer(1, Ok("here"));
        rig.executor.poll_all();
        rig.try_step()?;
        rig.run();
        rig.commit();
        Ok::<_, crate::error::RunError>(rig.take())
    };
    let error = run(Requests::or_fail).expect_err("it failed").to_string();
    assert!(error.contains("map_async `ask`") && error.contains("tests.rs:"), "{error}");
    assert!(error.contains("gone") && !error.contains("attempt"), "{error}");
    assert_eq!(records(&run(Requests::or_skip).expect("runs")), ["here"]);
    let both = |asking: Asking| {
        let (good, bad) = asking.or_dead_letter();
        good.merge(bad.map(|bad| bad.reason))
    };
    let events = run(both).expect("runs");
    assert_eq!(records(&events).into_iter().collect::<BTreeSet<_>>(), ["gone", "here"].into());
}

#[test]
fn a_panic_and_a_future_that_nobody_drives_end_the_job_naming_the_operator() {
    for (panics, expected) in [(true, "panicked: on purpose"), (false, "dropped")] {
        let mut rig: Rig<i64> = Rig::new(&[(1, 1)], Limits::default(), |stream| {
            let asking = stream.map_async("ask", move |number| async move {
                assert!(!panics, "on purpose");
                std::future::pending::<()>().await;
                Ok::<_, String>(number)
            });
            asking.or_skip()
        });
        (0..3).for_each(|_| _ = rig.step());
        rig.executor.poll_all();
        rig.executor.drop_all();
        let error = (0..3).find_map(|_| rig.try_step().err()).expect("it fails").to_string();
        assert!(error.contains("map_async `ask`") && error.contains(expected), "{error}");
    }
}

#[test]
fn what_waits_is_written_once_and_deleted_once() {
    let (mut rig, outside) = rig(&[1, 2, 3], |asking| asking.or_fail());
    rig.run();
    rig.commit();
    assert_eq!(rig.changes(), 0);
    outside.answer(0, Ok("0"));
    rig.run();
    assert_eq!(rig.changes(), 1, "the row of the first is deleted");
    rig.crash();
    outside.asked();
    rig.run();
    assert_eq!(outside.asked(), [1, 2]);
    assert_eq!(rig.changes(), 1, "the position of the source, and no row");
    [1, 2].into_iter().for_each(|number| outside.answer(number, Ok("x")));
    rig.run();
    assert_eq!(rig.changes(), 2);
    assert_eq!(rig.changes(), 0);
    rig.crash();
    rig.run();
    assert!(outside.asked().is_empty());
}

#[test]
fn the_last_epoch_of_an_input_that_has_ended_waits_for_every_answer() {
    let (mut rig, outside) = rig(&[1, 2], |asking| asking.or_fail());
    rig.run();
    let mut helped = 0;
    rig.end_epoch(true, || {
        if helped < 2 {
            outside.answer(helped, Ok("x"));
        }
        helped += 1;
    });
    let events = rig.take();
    assert_eq!(records(&events), ["x", "x"]);
    assert_eq!(events.last(), Some(&Event::Watermark(Timestamp::MAX)));
}

#[test]
fn what_cannot_work_is_refused_with_the_operator_and_the_line() {
    for (how, expected) in [
        ((|asking| asking.in_flight(0).or_fail()) as fn(Asking) -> Stream<String>, "`in_flight` is 0"),
        (|asking| asking.timeout(Duration::from_micros(999)).or_fail(), "at least 1 ms"),
    ] {
        let topology = Topology::new("refused");
        let source =
            topology.source("numbers", Memory::source([1i64])).event_time(|n| at(*n), Duration::ZERO);
        how(source.map_async("ask", |number: i64| async move { Ok::<_, String>(number.to_string()) }))
            .sink("out", Memory::sink());
        let error = interpret(topology).expect_err("it is refused").to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("map_async `ask`") && error.contains("tests.rs:"), "{error}");
    }
}

#[test]
fn the_interpreter_repeats_attempts_without_waiting() {
    let topology = Topology::new("repeats");
    let sink = Memory::sink();
    let outside = Outside::default();
    outside.answer(4, Err("first"));
    outside.answer(4, Err("second"));
    outside.answer(4, Ok("third"));
    let asked = outside.clone();
    let asking = topology.source("numbers", Memory::source([4i64])).map_async("ask", move |n| asked.ask(n));
    asking.retries(2, Duration::from_secs(3600)).or_fail().sink("out", sink.clone());
    interpret(topology).expect("runs");
    assert_eq!(sink.take(), ["third"]);
}

#[derive(Clone, Debug)]
enum Move {
    Step,
    Answer(usize),
    Fail(usize),
    Wait,
    Commit,
    Crash,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => Just(Move::Step),
        6 => (0usize..8).prop_map(Move::Answer),
        1 => (0usize..8).prop_map(Move::Fail),
        1 => Just(Move::Wait),
        2 => Just(Move::Commit),
        1 => Just(Move::Crash),
    ];
    prop::collection::vec(one, 0..60)
}

/// A record with its time, and the greatest watermark before it.
type Met = (String, Timestamp, Timestamp);

fn met(events: Vec<Event<String>>) -> Vec<Met> {
    let mut watermark = Timestamp::MIN;
    let met = events.into_iter().filter_map(|event| match event {
        Event::Record(record, time) => Some((record, time, watermark)),
        Event::Watermark(at) => {
            watermark = watermark.max(at);
            None
        }
    });
    met.collect()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    Stream,
    Key,
    None,
}

fn run(times: &[i64], in_flight: usize, order: Order, moves: &[Move]) -> Vec<Met> {
    let outside = Outside::default();
    let asked = outside.clone();
    let records: Vec<(i64, i64)> = times.iter().copied().zip(0..).collect();
    let mut rig = Rig::new(&records, Limits::tiny(), |stream| {
        let ask = move |number: i64| asked.ask(number);
        let most = u32::MAX;
        match order {
            Order::Stream => stream.map_async("ask", ask).in_flight(in_flight).retries(most, PAUSE).or_fail(),
            Order::None => {
                stream.map_async("ask", ask).in_flight(in_flight).unordered().retries(most, PAUSE).or_fail()
            }
            Order::Key => {
                let keyed = stream.key_by(|number| number % 3).map_async("ask", ask);
                keyed.in_flight(in_flight).unordered().retries(most, PAUSE).or_fail().values()
            }
        }
    });
    let mut open = Vec::new();
    let answer = |open: &mut Vec<i64>, which: usize, good: bool| {
        open.extend(outside.asked());
        if open.is_empty() {
            return;
        }
        let number = open.remove(which % open.len());
        let text = number.to_string();
        outside.answer(number, if good { Ok(&text) } else { Err("not now") });
    };
    let mut events = Vec::new();
    for next in moves {
        match next {
            Move::Step => _ = rig.step(),
            Move::Answer(which) => answer(&mut open, *which, true),
            Move::Fail(which) => answer(&mut open, *which, false),
            Move::Wait => rig.clock = rig.clock + Duration::from_secs(1),
            Move::Commit => rig.end_epoch(false, || answer(&mut open, 0, true)),
            Move::Crash => {
                open.clear();
                rig.crash();
            }
        }
        rig.executor.poll_all();
        assert!(rig.executor.running() <= in_flight, "{} requests", rig.executor.running());
        events.extend(rig.take());
    }
    while rig.step() || !rig.is_exhausted() {
        answer(&mut open, 0, true);
        rig.clock = rig.clock + Duration::from_secs(1);
        rig.executor.poll_all();
    }
    rig.end_epoch(true, || answer(&mut open, 0, true));
    events.extend(rig.take());
    met(events)
}

const PAUSE: Duration = Duration::from_millis(1);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_order_of_answers_failures_and_restarts_gives_each_record_once_behind_its_own_watermark(
        times in prop::collection::vec(-20i64..20, 0..15),
        in_flight in 1usize..5,
        order in prop_oneof![Just(Order::Stream), Just(Order::Key), Just(Order::None)],
        moves in moves(),
    ) {
        let mut found = run(&times, in_flight, order, &moves);
        let mut watermark = Timestamp::MIN;
        let mut expected: Vec<Met> = Vec::new();
        for (number, &time) in times.iter().enumerate() {
            expected.push((number.to_string(), at(time), watermark));
            watermark = watermark.max(at(time));
        }
        if order == Order::Key {
            let of_key = |met: &[Met], key: usize| -> Vec<Met> {
                let has_key = |met: &&Met| met.0.parse::<usize>().expect("a number") % 3 == key;
                met.iter().filter(has_key).cloned().collect()
            };
            for key in 0..3 {
                prop_assert_eq!(of_key(&found, key), of_key(&expected, key));
            }
        }
        if order != Order::Stream {
            found.sort();
            expected.sort();
        }
        prop_assert_eq!(found, expected);
    }
}
