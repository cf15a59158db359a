//! Sagas step by step, with a restart after every input, and sagas among participants that fail in every way.

#[path = "saga/world.rs"]
mod world;

use std::time::Duration;

use highwater_operators::saga::{Direction, Saga, SagaEnd, SagaInput, SagaOutcome, SagaReply, SagaRequest};
use highwater_operators::stream::Stream;
use highwater_operators::testkit::{Harness, at};
use highwater_state::Timestamp;

type Input = SagaInput<char, u64, u64>;

/// What comes out of the chain.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Asked(SagaRequest<char, String>),
    Ended(SagaEnd<char, u64>),
    Ignored(Input),
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Three steps, of which the second cannot be undone. What it is about is a number; each step adds what it is answered.
fn trip() -> Saga<u64, String, u64> {
    Saga::new("trip")
        .step("flight", |number: &u64| format!("fly {number}"))
        .compensate(|number| format!("stay {number}"))
        .learn(|number, more| *number += more)
        .timeout(millis(10))
        .retries(2, millis(5))
        .compensation_retries(1, millis(7))
        .step("mail", |number| format!("write {number}"))
        .timeout(millis(10))
        .retries(0, Duration::ZERO)
        .step("hotel", |number| format!("sleep {number}"))
        .compensate(|number| format!("leave {number}"))
        .timeout(millis(10))
        .retries(1, Duration::ZERO)
        .compensation_retries(0, Duration::ZERO)
        .step("car", |number| format!("drive {number}"))
        .timeout(millis(10))
        .retries(0, Duration::ZERO)
        .remember(millis(1000))
}

fn chain(inputs: Stream<(char, Input)>, saga: Saga<u64, String, u64>) -> Stream<Told> {
    let streams = inputs.key_by(|(id, _)| *id).map_values(|(_, input)| input).saga(saga);
    let requests = streams.requests.values().map(Told::Asked);
    let ends = streams.ends.values().map(Told::Ended);
    requests.merge(ends).merge(streams.ignored.values().map(Told::Ignored))
}

struct Rig {
    harness: Harness<(char, Input), Told>,
}

impl Rig {
    fn new() -> Rig {
        Rig { harness: Harness::new(|inputs| chain(inputs, trip())) }
    }

    fn begun() -> (Rig, SagaRequest<char, String>) {
        let mut rig = Rig::new();
        rig.harness.record(('a', SagaInput::Start(100)), at(0));
        let request = rig.asked();
        assert_eq!((request.id().as_str(), request.body.as_str()), ("a/flight/do/1", "fly 100"));
        (rig, request)
    }

    fn reply(&mut self, reply: SagaReply<char, u64>, time: i64) {
        self.harness.record((reply.saga, SagaInput::Reply(reply)), at(time));
    }

    fn told(&mut self) -> Vec<(Told, Timestamp)> {
        self.harness.take()
    }

    /// The one request that came.
    #[track_caller]
    fn asked(&mut self) -> SagaRequest<char, String> {
        match &self.told()[..] {
            [(Told::Asked(request), _)] => request.clone(),
            other => panic!("one request, and not {other:?}"),
        }
    }

    /// The one end that came: its data and outcome.
    #[track_caller]
    fn ended(&mut self) -> (u64, SagaOutcome) {
        match &self.told()[..] {
            [(Told::Ended(end), _)] => (end.data, end.outcome.clone()),
            other => panic!("one end, and not {other:?}"),
        }
    }

    /// How many inputs were ignored; nothing else came.
    #[track_caller]
    fn ignored(&mut self) -> usize {
        let told = self.told();
        assert!(told.iter().all(|(told, _)| matches!(told, Told::Ignored(_))), "{told:?}");
        told.len()
    }
}

/// A saga that stands at its last step.
fn at_the_car() -> (Rig, Vec<SagaRequest<char, String>>) {
    let (mut rig, request) = Rig::begun();
    let mut requests = vec![request];
    for time in 1..=3 {
        let reply = requests[requests.len() - 1].done(u64::from(time == 1) * 11);
        rig.reply(reply, time);
        requests.push(rig.asked());
    }
    (rig, requests)
}

#[test]
fn steps_follow_each_other_and_know_what_the_ones_before_were_answered() {
    let (mut rig, requests) = at_the_car();
    let bodies: Vec<_> = requests.iter().map(|request| request.body.as_str()).collect();
    assert_eq!(bodies, ["fly 100", "write 111", "sleep 111", "drive 111"]);
    rig.reply(requests[3].done(5), 4);
    assert_eq!(rig.ended(), (111, SagaOutcome::Completed));
    // Nothing is left of it when it is forgotten.
    rig.harness.watermark(at(1004));
    assert_eq!(rig.harness.rows(), 0);
}

#[test]
fn what_was_done_is_undone_in_reverse_order_and_what_cannot_be_undone_is_left() {
    let (mut rig, requests) = at_the_car();
    rig.reply(requests[3].refused("no licence"), 4);
    let leave = rig.asked();
    assert_eq!((leave.id().as_str(), leave.body.as_str()), ("a/hotel/undo/1", "leave 111"));
    rig.reply(leave.done(0), 5);
    let stay = rig.asked();
    assert_eq!((stay.id().as_str(), stay.body.as_str()), ("a/flight/undo/1", "stay 111"));
    rig.reply(stay.done(0), 6);
    let (failed, reason) = ("car".to_owned(), "no licence".to_owned());
    assert_eq!(rig.ended(), (111, SagaOutcome::Compensated { failed, reason }));
}

#[test]
fn a_step_is_asked_for_again_after_pauses_that_double_and_then_given_up() {
    let (mut rig, request) = Rig::begun();
    rig.reply(request.failed("busy"), 3);
    assert_eq!(rig.told(), []);
    rig.harness.watermark(at(7));
    assert_eq!(rig.told(), []);
    rig.harness.watermark(at(8));
    assert_eq!(rig.asked().id(), "a/flight/do/2");
    // Not answered until 18, then a pause of ten.
    rig.harness.watermark(at(27));
    assert_eq!(rig.told(), []);
    rig.harness.watermark(at(28));
    let third = rig.asked();
    assert_eq!(third.attempt, 3);
    // It may have been done by the second attempt: it is undone.
    rig.reply(third.failed("busy"), 30);
    let stay = rig.asked();
    assert_eq!((stay.step.as_str(), stay.direction), ("flight", Direction::Undo));
    rig.reply(stay.done(0), 31);
    let (failed, reason) = ("flight".to_owned(), "busy".to_owned());
    assert_eq!(rig.ended(), (100, SagaOutcome::Compensated { failed, reason }));
}

#[test]
fn a_step_that_says_itself_that_it_is_not_done_is_not_undone() {
    let (mut rig, request) = Rig::begun();
    rig.reply(request.refused("full"), 1);
    let (failed, reason) = ("flight".to_owned(), "full".to_owned());
    assert_eq!(rig.ended(), (100, SagaOutcome::Compensated { failed, reason }));
}

#[test]
fn an_attempt_that_is_done_late_counts_while_nobody_has_given_it_up() {
    let (mut rig, first) = Rig::begun();
    rig.harness.watermark(at(12));
    assert_eq!(rig.told(), []);
    rig.reply(first.done(11), 13);
    assert_eq!(rig.asked().body, "write 111");
}

#[test]
fn what_cannot_be_undone_needs_a_person_who_is_told_all_that_is_left() {
    let (mut rig, requests) = at_the_car();
    rig.reply(requests[3].refused("no licence"), 4);
    let leave = rig.asked();
    rig.reply(leave.failed("closed"), 5);
    let outcome = SagaOutcome::NeedsHelp {
        failed: "car".to_owned(),
        reason: "no licence".to_owned(),
        not_undone: vec!["hotel".to_owned(), "flight".to_owned()],
        because: "closed".to_owned(),
    };
    assert_eq!(rig.ended(), (111, outcome));
    rig.reply(leave.done(0), 6);
    assert_eq!(rig.ignored(), 1, "it is over");
}

#[test]
fn replies_that_nobody_waits_for_and_second_starts_change_nothing_and_are_told() {
    let (mut rig, requests) = at_the_car();
    rig.reply(requests[0].done(11), 4);
    rig.reply(requests[2].refused("twice"), 4);
    let of_nobody = SagaReply { saga: 'z', ..requests[3].done(0) };
    rig.reply(of_nobody, 4);
    let to_come = SagaReply { attempt: 2, ..requests[3].done(0) };
    rig.reply(to_come, 4);
    let undone = SagaReply { direction: Direction::Undo, ..requests[3].done(0) };
    rig.reply(undone, 4);
    rig.harness.record(('a', SagaInput::Start(7)), at(4));
    assert_eq!(rig.ignored(), 6);
    rig.reply(requests[3].done(0), 5);
    assert_eq!(rig.ended(), (111, SagaOutcome::Completed));
    // It is remembered for a second, and may begin anew after that.
    rig.harness.record(('a', SagaInput::Start(7)), at(1004));
    assert_eq!(rig.ignored(), 1);
    rig.harness.record(('a', SagaInput::Start(7)), at(1005));
    assert_eq!(rig.asked().body, "fly 7");
}

#[test]
fn a_timeout_comes_before_a_later_record_also_where_the_watermark_lags() {
    let (mut rig, first) = Rig::begun();
    // 10: not answered. 15: asked again. 25: not answered. 35: asked again.
    rig.reply(first.refused("late"), 36);
    let told = rig.told();
    let asked = told.iter().filter_map(|(told, time)| match told {
        Told::Asked(request) => Some((request.attempt, *time)),
        _ => None,
    });
    let asked: Vec<_> = asked.collect();
    assert_eq!(asked, [(2, at(15)), (3, at(35))]);
    assert_eq!(told.len(), 3, "the reply is late");
}

#[test]
fn a_saga_that_cannot_be_is_refused() {
    let reason = |saga: Saga<u64, String, u64>| saga.check().expect_err("cannot be");
    fn step(saga: Saga<u64, String, u64>, name: &str) -> Saga<u64, String, u64> {
        saga.step(name, |_| String::new())
    }
    assert!(reason(Saga::new("empty")).contains("without steps"));
    assert!(reason(step(step(Saga::new("twice"), "pay"), "pay")).contains("`pay`"));
    assert!(reason(step(Saga::new("none"), "")).contains("no name"));
    assert!(reason(Saga::new("early").compensate(|_| String::new())).contains("`compensate`"));
    assert!(reason(step(Saga::new("fast"), "pay").timeout(Duration::ZERO)).contains("millisecond"));
    let long = (0..101).fold(Saga::new("long"), |saga, number| step(saga, &number.to_string()));
    assert!(reason(long).contains("101"));
    let topology = highwater_operators::topology::Topology::new("refused");
    let source =
        topology.source("inputs", highwater_operators::memory::Memory::source([('a', SagaInput::Start(1))]));
    let inputs = source.event_time(|_| at(0), Duration::ZERO);
    chain(inputs, Saga::new("empty")).sink("out", highwater_operators::memory::Memory::sink());
    assert!(topology.finish().is_err());
}

#[test]
fn a_program_without_the_step_that_a_saga_stands_at_is_told_so() {
    let (rig, _) = Rig::begun();
    let other = || Saga::new("trip").step("train", |_: &u64| String::new());
    let kept = rig.harness.kept().clone();
    let mut harness = Harness::after(kept, |inputs| chain(inputs, other())).expect("opens");
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| harness.watermark(at(10))));
    let told = caught.expect_err("the step is gone");
    let told = told.downcast_ref::<String>().expect("a text");
    assert!(told.contains("flight") && told.contains("trip"), "{told}");
}
