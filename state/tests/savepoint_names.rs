//! A savepoint may have come from anywhere: what it calls its files cannot lead restoring to any other place.

use std::fs;
use std::path::Path;

use highwater_state::backend::rocksdb::RocksDbBackend;
use highwater_state::budget::MemoryBudget;
use highwater_state::delta::{Delta, Family};
use highwater_state::{Backend, Savepoint, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

/// Lists one more file in the manifest, as long as `bytes`, with the checksum that belongs to it.
fn list(savepoint: &Path, name: &str, bytes: usize) {
    let path = savepoint.join("savepoint.json");
    let text = fs::read_to_string(&path).expect("it was made");
    let body = text.lines().next().expect("it has two lines");
    let name = serde_json::to_string(name).expect("a text is JSON");
    let body = body.replacen(r#""files":{"#, &format!(r#""files":{{{name}:{bytes},"#), 1);
    fs::write(&path, format!("{body}\n{:016x}\n", xxh3_64(body.as_bytes()))).expect("it can be written");
}

#[test]
fn a_savepoint_that_lists_what_is_no_name_of_a_file_is_refused() {
    let root = tempfile::tempdir().expect("a folder can be made");
    let secret = root.path().join("secret");
    fs::write(&secret, "of somebody else").expect("it can be written");
    let state = root.path().join("state");
    let backend = RocksDbBackend::open(&state, &MemoryBudget::default()).expect("it opens");
    let mut delta = Delta::default();
    delta.put(Family::Values, b"key", b"value");
    backend.commit(&delta).expect("it commits");
    let absolute = secret.display().to_string();
    let names =
        ["../../secret", "../savepoint.json", "..", ".", "", "CURRENT/", "./CURRENT", absolute.as_str()];
    for (number, name) in names.into_iter().enumerate() {
        let path = root.path().join(format!("savepoint-{number}"));
        Savepoint::make(&backend, &path, "topology", Timestamp::from_millis(0)).expect("it is made");
        Savepoint::open(&path).expect("it is whole");
        list(&path, name, 16);
        let refused = Savepoint::open(&path).expect_err("it lists no file").to_string();
        assert!(refused.contains("is no name of a file"), "{name:?}: {refused}");
    }
}
