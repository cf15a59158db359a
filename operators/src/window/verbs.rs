//! What is made of windows, of whatever kind: `count`, `aggregate`, `fold`, `reduce`.

use std::sync::Arc;

use highwater_state::{Key, Persist};

use crate::aggregate::update::{Aggregating, Counting, Folding, Reducing, Update};
use crate::aggregate::{Agg, Aggregate};
use crate::batch::KeyedBatch;
use crate::data::{Data, HasEventTime};
use crate::error::Place;
use crate::stream::{Stream, here, set_operator};
use crate::window::{Out, WholeWindows, Windowed, WindowedStream, Windows};

impl<K: Key, T: Data, W: Windows, C: HasEventTime> WindowedStream<K, T, W, C> {
    /// Counts the records of each key and window.
    ///
    /// ```
    /// # use highwater_operators::testkit::timed_output_of;
    /// # use highwater_operators::window::tumbling;
    /// # use std::time::Duration;
    /// let counts = timed_output_of([(1, 'a'), (2, 'a'), (11, 'a')], |letters| {
    ///     let windows = letters.key_by(|letter| *letter).window(tumbling(Duration::from_millis(10)));
    ///     windows.count("letters").map(|counted| (counted.key, counted.value))
    /// });
    /// assert_eq!(counts, [(9, ('a', 2)), (19, ('a', 1))]);
    /// ```
    #[track_caller]
    pub fn count(self, name: &str) -> Stream<Windowed<K, u64>, C> {
        self.updated(here("window", Some(name)), Counting)
    }

    /// Aggregates the records of each key and window: those of [`Agg`], tuples of up to eight of them, or your own.
    ///
    /// ```
    /// # use highwater_operators::testkit::timed_output_of;
    /// # use highwater_operators::window::tumbling;
    /// # use std::time::Duration;
    /// let stats = timed_output_of([(1, 4.0), (2, 8.0)], |values| {
    ///     let windows = values.key_by(|_| ()).window(tumbling(Duration::from_millis(10)));
    ///     windows.aggregate("stats", |a| (a.max(|v: &f64| *v), a.mean(|v| *v))).map(|stats| stats.value)
    /// });
    /// assert_eq!(stats, [(9, (8.0, 6.0))]);
    /// ```
    #[track_caller]
    pub fn aggregate<A: Aggregate<T>>(
        self,
        name: &str,
        of: impl FnOnce(Agg<T>) -> A,
    ) -> Stream<Windowed<K, A::Out>, C> {
        self.updated(here("window", Some(name)), Aggregating(of(Agg::default())))
    }

    /// Folds the records of each key and window into one value: `initial` before the first, changed by `f` with
    /// each.
    #[track_caller]
    pub fn fold<A: Persist + Clone>(
        self,
        name: &str,
        initial: impl Fn() -> A + Send + Sync + 'static,
        f: impl Fn(&mut A, T) + Send + Sync + 'static,
    ) -> Stream<Windowed<K, A>, C>
    where
        W: WholeWindows<T>,
    {
        self.updated(here("window", Some(name)), Folding::new(initial, f).copying(W::copy()))
    }

    /// Combines the records of each key and window two by two, in the order in which they came.
    ///
    /// Sliding windows and sessions combine parts, of earlier and of later records: `f` must be associative there.
    #[track_caller]
    pub fn reduce(
        self,
        name: &str,
        f: impl Fn(T, T) -> T + Send + Sync + 'static,
    ) -> Stream<Windowed<K, T>, C>
    where
        T: Persist + Clone,
    {
        self.updated(here("window", Some(name)), Reducing(f))
    }

    pub(crate) fn updated<U: Update<T>>(self, place: Place, update: U) -> Stream<Windowed<K, U::Value>, C> {
        if let Err(reason) = update.check() {
            self.wire.refuse(&place, reason);
        }
        let (windows, firing, update) = (self.windows, self.firing, Arc::new(update));
        let node = self.wire.port.node;
        self.wire.graph.borrow_mut().nodes[node].place = place;
        set_operator::<KeyedBatch<K, T>, Out<K, T, U::Value>>(&self.wire.graph, node, move |opening| {
            windows.open(&update, &firing, opening)
        });
        Stream::at(self.wire)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::memory::Memory;
    use crate::testkit::at;
    use crate::topology::Topology;
    use crate::window::tumbling;

    #[test]
    fn an_aggregate_that_cannot_be_is_refused_at_the_users_line() {
        let topology = Topology::new("refused");
        let numbers = topology.source("numbers", Memory::source([1i64]));
        let running = numbers.key_by(|n| *n).aggregate("running", |a| (a.count(), a.top(0, |n| *n)));
        let timed =
            running.into_keyed().values().map(|(count, _)| count).event_time(|_| at(0), Duration::ZERO);
        let windows = timed.key_by(|_| ()).window(tumbling(Duration::from_secs(1)));
        let windows = windows.aggregate("windows", |a| a.quantiles([50.0], |n: &u64| *n));
        let windows = windows.key_by(|_| ()).two_stage().window(tumbling(Duration::from_secs(1)));
        let windows = windows.aggregate("stages", |a| a.collect(0, |result| result.window));
        let stages = windows.key_by(|_| ()).two_stage().aggregate("last", |a| a.top_by(0, |_| 0, |_| 0));
        stages.into_keyed().values().map(|_| ()).sink("sink", Memory::sink());
        let errors = topology.finish().err().expect("the topology is refused");
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), 4, "{errors:?}");
        let whys = [
            ("running", "top 0 values"),
            ("windows", "50 is no"),
            ("stages", "limit of 0"),
            ("last", "top_by 0"),
        ];
        for (error, (name, why)) in errors.iter().zip(whys) {
            let here = error.contains(name) && error.contains("verbs.rs:") && error.contains(why);
            assert!(here, "{error}");
        }
    }
}
