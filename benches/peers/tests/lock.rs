//! Both lock files name the same version of what both workspaces need: figures are then of the code that users build,
//! and with one target directory RocksDB is compiled once for both.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The names and versions in a lock file, as `name version`.
fn locked(path: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let value = |line: &str, key: &str| Some(line.strip_prefix(key)?.trim_matches('"').to_owned());
    let lines: Vec<&str> = text.lines().collect();
    let package =
        |pair: &[&str]| Some(format!("{} {}", value(pair[0], "name = ")?, value(pair[1], "version = ")?));
    lines.windows(2).filter_map(package).collect()
}

/// The name of a package with the part of its version that compatible versions share: one lock file has one version of
/// each such series. A series that only one of them has is of a crate that the other does not need.
fn series(package: &str) -> String {
    let (name, version) = package.split_once(' ').unwrap_or((package, ""));
    let parts: Vec<&str> = version.split('.').collect();
    let shared = parts.iter().take_while(|part| **part == "0").count() + 1;
    format!("{name} {}", parts[..shared.min(parts.len())].join("."))
}

#[test]
fn what_both_lock_files_have_is_of_one_version() {
    let (library, peers) = (locked("../../Cargo.lock"), locked("Cargo.lock"));
    assert!(library.len() > 50 && peers.len() > 50, "the lock files are read");
    let of_peers: BTreeSet<_> = peers.iter().map(|package| series(package)).collect();
    let differ: Vec<&String> = library
        .iter()
        .filter(|package| of_peers.contains(&series(package)) && !peers.contains(*package))
        .collect();
    let command = "cargo update --manifest-path benches/peers/Cargo.toml NAME --precise VERSION";
    assert!(differ.is_empty(), "other versions than the library's of {differ:?}; {command} for each");
}

#[test]
fn versions_are_of_one_series_where_cargo_takes_one_for_the_other() {
    let same = |one: &str, other: &str| series(one) == series(other);
    assert!(same("serde 1.0.2", "serde 1.9.0") && same("rand 0.9.1", "rand 0.9.5"));
    assert!(!same("rand 0.9.1", "rand 0.10.0") && !same("serde 1.0.2", "serde_core 1.0.2"));
    assert!(!same("wasi 0.11.1+preview1", "wasi 0.14.7+0.2.4") && !same("a 0.0.1", "a 0.0.2"));
}
