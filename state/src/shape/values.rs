//! Encoded values, read by the text of their shape: as JSON for people, and to find the parts of one type.
//!
//! Invariant: bytes that the encoding of the shape does not make are refused, whatever they are; none of them
//! makes this panic, recurse without end or take more memory than a small multiple of their number. It does not
//! know Rust types.

use std::fmt::Write;
use std::ops::Range;

use super::parse::{Id, RowShape, Type};

/// How deep values may be nested, which only those of recursive types are; a deeper one is refused.
const DEPTH_MAX: usize = 256;
/// How many elements without bytes a value may have in all its lists; what claims more is damaged.
const EMPTY_ELEMENTS_MAX: usize = 1 << 16;

/// Why bytes are no value.
type Read<T> = Result<T, String>;

impl RowShape {
    /// The key as JSON, as `serde_json` would write the type: structs are objects, newtypes what is in them, `None` is
    /// null. What JSON has no form for: bytes are a text of hexadecimal digits, numbers that are none are `"NaN"` and
    /// `"inf"`, maps whose keys are no texts or numbers are lists of pairs.
    ///
    /// # Errors
    /// What is wrong with the bytes, if they are no key.
    pub fn key_json(&self, bytes: &[u8]) -> Result<String, String> {
        self.json(self.key, bytes)
    }

    /// The value as JSON, in the same way.
    ///
    /// # Errors
    /// What is wrong with the bytes, if they are no value.
    pub fn value_json(&self, bytes: &[u8]) -> Result<String, String> {
        self.json(self.value, bytes)
    }

    fn json(&self, id: Id, bytes: &[u8]) -> Read<String> {
        let mut reader =
            Reader { shape: self, bytes, at: 0, depth: 0, empty: 0, json: Some(String::new()), wanted: &[] };
        reader.value(id)?;
        reader.end()?;
        Ok(reader.json.unwrap_or_default())
    }

    /// Where in a value the parts lie that have one of the types `wanted`, in order; parts of parts are not told.
    pub(crate) fn parts_of(&self, wanted: &[Id], bytes: &[u8]) -> Result<Vec<Range<usize>>, String> {
        let mut found = Vec::new();
        let mut reader = Reader { shape: self, bytes, at: 0, depth: 0, empty: 0, json: None, wanted };
        reader.find(self.value, &mut found)?;
        reader.end()?;
        Ok(found)
    }
}

/// Walks through the bytes of one value.
struct Reader<'a> {
    shape: &'a RowShape,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    /// How many elements without bytes there were.
    empty: usize,
    /// Where the JSON goes, if it is wanted.
    json: Option<String>,
    wanted: &'a [Id],
}

impl<'a> Reader<'a> {
    fn end(&self) -> Read<()> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            rest => Err(format!("{rest} bytes are left over")),
        }
    }

    fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let taken = self.at.checked_add(count).and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| "it ends too soon".to_owned())?;
        self.at += count;
        Ok(taken)
    }

    fn byte(&mut self) -> Read<u8> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        <[u8; N]>::try_from(self.take(N)?).map_err(|error| error.to_string())
    }

    /// Seven bits a byte, the lowest first; the top bit says that more follow.
    fn number(&mut self, bits: u32) -> Read<u128> {
        let mut number = 0u128;
        for place in 0..bits.div_ceil(7) {
            let byte = self.byte()?;
            let part = u128::from(byte & 0x7f);
            let shift = 7 * place;
            if shift + (8 - (part as u8).leading_zeros()) > bits {
                break;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(format!("a number has more than {bits} bits"))
    }

    fn signed(&mut self, bits: u32) -> Read<i128> {
        let number = self.number(bits)?;
        Ok((number >> 1) as i128 ^ -((number & 1) as i128))
    }

    fn count(&mut self) -> Read<usize> {
        usize::try_from(self.number(64)?).map_err(|error| error.to_string())
    }

    fn text(&mut self) -> Read<&'a str> {
        let count = self.count()?;
        std::str::from_utf8(self.take(count)?).map_err(|error| error.to_string())
    }

    fn flag(&mut self) -> Read<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(format!("{other} is neither yes nor no")),
        }
    }

    fn put(&mut self, text: &str) {
        if let Some(json) = &mut self.json {
            json.push_str(text);
        }
    }

    fn show(&mut self, what: impl std::fmt::Display) {
        if let Some(json) = &mut self.json {
            // A text takes whatever is written to it.
            let _ = write!(json, "{what}");
        }
    }

    fn quote(&mut self, text: &str) {
        if self.json.is_some() {
            let quoted = serde_json::Value::from(text).to_string();
            self.put(&quoted);
        }
    }

    fn float(&mut self, number: f64, shown: String) {
        if number.is_finite() { self.put(&shown) } else { self.quote(&shown) }
    }

    /// Reads the value, and writes it as JSON.
    fn value(&mut self, id: Id) -> Read<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("it is nested more than {DEPTH_MAX} deep"));
        }
        let shape = self.shape;
        match shape.of(id) {
            Type::Unit => self.put("null"),
            Type::Bool => {
                let flag = self.flag()?;
                self.show(flag);
            }
            Type::U8 => {
                let byte = self.byte()?;
                self.show(byte);
            }
            Type::I8 => {
                let byte = self.byte()? as i8;
                self.show(byte);
            }
            Type::Unsigned(bits) => {
                let number = self.number(*bits)?;
                self.show(number);
            }
            Type::Signed(bits) => {
                let number = self.signed(*bits)?;
                self.show(number);
            }
            Type::F32 => {
                let number = f32::from_le_bytes(self.array()?);
                self.float(f64::from(number), format!("{number:?}"));
            }
            Type::F64 => {
                let number = f64::from_le_bytes(self.array()?);
                self.float(number, format!("{number:?}"));
            }
            Type::Char | Type::Str => {
                let text = self.text()?;
                self.quote(text);
            }
            Type::Bytes => {
                let count = self.count()?;
                let bytes = hex(self.take(count)?);
                self.quote(&bytes);
            }
            Type::Opaque => return Err("nothing is known of its type".to_owned()),
            Type::Newtype(inside) => self.value(*inside)?,
            Type::Option(inside) => match self.flag()? {
                true => self.value(*inside)?,
                false => self.put("null"),
            },
            Type::List(inside) => self.list(*inside)?,
            Type::Map(key, value) => self.map(*key, *value)?,
            Type::Tuple(parts) => self.sequence(parts)?,
            Type::Struct(fields) => self.fields(fields)?,
            Type::Enum(variants) => self.variant(variants)?,
        }
        self.depth -= 1;
        Ok(())
    }

    fn sequence(&mut self, parts: &[Id]) -> Read<()> {
        self.put("[");
        for (number, part) in parts.iter().enumerate() {
            self.put(if number == 0 { "" } else { "," });
            self.value(*part)?;
        }
        self.put("]");
        Ok(())
    }

    fn fields(&mut self, fields: &[(String, Id)]) -> Read<()> {
        self.put("{");
        for (number, (name, field)) in fields.iter().enumerate() {
            self.put(if number == 0 { "" } else { "," });
            self.quote(name);
            self.put(":");
            self.value(*field)?;
        }
        self.put("}");
        Ok(())
    }

    fn variant(&mut self, variants: &[(String, Option<Id>)]) -> Read<()> {
        let number = self.number(32)?;
        let variant = usize::try_from(number).ok().and_then(|number| variants.get(number));
        let (name, payload) =
            variant.ok_or_else(|| format!("it is variant {number} of {}", variants.len()))?;
        let Some(payload) = payload else {
            self.quote(name);
            return Ok(());
        };
        self.put("{");
        self.quote(name);
        self.put(":");
        self.value(*payload)?;
        self.put("}");
        Ok(())
    }

    /// Reads as many elements as the bytes say; `one` is called for each, with its number.
    fn elements(&mut self, mut one: impl FnMut(&mut Self, usize) -> Read<()>) -> Read<()> {
        let count = self.count()?;
        for number in 0..count {
            let start = self.at;
            one(self, number)?;
            self.empty += usize::from(self.at == start);
            if self.empty > EMPTY_ELEMENTS_MAX {
                return Err(format!("it has more than {EMPTY_ELEMENTS_MAX} elements without bytes"));
            }
        }
        Ok(())
    }

    fn list(&mut self, inside: Id) -> Read<()> {
        self.put("[");
        self.elements(|reader, number| {
            reader.put(if number == 0 { "" } else { "," });
            reader.value(inside)
        })?;
        self.put("]");
        Ok(())
    }

    fn map(&mut self, key: Id, value: Id) -> Read<()> {
        let mut inner = key;
        while let Type::Newtype(inside) = self.shape.of(inner) {
            inner = *inside;
        }
        let quoted = match self.shape.of(inner) {
            Type::Char | Type::Str => Some(""),
            Type::Bool | Type::U8 | Type::I8 | Type::Unsigned(_) | Type::Signed(_) => Some("\""),
            _ => None,
        };
        self.put(if quoted.is_some() { "{" } else { "[" });
        self.elements(|reader, number| {
            reader.put(if number == 0 { "" } else { "," });
            let Some(quote) = quoted else {
                return reader.sequence(&[key, value]);
            };
            reader.put(quote);
            reader.value(key)?;
            reader.put(quote);
            reader.put(":");
            reader.value(value)
        })?;
        self.put(if quoted.is_some() { "}" } else { "]" });
        Ok(())
    }

    /// Reads the value, and notes where the wanted parts lie.
    fn find(&mut self, id: Id, found: &mut Vec<Range<usize>>) -> Read<()> {
        if self.wanted.contains(&id) {
            let start = self.at;
            self.value(id)?;
            found.push(start..self.at);
            return Ok(());
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("it is nested more than {DEPTH_MAX} deep"));
        }
        let shape = self.shape;
        match shape.of(id) {
            Type::Newtype(inside) => self.find(*inside, found)?,
            Type::Option(inside) => {
                if self.flag()? {
                    self.find(*inside, found)?;
                }
            }
            Type::List(inside) => self.elements(|reader, _| reader.find(*inside, found))?,
            Type::Map(key, value) => self.elements(|reader, _| {
                reader.find(*key, found)?;
                reader.find(*value, found)
            })?,
            Type::Tuple(parts) => parts.iter().try_for_each(|part| self.find(*part, found))?,
            Type::Struct(fields) => fields.iter().try_for_each(|(_, field)| self.find(*field, found))?,
            Type::Enum(variants) => {
                let number = self.number(32)?;
                let variant = usize::try_from(number).ok().and_then(|number| variants.get(number));
                let (_, payload) =
                    variant.ok_or_else(|| format!("it is variant {number} of {}", variants.len()))?;
                if let Some(payload) = payload {
                    self.find(*payload, found)?;
                }
            }
            _ => {
                self.depth -= 1;
                self.value(id)?;
                self.depth += 1;
            }
        }
        self.depth -= 1;
        Ok(())
    }
}

/// Two hexadecimal digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // A text takes whatever is written to it.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
