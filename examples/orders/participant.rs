//! What the three services have in common that an order asks: they remember what they have answered.
//!
//! Invariant: what is asked twice is done once, and answered as it was the first time. What a service has answered is
//! forgotten when no saga can ask for it any more.

use highwater::operators::saga::Direction;
use highwater::prelude::*;
use highwater_examples::orders::messages::{Done, Reply, Request};
use highwater_examples::topics::JobTopics;

/// For how long an answer is remembered: longer than any saga waits.
const REMEMBERED: Duration = Duration::from_secs(4 * 24 * 3600);
const HOUR_MILLIS: i64 = 3_600_000;

/// What comes of a request: a reply, unless that was given before or comes later, and what has happened, if anything.
#[derive(Clone)]
pub struct Dealt<F> {
    /// What the order's saga is told.
    pub reply: Option<Reply>,
    /// What everybody may know.
    pub fact: Option<F>,
}

impl<F> Dealt<F> {
    /// Nothing has happened, but for an answer.
    pub fn only(reply: Reply) -> Self {
        Dealt { reply: Some(reply), fact: None }
    }
}

/// Sends replies to where sagas hear them.
pub fn reply<F: Clone + Send + 'static>(dealt: &Stream<Dealt<F>>, topics: &JobTopics) {
    let replies = dealt.clone().flat_map(|dealt| dealt.reply);
    replies.sink("replies", topics.sink("replies").key(|reply: &Reply| reply.saga.clone()));
}

/// What a service has answered under one key of its state.
pub struct Answers {
    given: Map<String, (SagaAnswer<Done>, Timestamp)>,
}

impl Answers {
    /// Declares them.
    pub fn new<K: highwater::state::Key>(states: &mut States<'_, K>) -> Self {
        Answers { given: states.map("answers") }
    }

    /// The reply that was given to the same request before.
    pub fn again<K: highwater::state::Key, O: 'static>(
        &self,
        request: &Request,
        context: &mut Context<'_, K, O>,
    ) -> Result<Option<Reply>, Cause> {
        let given = self.given.get(context, &request.idempotency_key)?;
        Ok(given.map(|(answer, _)| with(request, answer.clone())))
    }

    /// Whether the step that this request undoes was done.
    pub fn has_done<K: highwater::state::Key, O: 'static>(
        &self,
        request: &Request,
        context: &mut Context<'_, K, O>,
    ) -> Result<bool, Cause> {
        debug_assert_eq!(request.direction, Direction::Undo);
        let step = format!("{}/{}/do", request.saga, request.step);
        Ok(matches!(self.given.get(context, &step)?, Some((SagaAnswer::Done(_), _))))
    }

    /// Remembers the answer to a request, and gives the reply.
    pub fn give<K: highwater::state::Key, O: 'static>(
        &self,
        request: &Request,
        answer: SagaAnswer<Done>,
        context: &mut Context<'_, K, O>,
    ) -> Result<Reply, Cause> {
        let now = context.time();
        self.given.get_mut(context)?.insert(request.idempotency_key.clone(), (answer.clone(), now));
        // One timer for all answers of an hour.
        let until = (now + REMEMBERED).as_millis();
        context.set_timer(Timestamp::from_millis((until / HOUR_MILLIS + 1) * HOUR_MILLIS))?;
        Ok(with(request, answer))
    }

    /// Forgets what is old enough. True if nothing is left.
    pub fn forget<K: highwater::state::Key, O: 'static>(
        &self,
        now: Timestamp,
        context: &mut Context<'_, K, O>,
    ) -> Result<bool, Cause> {
        let given = self.given.get_mut(context)?;
        given.retain(|_, (_, since)| *since + REMEMBERED > now);
        let nothing_left = given.is_empty();
        if nothing_left {
            self.given.clear(context)?;
        }
        Ok(nothing_left)
    }
}

fn with(request: &Request, answer: SagaAnswer<Done>) -> Reply {
    SagaReply { answer, ..request.done(Done::Done) }
}
