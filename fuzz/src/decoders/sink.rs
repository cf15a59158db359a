//! What the file sink finds beside its output when it starts: a marker, parts, and the receipts of the last epoch.

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use highwater::operators::sink::Publish;
use highwater::prelude::*;
use highwater::state::Epoch;
use tempfile::TempDir;

thread_local! {
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

const SECRET: &[u8] = b"of somebody else";

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("can be read").file_name();
    let mut names: Vec<String> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Whatever marker and receipts say, nothing is read, written or removed but the output and what lies in its staging
/// directory; and a second start finds what the first has left.
pub fn sink(bytes: &[u8]) {
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| tempfile::tempdir().expect("a folder can be made"));
        recover(folder.path(), bytes);
    });
}

fn recover(root: &Path, bytes: &[u8]) {
    let (epoch, bytes) = super::first(bytes);
    let (written, bytes) = super::first(bytes);
    let (marker, bytes) = super::part(bytes);
    let (receipt, other) = super::part(bytes);

    let (secret, beside) = (root.join("secret"), root.join("out"));
    let (output, staged) = (beside.join("o"), beside.join(".o.staged"));
    fs::create_dir_all(&staged).expect("a folder can be made");
    fs::write(&secret, SECRET).expect("a file can be written");
    fs::write(&output, vec![b'x'; written.into()]).expect("a file can be written");
    for worker in 0..2 {
        let part = staged.join(format!("part-{epoch}-{worker}"));
        fs::write(part, "part\n").expect("a file can be written");
    }
    if marker.is_empty() {
        let _ = fs::remove_file(staged.join("marker"));
    } else {
        fs::write(staged.join("marker"), marker).expect("a file can be written");
    }

    let (epoch, receipts) = (Epoch(epoch.into()), [receipt.to_vec(), other.to_vec()]);
    let start = || File::at(&output).sink(Raw).recover(epoch, &receipts);
    if start().is_ok() {
        let published = fs::read(&output).expect("the output is there");
        assert!(!published.windows(SECRET.len()).any(|bytes| bytes == SECRET), "it is in the output");
        start().expect("a second start finds what the first has left");
        assert_eq!(fs::read(&output).expect("the output is there"), published);
    }

    assert_eq!(fs::read(&secret).expect("it is still there"), SECRET);
    assert_eq!(names(root), ["out", "secret"]);
    assert_eq!(names(&beside), [".o.staged", "o"]);
    fs::remove_file(staged.join("marker.new")).unwrap_or_default();
}
