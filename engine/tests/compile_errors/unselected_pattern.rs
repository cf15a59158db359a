//! A pattern whose matches are never selected.
//~ a pattern does nothing until its matches are selected
#![deny(unused_must_use)]
use highwater::prelude::*;

fn main() {
    let twice = Pattern::begin("first", |price: &i64| *price < 10).next("second", |price| *price < 10);
    let topology = Topology::new("prices");
    topology
        .source("prices", Memory::source([3]))
        .event_time(|price| Timestamp::from_millis(*price), Duration::ZERO)
        .key_by(|_| 0u8)
        .pattern(twice);
}
