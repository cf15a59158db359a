//! A pattern of more stages than a tuple can have.
//~ these stages cannot be told to a match
//~ put stages that belong together into a group: it counts as one
use highwater::prelude::*;

fn main() {
    let long = Pattern::begin("a", |price: &i64| *price < 10)
        .next("b", any)
        .next("c", any)
        .next("d", any)
        .next("e", any)
        .next("f", any)
        .next("g", any)
        .next("h", any)
        .next("i", any)
        .next("j", any)
        .next("k", any)
        .next("l", any)
        .next("m", any);
    let topology = Topology::new("prices");
    let prices = topology.source("prices", Memory::source([3]));
    let timed = prices.event_time(|price| Timestamp::from_millis(*price), Duration::ZERO);
    let matches = timed.key_by(|_| 0u8).pattern(long);
    let _ = matches;
}
