//! What state with a time to live gives, against a model that keeps everything and looks at times only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use highwater_state::Timestamp;
use proptest::prelude::*;

use crate::error::Cause;
use crate::keyed::process::{Context, KeyedOperator, List, Map, States, Value};
use crate::testkit::{Harness, at, batched_output_of};

/// What a record does to the state of its key.
#[derive(Clone, Copy, Debug)]
enum Act {
    Look,
    Set,
    Add,
    Empty,
    Clear,
    Timer(i64),
}

/// Key, act, event time.
type Step = (u8, Act, i64);

/// Key, time of the record or timer, and what it saw before and after it acted.
type Seen = (u8, i64, Option<i64>, Option<i64>);

/// Does what records say; timers add one to what they see.
struct Acting {
    held: Value<i64>,
}

impl Acting {
    fn act(&self, act: Act, context: &mut Context<'_, u8, Seen>) -> Result<(), Cause> {
        let (key, time) = (*context.key(), context.time());
        let before = self.held.get(context)?.copied();
        match act {
            Act::Look => {}
            Act::Set => self.held.set(context, time.as_millis())?,
            Act::Add => *self.held.get_mut(context)?.get_or_insert(0) += 1,
            Act::Empty => *self.held.get_mut(context)? = None,
            Act::Clear => self.held.clear(context)?,
            Act::Timer(delay) => context.set_timer(at(time.as_millis() + delay))?,
        }
        let after = self.held.get(context)?.copied();
        context.emit((key, time.as_millis(), before, after));
        Ok(())
    }
}

impl KeyedOperator<u8, Step> for Acting {
    type Out = Seen;

    fn on_record(&mut self, step: Step, context: &mut Context<'_, u8, Seen>) -> Result<(), Cause> {
        self.act(step.1, context)
    }

    fn on_timer(&mut self, _: Timestamp, context: &mut Context<'_, u8, Seen>) -> Result<(), Cause> {
        self.act(Act::Add, context)
    }
}

#[derive(Default)]
struct Model {
    ttl: i64,
    /// By key: what was written, and when.
    held: BTreeMap<u8, (Option<i64>, i64)>,
    timers: BTreeSet<(i64, u8)>,
    seen: Vec<Seen>,
}

impl Model {
    fn look(&self, key: u8, time: i64, reached: i64) -> Option<i64> {
        let &(value, written) = self.held.get(&key)?;
        value.filter(|_| time <= written + self.ttl && reached <= written + self.ttl)
    }

    fn act(&mut self, (key, act, time): Step, reached: i64) {
        let before = self.look(key, time, reached);
        match act {
            Act::Look => {}
            Act::Set => _ = self.held.insert(key, (Some(time), time)),
            Act::Add => _ = self.held.insert(key, (Some(before.unwrap_or(0) + 1), time)),
            Act::Empty => _ = self.held.insert(key, (None, time)),
            Act::Clear => _ = self.held.remove(&key),
            Act::Timer(delay) => _ = self.timers.insert((time + delay, key)),
        }
        self.seen.push((key, time, before, self.look(key, time, reached)));
    }

    fn fire(&mut self, watermark: i64, mut reached: i64) {
        while let Some(&(time, key)) = self.timers.first().filter(|(time, _)| *time <= watermark) {
            self.timers.remove(&(time, key));
            reached = reached.max(time);
            self.act((key, Act::Add, time), reached);
        }
    }

    fn run(steps: &[Step], lag: i64, ttl: i64) -> Vec<Seen> {
        let mut model = Model { ttl, ..Model::default() };
        let mut watermark = i64::MIN;
        for &step in steps {
            model.act(step, watermark);
            model.fire(watermark, watermark);
            let reached = watermark.max(step.2 - lag);
            model.fire(reached, watermark);
            watermark = reached;
        }
        model.fire(i64::MAX, watermark);
        model.seen.sort_unstable();
        model.seen
    }
}

fn acting(ttl: i64) -> impl Fn(&mut States<'_, u8>) -> Acting + Send + Sync + 'static {
    let ttl = Duration::from_millis(ttl.unsigned_abs());
    move |states| Acting { held: states.ttl(ttl).value("held") }
}

fn with_restarts(steps: &[Step], lag: i64, ttl: i64) -> (Vec<Seen>, usize) {
    let mut harness =
        Harness::new(|stream| stream.key_by(|step: &Step| step.0).process("acting", acting(ttl)).values());
    let mut watermark = Timestamp::MIN;
    for step in steps {
        harness.record(*step, at(step.2));
        let reached = at(step.2 - lag);
        if reached > watermark {
            watermark = reached;
            harness.watermark(watermark);
        }
    }
    harness.watermark(Timestamp::MAX);
    let mut seen: Vec<Seen> = harness.take().into_iter().map(|(seen, _)| seen).collect();
    seen.sort_unstable();
    (seen, harness.rows())
}

fn in_batches(steps: &[Step], lag: i64, ttl: i64) -> Vec<Seen> {
    let timed = steps.iter().map(|step| (step.2, *step));
    let seen = batched_output_of(timed, Duration::from_millis(lag.unsigned_abs()), |stream| {
        stream.key_by(|step: &Step| step.0).process("acting", acting(ttl)).values()
    });
    let mut seen: Vec<Seen> = seen.into_iter().map(|(_, seen)| seen).collect();
    seen.sort_unstable();
    seen
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => Just(Act::Look),
        2 => Just(Act::Set),
        3 => Just(Act::Add),
        1 => Just(Act::Empty),
        1 => Just(Act::Clear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn state_is_seen_by_times_alone_and_nothing_is_left_at_the_end(
        steps in prop::collection::vec((0u8..3, acts(), -40i64..40), 0..40),
        lag in prop_oneof![Just(0i64), 0i64..60],
        ttl in prop_oneof![Just(0i64), 0i64..30],
    ) {
        let expected = Model::run(&steps, lag, ttl);
        let (seen, rows) = with_restarts(&steps, lag, ttl);
        prop_assert_eq!(&seen, &expected);
        prop_assert_eq!(rows, 0);
        prop_assert_eq!(in_batches(&steps, lag, ttl), expected);
    }

    #[test]
    fn timers_see_what_lives_at_their_time(
        steps in prop::collection::vec(
            (0u8..3, prop_oneof![3 => acts(), 2 => (-5i64..40).prop_map(Act::Timer)], -40i64..40),
            0..30,
        ),
        lag in prop_oneof![Just(0i64), 0i64..60],
        ttl in prop_oneof![Just(0i64), 0i64..30],
    ) {
        let (seen, rows) = with_restarts(&steps, lag, ttl);
        prop_assert_eq!(seen, Model::run(&steps, lag, ttl));
        prop_assert_eq!(rows, 0);
    }

    #[test]
    fn a_key_that_is_written_all_the_time_has_one_timer(
        steps in prop::collection::vec(0i64..20, 1..60),
        ttl in 0i64..30,
    ) {
        let mut now = -50;
        let steps = steps.iter().map(|step| { now += step; (7, Act::Add, now) });
        let mut harness = Harness::new(|stream| {
            stream.key_by(|step: &Step| step.0).process("acting", acting(ttl)).values()
        });
        let mut watermark = Timestamp::MIN;
        for step in steps {
            harness.record(step, at(step.2));
            prop_assert_eq!(harness.rows(), 3);
            if at(step.2) > watermark {
                watermark = at(step.2);
                harness.watermark(watermark);
            }
            prop_assert_eq!(harness.rows(), 3, "it lives while the watermark has not passed it");
        }
    }
}

/// Collects letters in a list and counts them in a map, both for ten milliseconds, and counts them for ever.
struct Collecting {
    letters: List<char>,
    counts: Map<char, u64>,
    all: Value<u64>,
}

impl KeyedOperator<(), char> for Collecting {
    type Out = (String, u64, u64);

    fn on_record(&mut self, letter: char, context: &mut Context<'_, (), Self::Out>) -> Result<(), Cause> {
        self.letters.get_mut(context)?.push(letter);
        *self.counts.get_mut(context)?.entry(letter).or_default() += 1;
        *self.all.get_mut(context)?.get_or_insert(0) += 1;
        let letters = self.letters.get(context)?.iter().collect();
        let count = self.counts.get(context, &letter)?.copied().unwrap_or(0);
        let all = self.all.get(context)?.copied().unwrap_or(0);
        context.emit((letters, count, all));
        Ok(())
    }
}

#[test]
fn lists_and_maps_live_as_a_whole_and_a_handle_without_a_ttl_for_ever() {
    let mut harness = Harness::new(|stream| {
        let make = |states: &mut States<'_, ()>| {
            let ten = Duration::from_millis(10);
            let (letters, counts) = (states.ttl(ten).list("letters"), states.ttl(ten).map("counts"));
            Collecting { letters, counts, all: states.value("all") }
        };
        stream.key_by(|_| ()).process("collecting", make).values()
    });
    for (letter, time) in [('a', 0), ('a', 10), ('b', 20), ('a', 31)] {
        harness.record(letter, at(time));
    }
    let seen: Vec<_> = harness.take().into_iter().map(|(seen, _)| seen).collect();
    let expected = [("a", 1, 1), ("aa", 2, 2), ("aab", 1, 3), ("a", 1, 4)];
    assert_eq!(seen, expected.map(|(letters, count, all)| (letters.to_owned(), count, all)));
    assert_eq!(harness.rows(), 7);
    harness.watermark(at(42));
    assert_eq!(harness.rows(), 1);
}

#[test]
fn a_ttl_that_outlives_time_keeps_for_ever_and_sets_no_timer() {
    let mut harness = Harness::new(|stream| {
        let make = |states: &mut States<'_, u8>| Acting { held: states.ttl(Duration::MAX).value("held") };
        stream.key_by(|step: &Step| step.0).process("acting", make).values()
    });
    harness.record((1, Act::Add, 5), at(5));
    harness.watermark(Timestamp::MAX);
    harness.record((1, Act::Add, 6), Timestamp::MAX);
    let seen: Vec<_> = harness.take().into_iter().map(|((_, _, _, after), _)| after).collect();
    assert_eq!(seen, [Some(1), Some(2)]);
    assert_eq!(harness.rows(), 2);
}

#[test]
#[should_panic(expected = "a second handle would keep its state as `held`")]
fn two_handles_of_one_name_are_refused() {
    let _ = Harness::new(|stream| {
        let make = |states: &mut States<'_, u8>| {
            let _ = states.value::<i64>("held");
            Acting { held: states.value("held") }
        };
        stream.key_by(|step: &Step| step.0).process("acting", make).values()
    });
}

#[test]
fn a_write_of_an_earlier_time_is_deleted_at_its_own_time() {
    let mut harness =
        Harness::new(|stream| stream.key_by(|step: &Step| step.0).process("acting", acting(10)).values());
    harness.record((1, Act::Set, 100), at(100));
    harness.record((1, Act::Set, 50), at(50));
    harness.watermark(at(60));
    assert_eq!(harness.rows(), 3);
    harness.watermark(at(61));
    assert_eq!(harness.rows(), 0);
}
