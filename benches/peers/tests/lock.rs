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

#[test]
fn what_both_lock_files_have_is_of_one_version() {
    let (library, peers) = (locked("../../Cargo.lock"), locked("Cargo.lock"));
    assert!(library.len() > 50 && peers.len() > 50, "the lock files are read");
    let name = |package: &String| package.split(' ').next().map(str::to_owned);
    let names: BTreeSet<_> = peers.iter().map(name).collect();
    let differ: Vec<&String> = library
        .iter()
        .filter(|package| names.contains(&name(package)) && !peers.contains(*package))
        .collect();
    let command = "cargo update --manifest-path benches/peers/Cargo.toml NAME --precise VERSION";
    assert!(differ.is_empty(), "other versions than the library's of {differ:?}; {command} for each");
}
