//! A fold over sessions, which are merged.
//~ `Session` of `String` cannot be folded
//~ use `reduce`, or `aggregate` with an `Aggregate` of your own, which can be merged
//~ sessions and sliding windows are put together from parts, and `fold` does not say how
use highwater::prelude::*;

fn main() {
    let topology = Topology::new("clicks");
    topology
        .source("clicks", Memory::source(["/home".to_owned()]))
        .event_time(|_| Timestamp::MIN, Duration::ZERO)
        .key_by(|page| page.clone())
        .window(session(Duration::from_secs(60)))
        .fold("per-page", String::new, |pages, page| pages.push_str(&page))
        .sink("out", Memory::sink());
}
