//! What becomes of bad records: `try_map`, and sources that decode.
//!
//! HW-6: a record never disappears silently. It fails the job, or is skipped and counted, or goes to a stream of
//! its own with the reason.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::batch::Batch;
use crate::data::{Clock, Data};
use crate::error::Cause;
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::stream::{Stream, Wire, here};

/// What becomes of a bad record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnBad {
    Fail,
    Skip,
    DeadLetter,
}

/// Something that may refuse a record, waiting for the caller to say what becomes of refused ones.
#[must_use = "say what becomes of bad records: `or_fail`, `or_skip` or `or_dead_letter`"]
pub struct Tried<U, B, C> {
    add: Box<dyn FnOnce(OnBad) -> Wire>,
    marker: PhantomData<fn() -> (U, B, C)>,
}

impl<U: Data, B: Data, C: Clock> Tried<U, B, C> {
    pub(crate) fn new(add: impl FnOnce(OnBad) -> Wire + 'static) -> Self {
        Tried { add: Box::new(add), marker: PhantomData }
    }

    /// A bad record ends the job with an error. Nothing is lost: the epoch it belongs to is not committed, and
    /// the next start meets the record again.
    pub fn or_fail(self) -> Stream<U, C> {
        Stream::at((self.add)(OnBad::Fail))
    }

    /// A bad record is logged, counted and dropped.
    pub fn or_skip(self) -> Stream<U, C> {
        Stream::at((self.add)(OnBad::Skip))
    }

    /// Bad records are the second stream.
    pub fn or_dead_letter(self) -> (Stream<U, C>, Stream<B, C>) {
        let wire = (self.add)(OnBad::DeadLetter);
        let bad = wire.output(1);
        (Stream::at(wire), Stream::at(bad))
    }
}

/// A record that a `try_map` refused, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Refused<T> {
    /// The record as it came.
    pub record: T,
    /// What the closure said.
    pub reason: String,
}

impl<T: 'static, C: Clock> Stream<T, C> {
    /// Makes one record of each, or refuses it.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let lines = ["1", "x", "3"].map(str::to_owned);
    /// let numbers = output_of(lines, |lines| lines.try_map(|line: String| line.parse::<i32>()).or_skip());
    /// assert_eq!(numbers, [1, 3]);
    /// ```
    ///
    /// With `or_dead_letter` each record is cloned before the closure takes it, so that a refused one can be kept;
    /// to avoid the clone, decode in the source's codec.
    #[track_caller]
    pub fn try_map<U, E>(
        self,
        f: impl Fn(T) -> Result<U, E> + Send + Sync + 'static,
    ) -> Tried<U, Refused<T>, C>
    where
        T: Data + Clone,
        U: Data,
        E: Into<Cause>,
    {
        let place = here("try_map", None);
        Tried::new(move |on_bad| {
            let f = Arc::new(f);
            self.wire.then::<Batch<T>, Out<T, U>>(place, move |opening| {
                let skipped = Arc::clone(&opening.counters().skipped);
                let place = opening.place().to_string();
                Ok(Box::new(TryMap { f: Arc::clone(&f), on_bad, skipped, place }))
            })
        })
    }
}

type Out<T, U> = (Outbox<Batch<U>>, Outbox<Batch<Refused<T>>>);

struct TryMap<F> {
    f: Arc<F>,
    on_bad: OnBad,
    skipped: Arc<AtomicU64>,
    place: String,
}

impl<T, U, E, F> Operator<Batch<T>, Out<T, U>> for TryMap<F>
where
    T: Clone + 'static,
    U: 'static,
    E: Into<Cause>,
    F: Fn(T) -> Result<U, E>,
{
    fn on_batch(&mut self, batch: &mut Batch<T>, out: &mut Out<T, U>) -> Result<(), Fault> {
        let batch = std::mem::take(batch);
        let mut times = batch.times.into_iter();
        for value in batch.values {
            let time = times.next();
            let kept = (self.on_bad == OnBad::DeadLetter).then(|| value.clone());
            let cause = match (self.f)(value) {
                Ok(made) => {
                    out.0.push_like(made, time, batch.split);
                    continue;
                }
                Err(error) => error.into(),
            };
            match (self.on_bad, kept) {
                (OnBad::Fail, _) => return Err(Fault::Failed(cause)),
                (OnBad::DeadLetter, Some(record)) => {
                    let refused = Refused { record, reason: cause.to_string() };
                    out.1.push_like(refused, time, batch.split);
                }
                _ => {
                    tracing::warn!(operator = %self.place, reason = %cause, "bad record skipped");
                    self.skipped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::interpret::interpret;
    use crate::memory::Memory;
    use crate::testkit::{Harness, at};
    use crate::topology::Topology;

    fn half(number: i64) -> Result<i64, String> {
        if number % 2 == 0 { Ok(number / 2) } else { Err(format!("{number} is odd")) }
    }

    #[test]
    fn dead_letters_hold_the_record_and_the_reason() {
        let mut harness = Harness::new(|stream| {
            let (good, bad) = stream.try_map(half).or_dead_letter();
            good.map(|half| half.to_string()).merge(bad.map(|bad| format!("{}: {}", bad.record, bad.reason)))
        });
        harness.record(4, at(1));
        harness.record(5, at(2));
        harness.watermark(at(3));
        let mut out = harness.take();
        out.sort();
        assert_eq!(out, [("2".to_owned(), at(1)), ("5: 5 is odd".to_owned(), at(2))]);
    }

    #[test]
    fn failing_names_the_operator_and_the_line() {
        let topology = Topology::new("t");
        let sink = Memory::sink();
        topology.source("numbers", Memory::source([4, 5])).try_map(half).or_fail().sink("out", sink);
        let error = interpret(topology).expect_err("5 is odd").to_string();
        assert!(error.contains("try_map") && error.contains("tried.rs:"), "{error}");
        assert!(error.contains("5 is odd"), "{error}");
    }
}
