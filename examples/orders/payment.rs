//! The payment service: charges cards, and gives money back. The bank behind it is made up; the card says what it does.

use highwater::prelude::*;
use highwater_examples::orders::messages::{Ask, Card, Done, Payment, Request};
use highwater_examples::topics::JobTopics;

use crate::participant::{Answers, Dealt, reply};

/// The job.
pub fn payment(topics: &JobTopics) -> Job {
    let topology = Topology::new("payment");
    let dealt = topics
        .stream::<Request>(&topology, "payment-requests")
        .processing_time()
        .key_by(|request| request.saga.clone())
        .process("charges", |states| Charges { answers: Answers::new(states) })
        .values();
    reply(&dealt, topics);
    let payments = dealt.flat_map(|dealt| dealt.fact);
    payments.sink("payments", topics.sink("payments").key(|payment: &Payment| payment.order.clone()));
    topics.job(topology)
}

/// What was charged for an order.
struct Charges {
    answers: Answers,
}

impl KeyedOperator<String, Request> for Charges {
    type Out = Dealt<Payment>;

    fn on_record(
        &mut self,
        request: Request,
        context: &mut Context<'_, String, Self::Out>,
    ) -> Result<(), Cause> {
        if let Some(reply) = self.answers.again(&request, context)? {
            context.emit(Dealt::only(reply));
            return Ok(());
        }
        let (cents, card, at) = match request.body {
            Ask::Charge { cents, card, ordered_at } => (cents as i64, card, ordered_at + time_of(card)),
            Ask::Refund { cents, card, ordered_at } => (-(cents as i64), card, ordered_at + time_of(card)),
            _ => (0, Card::Declined, Timestamp::MIN),
        };
        if card == Card::Busy && request.attempt == 1 {
            context.emit(Dealt::only(request.failed("the bank is busy")));
            return Ok(());
        }
        if cents > 0 && card == Card::Declined || cents == 0 {
            let answer = SagaAnswer::Refused("the card was declined".to_owned());
            let reply = self.answers.give(&request, answer, context)?;
            context.emit(Dealt::only(reply));
            return Ok(());
        }
        // What was never charged cannot be given back.
        let happens = cents > 0 || self.answers.has_done(&request, context)?;
        let reply = self.answers.give(&request, SagaAnswer::Done(Done::Done), context)?;
        let is_lost = card == Card::Silent && cents > 0;
        let fact = happens.then(|| Payment { order: request.saga.clone(), cents, at });
        context.emit(Dealt { reply: (!is_lost).then_some(reply), fact });
        Ok(())
    }

    fn on_timer(&mut self, at: Timestamp, context: &mut Context<'_, String, Self::Out>) -> Result<(), Cause> {
        self.answers.forget(at, context)?;
        Ok(())
    }
}

/// How long after the order the bank has the money, or has sent it back.
fn time_of(card: Card) -> Duration {
    match card {
        Card::Slow => Duration::from_secs(2 * 3600),
        _ => Duration::from_secs(120),
    }
}
