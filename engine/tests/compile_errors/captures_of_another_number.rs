//! A match of two stages, read as one of three.
use highwater::prelude::*;

fn main() {
    let rising = Pattern::begin("low", |price: &i64| *price < 10)
        .next("high", |price| *price > 90)
        .within(Duration::from_secs(60));
    let topology = Topology::new("prices");
    topology
        .source("prices", Memory::source([3]))
        .event_time(|price| Timestamp::from_millis(*price), Duration::ZERO)
        .key_by(|_| 0u8)
        .pattern(rising)
        .select("rising", |_, (low, middle, high)| low + middle + high)
        .values()
        .sink("out", Memory::sink());
}
