//! `apply`: a function that sees all records of a window, with its key and bounds.
//!
//! The records are what a window keeps, so this works for windows of every kind; when it fires, an operator behind it
//! runs the function. Memory: every record of every open window, up to a limit per key and window; what comes beyond
//! that is counted and not kept, and the job fails when the window emits.

use std::sync::Arc;

use highwater_state::{Key, Persist, TimeRange, Timestamp};
use serde::{Deserialize, Serialize};

use crate::aggregate::update::{Partials, Update};
use crate::batch::Batch;
use crate::data::{Data, HasEventTime};
use crate::limits::WINDOW_RECORDS;
use crate::operator::{Fault, Operator};
use crate::outbox::{Outbox, Outputs};
use crate::stream::{Stream, here};
use crate::window::{Windowed, WindowedStream, Windows};

impl<K: Key, T: Data, W: Windows, C: HasEventTime> WindowedStream<K, T, W, C> {
    /// Runs a function on all records of each key and window; emits what it gives, at the window's last point in
    /// time.
    ///
    /// It is called when the window fires, and again, with all records, when a late one is allowed or an early result
    /// is asked for. Records are in the order in which they came; those of two sessions that are joined are in the
    /// order of the sessions, those of sliding windows in the order of the slices.
    ///
    /// Prefer [`aggregate`](WindowedStream::aggregate) where it can say the same: this keeps every record until its
    /// window is closed, and in every epoch writes all records of the windows that got one. A window of one key holds
    /// [`WINDOW_RECORDS`] at most. With more the job fails: not at the record that is too many, but when the window
    /// emits; that it does so in good time is up to the watermark. [`apply_up_to`](WindowedStream::apply_up_to) takes
    /// another limit.
    ///
    /// ```
    /// # use highwater_operators::testkit::timed_output_of;
    /// # use highwater_operators::window::tumbling;
    /// # use std::time::Duration;
    /// let medians = timed_output_of([(1, 7), (2, 3), (3, 4), (12, 1)], |numbers| {
    ///     let windows = numbers.key_by(|_| 'n').window(tumbling(Duration::from_millis(10)));
    ///     windows.apply("medians", |key, window, mut numbers| {
    ///         numbers.sort();
    ///         [(*key, window.start.as_millis(), numbers[numbers.len() / 2])]
    ///     })
    /// });
    /// assert_eq!(medians, [(9, ('n', 0, 4)), (19, ('n', 10, 1))]);
    /// ```
    #[track_caller]
    pub fn apply<U, I>(
        self,
        name: &str,
        f: impl Fn(&K, TimeRange, Vec<T>) -> I + Send + Sync + 'static,
    ) -> Stream<U, C>
    where
        T: Persist + Clone,
        U: Data,
        I: IntoIterator<Item = U>,
    {
        self.apply_up_to(name, WINDOW_RECORDS, f)
    }

    /// As [`apply`](WindowedStream::apply), with a limit of one's own: how many records a window of one key may hold.
    /// It bounds the memory that one key can take, and the time that one call takes.
    #[track_caller]
    pub fn apply_up_to<U, I>(
        self,
        name: &str,
        records: usize,
        f: impl Fn(&K, TimeRange, Vec<T>) -> I + Send + Sync + 'static,
    ) -> Stream<U, C>
    where
        T: Persist + Clone,
        U: Data,
        I: IntoIterator<Item = U>,
    {
        let place = here("window", Some(name));
        if records == 0 {
            self.wire.refuse(&place, "a window needs room for at least one record");
        }
        let collected = self.updated(place, Collecting { most: records });
        let (name, f): (Arc<str>, _) = (name.into(), Arc::new(f));
        let wire = collected
            .wire
            .then::<Batch<Windowed<K, Collected<T>>>, Outbox<Batch<U>>>(here("apply", None), move |_| {
                Ok(Box::new(Apply { name: Arc::clone(&name), most: records, f: Arc::clone(&f) }))
            });
        Stream::at(wire)
    }
}

/// `apply`: keeps the records themselves, up to a limit.
struct Collecting {
    most: usize,
}

/// What is kept of the records of a window.
#[derive(Clone, Serialize, Deserialize)]
struct Collected<T> {
    records: Vec<T>,
    /// How many there were beyond the limit.
    beyond: u64,
}

impl<T: Persist + Clone> Update<T> for Collecting {
    type Kept = Collected<T>;
    type Value = Collected<T>;

    fn add(&self, kept: &mut Option<Collected<T>>, record: T, _: Timestamp) {
        let kept = kept.get_or_insert_with(|| Collected { records: Vec::new(), beyond: 0 });
        if kept.records.len() < self.most {
            kept.records.push(record);
        } else {
            kept.beyond += 1;
        }
    }

    fn add_shared(&self, kept: &mut Option<Collected<T>>, record: &T, time: Timestamp) {
        self.add(kept, record.clone(), time);
    }

    fn merge(&self, kept: &mut Collected<T>, mut later: Collected<T>) {
        let room = self.most.saturating_sub(kept.records.len());
        kept.beyond += later.beyond + later.records.len().saturating_sub(room) as u64;
        later.records.truncate(room);
        kept.records.append(&mut later.records);
    }

    fn value(&self, kept: &Collected<T>) -> Collected<T> {
        kept.clone()
    }

    fn last_value(&self, kept: Collected<T>) -> Collected<T> {
        kept
    }

    fn partials(&self) -> Partials {
        Partials::None
    }
}

/// Runs the function on the windows that are emitted.
struct Apply<F> {
    name: Arc<str>,
    most: usize,
    f: Arc<F>,
}

impl<K, T, U, I, F> Operator<Batch<Windowed<K, Collected<T>>>, Outbox<Batch<U>>> for Apply<F>
where
    K: 'static,
    T: 'static,
    U: 'static,
    I: IntoIterator<Item = U>,
    F: Fn(&K, TimeRange, Vec<T>) -> I,
{
    fn on_batch(
        &mut self,
        batch: &mut Batch<Windowed<K, Collected<T>>>,
        out: &mut Outbox<Batch<U>>,
    ) -> Result<(), Fault> {
        let mut windows = std::mem::take(&mut batch.values).into_iter();
        let mut done = 0;
        while out.has_room() {
            let Some(Windowed { key, window, value: Collected { records, beyond }, .. }) = windows.next()
            else {
                break;
            };
            if beyond > 0 {
                let reason = format!(
                    "the window from {} to {} of `{}` holds {} records of one key, and {} at most are kept; if what \
                        is wanted can be computed record by record, use `aggregate`, which keeps no records, else \
                        take smaller windows or raise the limit with `apply_up_to`",
                    window.start,
                    window.end,
                    self.name,
                    records.len() as u64 + beyond,
                    self.most
                );
                return Err(Fault::Failed(reason.into()));
            }
            let time = batch.times[done];
            (self.f)(&key, window, records).into_iter().for_each(|made| out.push(made, time));
            done += 1;
        }
        batch.values = windows.collect();
        batch.times.drain(..done);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::interpret::interpret;
    use crate::memory::Memory;
    use crate::testkit::{Harness, at};
    use crate::topology::Topology;
    use crate::window::tumbling;

    fn ten() -> Duration {
        Duration::from_millis(10)
    }

    #[test]
    fn a_function_sees_the_key_the_bounds_and_the_records_in_the_order_in_which_they_came() {
        let mut harness = Harness::new(|stream| {
            let windows = stream.key_by(|number: &i64| number % 2).window(tumbling(ten()));
            windows.allow_late(ten()).apply("all", |key, window, numbers| {
                let all = (*key, window.start.as_millis(), numbers);
                [all.clone(), all]
            })
        });
        [(4, 9), (2, -1), (6, 0), (1, 3)]
            .into_iter()
            .for_each(|(number, time)| harness.record(number, at(time)));
        harness.watermark(at(10));
        harness.record(3, at(2));
        let mut found = harness.take();
        found.sort();
        let expected = [
            ((0, -10, vec![2]), at(-1)),
            ((0, 0, vec![4, 6]), at(9)),
            ((1, 0, vec![1]), at(9)),
            ((1, 0, vec![1, 3]), at(9)),
        ];
        let twice: Vec<_> = expected.into_iter().flat_map(|result| [result.clone(), result]).collect();
        assert_eq!(found, twice);
    }

    /// The error of a window with room for so many records of a key, which gets three.
    fn with_room_for(records: usize) -> Result<(), String> {
        let topology = Topology::new("limited");
        let source = topology.source("records", Memory::source([1i64, 2, 3]));
        let windows = source.event_time(|number| at(*number), ten()).key_by(|_| ()).window(tumbling(ten()));
        let sums = windows.apply_up_to("sums", records, |_, _, numbers| [numbers.iter().sum::<i64>()]);
        sums.sink("sink", Memory::sink());
        interpret(topology).map_err(|error| error.to_string())
    }

    #[test]
    fn a_window_with_too_many_records_fails_the_job_and_says_what_to_do() {
        let error = with_room_for(2).expect_err("too many");
        for part in ["`sums`", "3 records of one key", "2 at most", "`aggregate`", "apply.rs:"] {
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(with_room_for(3), Ok(()));
    }

    #[test]
    fn room_for_no_record_is_refused() {
        let error = with_room_for(0).expect_err("is refused");
        assert!(error.contains("at least one record"), "{error}");
    }

    fn collected(update: &Collecting, numbers: &[u8]) -> Option<Collected<u8>> {
        let mut kept = None;
        numbers.iter().for_each(|number| update.add(&mut kept, *number, Timestamp::MIN));
        kept
    }

    proptest! {
        #[test]
        fn merging_parts_keeps_the_same_as_adding_all(
            first in prop::collection::vec(any::<u8>(), 1..8),
            later in prop::collection::vec(any::<u8>(), 1..8),
            most in 1usize..10,
        ) {
            let update = Collecting { most };
            let mut merged = collected(&update, &first).expect("has records");
            update.merge(&mut merged, collected(&update, &later).expect("has records"));
            let all = collected(&update, &[first, later].concat()).expect("has records");
            prop_assert_eq!((merged.records, merged.beyond), (all.records, all.beyond));
        }
    }
}
