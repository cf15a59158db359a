//! Streams, tables and refused records that go nowhere.
//~ a stream does nothing until it reaches a sink
//~ a table's changes go nowhere until they reach a sink
//~ say what becomes of bad records
//~ a window does nothing until it is aggregated
#![deny(unused_must_use)]
use highwater::prelude::*;

fn main() {
    let topology = Topology::new("unused");
    let words = topology.source("words", Memory::source(["a".to_owned()]));
    words.clone().filter(|word| !word.is_empty());
    words.clone().try_map(|word| word.parse::<i32>());
    words.clone().key_by(|word| word.clone()).count("counts");
    let timed = words.event_time(|_| Timestamp::MIN, Duration::ZERO);
    timed.key_by(|word| word.clone()).window(tumbling(Duration::from_secs(60)));
}
