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
    let (mut state, mut ready, mut signal) = (S::default(), VecDeque::new(), None);
    records
        .group_by(key)
        .rich_map_custom(move |mut records| step(&mut state, &mut ready, &mut signal, &mut records))
}

/// The next result or signal; a signal comes after the results that it brings about.
fn step<S: State, K>(
    state: &mut S,
    ready: &mut VecDeque<S::Result>,
    signal: &mut Option<StreamElement<S::Result>>,
    records: &mut ElementGenerator<'_, impl Operator<Out = (K, S::Record)>>,
) -> StreamElement<S::Result> {
    loop {
        if let Some(result) = ready.pop_front() {
            return StreamElement::Item(result);
        }
        if let Some(signal) = signal.take() {
            return signal;
        }
        match records.next() {
            StreamElement::Item((_, record)) | StreamElement::Timestamped((_, record), _) => {
                state.add(&record, |result| ready.push_back(result));
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
