//! Values and keys that borrow: they cannot come back from disk.
//~ &str
use highwater::prelude::*;

fn main() {
    let topology = Topology::new("pages");
    let pages = topology.source("pages", Memory::source(["/home", "/about"]));
    pages.clone().key_by(|page| page.len()).reduce("last", |_, page| page).keep();
    pages.key_by(|page| *page).count("counts").keep();
}
