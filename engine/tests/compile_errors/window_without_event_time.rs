//! A window on a stream whose records have no event time.
//~ this stream has no event time, and a window, a timer or an order in time needs it
//~ needs `.event_time(..)` earlier in the chain, before `key_by`
//~ for example `.event_time(|record| record.at, Duration::from_secs(5)).key_by(..)`
use highwater::prelude::*;

fn main() {
    let topology = Topology::new("clicks");
    topology
        .source("clicks", Memory::source(["/home".to_owned()]))
        .key_by(|page| page.clone())
        .window(tumbling(Duration::from_secs(60)))
        .count("per-page")
        .sink("out", Memory::sink());
}
