//! A closure that changes what it captured: every worker has its own, and a restart forgets it.
//~ E0594
use highwater::prelude::*;

fn main() {
    let topology = Topology::new("counting");
    let mut seen = 0;
    topology
        .source("numbers", Memory::source([1, 2, 3]))
        .filter(move |_| {
            seen += 1;
            seen > 1
        })
        .sink("out", Memory::sink());
}
