//! Lateness for sessions.
//~ `Session` cannot be kept for late records: what has fired is gone
//~ `allow_late` is for windows that are known from a record's time: `tumbling(..)`, `sliding(..)`, your own
use highwater::prelude::*;

fn main() {
    let topology = Topology::new("clicks");
    topology
        .source("clicks", Memory::source(["/home".to_owned()]))
        .event_time(|_| Timestamp::MIN, Duration::ZERO)
        .key_by(|page| page.clone())
        .window(session(Duration::from_secs(60)))
        .allow_late(Duration::from_secs(60))
        .count("per-page")
        .sink("out", Memory::sink());
}
