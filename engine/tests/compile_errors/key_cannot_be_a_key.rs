//! Keys without equality: a floating point number, and a struct that derives nothing.
//~ `f64` cannot be a key
//~ `Place` cannot be a key
//~ a key needs `Clone`, `Eq`, `serde::Serialize` and `serde::Deserialize`
//~ floating point numbers have no `Eq`: round them to an integer, or make a `String` of them
//~ for a type of your own: `#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]`
use highwater::prelude::*;

#[derive(Clone)]
struct Place {
    city: String,
}

fn main() {
    let topology = Topology::new("readings");
    let readings = topology.source("readings", Memory::source([(20.5_f64, "Oslo".to_owned())]));
    readings.clone().key_by(|(degrees, _)| *degrees).count("by-degree").to_stream().sink("a", Memory::sink());
    readings.key_by(|(_, city)| Place { city: city.clone() }).count("by-place").keep();
}
