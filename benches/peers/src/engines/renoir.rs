//! Renoir: a job over an iterator for each worker, in batches of 1024 between its threads.

use std::collections::VecDeque;

use highwater_benches::feed::{BATCH_RECORDS, Repeat};
use highwater_benches::tally::Digest;
use renoir::Stream;
use renoir::operator::{ElementGenerator, ExchangeData, Operator, StreamElement};
use renoir::prelude::*;

use super::by_hand::{State, Timed};
use crate::pool::{Pool, Watermark};
use crate::total::{Part, Total};

/// Runs a job of so many workers, which `build` makes.
///
/// # Panics
/// If Renoir does not take the number of workers.
pub fn run(workers: usize, build: impl FnOnce(&StreamContext, Part)) -> Total {
    let total = Total::default();
    let config = RuntimeConfig::local(workers as u64).expect("there is at least one worker");
    let context = StreamContext::new(config);
    build(&context, total.part());
    context.execute_blocking();
    total
}

/// All records, each worker with its share.
pub fn records<R: Repeat>(
    context: &StreamContext,
    pool: &Pool<R>,
    records: u64,
) -> Stream<impl Operator<Out = R> + use<R>> {
    let pool = pool.clone();
    let source = move |index, peers| pool.share(records, index, peers);
    context.stream_par_iter(source).batch_mode(BatchMode::fixed(BATCH_RECORDS))
}

/// Gives the watermark after every 1024 records, as [`Stream::add_timestamps`] wants it, in units of `unit` ms.
pub fn watermarks<R: Timed>(unit: i64) -> impl FnMut(&R, &i64) -> Option<i64> + Clone + Send + 'static {
    let (mut watermark, mut seen) = (Watermark::default(), 0_usize);
    move |record, _| {
        watermark.see(record.at());
        seen += 1;
        seen.is_multiple_of(BATCH_RECORDS).then(|| watermark.now().div_euclid(unit))
    }
}

/// Sums up what arrives.
pub fn sum_up<R: Digest>(results: Stream<impl Operator<Out = R> + 'static>, mut part: Part) {
    results.for_each(move |result| part.add(&result));
}

/// State by key and event time, as a custom operator on records with times and watermarks.
pub fn state<S>(
    records: Stream<impl Operator<Out = S::Record> + 'static>,
    key: impl Fn(&S::Record) -> u64 + Clone + Send + 'static,
) -> Stream<impl Operator<Out = S::Result>>
where
    S: State<Record: ExchangeData>,
{
    let mut kept = Kept::<S>::default();
    records.group_by(key).rich_map_custom(move |mut records| kept.step(&mut records, |(_, record)| record))
}

/// State of each worker's own records, whatever their keys.
pub fn state_of_worker<S: State>(
    records: Stream<impl Operator<Out = S::Record> + 'static>,
) -> Stream<impl Operator<Out = S::Result>> {
    let mut kept = Kept::<S>::default();
    records.rich_map_custom(move |mut records| kept.step(&mut records, |record| record))
}

/// What a custom operator keeps.
#[derive(Clone)]
struct Kept<S: State> {
    state: S,
    /// Results that are still to be given.
    ready: VecDeque<S::Result>,
    /// The signal that brought them about.
    signal: Option<StreamElement<S::Result>>,
}

impl<S: State> Default for Kept<S> {
    fn default() -> Kept<S> {
        Kept { state: S::default(), ready: VecDeque::new(), signal: None }
    }
}

impl<S: State> Kept<S> {
    /// The next result or signal; a signal comes after the results that it brings about.
    fn step<I>(
        &mut self,
        records: &mut ElementGenerator<'_, impl Operator<Out = I>>,
        record: impl Fn(I) -> S::Record,
    ) -> StreamElement<S::Result> {
        let Kept { state, ready, signal } = self;
        loop {
            if let Some(result) = ready.pop_front() {
                return StreamElement::Item(result);
            }
            if let Some(signal) = signal.take() {
                return signal;
            }
            match records.next() {
                StreamElement::Item(item) | StreamElement::Timestamped(item, _) => {
                    state.add(record(item), |result| ready.push_back(result));
                }
                StreamElement::Watermark(watermark) => {
                    state.close(watermark, |result| ready.push_back(result));
                    *signal = Some(StreamElement::Watermark(watermark));
                }
                StreamElement::FlushBatch => return StreamElement::FlushBatch,
                StreamElement::FlushAndRestart => {
                    state.close(i64::MAX, |result| ready.push_back(result));
                    *signal = Some(StreamElement::FlushAndRestart);
                }
                StreamElement::Terminate => return StreamElement::Terminate,
            }
        }
    }
}
