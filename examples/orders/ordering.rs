//! The order service: a saga for each order, which reserves, charges and ships, or undoes what was done.
//!
//! It asks the other services through their topics and hears from them through `replies`. What it does not know: how
//! they do it, and whether they run.

use highwater::prelude::*;
use highwater_examples::orders::messages::{Ask, Done, OrderCommand, OrderEvent, Purchase, Reply, Request};
use highwater_examples::topics::JobTopics;

/// How often a service is asked again that does not answer in time, or says that it cannot now.
const RETRIES: u32 = 20;
/// How long a parcel may wait, and a day more.
const SHIPPING: Duration = Duration::from_secs(2 * 24 * 3600);

/// The steps of an order. The parcel is the point of no return, so it is the last one.
fn purchase(patience: Duration) -> Saga<Purchase, Ask, Done> {
    let backoff = patience / 4;
    Saga::new("purchase")
        .step("reserve", |purchase: &Purchase| Ask::Reserve {
            product: purchase.order.product.clone(),
            pieces: purchase.order.pieces,
        })
        .compensate(|purchase| Ask::Release {
            product: purchase.order.product.clone(),
            pieces: purchase.order.pieces,
        })
        .timeout(patience)
        .retries(RETRIES, backoff)
        .compensation_retries(RETRIES, backoff)
        .step("pay", |purchase| Ask::Charge {
            cents: purchase.order.cents,
            card: purchase.order.card,
            ordered_at: purchase.order.at,
        })
        .compensate(|purchase| Ask::Refund {
            cents: purchase.order.cents,
            card: purchase.order.card,
            ordered_at: purchase.order.at,
        })
        .timeout(patience)
        .retries(RETRIES, backoff)
        .compensation_retries(RETRIES, backoff)
        .step("ship", |purchase| Ask::Ship {
            address: purchase.order.address.clone(),
            wait_seconds: purchase.order.wait_seconds,
        })
        .learn(|purchase, done| {
            if let Done::Shipped { parcel } = done {
                purchase.parcel = Some(parcel);
            }
        })
        .timeout(SHIPPING)
}

/// The job. `patience` is how long it waits for the answer of a service before it asks again.
pub fn ordering(topics: &JobTopics, patience: Duration) -> Job {
    let topology = Topology::new("order");
    let placed = topics
        .stream::<OrderCommand>(&topology, "order-commands")
        .flat_map(OrderCommand::placed)
        .map(|order| (order.order.clone(), SagaInput::Start(Purchase { order, parcel: None })));
    let replies = topics
        .stream::<Reply>(&topology, "replies")
        .map(|reply| (reply.saga.clone(), SagaInput::Reply(reply)));

    let sagas = placed
        .merge(replies)
        .processing_time()
        .key_by(|(order, _)| order.clone())
        .map_values(|(_, input)| input)
        .saga(purchase(patience));

    let requests = sagas.requests.values();
    for (step, topic) in
        [("reserve", "stock-requests"), ("pay", "payment-requests"), ("ship", "shipping-requests")]
    {
        let asked = requests.clone().filter(move |request| request.step == step);
        asked.sink(topic, topics.sink(topic).key(partition_of));
    }
    let begun = requests.filter(|request| request.attempt == 1).map(|request| OrderEvent::Begun {
        order: request.saga,
        step: request.step,
        direction: request.direction,
    });
    let ended = sagas.ends.values().map(|end| OrderEvent::Ended { purchase: end.data, outcome: end.outcome });
    begun
        .merge(ended)
        .sink("order-events", topics.sink("order-events").key(|event: &OrderEvent| event.order().to_owned()));
    topics.job(topology)
}

/// Those for a shelf go one way, those for an order otherwise.
fn partition_of(request: &Request) -> String {
    match &request.body {
        Ask::Reserve { product, .. } | Ask::Release { product, .. } => product.clone(),
        _ => request.saga.clone(),
    }
}
