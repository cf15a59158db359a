//! A number for anything that can be serialised, so that rows of different types with the same columns are compared.
//!
//! The columns count in their order, their names do not. Of text its length and its first eight bytes count: they lie
//! beside the counter of a shared text, so that a row's number costs no look at memory that its making did not look at.

use std::fmt::{Display, Error};

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// The number of a value. Floating-point numbers are those of their bits.
#[inline]
pub fn digest(value: &impl Serialize) -> u64 {
    let mut digest = Digest(0x243f_6a88_85a3_08d3);
    value.serialize(&mut digest).map_or(0, |()| digest.0)
}

struct Digest(u64);

impl Digest {
    #[inline]
    fn mix(&mut self, number: u64) -> Result<(), Error> {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        Ok(())
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut first = [0; 8];
        let length = bytes.len().min(8);
        first[..length].copy_from_slice(&bytes[..length]);
        self.mix(bytes.len() as u64)?;
        self.mix(u64::from_le_bytes(first))
    }
}

/// Numbers of all widths.
macro_rules! numbers {
    ($($name:ident $number:ty),*) => {
        $(#[inline]
        fn $name(self, value: $number) -> Result<(), Error> {
            self.mix(value as u64)
        })*
    };
}

impl Serializer for &mut Digest {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    numbers!(serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64);
    numbers!(serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64);
    numbers!(serialize_bool bool, serialize_char char);

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        self.mix(u64::from(value.to_bits()))
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        self.mix(value.to_bits())
    }

    #[inline]
    fn serialize_str(self, text: &str) -> Result<(), Error> {
        self.bytes(text.as_bytes())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        self.bytes(bytes)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.bytes(value.to_string().as_bytes())
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Error> {
        self.mix(0)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.mix(1)?;
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.mix(0)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.mix(0)
    }

    fn serialize_unit_variant(self, _: &'static str, variant: u32, _: &'static str) -> Result<(), Error> {
        self.mix(u64::from(variant))
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.mix(u64::from(variant))?;
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Error> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Error> {
        self.mix(u64::from(variant))?;
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Error> {
        Ok(self)
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Error> {
        self.mix(u64::from(variant))?;
        Ok(self)
    }
}

/// What has parts in order: each is mixed in, and there is nothing at the end.
macro_rules! parts {
    ($($of:ident $name:ident ($($field:ty)?)),*) => {
        $(impl $of for &mut Digest {
            type Ok = ();
            type Error = Error;

            #[inline]
            fn $name<T: Serialize + ?Sized>(&mut self, $(_: $field,)? value: &T) -> Result<(), Error> {
                value.serialize(&mut **self)
            }

            #[inline]
            fn end(self) -> Result<(), Error> {
                Ok(())
            }
        })*
    };
}

parts!(SerializeSeq serialize_element (), SerializeTuple serialize_element ());
parts!(SerializeTupleStruct serialize_field (), SerializeTupleVariant serialize_field ());
parts!(SerializeStruct serialize_field (&'static str), SerializeStructVariant serialize_field (&'static str));

impl SerializeMap for &mut Digest {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), Error> {
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Serialize)]
    struct Row {
        id: u64,
        name: Option<String>,
    }

    #[test]
    fn rows_with_the_same_columns_are_alike_and_others_are_not() {
        let row = |id, name: Option<&str>| digest(&Row { id, name: name.map(str::to_owned) });
        assert_eq!(row(1, Some("Ada")), digest(&(1_i64, Some("Ada"))));
        let rows =
            [row(1, Some("Ada")), row(2, Some("Ada")), row(1, Some("Ida")), row(1, None), digest(&("", 1))];
        for (number, one) in rows.iter().enumerate() {
            assert!(rows[..number].iter().all(|other| other != one), "row {number}");
        }
    }
}
