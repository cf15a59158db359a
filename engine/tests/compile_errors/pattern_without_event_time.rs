//! A pattern over a stream whose records have no event time.
//~ this stream has no event time, and a window, a timer or an order in time needs it
//~ needs `.event_time(..)` earlier in the chain, before `key_by`
use highwater::prelude::*;

fn main() {
    let twice = Pattern::begin("first", |page: &String| page == "/cart").next("second", |page| page == "/cart");
    let topology = Topology::new("clicks");
    topology
        .source("clicks", Memory::source(["/home".to_owned()]))
        .key_by(|page| page.clone())
        .pattern(twice)
        .select("twice", |_, (first, _)| first.clone())
        .values()
        .sink("out", Memory::sink());
}
