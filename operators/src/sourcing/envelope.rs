//! An event with what is known of it beside what happened.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use highwater_state::hash::fingerprint;
use highwater_state::persist::encode;
use highwater_state::{Key, StateError, Timestamp};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Something that happened to an aggregate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<K, E> {
    /// Names the event among all events; made of the operator's name, the aggregate and the version.
    pub id: EventId,
    /// The aggregate that it happened to.
    pub aggregate: K,
    /// Which of the aggregate's events it is, counted from 1.
    pub version: u64,
    /// What kind of event it is: the name of the variant.
    pub kind: Cow<'static, str>,
    /// Which version of its kind it was written as, counted from 1; `event` is of the present one.
    pub schema: u32,
    /// The event time of the command that made it happen.
    pub at: Timestamp,
    /// What the command belongs to.
    pub correlation: String,
    /// The command that made it happen.
    pub causation: String,
    /// What happened.
    pub event: E,
}

/// The name of an event: the same whenever and wherever the event is made or read.
///
/// As text it has the form of a UUID (version 8, which says that its bits mean what its maker says).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(u128);

impl EventId {
    /// The id of one version of an aggregate in the operator with this name.
    pub(crate) fn of<K: Key>(operator: &str, aggregate: &K, version: u64) -> Result<EventId, StateError> {
        let mut bytes = operator.as_bytes().to_vec();
        // No name has this byte in it, so no two operators and aggregates are one text.
        bytes.push(b'/');
        encode("key", aggregate, &mut bytes)?;
        bytes.extend_from_slice(&version.to_be_bytes());
        let bits = fingerprint(&bytes) & !(0xf << 76) & !(0x3 << 62);
        Ok(EventId(bits | 0x8 << 76 | 0x2 << 62))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", self.0);
        let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
        f.write_str(&parts.join("-"))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for EventId {
    type Err = String;

    fn from_str(text: &str) -> Result<EventId, String> {
        let digits: String = text.chars().filter(|&c| c != '-').collect();
        let is_hex = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = is_hex.then(|| u128::from_str_radix(&digits, 16).ok()).flatten();
        bits.map(EventId).ok_or_else(|| format!("`{text}` is no event id: 32 hexadecimal digits are"))
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<EventId, D::Error> {
        if !deserializer.is_human_readable() {
            return u128::deserialize(deserializer).map(EventId);
        }
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_depends_on_operator_aggregate_and_version_alone() {
        let id = |operator: &str, aggregate: &str, version| {
            EventId::of(operator, &aggregate.to_owned(), version).expect("encodes")
        };
        assert_eq!(id("accounts", "a", 1), id("accounts", "a", 1));
        let others = [id("accounts", "a", 2), id("accounts", "b", 1), id("orders", "a", 1)];
        assert!(others.iter().all(|other| *other != id("accounts", "a", 1)));
        let text = id("accounts", "a", 1).to_string();
        assert_eq!((text.len(), &text[14..15]), (36, "8"), "{text}");
        assert_eq!(text.parse(), Ok(id("accounts", "a", 1)));
        assert!("accounts".parse::<EventId>().is_err() && "+".repeat(32).parse::<EventId>().is_err());
    }

    #[test]
    fn an_id_is_text_where_people_read_it_and_comes_back() {
        let id = EventId::of("accounts", &7u64, 3).expect("encodes");
        let json = serde_json::to_string(&id).expect("serialises");
        assert_eq!(json, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<EventId>(&json).expect("reads"), id);
    }
}
