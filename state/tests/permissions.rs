//! State is for its owner: nobody else can read a row, whatever the state directory's own mode is.

#![cfg(unix)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use highwater_state::Backend;
use highwater_state::backend::rocksdb::{RocksDbBackend, open_to_others};
use highwater_state::budget::MemoryBudget;
use highwater_state::delta::{Delta, Family};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

fn use_state(directory: &Path) {
    let backend = RocksDbBackend::open(directory, &MemoryBudget::default()).expect("it opens");
    let mut delta = Delta::default();
    delta.put(Family::Values, b"key", b"value");
    backend.commit(&delta).expect("it commits");
}

#[test]
fn a_new_state_directory_is_its_owners_only_and_so_are_the_ones_above_it_that_were_made() {
    let root = tempfile::tempdir().expect("a folder can be made");
    let directory = root.path().join("above/state");
    use_state(&directory);
    for made in ["above", "above/state", "above/state/db"] {
        assert_eq!(mode(&root.path().join(made)), 0o700, "{made}");
    }
    assert_eq!(mode(&directory.join("LOCK-highwater")), 0o600);
    assert_eq!(open_to_others(&directory).expect("it is there"), None);
}

#[test]
fn a_directory_that_was_there_keeps_its_mode_and_what_is_in_it_is_the_owners_only() {
    for open in [0o755, 0o750, 0o777, 0o711] {
        let root = tempfile::tempdir().expect("a folder can be made");
        let directory = root.path().join("state");
        fs::create_dir(&directory).expect("a folder can be made");
        fs::set_permissions(&directory, Permissions::from_mode(open)).expect("it is ours");
        for _ in 0..2 {
            use_state(&directory);
            assert_eq!(open_to_others(&directory).expect("it is there"), Some(open));
            assert_eq!((mode(&directory), mode(&directory.join("db"))), (open, 0o700));
        }
    }
}
