//! The bytes of a journal: frames behind each other, each with a header that says what it is.
//!
//! | header, 40 bytes | |
//! | --- | --- |
//! | magic, kind | 4 bytes, 4 bytes |
//! | length of the body | 8 bytes |
//! | how far the journal was synced when the frame was written | 8 bytes |
//! | checksum of the body | 8 bytes |
//! | checksum of the header | 8 bytes |
//!
//! The checksums begin with the log's number and the frame's place in the file, so that bytes of another log, of
//! another place, or a frame inside a record's value are no frame here. Numbers are little-endian. A frame is a note
//! as JSON, or sections: records of one partition behind each other. Invariant: what was written is what is read, or
//! the reason why not; nothing here panics or takes memory out of proportion on any bytes. It does not know files, nor
//! what is visible.

use std::ops::Range;

use highwater_state::{Epoch, Timestamp};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::LogRecord;

/// The length of a header.
pub(super) const HEADER_BYTES: usize = 40;
/// What every header begins with.
pub(super) const MAGIC: [u8; 4] = *b"HWfr";
/// The length of a section's header: topic, partition, count, length, checksum.
pub(super) const SECTION_HEADER_BYTES: usize = 24;
/// The length that stands for no key.
const NO_KEY: u32 = u32::MAX;
/// What a record takes beside its key and its value.
pub(super) const RECORD_HEADER_BYTES: usize = 16;

/// What a frame's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A [`Note`] as JSON.
    Note,
    /// Sections, visible at once.
    Append,
    /// The number of a producer, and its sections: visible when they are published.
    Staged,
}

/// What is not records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Note {
    /// A topic begins.
    Topic { name: String, partitions: u32 },
    /// A producer begins, or begins anew: nothing of it is published, and what it staged never will be.
    Begin { producer: String },
    /// What a producer staged in these frames is visible from here on, in this order.
    Publish { producer: u32, epoch: Epoch, frames: Vec<u64> },
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) body_bytes: u64,
    pub(super) synced: u64,
    pub(super) body_hash: u64,
}

/// Puts the checksums of a log and of a place in it apart from all others.
fn seed(log: u64, at: u64) -> u64 {
    log ^ at.rotate_left(32)
}

impl Header {
    pub(super) fn of(kind: Kind, body: &[u8], synced: u64, log: u64, at: u64) -> Header {
        let body_hash = xxh3_64_with_seed(body, seed(log, at));
        Header { kind, body_bytes: body.len() as u64, synced, body_hash }
    }

    pub(super) fn encode(&self, log: u64, at: u64) -> [u8; HEADER_BYTES] {
        let kind: u32 = match self.kind {
            Kind::Note => 1,
            Kind::Append => 2,
            Kind::Staged => 3,
        };
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&kind.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.synced.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.body_hash.to_le_bytes());
        let hash = xxh3_64_with_seed(&bytes[..32], seed(log, at));
        bytes[32..].copy_from_slice(&hash.to_le_bytes());
        bytes
    }

    /// `None` if no frame of this log begins at this place.
    pub(super) fn decode(bytes: &[u8], log: u64, at: u64) -> Option<Header> {
        let mut fields = Fields(bytes);
        let (magic, kind) = (fields.take(4)?, fields.u32()?);
        let (body_bytes, synced, body_hash, hash) =
            (fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?);
        if magic != MAGIC || hash != xxh3_64_with_seed(&bytes[..32], seed(log, at)) {
            return None;
        }
        let kind = match kind {
            1 => Kind::Note,
            2 => Kind::Append,
            3 => Kind::Staged,
            _ => return None,
        };
        Some(Header { kind, body_bytes, synced, body_hash })
    }

    pub(super) fn fits(&self, body: &[u8], log: u64, at: u64) -> bool {
        self.body_bytes == body.len() as u64 && self.body_hash == xxh3_64_with_seed(body, seed(log, at))
    }
}

/// Records of one partition that are being put together.
#[derive(Clone, Debug, Default)]
pub(super) struct Gathered {
    pub(super) topic: u32,
    pub(super) partition: u32,
    pub(super) count: u32,
    pub(super) bytes: Vec<u8>,
}

impl Gathered {
    pub(super) fn of(topic: u32, partition: u32) -> Gathered {
        Gathered { topic, partition, ..Gathered::default() }
    }

    pub(super) fn push(&mut self, timestamp: Timestamp, key: Option<&[u8]>, value: &[u8]) {
        self.bytes.reserve(RECORD_HEADER_BYTES + key.map_or(0, <[u8]>::len) + value.len());
        self.bytes.extend_from_slice(&timestamp.as_millis().to_le_bytes());
        self.bytes.extend_from_slice(&key.map_or(NO_KEY, |key| key.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(key.unwrap_or_default());
        self.bytes.extend_from_slice(value);
        self.count += 1;
    }

    /// Appends the section to a body.
    pub(super) fn encode(&self, body: &mut Vec<u8>) {
        for number in [self.topic, self.partition, self.count, self.bytes.len() as u32] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        body.extend_from_slice(&xxh3_64_with_seed(&self.bytes, 0).to_le_bytes());
        body.extend_from_slice(&self.bytes);
    }
}

/// A section in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SectionHeader {
    pub(super) topic: u32,
    pub(super) partition: u32,
    pub(super) count: u32,
    pub(super) bytes: u32,
    hash: u64,
}

impl SectionHeader {
    pub(super) fn decode(bytes: &[u8]) -> Option<SectionHeader> {
        let mut fields = Fields(bytes);
        let (topic, partition) = (fields.u32()?, fields.u32()?);
        let (count, bytes, hash) = (fields.u32()?, fields.u32()?, fields.u64()?);
        Some(SectionHeader { topic, partition, count, bytes, hash })
    }

    pub(super) fn fits(&self, records: &[u8]) -> bool {
        self.bytes as usize == records.len() && self.hash == xxh3_64_with_seed(records, 0)
    }
}

/// The sections of a body, and where in it each begins.
pub(super) fn sections(body: &[u8]) -> Result<Vec<(usize, SectionHeader)>, String> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < body.len() {
        let header = SectionHeader::decode(&body[at..]).ok_or("a section has no header")?;
        let end = at + SECTION_HEADER_BYTES + header.bytes as usize;
        if end > body.len() {
            return Err("a section is longer than its frame".to_owned());
        }
        // A record takes some bytes: a count beyond that would name offsets that there are not.
        if header.count as usize > header.bytes as usize / RECORD_HEADER_BYTES {
            return Err("a section has less bytes than records".to_owned());
        }
        found.push((at, header));
        at = end;
    }
    Ok(found)
}

/// One record in a section's bytes.
pub(super) struct RecordAt {
    pub(super) timestamp: Timestamp,
    pub(super) key: Option<Range<usize>>,
    pub(super) value: Range<usize>,
}

impl RecordAt {
    /// The record that begins at `at`; `None` if the bytes end before it does.
    pub(super) fn read(bytes: &[u8], at: usize) -> Option<RecordAt> {
        let mut fields = Fields(bytes.get(at..)?);
        let timestamp = Timestamp::from_millis(fields.u64()? as i64);
        let (key_bytes, value_bytes) = (fields.u32()?, fields.u32()? as usize);
        let begin = at + RECORD_HEADER_BYTES;
        let key = (key_bytes != NO_KEY).then(|| begin..begin + key_bytes as usize);
        let value = key.as_ref().map_or(begin, |key| key.end);
        let value = value..value + value_bytes;
        (value.end <= bytes.len()).then_some(RecordAt { timestamp, key, value })
    }

    pub(super) fn to_record(&self, bytes: &[u8], offset: u64) -> LogRecord {
        LogRecord {
            offset,
            timestamp: self.timestamp,
            key: self.key.clone().map(|key| bytes[key].to_vec()),
            value: bytes[self.value.clone()].to_vec(),
        }
    }
}

/// Fields behind each other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(field)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_one_of_its_log_at_its_place_only() {
        let header = Header::of(Kind::Append, b"body", 32, 7, 100);
        let bytes = header.encode(7, 100);
        assert_eq!(Header::decode(&bytes, 7, 100), Some(header));
        assert!(header.fits(b"body", 7, 100) && !header.fits(b"bodi", 7, 100));
        assert_eq!(Header::decode(&bytes, 8, 100), None, "another log");
        assert_eq!(Header::decode(&bytes, 7, 101), None, "another place");
        for at in 0..HEADER_BYTES {
            let mut damaged = bytes;
            damaged[at] ^= 1;
            assert_eq!(Header::decode(&damaged, 7, 100), None, "byte {at}");
            assert_eq!(Header::decode(&bytes[..at], 7, 100), None, "cut at {at}");
        }
    }

    #[test]
    fn sections_give_their_records_and_refuse_what_is_cut() {
        let mut gathered = Gathered::of(3, 1);
        gathered.push(Timestamp::from_millis(-5), Some(b"key"), b"value");
        gathered.push(Timestamp::MIN, None, b"");
        let mut body = Vec::new();
        gathered.encode(&mut body);
        let found = sections(&body).unwrap();
        assert_eq!((found.len(), found[0].0, found[0].1.count), (1, 0, 2));
        let records = &body[SECTION_HEADER_BYTES..];
        assert!(found[0].1.fits(records));
        let first = RecordAt::read(records, 0).unwrap();
        let second = RecordAt::read(records, first.value.end).unwrap();
        assert_eq!(first.to_record(records, 9).value, b"value");
        assert_eq!(first.to_record(records, 9).key, Some(b"key".to_vec()));
        assert_eq!(second.to_record(records, 10).key, None);
        assert!(RecordAt::read(records, second.value.end).is_none());
        for end in 1..body.len() {
            assert!(sections(&body[..end]).is_err(), "cut at {end}");
        }
    }
}
