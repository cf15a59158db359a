//! The variants of an enum one by one: what each is called, the shape of what it holds, and its bytes alone.
//!
//! Where values are kept for longer than the program stays as it is, each variant is kept as its name and what it
//! holds, and not as its number: variants may be added and change places, and only one whose own fields change becomes
//! another type. Invariant: what is made of a variant's name and bytes is that variant. A struct counts as an enum of
//! one variant with its name. It does not know what became of variants that are gone.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{At, Kind, Shape, Tracer, shape_of};
use crate::error::{Result, StateError};
use crate::persist::{decode, encode};

/// The most bytes that the number of a variant takes in front of what it holds.
const INDEX_LEN_MAX: usize = 5;

/// One variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// What it is called, as serde has it.
    pub name: &'static str,
    /// The shape of what it holds, without the names of types: as [`payload_shape`] gives it.
    pub payload: String,
}

/// What is known of the variants of `T`.
pub struct Variants<T> {
    list: Vec<Variant>,
    /// Whether the bytes of a value begin with the number of its variant.
    is_enum: bool,
    of: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned + 'static> Variants<T> {
    /// The variants of `T`; `None` if it is neither an enum nor a struct with named fields, or is opaque.
    pub fn find() -> Option<Variants<T>> {
        let traced = catch_unwind(AssertUnwindSafe(trace::<T>)).ok().flatten();
        traced.map(|(list, is_enum)| Variants { list, is_enum, of: PhantomData })
    }

    /// The variants, in the order of the type.
    pub fn list(&self) -> &[Variant] {
        &self.list
    }

    /// Encodes what a value holds; says which variant it is.
    ///
    /// # Errors
    /// If the value refuses to be serialised, or says that it is a variant that the type does not have.
    pub fn encode(&self, value: &T) -> Result<(usize, Vec<u8>)> {
        let mut bytes = Vec::new();
        encode("value", value, &mut bytes)?;
        if !self.is_enum {
            return Ok((0, bytes));
        }
        let refused = || {
            let reason = "it is no variant that can be read back".to_owned();
            StateError::Encode { what: "value", reason }
        };
        let (index, len) = front(&bytes).ok_or_else(refused)?;
        if index >= self.list.len() {
            return Err(refused());
        }
        bytes.drain(..len);
        Ok((index, bytes))
    }

    /// The value of a variant that holds this; `name` is the state's, for errors.
    ///
    /// # Errors
    /// If the bytes are not what the variant holds, or if bytes are left over.
    pub fn decode(&self, name: &str, variant: usize, payload: &[u8]) -> Result<T> {
        if !self.is_enum {
            return decode(name, payload);
        }
        let mut bytes = Vec::with_capacity(INDEX_LEN_MAX + payload.len());
        encode("value", &(variant as u32), &mut bytes)?;
        bytes.extend_from_slice(payload);
        decode(name, &bytes)
    }
}

/// The number in front of an enum's bytes, and how many bytes it takes.
fn front(bytes: &[u8]) -> Option<(usize, usize)> {
    let len = bytes.iter().take(INDEX_LEN_MAX).position(|byte| byte & 0x80 == 0)? + 1;
    let index = bytes[..len].iter().rev().fold(0u64, |index, byte| index << 7 | u64::from(byte & 0x7f));
    Some((usize::try_from(index).ok()?, len))
}

fn trace<T: DeserializeOwned>() -> Option<(Vec<Variant>, bool)> {
    let mut tracer = Tracer::default();
    loop {
        let explored = tracer.explored();
        tracer.begin();
        let mut shape = Shape::Unknown;
        match T::deserialize(At { tracer: &mut tracer, shape: &mut shape, depth: 0 }) {
            Ok(_) if tracer.hopeless => return None,
            Ok(_) if tracer.is_complete() => return variants(&tracer, &shape),
            Ok(_) if tracer.explored() > explored => {}
            Ok(_) => return None,
            Err(_) => tracer.try_another_value()?,
        }
    }
}

fn variants(tracer: &Tracer, shape: &Shape) -> Option<(Vec<Variant>, bool)> {
    let variant = |name, shape: &Shape, mut around: Vec<usize>| {
        let mut text = String::new();
        tracer.write(shape, &mut around, &mut text)?;
        Some(Variant { name, payload: without_names(&text) })
    };
    match shape {
        Shape::Struct(name, _) => Some((vec![variant(*name, shape, Vec::new())?], false)),
        Shape::Choice(number) if tracer.nodes[*number].kind == Kind::Enum => {
            let variants = tracer.nodes[*number].variants.iter();
            let list = variants.map(|found| variant(found.name, found.shape.as_ref()?, vec![*number]));
            Some((list.collect::<Option<_>>()?, true))
        }
        _ => None,
    }
}

/// The shape of `T` without the names of its types, and without what is around a single value: `{field:u64}` for
/// a struct, whatever it is called, and for a variant with such fields or one that holds such a struct. Types with one
/// text are encoded alike, and their fields and variants are called alike.
pub fn payload_shape<T: DeserializeOwned + 'static>() -> String {
    let shape = shape_of::<T>();
    // Two opaque types are told apart by their names alone.
    if shape.contains("opaque ") { shape } else { without_names(&shape) }
}

fn without_names(shape: &str) -> String {
    let mut text = String::with_capacity(shape.len());
    let (mut word, mut before) = (String::new(), ' ');
    for c in shape.chars() {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        // A word before a bracket is the name of a type, unless it is that of a variant.
        let is_type = matches!(c, '{' | '(' | '[') && !matches!(before, '[' | '|');
        if !is_type {
            text.push_str(&word);
        }
        word.clear();
        text.push(c);
        before = c;
    }
    text.push_str(&word);
    while let Some(inside) = single(&text) {
        text = inside.to_owned();
    }
    text
}

/// What stands in the brackets, if they are around all of the text and hold one value.
fn single(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('(')?.strip_suffix(')')?;
    let mut depth = 0;
    for c in inside.chars() {
        match c {
            '(' | '{' | '[' | '<' => depth += 1,
            ')' | '}' | ']' | '>' => depth -= 1,
            ',' | ';' if depth == 0 => return None,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    (!inside.is_empty()).then_some(inside)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Kind {
        View,
        Buy(u32),
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Address {
        street: String,
        number: u16,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Event {
        Opened {
            owner: String,
            kinds: Vec<Kind>,
        },
        #[serde(rename = "moved")]
        Moved(Address),
        Counted(u64),
        Both(u64, u8),
        Closed,
    }

    /// The same with one more in front, and in another order.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Later {
        New(u8),
        Closed,
        Counted(u64),
        #[serde(rename = "moved")]
        Moved(Address),
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct MovedV1 {
        street: String,
        number: u16,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct CountedV1(u64);

    #[test]
    fn each_variant_has_its_name_and_the_shape_of_what_it_holds() {
        let variants = Variants::<Event>::find().expect("an enum");
        let found: Vec<_> = variants.list().iter().map(|v| (v.name, v.payload.as_str())).collect();
        let expected = [
            ("Opened", "{owner:str,kinds:list<[View|Buy(u32)]>}"),
            ("moved", "{street:str,number:u16}"),
            ("Counted", "u64"),
            ("Both", "(u64,u8)"),
            ("Closed", "()"),
        ];
        assert_eq!(found, expected);
        assert_eq!(payload_shape::<MovedV1>(), "{street:str,number:u16}");
        assert_eq!(payload_shape::<Address>(), payload_shape::<MovedV1>());
        assert_eq!(payload_shape::<CountedV1>(), "u64");
    }

    #[test]
    fn a_variant_is_found_by_its_name_where_others_came_and_went() {
        let (old, new) =
            (Variants::<Event>::find().expect("an enum"), Variants::<Later>::find().expect("an enum"));
        let moved = Address { street: "Main".to_owned(), number: 300 };
        for (value, later) in [
            (Event::Moved(moved.clone()), Later::Moved(moved)),
            (Event::Counted(1 << 40), Later::Counted(1 << 40)),
            (Event::Closed, Later::Closed),
        ] {
            let (variant, bytes) = old.encode(&value).expect("encodes");
            let name = old.list()[variant].name;
            let there = new.list().iter().position(|other| other.name == name).expect("is there");
            assert_eq!(new.decode("test", there, &bytes).expect("decodes"), later);
            assert!(new.decode("test", there, &[&bytes[..], &[0]].concat()).is_err(), "bytes are left over");
        }
        // What a variant holds can be read as a struct of the same fields.
        let (_, bytes) =
            old.encode(&Event::Moved(Address { street: "Main".to_owned(), number: 300 })).expect("encodes");
        let as_struct: MovedV1 = decode("test", &bytes).expect("decodes");
        assert_eq!(as_struct.number, 300);
    }

    #[test]
    fn a_struct_is_one_variant_and_other_types_have_none() {
        let variants = Variants::<Address>::find().expect("a struct");
        assert_eq!(variants.list()[0].name, "Address");
        let address = Address { street: String::new(), number: 7 };
        let (variant, bytes) = variants.encode(&address).expect("encodes");
        assert_eq!(variants.decode("test", variant, &bytes).expect("decodes"), address);
        assert!(Variants::<u64>::find().is_none());
        assert!(Variants::<Vec<Event>>::find().is_none());
    }
}
