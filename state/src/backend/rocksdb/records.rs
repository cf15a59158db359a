//! A look at the records of the manifest and of the logs before RocksDB reads them.
//!
//! RocksDB 11 reads a record for ever that says it lies in a recycled file, if it is not the first of the file: it
//! takes it for no record, and looks at the same bytes again. No file of ours is recycled, so one damaged byte is
//! enough to make an open hang, and this look refuses it. Invariant: a file that RocksDB would read without complaint
//! passes. It does not know what records hold; checksums are RocksDB's part.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use crate::error::{Result, StateError};

/// Records do not cross the border of a block.
const BLOCK_BYTES: usize = 32 * 1024;
/// Checksum, length and type.
const HEADER_BYTES: usize = 7;
/// The types of records in recycled files, in RocksDB's `db/log_format.h`.
const RECYCLED: [u8; 6] = [5, 6, 7, 8, 11, 131];

/// Refuses a database one of whose manifests or logs has such a record; one without files passes.
///
/// Costs a read of these files, at most 256 MiB of logs.
pub(super) fn refuse_recycled(database: &Path) -> Result<()> {
    let unreadable = |source| StateError::Directory { path: database.to_owned(), source };
    let entries = match fs::read_dir(database) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(error)),
    };
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("MANIFEST-") && !name.ends_with(".log") {
            continue;
        }
        if let Some(place) = recycled_record(&entry.path()).map_err(unreadable)? {
            let reason =
                format!("`{name}` is damaged: its record at byte {place} is of a type that is never written");
            return Err(StateError::Store { doing: "opening the database", reason });
        }
    }
    Ok(())
}

/// Where the first record lies that says it is in a recycled file.
fn recycled_record(path: &Path) -> io::Result<Option<u64>> {
    let mut file = BufReader::with_capacity(BLOCK_BYTES, File::open(path)?);
    let (mut block, mut start) = (Vec::with_capacity(BLOCK_BYTES), 0);
    loop {
        block.clear();
        file.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok(None);
        }
        if let Some(at) = recycled_in(&block) {
            return Ok(Some(start + at as u64));
        }
        start += block.len() as u64;
    }
}

fn recycled_in(block: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(header) = block.get(at..at + HEADER_BYTES) {
        if RECYCLED.contains(&header[6]) {
            return Some(at);
        }
        at += HEADER_BYTES + usize::from(u16::from_le_bytes([header[4], header[5]]));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, bytes: usize) -> Vec<u8> {
        let mut record = vec![1, 2, 3, 4];
        record.extend_from_slice(&(bytes as u16).to_le_bytes());
        record.push(kind);
        record.resize(HEADER_BYTES + bytes, 5);
        record
    }

    #[test]
    fn a_record_of_a_recycled_file_is_found_wherever_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("MANIFEST-000005");
        let mut block = [record(1, 300), record(2, 40)].concat();
        let rest = BLOCK_BYTES - block.len() - HEADER_BYTES;
        block.append(&mut record(4, rest));
        assert_eq!(block.len(), BLOCK_BYTES);
        // What is 5 in the contents is no type.
        let good = [block.clone(), record(1, 10), vec![0; 64]].concat();
        std::fs::write(&path, &good).expect("writes");
        assert!(refuse_recycled(directory.path()).is_ok());
        for kind in RECYCLED {
            let bad = [block.clone(), record(1, 10), record(kind, 3)].concat();
            std::fs::write(&path, bad).expect("writes");
            let refused = refuse_recycled(directory.path()).expect_err("is damaged").to_string();
            assert!(refused.contains("MANIFEST-000005") && refused.contains("32785"), "{refused}");
        }
        assert!(refuse_recycled(&directory.path().join("none")).is_ok());
    }
}
