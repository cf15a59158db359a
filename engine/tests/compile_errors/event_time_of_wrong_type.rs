//! Event times that are no points in time: a bare number, a string.
//~ `i64` is not a point in time
//~ `String` is not a point in time
//~ the closure must return a `Timestamp` or a `chrono::DateTime<Utc>`
//~ from milliseconds since 1970: `Timestamp::from_millis(record.at)`
use highwater::prelude::*;

fn main() {
    let topology = Topology::new("clicks");
    let clicks = topology.source("clicks", Memory::source([(1_700_000_000_000_i64, "/home".to_owned())]));
    clicks.clone().event_time(|click| click.0, Duration::from_secs(5)).sink("a", Memory::sink());
    clicks.event_time(|click| click.1.clone(), Duration::from_secs(5)).sink("b", Memory::sink());
}
