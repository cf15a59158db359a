//! Names and notes: of segments, of files, of who owns a place.
//!
//! `<run>-<last epoch>-<first epoch>-<number>.parquet` is a file: the same receipts give the same files under the same
//! names, so that making them twice is making them once. A run begins when a job begins without state. Names of one run
//! sort as their last epochs do.

use highwater::state::Epoch;
use serde::{Deserialize, Serialize};

use crate::store::STAGED;

/// Rows that are durable and wait for a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Segment {
    /// Its name below [`STAGED`].
    pub(crate) name: String,
    /// The epoch it belongs to.
    pub(crate) epoch: Epoch,
    pub(crate) rows: u64,
    /// Bytes of its values.
    pub(crate) bytes: u64,
}

impl Segment {
    pub(crate) fn object(&self) -> String {
        format!("{STAGED}/{}", self.name)
    }

    /// Whether the name is one that a writer gives: a receipt comes from disk.
    pub(crate) fn is_named_well(&self) -> bool {
        let allowed = |char: char| char.is_ascii_hexdigit() || char == '-';
        self.name.strip_suffix(".segment").is_some_and(|name| !name.is_empty() && name.chars().all(allowed))
    }
}

/// What a writer staged and no file holds yet; committed with the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) run: String,
    pub(crate) segments: Vec<Segment>,
}

/// Who owns the place: the object [`OWNER`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    pub(crate) run: String,
    /// Drawn at every start.
    pub(crate) instance: String,
}

pub(crate) const OWNER: &str = "_staged/owner.json";

/// Segments that become one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) name: String,
    pub(crate) segments: Vec<Segment>,
}

/// Which files are made of segments that wait, in their order: as few as have at most so many bytes, or one segment.
pub(crate) fn plan(run: &str, segments: &[Segment], file_bytes: usize) -> Vec<Planned> {
    let last = segments.iter().map(|segment| segment.epoch.0).max().unwrap_or(0);
    let first = segments.iter().map(|segment| segment.epoch.0).min().unwrap_or(0);
    let (mut files, mut bytes): (Vec<Planned>, u64) = (Vec::new(), u64::MAX);
    for segment in segments {
        if bytes.saturating_add(segment.bytes) > file_bytes as u64 {
            let name = format!("{run}-{last:012}-{first:012}-{:04}.parquet", files.len());
            files.push(Planned { name, segments: Vec::new() });
            bytes = 0;
        }
        bytes += segment.bytes;
        files.last_mut().expect("one was begun for the first segment").segments.push(segment.clone());
    }
    files
}

/// The last epoch of a file, by its name.
pub(crate) fn epoch_of(file: &str) -> Option<Epoch> {
    file.strip_suffix(".parquet")?.split('-').nth(1)?.parse().ok().map(Epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_as_large_as_they_may_be_and_named_after_their_epochs() {
        let segment = |epoch, bytes| {
            let name = format!("a-{epoch}-0.segment");
            Segment { name, epoch: Epoch(epoch), rows: 1, bytes }
        };
        let segments = [segment(3, 40), segment(4, 60), segment(4, 10), segment(5, 500), segment(7, 1)];
        let files = plan("ab", &segments, 100);
        let counts: Vec<usize> = files.iter().map(|file| file.segments.len()).collect();
        assert_eq!(counts, [2, 1, 1, 1]);
        assert_eq!(files[0].name, "ab-000000000007-000000000003-0000.parquet");
        assert_eq!(files[3].name, "ab-000000000007-000000000003-0003.parquet");
        assert_eq!(epoch_of(&files[3].name), Some(Epoch(7)));
        assert_eq!(epoch_of("other.parquet"), None);
        assert_eq!(plan("ab", &[], 100), []);
        assert!(segments[0].is_named_well());
        for name in ["../x.segment", "x", ".segment", "a/b.segment"] {
            assert!(!Segment { name: name.to_owned(), ..segments[0].clone() }.is_named_well());
        }
    }
}
