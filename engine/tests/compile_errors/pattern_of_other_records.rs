//! A pattern for other records than those of the stream.
use highwater::prelude::*;

fn main() {
    let twice = Pattern::begin("first", |page: &String| page == "/cart").next("second", |page| page == "/cart");
    let topology = Topology::new("prices");
    topology
        .source("prices", Memory::source([3]))
        .event_time(|price| Timestamp::from_millis(*price), Duration::ZERO)
        .key_by(|_| 0u8)
        .pattern(twice)
        .select("twice", |_, (first, _)| first.clone())
        .values()
        .sink("out", Memory::sink());
}
