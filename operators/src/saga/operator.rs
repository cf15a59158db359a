//! `saga`: starts and replies in; requests, ends and what nobody waited for out.
//!
//! It is an operator of [`process`](crate::keyed::process) with one value and one timer for each saga, and a node that
//! sorts what it tells into three streams. Memory: a row for each saga that runs or is remembered, in the shared table
//! budget while it is in use and on disk otherwise.

use std::marker::PhantomData;
use std::sync::Arc;

use highwater_state::{Key, Persist, Timestamp};

use crate::batch::KeyedBatch;
use crate::data::{Data, HasEventTime};
use crate::error::Cause;
use crate::keyed::KeyedStream;
use crate::keyed::process::{Context, KeyedOperator, Value};
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::saga::definition::Saga;
use crate::saga::messages::{Direction, SagaEnd, SagaInput, SagaRequest};
use crate::saga::run::{self, Effect, Run};
use crate::stream::here;

/// What comes out of sagas.
#[must_use = "a saga does nothing until its requests reach its participants"]
pub struct SagaStreams<K, D, R, A> {
    /// What participants are asked to do.
    pub requests: KeyedStream<K, SagaRequest<K, R>>,
    /// How sagas ended.
    pub ends: KeyedStream<K, SagaEnd<K, D>>,
    /// Replies that came late or twice or for no saga, and starts of sagas that have begun. They change nothing; the
    /// report of the job counts them, whether anybody takes them or not.
    pub ignored: KeyedStream<K, SagaInput<K, D, A>>,
}

impl<K: Key, D: Persist, A: Data, C: HasEventTime> KeyedStream<K, SagaInput<K, D, A>, C> {
    /// Runs a saga for each key that is started.
    ///
    /// The requests go to the participants, by a sink or by an operator, and their replies come back into this stream,
    /// in no order that matters. A request may reach a participant more than once: it looks at the idempotency key.
    ///
    /// Timeouts are in the time of the stream. With event time they pass when the watermark does, which needs records
    /// to rise; put `.untimed().processing_time()` before `key_by` to have them pass with the clock.
    ///
    /// ```
    /// use highwater_operators::saga::{Saga, SagaInput, SagaOutcome};
    /// # use highwater_operators::testkit::{Harness, at};
    ///
    /// fn order() -> Saga<u64, &'static str, ()> {
    ///     Saga::new("order")
    ///         .step("reserve", |_: &u64| "reserve")
    ///         .compensate(|_| "release")
    ///         .step("pay", |_| "pay")
    /// }
    ///
    /// # let mut harness = Harness::new(|inputs| {
    /// let sagas = inputs.key_by(|(id, _): &(char, _)| *id).map_values(|(_, input)| input).saga(order());
    /// # let asked = sagas.requests.values().map(|request| (Some(request), None));
    /// # asked.merge(sagas.ends.values().map(|end| (None, Some(end.outcome))))
    /// # });
    /// # harness.record(('a', SagaInput::Start(100)), at(0));
    /// # let reserve = harness.take().remove(0).0.0.expect("a request");
    /// // The saga is started and asks to reserve; that is done, and payment is refused: what was reserved is released.
    /// # harness.record(('a', SagaInput::Reply(reserve.done(()))), at(1));
    /// # let pay = harness.take().remove(0).0.0.expect("a request");
    /// # harness.record(('a', SagaInput::Reply(pay.refused("no cover"))), at(2));
    /// # let release = harness.take().remove(0).0.0.expect("a request");
    /// # assert_eq!((reserve.body, pay.body, release.body), ("reserve", "pay", "release"));
    /// # assert_eq!(release.idempotency_key, "a/reserve/undo");
    /// # harness.record(('a', SagaInput::Reply(release.done(()))), at(3));
    /// # let outcome = harness.take().remove(0).0.1.expect("an end");
    /// assert_eq!(outcome, SagaOutcome::Compensated { failed: "pay".to_owned(), reason: "no cover".to_owned() });
    /// ```
    #[track_caller]
    pub fn saga<R: Data>(self, saga: Saga<D, R, A>) -> SagaStreams<K, D, R, A>
    where
        D: 'static,
    {
        if let Err(reason) = saga.check() {
            self.wire.refuse(&here("saga", Some(&saga.name)), reason);
        }
        let name = saga.name.clone();
        let saga = Arc::new(saga);
        let told = self.process(&name, move |states| Running {
            saga: Arc::clone(&saga),
            run: states.value("run"),
            told: Vec::new(),
        });
        let wire =
            told.wire.then::<KeyedBatch<K, Told<K, D, R, A>>, Out<K, D, R, A>>(here("saga", None), |_| {
                Ok(Box::new(Sort(PhantomData)))
            });
        let (ends, ignored) = (wire.output(1), wire.output(2));
        SagaStreams {
            requests: KeyedStream::at(wire),
            ends: KeyedStream::at(ends),
            ignored: KeyedStream::at(ignored),
        }
    }
}

/// What one saga tells.
enum Told<K, D, R, A> {
    Request(SagaRequest<K, R>),
    End(SagaEnd<K, D>),
    Ignored(SagaInput<K, D, A>),
}

struct Running<D, R, A> {
    saga: Arc<Saga<D, R, A>>,
    run: Value<Run<D>>,
    told: run::Told<D, R>,
}

impl<D: Persist, R: Data, A: Data> Running<D, R, A> {
    /// Tells what a saga wants, and moves its timer to where it is due now.
    fn settle<K: Key>(
        &mut self,
        timer: Timestamp,
        context: &mut Context<'_, K, Told<K, D, R, A>>,
    ) -> Result<(), Cause> {
        let due = self.run.get(context)?.map_or(Timestamp::MAX, Run::due);
        if due != timer {
            if timer < Timestamp::MAX {
                context.delete_timer(timer)?;
            }
            if due < Timestamp::MAX {
                context.set_timer(due)?;
            }
        }
        let now = context.time;
        for (time, effect) in self.told.drain(..) {
            let saga = context.key.clone();
            // A timeout that a record brings about has its own time, as if the watermark had.
            context.time = time;
            context.emit(match effect {
                Effect::End { data, outcome } => Told::End(SagaEnd { saga, data, outcome }),
                Effect::Ask { step, direction, attempt, body } => {
                    let idempotency_key = idempotency_key(&saga, &step, direction);
                    Told::Request(SagaRequest { saga, step, direction, attempt, idempotency_key, body })
                }
            });
        }
        context.time = now;
        Ok(())
    }
}

impl<K: Key, D: Persist, R: Data, A: Data> KeyedOperator<K, SagaInput<K, D, A>> for Running<D, R, A> {
    type Out = Told<K, D, R, A>;

    fn on_record(
        &mut self,
        input: SagaInput<K, D, A>,
        context: &mut Context<'_, K, Self::Out>,
    ) -> Result<(), Cause> {
        let now = context.time();
        let run = self.run.get_mut(context)?;
        let timer = run.as_ref().map_or(Timestamp::MAX, Run::due);
        // Whatever was due before comes first, whether the watermark has come so far or not.
        if let Some(running) = run
            && running.reach(&self.saga, now, &mut self.told)?
        {
            *run = None;
        }
        let ignored = match (input, &mut *run) {
            (SagaInput::Start(data), None) => {
                *run = Some(Run::start(&self.saga, data, now, &mut self.told)?);
                None
            }
            (SagaInput::Reply(reply), Some(running)) => {
                running.reply(&self.saga, reply, &mut self.told)?.err().map(SagaInput::Reply)
            }
            (input, _) => Some(input),
        };
        self.settle(timer, context)?;
        if let Some(ignored) = ignored {
            context.emit(Told::Ignored(ignored));
        }
        Ok(())
    }

    fn on_timer(&mut self, at: Timestamp, context: &mut Context<'_, K, Self::Out>) -> Result<(), Cause> {
        let run = self.run.get_mut(context)?;
        if let Some(running) = run
            && running.reach(&self.saga, at, &mut self.told)?
        {
            *run = None;
        }
        self.settle(at, context)
    }
}

/// What names a step of a saga to its participant.
fn idempotency_key<K: Key>(saga: &K, step: &str, direction: Direction) -> String {
    let saga = match serde_json::to_value(saga) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(_) => {
            let mut bytes = Vec::new();
            // A key was encoded before, or it would not be here.
            let _ = highwater_state::persist::encode("key", saga, &mut bytes);
            highwater_state::shape::hex(&bytes)
        }
    };
    let direction = if direction == Direction::Do { "do" } else { "undo" };
    format!("{saga}/{step}/{direction}")
}

type Out<K, D, R, A> = (
    Outbox<KeyedBatch<K, SagaRequest<K, R>>>,
    (Outbox<KeyedBatch<K, SagaEnd<K, D>>>, Outbox<KeyedBatch<K, SagaInput<K, D, A>>>),
);

/// Sorts what sagas tell into three streams.
struct Sort<T>(PhantomData<fn() -> T>);

impl<K, D, R, A> Operator<KeyedBatch<K, Told<K, D, R, A>>, Out<K, D, R, A>> for Sort<(K, D, R, A)>
where
    K: Key,
    D: 'static,
    R: 'static,
    A: 'static,
{
    fn on_batch(
        &mut self,
        batch: &mut KeyedBatch<K, Told<K, D, R, A>>,
        out: &mut Out<K, D, R, A>,
    ) -> Result<(), Fault> {
        let KeyedBatch { keys, hashes, records } = std::mem::take(batch);
        let keyed = keys.into_iter().zip(hashes).zip(records.times);
        for (((key, hash), time), told) in keyed.zip(records.values) {
            match told {
                Told::Request(request) => out.0.push_keyed(key, hash, request, time),
                Told::End(end) => out.1.0.push_keyed(key, hash, end, time),
                Told::Ignored(input) => out.1.1.push_keyed(key, hash, input, time),
            }
        }
        Ok(())
    }
}
