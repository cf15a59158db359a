//! A count per key and sliding window, at several ratios of size to slide.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use highwater::prelude::*;
use highwater_benches::compare::{Case, Comparison, run, run_on_rocksdb};
use highwater_benches::feed::{Feed, Repeat};
use highwater_benches::tally::{Tally, TallySink};

/// The slide, in ms of event time.
const SLIDE: i64 = 100;
/// Different keys.
const KEYS: u64 = 100;
/// Records of a key in a slide, on average.
const RECORDS_OF_KEY: u64 = 10;
/// Records in the pool: a hundred seconds of event time.
const POOL_RECORDS: u64 = 1_000_000;
/// How far a record may lie behind those before it, in ms of event time.
const JITTER_MILLIS: u64 = 100;
/// The comparisons, with the ratios of size to slide.
const RATIOS: [(&str, i64); 4] =
    [("sliding/1", 1), ("sliding/10", 10), ("sliding/100", 100), ("sliding/1000", 1000)];

/// A record of 16 bytes.
#[derive(Clone, Copy)]
struct Beat {
    key: u64,
    millis: i64,
}

impl Repeat for Beat {
    /// Time goes on from one repetition to the next.
    fn repeated(self, round: u64) -> Self {
        let period = (POOL_RECORDS / (KEYS * RECORDS_OF_KEY)) as i64 * SLIDE;
        Beat { key: self.key, millis: self.millis + round as i64 * period }
    }
}

/// Records of keys by turns, nearly in the order of time; the jitter is that of a simple generator.
fn beats() -> Vec<Beat> {
    let mut random = 1u64;
    let beat = |number: u64| {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let jitter = ((random >> 33) % JITTER_MILLIS) as i64;
        let time = (number * SLIDE as u64 / (KEYS * RECORDS_OF_KEY)) as i64;
        Beat { key: (number % KEYS).wrapping_mul(0x9e37_79b9_7f4a_7c15), millis: time + SLIDE - jitter }
    };
    (0..POOL_RECORDS).map(beat).collect()
}

/// The slices of a key that an open window needs, and the sum of those of the window that fired last.
#[derive(Default)]
struct Counts {
    /// The number of the first slice.
    first: i64,
    slices: VecDeque<u64>,
    sum: u64,
}

/// One ring of counts per key, and a sum from which counts are taken back; a watermark after every batch.
struct ByHand {
    ratio: i64,
    keys: HashMap<u64, Counts, RandomState>,
    /// The slice with whose end windows fire next.
    next: i64,
    last: i64,
    tally: Tally,
}

impl ByHand {
    fn add(&mut self, beat: &Beat) {
        let slice = beat.millis.div_euclid(SLIDE);
        let counts =
            self.keys.entry(beat.key).or_insert_with(|| Counts { first: slice - 1, ..Counts::default() });
        let index = (slice - counts.first) as usize;
        if counts.slices.len() <= index {
            counts.slices.resize(index + 1, 0);
        }
        counts.slices[index] += 1;
        self.last = self.last.max(slice);
    }

    fn watermark(&mut self, watermark: i64) {
        while (self.next + 1) * SLIDE <= watermark && self.next < self.last + self.ratio {
            let (newest, oldest) = (self.next, self.next - self.ratio);
            for (&key, counts) in &mut self.keys {
                let of =
                    |slice: i64| counts.slices.get((slice - counts.first) as usize).copied().unwrap_or(0);
                let (new, old) = (of(newest), of(oldest));
                counts.sum = counts.sum + new - old;
                if oldest >= counts.first {
                    counts.slices.pop_front();
                    counts.first += 1;
                }
                if counts.sum > 0 {
                    let end = (newest + 1) * SLIDE;
                    let window = TimeRange { start: at(end - self.ratio * SLIDE), end: at(end) };
                    let value = counts.sum;
                    self.tally.add(&Windowed { key, window, value, timing: Timing::OnTime });
                }
            }
            self.next += 1;
        }
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn hand(feed: Feed<Beat>, ratio: i64) -> Tally {
    let keys = HashMap::default();
    let mut state = ByHand { ratio, keys, next: -1, last: -1, tally: Tally::default() };
    let mut latest = i64::MIN;
    feed.for_each_batch(|batch| {
        for beat in batch {
            state.add(beat);
            latest = latest.max(beat.millis);
        }
        state.watermark(latest - JITTER_MILLIS as i64);
    });
    state.watermark(i64::MAX);
    state.tally
}

fn engine(feed: Feed<Beat>, ratio: i64, job: fn(Job) -> u64) -> Tally {
    let (topology, sink) = (Topology::new("sliding"), TallySink::default());
    let slide = Duration::from_millis(SLIDE as u64);
    topology
        .source("pool", feed)
        .event_time(|beat| at(beat.millis), Duration::from_millis(JITTER_MILLIS))
        .key_by(|beat| beat.key)
        .window(sliding(slide * ratio as u32, slide))
        .count("beats")
        .sink("out", sink.clone());
    job(Job::new(topology));
    sink.tally()
}

/// The comparisons of this file.
pub fn comparisons() -> Vec<Comparison> {
    let pool = Arc::new(beats());
    let comparison = |(name, ratio): (&str, i64)| {
        let case = |name, run: fn(Feed<Beat>, i64) -> Tally| {
            let pool = Arc::clone(&pool);
            Case::new(name, move |records| run(Feed::new(&pool, records), ratio))
        };
        Comparison {
            name: name.to_owned(),
            feed: case("feed", |feed, _| {
                let mut tally = Tally::default();
                feed.for_each_batch(|batch| tally.count += std::hint::black_box(batch).len() as u64);
                tally
            }),
            hand: case("hand", hand),
            engine: vec![
                case("memory", |feed, ratio| engine(feed, ratio, run)),
                case("rocksdb", |feed, ratio| engine(feed, ratio, run_on_rocksdb)),
            ],
        }
    };
    RATIOS.into_iter().map(comparison).collect()
}
