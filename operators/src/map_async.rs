//! `map_async`: asks something outside for each record, without waiting for one answer before the next question.
//!
//! The user writes a future; an [`Executor`](crate::executor::Executor) drives it, the engine's on a runtime beside
//! the workers. Invariant: a result is emitted exactly once, however often its request is made, because a record
//! whose result has not left when an epoch ends is kept with the epoch and requested again after a restart.

mod attempt;
mod lineup;
mod operator;
mod rows;
mod settings;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use highwater_state::{Key, Persist};

use crate::data::{Clock, Data};
use crate::error::{Cause, Place};
use crate::keyed::KeyedStream;
use crate::map_async::attempt::Answer;
use crate::map_async::operator::{Form, Keyed, MapAsync, Plain, Request};
use crate::map_async::settings::Settings;
use crate::stateless::tried::{OnBad, Refused};
use crate::stream::{Stream, Wire, here};

/// Requests that are made for the records of a stream, waiting for the caller to say how, and what becomes of
/// records that get no answer.
#[must_use = "say what becomes of records that get no answer: `or_fail`, `or_skip` or `or_dead_letter`"]
pub struct Requests<S, B> {
    settings: Settings,
    add: Box<dyn FnOnce(Settings, OnBad) -> Wire>,
    answered: fn(Wire) -> S,
    refused: fn(Wire) -> B,
}

impl<S, B> Requests<S, B> {
    /// How many records each worker holds at most: those whose requests are on their way, and those whose answers
    /// wait for their turn; 100 unless said. While it holds as many it takes no more, and what feeds it waits.
    ///
    /// The end of an epoch waits until all records before it have been taken. Some thousands may stand on the way: if
    /// requests take a second and 100 are made at a time, that is a minute. Let more be made at a time then, and keep
    /// the [`timeout`](Requests::timeout) short beside the time that an epoch may take.
    pub fn in_flight(mut self, records: usize) -> Self {
        self.settings.in_flight = records;
        self
    }

    /// Results leave when they are there, and not in the order of their records; on a keyed stream those of one key
    /// stay in order. They do not overtake watermarks: event time stays right. One slow answer does not hold up
    /// those behind it, but the watermark.
    pub fn unordered(mut self) -> Self {
        self.settings.ordered = false;
        self
    }

    /// How long one attempt may take before it is dropped and counts as failed; 30 s unless said, at least 1 ms.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// How many more attempts follow one that failed, and how long after it the first of them is made; the time
    /// doubles from each to the next, up to a minute. 2 retries after 100 ms unless said.
    pub fn retries(mut self, retries: u32, backoff: Duration) -> Self {
        (self.settings.attempts, self.settings.backoff) = (retries.saturating_add(1), backoff);
        self
    }

    /// A record that gets no answer ends the job with an error. Nothing is lost: the epoch it belongs to is not
    /// committed, and the next start requests it again.
    pub fn or_fail(self) -> S {
        (self.answered)((self.add)(self.settings, OnBad::Fail))
    }

    /// A record that gets no answer is logged, counted and dropped.
    pub fn or_skip(self) -> S {
        (self.answered)((self.add)(self.settings, OnBad::Skip))
    }

    /// Records that get no answer are the second stream, each with what its last attempt said.
    pub fn or_dead_letter(self) -> (S, B) {
        let wire = (self.add)(self.settings, OnBad::DeadLetter);
        let refused = wire.output(1);
        ((self.answered)(wire), (self.refused)(refused))
    }
}

impl<T: 'static, C: Clock> Stream<T, C> {
    /// Makes one record of each by asking something outside: a service, a database, a cache. Many requests are on
    /// their way at a time; no worker waits for them.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// async fn country_of(ip: String) -> Result<String, std::io::Error> {
    ///     Ok(if ip.starts_with("10.") { "here" } else { "elsewhere" }.to_owned())
    /// }
    ///
    /// let countries = output_of(["10.0.0.1", "8.8.8.8"].map(str::to_owned), |ips| {
    ///     ips.map_async("geo", country_of).in_flight(50).or_fail()
    /// });
    /// assert_eq!(countries, ["here", "elsewhere"]);
    /// ```
    ///
    /// Results keep the event times of their records, and leave in the order of their records, unless
    /// [`unordered`](Requests::unordered). An attempt that fails or takes too long is
    /// [repeated](Requests::retries); then `or_fail`, `or_skip` or `or_dead_letter` says what becomes of the record.
    /// A panic ends the job.
    ///
    /// **Over a restart** no record is lost and every result is emitted exactly once, but a request may be made again:
    /// records whose results have not left when an epoch ends are kept with it, and requested anew after a restart,
    /// before new ones and with all their attempts. So what is requested should do no harm if it is done twice. A job
    /// that is asked to stop does not wait for answers; one whose input has ended does.
    ///
    /// In a job, futures run on a runtime of tokio 1 with timers and sockets, beside the workers: a program that uses
    /// `tokio::net` or a client built on it depends on tokio itself, and needs no runtime. They must not block. In
    /// the interpreter and the test kit each is driven to its end where it is made, without timeouts and pauses; one
    /// that needs tokio's timers or sockets runs there inside `Runtime::enter`.
    ///
    /// Memory: `in_flight` records, twice, and their answers, on each worker. Stand `event_time` before it.
    #[track_caller]
    pub fn map_async<U, E, R>(
        self,
        name: &str,
        f: impl Fn(T) -> R + Send + Sync + 'static,
    ) -> Requests<Stream<U, C>, Stream<Refused<T>, C>>
    where
        T: Persist + Clone,
        U: Data,
        E: Into<Cause>,
        R: Future<Output = Result<U, E>> + Send + 'static,
    {
        let add = adding::<Plain, T, U>(self.wire, here("map_async", Some(name)), requesting(f));
        Requests { settings: Settings::default(), add, answered: Stream::at, refused: Stream::at }
    }
}

impl<K, T: 'static, C: Clock> KeyedStream<K, T, C> {
    /// As [`Stream::map_async`]; the results keep the keys of their records, and the order of each key, also where
    /// they are [`unordered`](Requests::unordered). Several requests of one key may be on their way at a time.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let longest = output_of(["a b", "a"].map(str::to_owned), |lines| {
    ///     let lengths = lines.key_by(|_| ()).map_async("length", |line: String| async move {
    ///         Ok::<usize, std::io::Error>(line.len())
    ///     });
    ///     let lengths = lengths.unordered().or_fail();
    ///     lengths.fold("longest", || 0, |longest, length| *longest = length.max(*longest)).to_stream()
    /// });
    /// assert_eq!(longest, [((), 3), ((), 3)]);
    /// ```
    #[track_caller]
    pub fn map_async<U, E, R>(
        self,
        name: &str,
        f: impl Fn(T) -> R + Send + Sync + 'static,
    ) -> Requests<KeyedStream<K, U, C>, Stream<Refused<T>, C>>
    where
        K: Key,
        T: Persist + Clone,
        U: Data,
        E: Into<Cause>,
        R: Future<Output = Result<U, E>> + Send + 'static,
    {
        let add = adding::<Keyed<K>, T, U>(self.wire, here("map_async", Some(name)), requesting(f));
        Requests { settings: Settings::default(), add, answered: KeyedStream::at, refused: Stream::at }
    }
}

/// The user's closure is called by the executor too, so that what it does before its first `await` holds up no
/// worker, and a panic there is one of the future.
fn requesting<T, U, E, R>(f: impl Fn(T) -> R + Send + Sync + 'static) -> Request<T, U>
where
    T: Send + 'static,
    U: 'static,
    E: Into<Cause>,
    R: Future<Output = Result<U, E>> + Send + 'static,
{
    let f = Arc::new(f);
    Arc::new(move |record| -> Answer<U> {
        let f = Arc::clone(&f);
        Box::pin(async move { f(record).await.map_err(Into::into) })
    })
}

fn adding<F, T, U>(
    wire: Wire,
    place: Place,
    request: Request<T, U>,
) -> Box<dyn FnOnce(Settings, OnBad) -> Wire>
where
    F: Form<T, U>,
    T: Persist + Clone,
    U: Data,
{
    Box::new(move |settings, on_bad| {
        settings.faults().into_iter().for_each(|fault| wire.refuse(&place, fault));
        let added = wire.then(place, move |opening| {
            let (settings, request) = (settings.clone(), Arc::clone(&request));
            Ok(Box::new(MapAsync::<F, T, U>::open(settings, on_bad, request, opening)?))
        });
        added.graph.borrow_mut().nodes[added.port.node].asynchronous = true;
        added
    })
}
