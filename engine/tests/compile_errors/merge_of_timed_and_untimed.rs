//! One stream has event time and the other has not.
//~ E0308
//~ Untimed
use highwater::prelude::*;

fn main() {
    let topology = Topology::new("merged");
    let old = topology.source("old", Memory::source([1, 2]));
    let new = topology.source("new", Memory::source([3, 4])).event_time(|_| Timestamp::MIN, Duration::ZERO);
    new.merge(old).sink("out", Memory::sink());
}
