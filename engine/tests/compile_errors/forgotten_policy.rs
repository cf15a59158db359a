//! `try_map` without saying what becomes of bad records.
//~ E0599
//~ Tried<i32, highwater::prelude::Refused<String>, Untimed>
use highwater::prelude::*;

fn main() {
    let topology = Topology::new("numbers");
    let lines = topology.source("lines", Memory::source(["1".to_owned(), "x".to_owned()]));
    lines.try_map(|line| line.parse::<i32>()).sink("numbers", Memory::sink());
}
