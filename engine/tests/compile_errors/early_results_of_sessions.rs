//! Early results of windows that do not know their end before the last record.
//~ `Session` cannot give early results
//~ `emit_early` is for windows that are aligned in time: `tumbling(..)`, `sliding(..)`
use highwater::prelude::*;

fn main() {
    let topology = Topology::new("clicks");
    topology
        .source("clicks", Memory::source(["/home".to_owned()]))
        .event_time(|_| Timestamp::from_millis(0), Duration::from_secs(5))
        .key_by(|page| page.clone())
        .window(session(Duration::from_secs(60)))
        .emit_early(Duration::from_secs(10))
        .count("per-page")
        .sink("out", Memory::sink());
}
