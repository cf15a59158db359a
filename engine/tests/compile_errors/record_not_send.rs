//! A record that may not move to another thread.
//~ `Rc<String>` cannot flow through a topology
//~ a record must be `Send` and own what it holds
//~ records move from thread to thread: use `Arc` and not `Rc`, `String` and not `&str`
use std::rc::Rc;

use highwater::prelude::*;

fn main() {
    let topology = Topology::new("shared");
    topology
        .source("names", Memory::source(["a".to_owned()]))
        .map(Rc::new)
        .inspect(|_| ())
        .key_by(|name| name.len())
        .count("lengths")
        .keep();
}
