//! Every decoder of bytes that come from outside or from disk, each as a function of bytes.
//!
//! A target takes any bytes at all. It must return in time, in memory that is in proportion to the bytes, and without
//! a panic, whatever they are; it panics itself where an invariant of the decoder does not hold. What the bytes mean is
//! the target's affair: the first of them often say which type or which limit is tried.
//!
//! One place, two uses: `targets/` hands these functions to a fuzzer for as long as one likes (`scripts/fuzz`), and
//! `examples/tests/decoders.rs` runs them in every test run on the kept inputs and on some hundred random ones. So this
//! folder knows neither a fuzzer nor a test framework.

mod access_log;
mod aggregates;
mod asked;
mod files;
mod journal;
mod json;
mod marker;
mod operators;
mod pattern;
mod redo;
mod rows;
mod shapes;
mod sink;

/// A decoder to be tried.
#[derive(Clone, Copy)]
pub struct Target {
    /// What it is called: the name of its file in `targets/` and of the folder of its inputs in `corpus/`.
    pub name: &'static str,
    /// Tries it on one input.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 14] = [
    Target { name: "access_log", run: access_log::access_log },
    Target { name: "aggregates", run: aggregates::aggregates },
    Target { name: "asked", run: asked::asked },
    Target { name: "csv", run: files::csv },
    Target { name: "journal", run: journal::journal },
    Target { name: "json", run: json::json },
    Target { name: "lines", run: files::lines },
    Target { name: "marker", run: marker::marker },
    Target { name: "operators", run: operators::operators },
    Target { name: "pattern", run: pattern::pattern },
    Target { name: "redo", run: redo::redo },
    Target { name: "rows", run: rows::rows },
    Target { name: "shapes", run: shapes::shapes },
    Target { name: "sink", run: sink::sink },
];

/// The first byte and the others; 0 and nothing where there is none.
fn first(bytes: &[u8]) -> (u8, &[u8]) {
    bytes.split_first().map_or((0, bytes), |(first, rest)| (*first, rest))
}

/// The first part, whose length the first byte says, and the others.
fn part(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = first(bytes);
    rest.split_at(rest.len().min(length.into()))
}
