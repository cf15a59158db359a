//! A closure that captures what no other thread may have.
//~ E0277
use std::rc::Rc;

use highwater::prelude::*;

fn main() {
    let topology = Topology::new("names");
    let names = Rc::new(["none", "one", "two", "three"]);
    let numbers = topology.source("numbers", Memory::source([1, 2, 3]));
    numbers.map(move |number: usize| names[number].to_owned()).sink("names", Memory::sink());
}
