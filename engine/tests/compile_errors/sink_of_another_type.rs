//! A sink that takes another type than the stream has.
//~ E0277
use highwater::prelude::*;

fn main() {
    let topology = Topology::new("lengths");
    topology.source("words", Memory::source(["a".to_owned()])).sink("lengths", Memory::sink::<usize>());
}
