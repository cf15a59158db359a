//! What is right compiles; a harness that refuses everything would fail here.
use highwater::prelude::*;

fn main() {
    let topology = Topology::new("good");
    let words = topology.source("words", Memory::source([(1_000_i64, "a".to_owned())]));
    let (numbers, bad) = words.clone().try_map(|(_, word)| word.parse::<i32>()).or_dead_letter();
    numbers.sink("numbers", Memory::sink());
    bad.sink("bad", Memory::sink());
    words
        .filter(|(_, word)| !word.is_empty())
        .event_time(|(millis, _)| Timestamp::from_millis(*millis), Duration::from_secs(5))
        .key_by(|(_, word)| word.clone())
        .window(tumbling(Duration::from_secs(60)))
        .count("counts")
        .sink("counts", Memory::sink());
}
