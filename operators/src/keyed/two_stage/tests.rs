//! Two stages against one, and against a count over all records. The harness has one worker, where nothing is
//! combined, so these put the combining node before the operators themselves; the tests of the engine run it over
//! several workers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::batch::Batch;
use crate::memory::Memory;
use crate::operator::{Fault, Operator};
use crate::stream::Stream;
use crate::testkit::{Harness, at};
use crate::topology::Topology;
use crate::window::{Timing, tumbling};
use proptest::prelude::*;

/// A key, a number that tells the records apart, and the time in milliseconds.
type Rec = (u8, usize, i64);

/// Makes one batch of each record's parts, with times of their own.
struct Burst;

impl Operator<Batch<Vec<Rec>>, Outbox<Batch<Rec>>> for Burst {
    fn on_batch(&mut self, batch: &mut Batch<Vec<Rec>>, out: &mut Outbox<Batch<Rec>>) -> Result<(), Fault> {
        for values in batch.values.drain(..) {
            let times = values.iter().map(|record| at(record.2)).collect();
            out.send(Batch { values, times, split: batch.split });
        }
        Ok(())
    }
}

fn bursts(stream: Stream<Vec<Rec>>) -> KeyedStream<u8, Rec> {
    let wire = stream.wire.then::<_, Outbox<Batch<Rec>>>(here("burst", None), |_| Ok(Box::new(Burst)));
    Stream::<Rec>::at(wire).key_by(|record| record.0)
}

/// The first stage, also where there is one worker.
fn combined<U: Update<Rec>>(
    keyed: KeyedStream<u8, Rec>,
    update: &Arc<U>,
    piece_of: impl Fn(Timestamp) -> Piece + Send + Sync + 'static,
    windows: Option<&'static str>,
) -> KeyedStream<u8, Combined<Rec, U::Kept>> {
    let (update, piece_of) = (Arc::clone(update), Arc::new(piece_of));
    type Parts<A> = Outbox<KeyedBatch<u8, Combined<Rec, A>>>;
    let wire = keyed.wire.then::<_, Parts<U::Kept>>(here("combine", None), move |opening| {
        let fence = match windows {
            Some(name) => Fence::before(WatermarkOf::new(name, &opening.worker.backend))?,
            None => Fence::none(),
        };
        Ok(Box::new(Combine::new(Arc::clone(&update), piece_of.clone(), fence, true)))
    });
    KeyedStream::at(wire)
}

/// What a window gives of its records: how many, the first, the last, and all in the order in which they came.
type Seen = (u64, usize, usize, Vec<usize>);
/// A result of a window by its key, start and whether it is late; or a late record.
type Told = Result<(u8, i64, bool, Seen), usize>;

const SIZE: i64 = 10;

fn windowed(lateness: u64) -> Harness<Vec<Rec>, Told> {
    Harness::new(move |stream| {
        let windows = tumbling(Duration::from_millis(SIZE as u64));
        let a = Agg::<Rec>::default();
        let all = (a.count(), a.first(|r| r.1), a.last(|r| r.1), a.collect(1000, |r| r.1));
        let update = Arc::new(Aggregating(all));
        let keyed = combined(bursts(stream), &update, move |time| windows.piece_of(time), Some("seen"));
        let kept = keyed.window(windows).allow_late(Duration::from_millis(lateness));
        let (kept, late) = kept.with_late();
        let seen = kept.updated(here("window", Some("seen")), Merging(update));
        let seen = seen.map(|found| {
            let (count, first, last, all) = found.value;
            let is_late = found.timing == Timing::Late;
            Ok((found.key, found.window.start.as_millis(), is_late, (count, first, last, all.values)))
        });
        seen.merge(late.map(|record| Err(record.record().1)))
    })
}

/// What happens: records in one batch, or a watermark.
#[derive(Clone, Debug)]
enum Input {
    Burst(Vec<Rec>),
    Watermark(i64),
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let burst = prop::collection::vec((0u8..3, Just(0), -40i64..40), 1..20).prop_map(Input::Burst);
    let input = prop_oneof![2 => burst, 1 => (-40i64..45).prop_map(Input::Watermark)];
    prop::collection::vec(input, 1..12).prop_map(|mut inputs| {
        let mut number = 0;
        for input in &mut inputs {
            if let Input::Burst(records) = input {
                records.iter_mut().for_each(|record| {
                    record.1 = number;
                    number += 1;
                });
            }
        }
        inputs
    })
}

fn seen(records: &[Rec]) -> Seen {
    let mut by_time: Vec<&Rec> = records.iter().collect();
    by_time.sort_by_key(|record| record.2);
    let ends = (by_time[0].1, by_time[by_time.len() - 1].1);
    (records.len() as u64, ends.0, ends.1, records.iter().map(|record| record.1).collect())
}

/// The meaning of tumbling windows, record by record.
fn expected(inputs: &[Input], lateness: i64) -> Vec<Told> {
    let (mut told, mut watermark) = (Vec::new(), i64::MIN / 2);
    let mut windows: BTreeMap<(i64, u8), Vec<Rec>> = BTreeMap::new();
    for input in inputs.iter().chain(&[Input::Watermark(i64::MAX)]) {
        match input {
            Input::Watermark(risen) if *risen <= watermark => {}
            Input::Watermark(risen) => {
                let fired = windows.iter().filter(|((start, _), _)| {
                    let end = start + SIZE;
                    watermark < end && end <= *risen
                });
                told.extend(fired.map(|((start, key), records)| Ok((*key, *start, false, seen(records)))));
                watermark = *risen;
            }
            Input::Burst(records) => {
                for record in records {
                    let start = record.2 - record.2.rem_euclid(SIZE);
                    if start + SIZE + lateness <= watermark {
                        told.push(Err(record.1));
                        continue;
                    }
                    let window = windows.entry((start, record.0)).or_default();
                    window.push(*record);
                    if start + SIZE <= watermark {
                        told.push(Ok((record.0, start, true, seen(window))));
                    }
                }
            }
        }
    }
    told
}

proptest! {
    #[test]
    fn windows_in_two_stages_give_what_each_window_holds(
        inputs in inputs(), lateness in prop_oneof![Just(0i64), 0i64..25],
    ) {
        let mut harness = windowed(lateness as u64);
        let mut watermark = i64::MIN;
        for input in &inputs {
            match input {
                Input::Burst(records) => harness.record(records.clone(), at(0)),
                Input::Watermark(risen) if *risen > watermark => {
                    watermark = *risen;
                    harness.watermark(at(*risen));
                }
                Input::Watermark(_) => {}
            }
        }
        harness.watermark(Timestamp::MAX);
        let mut found: Vec<Told> = harness.take().into_iter().map(|(told, _)| told).collect();
        let mut expected = expected(&inputs, lateness);
        found.sort();
        expected.sort();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_running_aggregate_in_two_stages_ends_as_it_does_in_one(
        bursts in prop::collection::vec(prop::collection::vec((0u8..3, 0usize..100, -40i64..40), 1..20), 1..6),
    ) {
        let mut two = Harness::new(|stream| {
            let a = Agg::<Rec>::default();
            let all = (a.first(|r| r.1), a.last(|r| r.1), a.collect(9, |r| r.1), a.sum(|r| r.1));
            let update = Arc::new(Aggregating(all));
            let keyed = combined(super::tests::bursts(stream), &update, all_time, None);
            keyed.running(here("aggregate", Some("all")), Merging(update)).to_stream()
        });
        let mut one = Harness::new(|stream| {
            let keyed = super::tests::bursts(stream);
            let all = keyed.aggregate("all", |a| {
                (a.first(|r: &Rec| r.1), a.last(|r| r.1), a.collect(9, |r| r.1), a.sum(|r| r.1))
            });
            all.to_stream()
        });
        for burst in bursts {
            let keys: std::collections::BTreeSet<u8> = burst.iter().map(|record| record.0).collect();
            two.record(burst.clone(), at(0));
            one.record(burst, at(0));
            let (two, one) = (two.take(), one.take());
            prop_assert_eq!(two.len(), keys.len(), "one change for each part");
            let last = |told: Vec<_>| -> BTreeMap<_, _> { told.into_iter().map(|(change, _)| change).collect() };
            prop_assert_eq!(last(two), last(one));
        }
    }
}

#[test]
fn reduce_combines_in_the_order_in_which_records_came() {
    let mut harness = Harness::new(|stream| {
        // The digits of the one behind those of the other.
        let longer = |mut text: Rec, next: Rec| {
            text.1 = text.1 * 10usize.pow(next.1.ilog10() + 1) + next.1;
            text
        };
        let update = Arc::new(Reducing(longer));
        let keyed = combined(bursts(stream), &update, all_time, None);
        keyed
            .running(here("reduce", Some("all")), Merging(update))
            .into_keyed()
            .values()
            .map(|record| record.1)
    });
    harness.record(vec![(0, 1, 5), (1, 7, 5), (0, 2, 9), (0, 3, 7)], at(0));
    harness.record(vec![(0, 4, 1), (0, 5, 2)], at(0));
    assert_eq!(harness.take(), [(123, at(9)), (7, at(5)), (12345, at(2))]);
}

#[test]
fn a_stream_that_is_used_elsewhere_is_refused() {
    let topology = Topology::new("shared");
    let keyed = topology.source("numbers", Memory::source([1i64])).key_by(|n| *n);
    let other = KeyedStream::<i64, i64, crate::stream::Untimed>::at(keyed.wire.clone());
    other.count("other").keep();
    keyed.two_stage().count("counts").keep();
    let errors = topology.finish().err().expect("the topology is refused");
    assert!(errors[0].to_string().contains("used elsewhere"), "{errors:?}");
}

#[test]
fn the_exchange_stands_behind_the_first_stage() {
    let topology = Topology::new("moved");
    let numbers = topology.source("numbers", Memory::source([1i64]));
    numbers.key_by(|n| *n).two_stage().count("counts").keep();
    let plan = topology.describe();
    assert!(plan.contains("<- 2 by key") && !plan.contains("<- 1 by key"), "{plan}");
}
