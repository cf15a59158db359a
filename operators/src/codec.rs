//! How the bytes of the outside world become values and back; a codec is a value, chosen at each edge.
//!
//! A codec knows neither files nor Kafka: the connector gives it one record's bytes and says where they came
//! from when they are refused.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why bytes are not a record, in words for the user.
pub type Reason = String;

/// Makes a value of one record's bytes.
pub trait Decode<T>: Send + Sync + 'static {
    /// Decodes one record.
    ///
    /// # Errors
    /// The reason why the bytes are not a `T`; the source's error policy decides what then happens.
    fn decode(&self, bytes: &[u8]) -> Result<T, Reason>;
}

/// Makes one record's bytes of a value.
pub trait Encode<T>: Send + Sync + 'static {
    /// Appends the record's bytes, without a line end or any other frame.
    ///
    /// # Errors
    /// The reason why the value cannot be written.
    fn encode(&self, value: &T, into: &mut Vec<u8>) -> Result<(), Reason>;
}

/// JSON by serde.
///
/// ```
/// use highwater_operators::codec::{Decode, Encode, Json};
///
/// let json = Json::<Vec<u8>>::new();
/// let mut bytes = Vec::new();
/// json.encode(&vec![1, 2], &mut bytes)?;
/// assert_eq!(bytes, b"[1,2]");
/// assert_eq!(json.decode(b"[1,2]")?, [1, 2]);
/// assert!(json.decode(b"[1,").is_err());
/// # Ok::<(), String>(())
/// ```
pub struct Json<T>(PhantomData<fn() -> T>);

impl<T> Json<T> {
    /// The JSON codec of `T`.
    pub fn new() -> Self {
        Json(PhantomData)
    }
}

impl<T> Default for Json<T> {
    fn default() -> Self {
        Json::new()
    }
}

impl<T> Clone for Json<T> {
    fn clone(&self) -> Self {
        Json::new()
    }
}

impl<T: DeserializeOwned + 'static> Decode<T> for Json<T> {
    fn decode(&self, bytes: &[u8]) -> Result<T, Reason> {
        serde_json::from_slice(bytes).map_err(|error| format!("not the expected JSON: {error}"))
    }
}

impl<T: Serialize + 'static> Encode<T> for Json<T> {
    fn encode(&self, value: &T, into: &mut Vec<u8>) -> Result<(), Reason> {
        serde_json::to_writer(into, value).map_err(|error| format!("cannot be written as JSON: {error}"))
    }
}

/// Text as it stands: UTF-8 in, the bytes of the string out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text;

impl Decode<String> for Text {
    fn decode(&self, bytes: &[u8]) -> Result<String, Reason> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(format!("not UTF-8: {error}")),
        }
    }
}

impl Encode<String> for Text {
    fn encode(&self, value: &String, into: &mut Vec<u8>) -> Result<(), Reason> {
        into.extend_from_slice(value.as_bytes());
        Ok(())
    }
}

/// Bytes as they stand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl Decode<Vec<u8>> for Raw {
    fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>, Reason> {
        Ok(bytes.to_vec())
    }
}

impl Encode<Vec<u8>> for Raw {
    fn encode(&self, value: &Vec<u8>, into: &mut Vec<u8>) -> Result<(), Reason> {
        into.extend_from_slice(value);
        Ok(())
    }
}
