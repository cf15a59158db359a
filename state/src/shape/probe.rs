//! The deserialiser behind a shape: it hands out made-up values and notes what it is asked for.
//!
//! Invariant: what it writes into a [`Shape`] depends on the type alone, not on the way the run takes. Which
//! way that is, it does not know: it asks the [`Tracer`].

use std::any::type_name;
use std::fmt;

use serde::de::value::U32Deserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

use super::{Kind, Shape, Tracer};

/// The made-up value was refused, or there is none.
#[derive(Debug)]
pub(super) struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no shape")
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Refused
    }
}

/// Texts that types made from a text may accept.
const TEXTS: &[&str] = &[
    "",
    "a",
    "0",
    "1970-01-01T00:00:00Z",
    "1970-01-01T00:00:00",
    "1970-01-01",
    "00:00:00",
    "+00:00",
    "UTC",
    "00000000-0000-0000-0000-000000000000",
    "127.0.0.1",
    "127.0.0.1:80",
    "http://localhost/",
    "a@localhost.localdomain",
    "1.0.0",
];
const BYTES: &[&[u8]] = &[&[], &[0; 16], &[0; 8], &[0; 4], &[0; 32]];

/// The deserialiser: notes in `shape` what it is asked for.
pub(super) struct At<'a> {
    pub tracer: &'a mut Tracer,
    pub shape: &'a mut Shape,
    pub depth: usize,
}

impl<'a> At<'a> {
    fn leaf<T: Copy>(self, visitor: &'static str, name: &'static str, values: &[T]) -> Result<T, Refused> {
        self.tracer.step(self.depth)?;
        *self.shape = Shape::Leaf(name);
        Ok(values[self.tracer.candidate(visitor, values.len())])
    }

    /// Goes into a choice: `inside` gets the variant taken and says what it found there.
    fn choice<V>(
        self,
        key: (Kind, &'static str),
        name: &'static str,
        variants: &[&'static str],
        inside: impl FnOnce(&mut Tracer, Option<usize>, usize) -> Result<(V, Shape), Refused>,
    ) -> Result<V, Refused> {
        self.tracer.step(self.depth)?;
        let node = self.tracer.node(key, name, variants)?;
        *self.shape = Shape::Choice(node);
        let chosen = self.tracer.choose(node)?;
        if let Some(variant) = chosen {
            self.tracer.enter(node, variant);
        }
        let (value, found) = inside(self.tracer, chosen, self.depth + 1)?;
        if let Some(variant) = chosen {
            self.tracer.leave(node, variant, found)?;
        }
        Ok(value)
    }
}

/// Hands out `most` elements, entries' halves or fields, and notes the shape of each.
struct Items<'a> {
    tracer: &'a mut Tracer,
    shapes: &'a mut Vec<Shape>,
    most: usize,
    depth: usize,
}

impl Items<'_> {
    fn next<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refused> {
        if self.shapes.len() == self.most {
            return Ok(None);
        }
        let mut shape = Shape::Unknown;
        let value = seed.deserialize(At { tracer: self.tracer, shape: &mut shape, depth: self.depth })?;
        self.shapes.push(shape);
        Ok(Some(value))
    }
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Refused;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refused> {
        self.next(seed)
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.most - self.shapes.len())
    }
}

impl<'de> de::MapAccess<'de> for Items<'_> {
    type Error = Refused;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refused> {
        self.next(seed)
    }
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refused> {
        self.next(seed)?.ok_or(Refused)
    }
}

fn items<'de, V: Visitor<'de>>(
    tracer: &mut Tracer,
    depth: usize,
    most: usize,
    visitor: V,
) -> Result<(V::Value, Vec<Shape>), Refused> {
    let mut shapes = Vec::new();
    let value = visitor.visit_seq(Items { tracer, shapes: &mut shapes, most, depth })?;
    Ok((value, shapes))
}

fn named(fields: &[&'static str], shapes: Vec<Shape>) -> Vec<(&'static str, Shape)> {
    fields.iter().copied().zip(shapes).collect()
}

macro_rules! leaves {
    ($($method:ident $visit:ident $name:literal $values:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
            let value = self.leaf(type_name::<V>(), $name, $values)?;
            visitor.$visit(value)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for At<'_> {
    type Error = Refused;

    leaves! {
        deserialize_bool visit_bool "bool" &[false, true];
        deserialize_i8 visit_i8 "i8" &[0, 1];
        deserialize_i16 visit_i16 "i16" &[0, 1];
        deserialize_i32 visit_i32 "i32" &[0, 1];
        deserialize_i64 visit_i64 "i64" &[0, 1];
        deserialize_i128 visit_i128 "i128" &[0, 1];
        deserialize_u8 visit_u8 "u8" &[0, 1];
        deserialize_u16 visit_u16 "u16" &[0, 1];
        deserialize_u32 visit_u32 "u32" &[0, 1];
        deserialize_u64 visit_u64 "u64" &[0, 1];
        deserialize_u128 visit_u128 "u128" &[0, 1];
        deserialize_f32 visit_f32 "f32" &[0.0, 1.0];
        deserialize_f64 visit_f64 "f64" &[0.0, 1.0];
        deserialize_char visit_char "char" &['a', '0'];
        deserialize_str visit_borrowed_str "str" TEXTS;
        deserialize_string visit_borrowed_str "str" TEXTS;
        deserialize_bytes visit_borrowed_bytes "bytes" BYTES;
        deserialize_byte_buf visit_borrowed_bytes "bytes" BYTES;
    }

    fn is_human_readable(&self) -> bool {
        false
    }
    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refused> {
        self.tracer.give_up()
    }
    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refused> {
        self.tracer.give_up()
    }
    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refused> {
        self.tracer.give_up()
    }
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        *self.shape = Shape::Leaf("()");
        visitor.visit_unit()
    }
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        *self.shape = Shape::TupleStruct(name, Vec::new());
        visitor.visit_unit()
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.tracer.step(self.depth)?;
        let mut inside = Shape::Unknown;
        let at = At { tracer: self.tracer, shape: &mut inside, depth: self.depth + 1 };
        let value = visitor.visit_newtype_struct(at)?;
        *self.shape = Shape::TupleStruct(name, vec![inside]);
        Ok(value)
    }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.choice((Kind::Option, type_name::<V>()), "option", &[""], |tracer, chosen, depth| {
            let mut inside = Shape::Unknown;
            let value = match chosen {
                Some(_) => visitor.visit_some(At { tracer, shape: &mut inside, depth })?,
                None => visitor.visit_none()?,
            };
            Ok((value, inside))
        })
    }
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.choice((Kind::List, type_name::<V>()), "list", &[""], |tracer, chosen, depth| {
            let (value, mut shapes) = items(tracer, depth, usize::from(chosen.is_some()), visitor)?;
            Ok((value, shapes.pop().unwrap_or(Shape::Unknown)))
        })
    }
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.choice((Kind::Map, type_name::<V>()), "map", &[""], |tracer, chosen, depth| {
            let (mut shapes, most) = (Vec::new(), if chosen.is_some() { 2 } else { 0 });
            let value = visitor.visit_map(Items { tracer, shapes: &mut shapes, most, depth })?;
            Ok((value, if shapes.len() == 2 { Shape::Tuple(shapes) } else { Shape::Unknown }))
        })
    }
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Refused> {
        self.tracer.step(self.depth)?;
        let (value, shapes) = items(self.tracer, self.depth + 1, len, visitor)?;
        *self.shape = Shape::Tuple(shapes);
        Ok(value)
    }
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.tracer.step(self.depth)?;
        let (value, shapes) = items(self.tracer, self.depth + 1, len, visitor)?;
        *self.shape = Shape::TupleStruct(name, shapes);
        Ok(value)
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.tracer.step(self.depth)?;
        let (value, shapes) = items(self.tracer, self.depth + 1, fields.len(), visitor)?;
        *self.shape = Shape::Struct(name, named(fields, shapes));
        Ok(value)
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.choice((Kind::Enum, type_name::<V>()), name, variants, |tracer, chosen, depth| {
            let index = chosen.and_then(|variant| u32::try_from(variant).ok()).ok_or(Refused)?;
            let mut inside = Shape::Unknown;
            let value = visitor.visit_enum(Payload { tracer, shape: &mut inside, depth, index })?;
            Ok((value, inside))
        })
    }
}

/// The variant with number `index`, and what it holds.
struct Payload<'a> {
    tracer: &'a mut Tracer,
    shape: &'a mut Shape,
    depth: usize,
    index: u32,
}

impl<'de> de::EnumAccess<'de> for Payload<'_> {
    type Error = Refused;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Refused> {
        let index: U32Deserializer<Refused> = self.index.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Payload<'_> {
    type Error = Refused;

    fn unit_variant(self) -> Result<(), Refused> {
        *self.shape = Shape::Tuple(Vec::new());
        Ok(())
    }
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Refused> {
        let mut inside = Shape::Unknown;
        let value = seed.deserialize(At { tracer: self.tracer, shape: &mut inside, depth: self.depth })?;
        *self.shape = Shape::Tuple(vec![inside]);
        Ok(value)
    }
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Refused> {
        let (value, shapes) = items(self.tracer, self.depth, len, visitor)?;
        *self.shape = Shape::Tuple(shapes);
        Ok(value)
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let (value, shapes) = items(self.tracer, self.depth, fields.len(), visitor)?;
        *self.shape = Shape::Struct("", named(fields, shapes));
        Ok(value)
    }
}
