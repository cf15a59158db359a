//! The shipping service: parcels leave when they have waited for as long as the customer may think about it.
//!
//! It is the one that knows whether it is too late to cancel an order: it hears the customers' commands itself.

use highwater::prelude::*;
use highwater_examples::orders::NOWHERE;
use highwater_examples::orders::messages::{Ask, Done, OrderCommand, Request, Shipment};
use highwater_examples::topics::JobTopics;
use serde::{Deserialize, Serialize};

use crate::participant::{Answers, Dealt, reply};

/// What shipping hears.
#[derive(Clone)]
enum Heard {
    Asked(Request),
    Cancelled(String),
}

/// The job.
pub fn shipping(topics: &JobTopics) -> Job {
    let topology = Topology::new("shipping");
    let asked = topics.stream::<Request>(&topology, "shipping-requests").map(Heard::Asked);
    let cancelled =
        topics.stream::<OrderCommand>(&topology, "order-commands").flat_map(|command| match command {
            OrderCommand::Cancel { order } => Some(Heard::Cancelled(order)),
            OrderCommand::Place(_) => None,
        });
    let dealt = asked
        .merge(cancelled)
        .processing_time()
        .key_by(|heard| match heard {
            Heard::Asked(request) => request.saga.clone(),
            Heard::Cancelled(order) => order.clone(),
        })
        .process("parcels", |states| Parcels {
            parcel: states.value("parcel"),
            answers: Answers::new(states),
        })
        .values();
    reply(&dealt, topics);
    let shipments = dealt.flat_map(|dealt| dealt.fact);
    shipments.sink("shipments", topics.sink("shipments").key(|shipment: &Shipment| shipment.order.clone()));
    topics.job(topology)
}

/// Where the parcel of an order is.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Parcel {
    /// Packed, and waiting until then.
    Waits { request: Request, until: Timestamp },
    /// On its way.
    Left,
    /// There will be none.
    Cancelled,
}

struct Parcels {
    parcel: Value<Parcel>,
    answers: Answers,
}

impl KeyedOperator<String, Heard> for Parcels {
    type Out = Dealt<Shipment>;

    fn on_record(&mut self, heard: Heard, context: &mut Context<'_, String, Self::Out>) -> Result<(), Cause> {
        let parcel = self.parcel.get(context)?.cloned();
        match (heard, parcel) {
            (Heard::Asked(request), parcel) => self.asked(request, parcel, context),
            (Heard::Cancelled(_), Some(Parcel::Left | Parcel::Cancelled)) => Ok(()),
            (Heard::Cancelled(_), Some(Parcel::Waits { request, .. })) => {
                self.parcel.set(context, Parcel::Cancelled)?;
                self.refuse(&request, CANCELLED, context)
            }
            (Heard::Cancelled(_), None) => Ok(self.parcel.set(context, Parcel::Cancelled)?),
        }
    }

    fn on_timer(&mut self, at: Timestamp, context: &mut Context<'_, String, Self::Out>) -> Result<(), Cause> {
        let parcel = self.parcel.get(context)?.cloned();
        if let Some(Parcel::Waits { request, until }) = parcel {
            return if at >= until { self.leaves(request, context) } else { Ok(()) };
        }
        if self.answers.forget(at, context)? {
            self.parcel.clear(context)?;
        }
        Ok(())
    }
}

const CANCELLED: &str = "cancelled by the customer";

impl Parcels {
    fn asked(
        &self,
        request: Request,
        parcel: Option<Parcel>,
        context: &mut Context<'_, String, Dealt<Shipment>>,
    ) -> Result<(), Cause> {
        if let Some(reply) = self.answers.again(&request, context)? {
            context.emit(Dealt::only(reply));
            return Ok(());
        }
        let Ask::Ship { address, wait_seconds } = &request.body else {
            return self.refuse(&request, "shipping ships, and nothing else", context);
        };
        match parcel {
            Some(Parcel::Cancelled) => self.refuse(&request, CANCELLED, context),
            _ if address == NOWHERE => self.refuse(&request, "nobody lives there", context),
            Some(Parcel::Waits { .. }) => Ok(()),
            _ if *wait_seconds > 0 => {
                let until = context.time() + Duration::from_secs(u64::from(*wait_seconds));
                context.set_timer(until)?;
                Ok(self.parcel.set(context, Parcel::Waits { request, until })?)
            }
            _ => self.leaves(request, context),
        }
    }

    fn leaves(
        &self,
        request: Request,
        context: &mut Context<'_, String, Dealt<Shipment>>,
    ) -> Result<(), Cause> {
        let Ask::Ship { address, .. } = &request.body else { return Ok(()) };
        let (order, parcel) = (request.saga.clone(), format!("parcel-of-{}", request.saga));
        let fact = Some(Shipment { order, parcel: parcel.clone(), address: address.clone() });
        self.parcel.set(context, Parcel::Left)?;
        let answer = SagaAnswer::Done(Done::Shipped { parcel });
        let reply = Some(self.answers.give(&request, answer, context)?);
        context.emit(Dealt { reply, fact });
        Ok(())
    }

    fn refuse(
        &self,
        request: &Request,
        reason: &str,
        context: &mut Context<'_, String, Dealt<Shipment>>,
    ) -> Result<(), Cause> {
        let reply = self.answers.give(request, SagaAnswer::Refused(reason.to_owned()), context)?;
        context.emit(Dealt::only(reply));
        Ok(())
    }
}
