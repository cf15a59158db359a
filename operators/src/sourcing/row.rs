//! The rows that are kept: an event, the present state of an aggregate, a snapshot.
//!
//! They are part of the format on disk. What an event holds is bytes here, so that the row keeps its shape when a kind
//! of event gets another.

use std::fmt;

use highwater_state::Timestamp;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An event as it is kept under its aggregate and version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventRow {
    pub(crate) kind: String,
    pub(crate) schema: u32,
    pub(crate) at: Timestamp,
    pub(crate) correlation: String,
    pub(crate) causation: String,
    pub(crate) payload: Payload,
}

/// The present state of an aggregate, or what it was after one of its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateRow<A> {
    /// How many events made it.
    pub(crate) version: u64,
    /// The greatest event time of these.
    pub(crate) reached: Timestamp,
    pub(crate) state: A,
}

impl<A: Default> StateRow<A> {
    /// Before the first event.
    pub(crate) fn new() -> StateRow<A> {
        StateRow { version: 0, reached: Timestamp::MIN, state: A::default() }
    }
}

/// What tells events and snapshots of one aggregate apart in a row's key, as the key's type says it: eight bytes.
pub(crate) type Number = [u8; 8];

/// The number of a snapshot: the latest one stands first, so that the last one up to a version is found by one look.
pub(crate) fn snapshot_number(version: u64) -> u64 {
    u64::MAX - version
}

/// Bytes that are written as bytes, and not as a list of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Payload(pub(crate) Vec<u8>);

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Payload, D::Error> {
        deserializer.deserialize_byte_buf(Bytes)
    }
}

struct Bytes;

impl<'de> Visitor<'de> for Bytes {
    type Value = Payload;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Payload, E> {
        Ok(Payload(bytes.to_vec()))
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Payload, E> {
        Ok(Payload(bytes))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut bytes: S) -> Result<Payload, S::Error> {
        let mut payload = Vec::new();
        while let Some(byte) = bytes.next_element()? {
            payload.push(byte);
        }
        Ok(Payload(payload))
    }
}
