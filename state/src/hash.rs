//! The stable hash of a key.
//!
//! It is computed once per record, at `key_by`, and used for routing, for the tables of every operator behind
//! it, and for the row on disk. Invariant: it is a function of the key's serialised form alone, the same on
//! every machine and in every version; the test at the end holds it to fixed numbers.
//!
//! A key is fed to the hasher by its own `Serialize`, without a buffer between: an integer costs one
//! multiplication, a string one pass of XXH3. The mixing step is the 64 by 64 to 128 bit multiplication folded
//! in half that wyhash and foldhash use.

use std::fmt;

use serde::ser::{self, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const MULTIPLIER: u64 = 0xa076_1d64_78bd_642f;

/// The stable hash of a key.
///
/// ```
/// use highwater_state::hash::key_hash;
/// assert_eq!(key_hash(&"/index.html"), key_hash(&String::from("/index.html")));
/// ```
///
/// # Panics
/// If the key refuses to serialise itself; derived implementations never do.
#[inline]
pub fn key_hash<K: Serialize + ?Sized>(key: &K) -> u64 {
    let mut hasher = KeyHasher { state: SEED };
    match key.serialize(&mut hasher) {
        Ok(()) => mix(hasher.state, SEED),
        Err(error) => panic!("a key cannot be hashed: {error}"),
    }
}

/// Combines a key's hash with a time, for tables whose rows are a time and a key.
#[inline]
pub fn with_time(hash: u64, millis: i64) -> u64 {
    mix(hash ^ (millis as u64), MULTIPLIER)
}

/// A number that is the same for the same bytes on every machine and in every version, and that no two texts share
/// by chance: for what is named by what it is made of.
pub fn fingerprint(bytes: &[u8]) -> u128 {
    xxh3_128(bytes)
}

#[inline]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

struct KeyHasher {
    state: u64,
}

impl KeyHasher {
    #[inline]
    fn word(&mut self, word: u64) -> Result<(), Refused> {
        self.state = mix(self.state ^ word, MULTIPLIER);
        Ok(())
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        self.word(xxh3_64(bytes))
    }
}

/// Why a key cannot be hashed: its own `Serialize` said so.
#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Refused(reason.to_string())
    }
}

impl ser::Serializer for &mut KeyHasher {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fn is_human_readable(&self) -> bool {
        false
    }
    fn serialize_bool(self, v: bool) -> Result<(), Refused> {
        self.word(u64::from(v))
    }
    fn serialize_i8(self, v: i8) -> Result<(), Refused> {
        self.word(v as u64)
    }
    fn serialize_i16(self, v: i16) -> Result<(), Refused> {
        self.word(v as u64)
    }
    fn serialize_i32(self, v: i32) -> Result<(), Refused> {
        self.word(v as u64)
    }
    #[inline]
    fn serialize_i64(self, v: i64) -> Result<(), Refused> {
        self.word(v as u64)
    }
    fn serialize_i128(self, v: i128) -> Result<(), Refused> {
        self.serialize_u128(v as u128)
    }
    fn serialize_u8(self, v: u8) -> Result<(), Refused> {
        self.word(u64::from(v))
    }
    fn serialize_u16(self, v: u16) -> Result<(), Refused> {
        self.word(u64::from(v))
    }
    #[inline]
    fn serialize_u32(self, v: u32) -> Result<(), Refused> {
        self.word(u64::from(v))
    }
    #[inline]
    fn serialize_u64(self, v: u64) -> Result<(), Refused> {
        self.word(v)
    }
    fn serialize_u128(self, v: u128) -> Result<(), Refused> {
        self.word(v as u64)?;
        self.word((v >> 64) as u64)
    }
    fn serialize_f32(self, v: f32) -> Result<(), Refused> {
        self.word(u64::from(v.to_bits()))
    }
    fn serialize_f64(self, v: f64) -> Result<(), Refused> {
        self.word(v.to_bits())
    }
    fn serialize_char(self, v: char) -> Result<(), Refused> {
        self.word(u64::from(u32::from(v)))
    }
    #[inline]
    fn serialize_str(self, v: &str) -> Result<(), Refused> {
        self.bytes(v.as_bytes())
    }
    fn serialize_bytes(self, v: &[u8]) -> Result<(), Refused> {
        self.bytes(v)
    }
    fn serialize_none(self) -> Result<(), Refused> {
        self.word(0)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        self.word(1)?;
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), Refused> {
        Ok(())
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Refused> {
        Ok(())
    }
    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Result<(), Refused> {
        self.word(u64::from(index))
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        self.word(u64::from(index))?;
        value.serialize(self)
    }
    fn serialize_seq(self, len: Option<usize>) -> Result<Self, Refused> {
        self.word(len.unwrap_or(0) as u64)?;
        Ok(self)
    }
    fn serialize_tuple(self, _: usize) -> Result<Self, Refused> {
        Ok(self)
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Refused> {
        Ok(self)
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Refused> {
        self.word(u64::from(index))?;
        Ok(self)
    }
    fn serialize_map(self, len: Option<usize>) -> Result<Self, Refused> {
        self.serialize_seq(len)
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Refused> {
        Ok(self)
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Refused> {
        self.word(u64::from(index))?;
        Ok(self)
    }
}

/// The compound forms differ only in the names that serde gives their methods.
macro_rules! compound {
    ($($form:ident $method:ident ($($name:ident)?);)*) => {$(
        impl ser::$form for &mut KeyHasher {
            type Ok = ();
            type Error = Refused;
            fn $method<T: Serialize + ?Sized>(&mut self, $($name: &'static str,)? value: &T) -> Result<(), Refused> {
                $(let _ = $name;)?
                value.serialize(&mut **self)
            }
            fn end(self) -> Result<(), Refused> {
                Ok(())
            }
        }
    )*};
}

compound! {
    SerializeSeq serialize_element ();
    SerializeTuple serialize_element ();
    SerializeTupleStruct serialize_field ();
    SerializeTupleVariant serialize_field ();
    SerializeStruct serialize_field (_key);
    SerializeStructVariant serialize_field (_key);
}

impl ser::SerializeMap for &mut KeyHasher {
    type Ok = ();
    type Error = Refused;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        key.serialize(&mut **self)
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        value.serialize(&mut **self)
    }
    fn end(self) -> Result<(), Refused> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::KeyGroup;

    #[test]
    fn the_hash_of_a_key_never_changes() {
        // Part of the format on disk: if one of these numbers changes, state is looked for in the wrong rows.
        let found = [
            key_hash(&0u64),
            key_hash(&1u64),
            key_hash("a"),
            key_hash(&("a", -1i64)),
            key_hash(&Some('x')),
            key_hash(&()),
        ];
        assert_eq!(found, FIXED, "{found:#x?}");
    }
    const FIXED: [u64; 6] = [
        0xf5b4_6a00_aa28_3ecf,
        0x979c_5025_746c_44b4,
        0x25d3_5d6e_6f8b_bf48,
        0x17d1_c49f_9670_5f85,
        0x5ac3_d6d9_49e3_5095,
        0xbe8c_ab64_4efd_da51,
    ];

    #[test]
    fn a_fingerprint_never_changes() {
        // Ids of events are made of it: the published value of XXH3 with 128 bits for no bytes.
        assert_eq!(fingerprint(b""), 0x99aa_06d3_0147_98d8_6001_c324_468d_497f);
        assert_ne!(fingerprint(b"a"), fingerprint(b"b"));
    }

    #[test]
    fn keys_spread_evenly_over_groups() {
        let mut counts = [0u32; 128];
        (0..128_000u64).for_each(|key| counts[usize::from(KeyGroup::of_hash(key_hash(&key)).number())] += 1);
        assert!(counts.iter().all(|&count| (800..1200).contains(&count)), "{counts:?}");
    }
}
