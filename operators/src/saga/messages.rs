//! What a saga and its participants say to each other, and how it ends.

use highwater_state::Key;
use serde::{Deserialize, Serialize};

/// Whether a step is to be done or undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// The step itself.
    Do,
    /// Its compensation.
    Undo,
}

/// What a participant is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SagaRequest<K, R> {
    /// The saga.
    pub saga: K,
    /// The name of the step.
    pub step: String,
    /// Whether it is to be done or undone.
    pub direction: Direction,
    /// Which request for it this is, counted from 1.
    pub attempt: u32,
    /// The same for every attempt, and for no other step or saga: a participant that has dealt with a request of this
    /// key answers as it did then, and does nothing.
    pub idempotency_key: String,
    /// What is asked for.
    pub body: R,
}

impl<K: Key, R> SagaRequest<K, R> {
    /// The name of this very request: the idempotency key and the attempt.
    pub fn id(&self) -> String {
        format!("{}/{}", self.idempotency_key, self.attempt)
    }

    /// The reply that it is done.
    pub fn done<A>(&self, answer: A) -> SagaReply<K, A> {
        self.reply(SagaAnswer::Done(answer))
    }

    /// The reply that it will never be done: nobody asks again.
    pub fn refused<A>(&self, reason: impl Into<String>) -> SagaReply<K, A> {
        self.reply(SagaAnswer::Refused(reason.into()))
    }

    /// The reply that it was not done this time: it may be asked for again.
    pub fn failed<A>(&self, reason: impl Into<String>) -> SagaReply<K, A> {
        self.reply(SagaAnswer::Failed(reason.into()))
    }

    fn reply<A>(&self, answer: SagaAnswer<A>) -> SagaReply<K, A> {
        let SagaRequest { saga, step, direction, attempt, .. } = self;
        let (saga, step) = (saga.clone(), step.clone());
        SagaReply { saga, step, direction: *direction, attempt: *attempt, answer }
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SagaAnswer<A> {
    /// It is done.
    Done(A),
    /// It will never be done, and nothing has happened.
    Refused(String),
    /// It was not done this time, and nothing has happened.
    Failed(String),
}

/// What a participant replies; made by [`SagaRequest::done`], [`refused`](SagaRequest::refused) or
/// [`failed`](SagaRequest::failed).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SagaReply<K, A> {
    /// The saga that asked.
    pub saga: K,
    /// The step that it asked for.
    pub step: String,
    /// Whether it asked to do or to undo it.
    pub direction: Direction,
    /// The attempt that is answered.
    pub attempt: u32,
    /// What became of it.
    pub answer: SagaAnswer<A>,
}

/// What goes into a saga.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SagaInput<K, D, A> {
    /// It begins, with what it is about. One that runs, or has ended not long ago, does not begin again.
    Start(D),
    /// A participant replies.
    Reply(SagaReply<K, A>),
}

/// The end of a saga.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SagaEnd<K, D> {
    /// The saga.
    pub saga: K,
    /// What it is about, as the replies have left it.
    pub data: D,
    /// How it ended.
    pub outcome: SagaOutcome,
}

/// How a saga ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SagaOutcome {
    /// All steps are done.
    Completed,
    /// A step was given up, and all that was done before it is undone.
    Compensated {
        /// The step that was given up.
        failed: String,
        /// Why.
        reason: String,
    },
    /// A step was given up, and what was done cannot be undone: a person must see to it.
    NeedsHelp {
        /// The step that was given up.
        failed: String,
        /// Why.
        reason: String,
        /// The steps that are not undone, in the order in which they should be; the first one is that whose
        /// compensation was given up.
        not_undone: Vec<String>,
        /// Why it was given up.
        because: String,
    },
}
