//! How a program is tested with crashes: its topology runs in the simulation, thousands of times, under everything that
//! can go wrong. `cargo run --release --example simulate`
//!
//! The streams of a program are made by functions. A job gives them Kafka; the simulation gives them its world.

use std::sync::atomic::{AtomicU64, Ordering};

use highwater::prelude::*;
use highwater::simulate::{Failure, Simulation};

/// An order: when, of whom, how much.
type Order = (i64, u32, u64);

/// What every customer spends in ten minutes, as the program computes it.
fn spent(orders: Stream<Order, Untimed>) -> Stream<(u32, i64, u64)> {
    orders
        .event_time(|order| Timestamp::from_millis(order.0), Duration::from_secs(30))
        .key_by(|order| order.1)
        .window(tumbling(Duration::from_secs(600)))
        .aggregate("spent", |a| a.sum(|order: &Order| order.2))
        .map(|spent| (spent.key, spent.window.start.as_millis(), spent.value))
}

/// The same, by somebody who numbers the orders beside the state: after a restart the numbers begin anew.
fn numbered(orders: Stream<Order, Untimed>) -> Stream<(u64, Order), Untimed> {
    let next = AtomicU64::new(0);
    orders.map(move |order| (next.fetch_add(1, Ordering::Relaxed), order))
}

/// Two partitions of orders, up to half a minute out of order.
fn orders() -> [Vec<Order>; 2] {
    let order = |n: i64| (n * 20_000 - n % 7 * 4_000, (n % 3) as u32, (n % 10) as u64);
    [(0..120).map(order).collect(), (0..90).map(order).collect()]
}

/// The program in the simulation, with the topics and transactions of simulated brokers.
fn simulation() -> Simulation {
    Simulation::new(|world| {
        let topology = Topology::new("orders");
        let orders = topology.source("orders", world.topic("orders", orders()));
        spent(orders).sink("totals", world.transactional_sink("totals"));
        topology
    })
}

fn simulation_of_the_mistake() -> Simulation {
    Simulation::new(|world| {
        let topology = Topology::new("numbers");
        let [orders, _] = orders();
        numbered(topology.source("orders", world.topic("orders", [orders])))
            .sink("numbered", world.transactional_sink("numbered"));
        topology
    })
}

fn main() -> Result<(), Failure> {
    let checked = simulation().check(500)?;
    println!("{} runs with these faults, and no order lost or counted twice:", checked.runs());
    println!("{}", checked.coverage());
    match simulation_of_the_mistake().check(500) {
        Ok(_) => println!("nothing happened to the numbered orders"),
        Err(failure) => println!("the numbered orders are wrong:\n{failure}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_survive_everything() {
        assert!(simulation().check(100).expect("clean").runs() > 0);
    }

    #[test]
    fn numbers_beside_the_state_do_not() {
        let failure =
            simulation_of_the_mistake().check_seeds(0..100).expect_err("a restart begins anew").to_string();
        assert!(
            failure.contains("in the sink `numbered`") && failure.contains("HIGHWATER_SEED="),
            "{failure}"
        );
    }
}
