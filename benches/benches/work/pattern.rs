//! Patterns of three kinds, for different numbers of keys, each of which has a live run most of the time.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use highwater::prelude::*;
use highwater_benches::compare::{Case, Comparison, run, run_on_rocksdb};
use highwater_benches::feed::{Feed, Repeat};
use highwater_benches::tally::{Tally, TallySink};

/// Records in the pool at least.
const POOL_RECORDS: u64 = 1 << 20;
/// The numbers of keys.
pub const KEYS: [u64; 3] = [1, 1_000, 1_000_000];

/// A record of 24 bytes: each key has one in every second.
#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
struct Step {
    key: u64,
    /// Which record of its key it is.
    number: u64,
    at: i64,
}

/// How many records of each key are in the pool.
fn rounds_of(keys: u64) -> u64 {
    POOL_RECORDS.div_ceil(keys)
}

/// A step, and how many steps of its key the pool has.
#[derive(Clone, Copy)]
struct Pooled {
    step: Step,
    rounds: u64,
}

impl Repeat for Pooled {
    fn repeated(self, round: u64) -> Self {
        let later = round * self.rounds;
        let Step { key, number, at } = self.step;
        Pooled { step: Step { key, number: number + later, at: at + later as i64 * 1000 }, ..self }
    }
}

fn pool(keys: u64) -> Vec<Pooled> {
    let rounds = rounds_of(keys);
    let step = |number: u64| {
        let key = (number % keys).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let at = (number * 1000 / keys) as i64;
        Pooled { step: Step { key, number: number / keys, at }, rounds }
    };
    (0..rounds * keys).map(step).collect()
}

/// What a record is to the pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    A,
    B,
    C,
    Other,
}

/// One of the patterns: the order in which each key's records come, the pattern, and the loop.
#[derive(Clone, Copy)]
struct Work {
    name: &'static str,
    kind: fn(&Step) -> Kind,
    engine: fn(Feed<Pooled>, fn(Job) -> u64) -> Tally,
    hand: fn(Feed<Pooled>) -> Tally,
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn strict(step: &Step) -> Kind {
    [Kind::A, Kind::B, Kind::C][(step.number % 3) as usize]
}

fn relaxed(step: &Step) -> Kind {
    use Kind::{A, B, C, Other};
    [A, Other, B, Other, B, B, Other, C][(step.number % 8) as usize]
}

fn negated(step: &Step) -> Kind {
    match step.number % 4 {
        0 => Kind::A,
        1 if step.key & (1 << 40) != 0 => Kind::B,
        _ => Kind::Other,
    }
}

fn engine<P, S>(feed: Feed<Pooled>, pattern: Pattern<Step, P, S>, job: fn(Job) -> u64) -> Tally
where
    S: highwater::operators::pattern::Close<P>,
    S::Closed: highwater::operators::pattern::Capture<Step>,
{
    let (topology, sink) = (Topology::new("patterns"), TallySink::default());
    topology
        .source("pool", feed)
        .map(|pooled| pooled.step)
        .event_time(|step| at(step.at), Duration::ZERO)
        .key_by(|step| step.key)
        .pattern(pattern)
        .select("matches", |key, _| (*key, 1))
        .values()
        .sink("out", sink.clone());
    job(Job::new(topology));
    sink.tally()
}

const STRICT: Work = Work {
    name: "strict three-step",
    kind: strict,
    engine: |feed, job| {
        let pattern = Pattern::begin("a", |step| strict(step) == Kind::A)
            .next("b", |step| strict(step) == Kind::B)
            .next("c", |step| strict(step) == Kind::C)
            .within(Duration::from_secs(60));
        engine(feed, pattern, job)
    },
    hand: |feed| {
        let mut steps: HashMap<u64, (Kind, i64), RandomState> = HashMap::default();
        by_hand(feed, |step, tally| {
            match (strict(step), steps.get(&step.key)) {
                (Kind::A, _) => drop(steps.insert(step.key, (Kind::A, step.at))),
                (Kind::B, Some(&(Kind::A, from))) if step.at - from < 60_000 => {
                    steps.insert(step.key, (Kind::B, from));
                }
                (Kind::C, Some(&(Kind::B, from))) if step.at - from < 60_000 => {
                    steps.remove(&step.key);
                    tally.add(&(step.key, 1));
                }
                _ => drop(steps.remove(&step.key)),
            };
        })
    },
};

const RELAXED: Work = Work {
    name: "relaxed with times",
    kind: relaxed,
    engine: |feed, job| {
        let pattern = Pattern::begin("a", |step| relaxed(step) == Kind::A)
            .followed_by("b", |step| relaxed(step) == Kind::B)
            .times(3)
            .followed_by("c", |step| relaxed(step) == Kind::C)
            .within(Duration::from_secs(60));
        engine(feed, pattern, job)
    },
    hand: |feed| {
        let mut steps: HashMap<u64, (u32, i64), RandomState> = HashMap::default();
        by_hand(feed, |step, tally| match relaxed(step) {
            Kind::A => drop(steps.insert(step.key, (0, step.at))),
            Kind::B => {
                if let Some((count, _)) = steps.get_mut(&step.key) {
                    *count += 1;
                }
            }
            Kind::C => {
                if steps.remove(&step.key).is_some_and(|(count, from)| count == 3 && step.at - from < 60_000)
                {
                    tally.add(&(step.key, 1));
                }
            }
            Kind::Other => {}
        })
    },
};

const NEGATED: Work = Work {
    name: "negation with timeout",
    kind: negated,
    engine: |feed, job| {
        let pattern = Pattern::begin("a", |step| negated(step) == Kind::A)
            .not_followed_by("b", |step| negated(step) == Kind::B)
            .within(Duration::from_millis(2_500));
        engine(feed, pattern, job)
    },
    hand: |feed| {
        let mut waiting: HashMap<u64, i64, RandomState> = HashMap::default();
        let mut timers: VecDeque<(i64, u64)> = VecDeque::new();
        let mut fire =
            move |until: i64, waiting: &mut HashMap<u64, i64, RandomState>, tally: &mut Tally, set| {
                while timers.front().is_some_and(|&(time, _)| time <= until) {
                    let Some((time, key)) = timers.pop_front() else { break };
                    if waiting.get(&key) == Some(&(time - 2_500)) {
                        waiting.remove(&key);
                        tally.add(&(key, 1));
                    }
                }
                timers.extend(set);
            };
        let mut tally = by_hand(feed, |step, tally| {
            fire(step.at, &mut waiting, tally, None);
            match negated(step) {
                Kind::A => {
                    waiting.insert(step.key, step.at);
                    fire(i64::MIN, &mut waiting, tally, Some((step.at + 2_500, step.key)));
                }
                Kind::B => drop(waiting.remove(&step.key)),
                _ => {}
            }
        });
        waiting.drain().for_each(|(key, _)| tally.add(&(key, 1)));
        tally
    },
};

fn by_hand(feed: Feed<Pooled>, mut each: impl FnMut(&Step, &mut Tally)) -> Tally {
    let mut tally = Tally::default();
    feed.for_each_batch(|batch| batch.iter().for_each(|pooled| each(&pooled.step, &mut tally)));
    tally
}

/// With memory enough that all keys stay in it: what is measured is the pattern, not the look-ups on disk.
fn on_rocksdb(job: Job) -> u64 {
    run_on_rocksdb(job.memory(4 << 30))
}

/// How many records it takes until every key has been through its order once.
pub fn once_around(keys: u64) -> u64 {
    9 * keys
}

/// The comparisons of this file for a number of keys.
pub fn comparisons(keys: u64) -> Vec<Comparison> {
    let pool = Arc::new(pool(keys));
    let comparison = |work: Work| {
        let case = |name, run: Box<dyn Fn(Feed<Pooled>) -> Tally>| {
            let pool = Arc::clone(&pool);
            Case::new(name, move |records| run(Feed::new(&pool, records)))
        };
        Comparison {
            name: format!("{}, {keys} keys", work.name),
            feed: case(
                "feed",
                Box::new(move |feed| {
                    let mut tally = Tally::default();
                    feed.for_each_batch(|batch| {
                        let is_a = |pooled: &&Pooled| (work.kind)(&pooled.step) == Kind::A;
                        tally.count += std::hint::black_box(batch).iter().filter(is_a).count() as u64;
                    });
                    tally
                }),
            ),
            hand: case("hand", Box::new(work.hand)),
            engine: vec![
                case("memory", Box::new(move |feed| (work.engine)(feed, run))),
                case("rocksdb", Box::new(move |feed| (work.engine)(feed, on_rocksdb))),
            ],
        }
    };
    [STRICT, RELAXED, NEGATED].into_iter().map(comparison).collect()
}
