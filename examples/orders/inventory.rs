//! The inventory: how many pieces of each product there are, and for which orders some were taken.

use highwater::prelude::*;
use highwater_examples::orders::messages::{Ask, Done, PRODUCTS, Request, StockMove};
use highwater_examples::topics::JobTopics;

use crate::participant::{Answers, Dealt, reply};

/// The job. There are `stock` pieces of each product when the shop opens for the first time.
pub fn inventory(topics: &JobTopics, stock: u32) -> Job {
    let topology = Topology::new("inventory");
    let dealt = topics
        .stream::<Request>(&topology, "stock-requests")
        .processing_time()
        .key_by(product_of)
        .process("shelves", move |states| Shelf {
            stock,
            left: states.value("left"),
            answers: Answers::new(states),
        })
        .values();
    reply(&dealt, topics);
    let moves = dealt.flat_map(|dealt| dealt.fact);
    moves.sink("stock-moves", topics.sink("stock-moves").key(|moved: &StockMove| moved.product.clone()));
    topics.job(topology)
}

fn product_of(request: &Request) -> String {
    match &request.body {
        Ask::Reserve { product, .. } | Ask::Release { product, .. } => product.clone(),
        _ => String::new(),
    }
}

/// A shelf with pieces of one product.
struct Shelf {
    stock: u32,
    left: Value<u32>,
    answers: Answers,
}

impl KeyedOperator<String, Request> for Shelf {
    type Out = Dealt<StockMove>;

    fn on_record(
        &mut self,
        request: Request,
        context: &mut Context<'_, String, Self::Out>,
    ) -> Result<(), Cause> {
        if let Some(reply) = self.answers.again(&request, context)? {
            context.emit(Dealt::only(reply));
            return Ok(());
        }
        let is_sold = PRODUCTS.iter().any(|(product, _)| product == context.key());
        let at_first = if is_sold { self.stock } else { 0 };
        let before = self.left.get(context)?.copied().unwrap_or(at_first);
        let (answer, left) = match request.body {
            Ask::Reserve { pieces, .. } => match before.checked_sub(pieces) {
                Some(left) => (SagaAnswer::Done(Done::Done), left),
                None => (SagaAnswer::Refused("out of stock".to_owned()), before),
            },
            Ask::Release { pieces, .. } if self.answers.has_done(&request, context)? => {
                (SagaAnswer::Done(Done::Done), before + pieces)
            }
            Ask::Release { .. } => (SagaAnswer::Done(Done::Done), before),
            _ => {
                (SagaAnswer::Refused("the inventory reserves and releases, nothing else".to_owned()), before)
            }
        };
        let fact = (left != before).then(|| StockMove {
            order: request.saga.clone(),
            product: context.key().clone(),
            pieces: i64::from(left) - i64::from(before),
            left,
        });
        self.left.set(context, left)?;
        let reply = Some(self.answers.give(&request, answer, context)?);
        context.emit(Dealt { reply, fact });
        Ok(())
    }

    fn on_timer(&mut self, at: Timestamp, context: &mut Context<'_, String, Self::Out>) -> Result<(), Cause> {
        self.answers.forget(at, context)?;
        Ok(())
    }
}
