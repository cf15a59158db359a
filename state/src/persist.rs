//! What may be kept, and what may be a key.
//!
//! Both traits are implemented for every type that fits; nobody implements them by hand. Values and keys are
//! encoded with postcard, whose format is stable. Invariant: two equal keys have equal bytes, because rows are
//! found by the bytes and hash tables by [`Eq`].

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Result, StateError};

/// A value that survives a restart.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept in state",
    label = "what is kept must implement `serde::Serialize` and `serde::Deserialize`",
    note = "for a type of your own: `#[derive(serde::Serialize, serde::Deserialize)]`",
    note = "state is written to disk: what is kept must own what it holds, `String` and not `&str`"
)]
pub trait Persist: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Persist for T {}

/// A value that records can be grouped by.
///
/// Equality must agree with the serialised form: keys that are equal serialise equally. Derived `Eq` and
/// `Serialize` do; maps and sets without an order do not.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key",
    label = "a key needs `Clone`, `Eq`, `serde::Serialize` and `serde::Deserialize`",
    note = "for a type of your own: `#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]`",
    note = "floating point numbers have no `Eq`: round them to an integer, or make a `String` of them"
)]
pub trait Key: Persist + Clone + Eq {}

#[diagnostic::do_not_recommend]
impl<T: Persist + Clone + Eq> Key for T {}

/// Appends the encoded value.
pub fn encode<T: Serialize>(what: &'static str, value: &T, into: &mut Vec<u8>) -> Result<()> {
    postcard::serialize_with_flavor(value, Appended(into))
        .map_err(|error| StateError::Encode { what, reason: error.to_string() })
}

/// A buffer to which the encoded bytes of a number are appended together, not one by one.
struct Appended<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Appended<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Decodes a value that [`encode`] wrote; `name` is the state's, for the error.
///
/// # Errors
/// If the bytes are not a `T`, or if bytes are left over.
pub fn decode<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => {
            let reason = format!("{} bytes are left over", rest.len());
            Err(StateError::Row { name: name.to_owned(), reason })
        }
        Err(error) => Err(StateError::Row { name: name.to_owned(), reason: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_and_a_torn_one_does_not() {
        let mut bytes = vec![9];
        encode("value", &("url".to_owned(), 7u64), &mut bytes).expect("encodes");
        assert_eq!(decode::<(String, u64)>("s", &bytes[1..]).expect("decodes"), ("url".to_owned(), 7));
        assert!(decode::<(String, u64)>("s", &bytes[1..bytes.len() - 1]).is_err());
        bytes.push(0);
        assert!(decode::<(String, u64)>("s", &bytes[1..]).is_err());
    }
}
