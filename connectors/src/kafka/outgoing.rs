//! Records of one writer that are encoded and that the producer has not taken yet.
//!
//! They lie behind each other in one buffer, which is used again: a record's bytes are written into it by the codec
//! and copied out of it by the producer. Invariant: records leave in the order in which they came. It does not know
//! why a record has to wait.

use highwater_operators::codec::Reason;

use super::Headers;

/// How much of the buffer is kept while it is empty, in bytes: 1 MiB, a batch of 1024 records of 1 KiB.
const KEPT_BYTES: usize = 1 << 20;

/// Encoded records, in order.
#[derive(Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    records: Vec<Record>,
    /// How many of them are out.
    sent: usize,
}

struct Record {
    /// Where its payload begins; its key, if it has one, begins where the payload ends.
    payload: usize,
    key: Option<usize>,
    end: usize,
    headers: Option<Headers>,
}

impl Outgoing {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.records.len() - self.sent
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a record.
    ///
    /// # Errors
    /// Those of `encode`; then nothing is added.
    pub(super) fn add(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), Reason>,
        key: Option<Vec<u8>>,
        headers: Option<Headers>,
    ) -> Result<(), Reason> {
        let payload = self.bytes.len();
        if let Err(reason) = encode(&mut self.bytes) {
            self.bytes.truncate(payload);
            return Err(reason);
        }
        let key = key.map(|key| {
            let begin = self.bytes.len();
            self.bytes.extend_from_slice(&key);
            begin
        });
        self.records.push(Record { payload, key, end: self.bytes.len(), headers });
        Ok(())
    }

    /// The key and the payload of each record that waits.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Option<&[u8]>, &[u8])> {
        self.records[self.sent..].iter().map(|record| record.parts(&self.bytes))
    }

    /// The key, the payload and the headers of each record that waits.
    pub(super) fn with_headers(&self) -> impl Iterator<Item = (Option<&[u8]>, &[u8], Option<&Headers>)> {
        self.records[self.sent..].iter().map(|record| {
            let (key, payload) = record.parts(&self.bytes);
            (key, payload, record.headers.as_ref())
        })
    }

    /// The first `count` are out.
    pub(super) fn pass(&mut self, count: usize) {
        self.sent += count;
        debug_assert!(self.sent <= self.records.len());
        if self.is_empty() {
            self.sent = 0;
            self.records.clear();
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES);
        }
    }
}

impl Record {
    fn parts<'a>(&self, bytes: &'a [u8]) -> (Option<&'a [u8]>, &'a [u8]) {
        let key = self.key.map(|begin| &bytes[begin..self.end]);
        (key, &bytes[self.payload..self.key.unwrap_or(self.end)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> impl FnOnce(&mut Vec<u8>) -> Result<(), Reason> {
        move |into| {
            into.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }

    #[test]
    fn records_leave_in_order_with_their_keys() {
        let mut outgoing = Outgoing::default();
        outgoing.add(bytes("one"), Some(b"a".to_vec()), None).unwrap();
        outgoing.add(bytes(""), Some(Vec::new()), None).unwrap();
        outgoing.add(bytes("three"), None, Some(vec![("name", b"value".to_vec())])).unwrap();
        let all: Vec<_> = outgoing.iter().collect();
        assert_eq!(all, [(Some(&b"a"[..]), &b"one"[..]), (Some(&b""[..]), &b""[..]), (None, &b"three"[..])]);
        outgoing.pass(2);
        assert_eq!(outgoing.len(), 1);
        let headers = vec![("name", b"value".to_vec())];
        assert_eq!(outgoing.with_headers().collect::<Vec<_>>(), [(None, &b"three"[..], Some(&headers))]);
        outgoing.add(bytes("four"), None, None).unwrap();
        assert_eq!(outgoing.iter().map(|(_, payload)| payload).collect::<Vec<_>>(), [&b"three"[..], b"four"]);
        outgoing.pass(2);
        assert!(outgoing.is_empty());
        assert_eq!(outgoing.iter().count(), 0);
    }

    #[test]
    fn what_cannot_be_encoded_leaves_nothing_behind() {
        let mut outgoing = Outgoing::default();
        let half = |into: &mut Vec<u8>| {
            into.extend_from_slice(b"half");
            Err("no more".to_owned())
        };
        assert_eq!(outgoing.add(half, None, None), Err("no more".to_owned()));
        outgoing.add(bytes("whole"), None, None).unwrap();
        assert_eq!(outgoing.iter().collect::<Vec<_>>(), [(None, &b"whole"[..])]);
    }
}
