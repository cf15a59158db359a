//! A closure that borrows a local variable.
//~ E0373
use highwater::prelude::*;

fn main() {
    let topology = Topology::new("limits");
    let limit = 2;
    topology
        .source("numbers", Memory::source([1, 2, 3]))
        .filter(|number| *number < limit)
        .sink("small", Memory::sink());
}
