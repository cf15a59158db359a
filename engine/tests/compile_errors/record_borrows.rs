//! Records that borrow from a local variable.
//~ E0597
use highwater::prelude::*;

fn main() {
    let text = "a line\nand another".to_owned();
    let topology = Topology::new("lines");
    topology.source("text", Memory::source(text.lines())).sink("out", Memory::sink());
}
