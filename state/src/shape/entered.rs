//! Keys that people enter as JSON, made into the bytes that the type's encoding makes of them.
//!
//! Invariant: what is made here is read back as the same JSON by [`RowShape::key_json`]; what no key of the shape can
//! be is refused with the reason; however it is written, it takes no more than so much of the stack. It does not know
//! Rust types.

use serde_json::Value;

use super::parse::{Id, RowShape, Type};

/// How deep a key may be nested: a type that holds itself in an option would take flat JSON for one without end.
const DEPTH_MAX: usize = 256;

/// Why JSON is no value of the type.
type Written = Result<(), String>;

impl RowShape {
    /// The bytes of the key that [`key_json`](RowShape::key_json) shows as this JSON.
    ///
    /// # Errors
    /// Why it is no key of this shape.
    pub fn key_bytes(&self, json: &Value) -> Result<Vec<u8>, String> {
        let mut writer = Writer { shape: self, bytes: Vec::new(), depth: 0 };
        writer.value(self.key, json)?;
        Ok(writer.bytes)
    }
}

struct Writer<'s> {
    shape: &'s RowShape,
    bytes: Vec<u8>,
    depth: usize,
}

impl Writer<'_> {
    fn value(&mut self, id: Id, json: &Value) -> Written {
        let shape = self.shape;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("it is nested more than {DEPTH_MAX} deep"));
        }
        match shape.of(id) {
            Type::Unit => json.is_null().then_some(()).ok_or_else(|| wrong("null", json))?,
            Type::Bool => {
                self.bytes.push(u8::from(json.as_bool().ok_or_else(|| wrong("true or false", json))?))
            }
            Type::U8 => self.bytes.push(integer(json, 0, i128::from(u8::MAX))? as u8),
            Type::I8 => self.bytes.push(integer(json, i128::from(i8::MIN), i128::from(i8::MAX))? as u8),
            Type::Unsigned(bits) => {
                let most = u128::MAX >> (128 - bits);
                let number = integer(json, 0, i128::try_from(most).unwrap_or(i128::MAX))?;
                self.number(number as u128);
            }
            Type::Signed(bits) => {
                let most = i128::MAX >> (128 - bits);
                let number = integer(json, -most - 1, most)?;
                self.number((number << 1 ^ number >> 127) as u128);
            }
            Type::F32 => self.bytes.extend((float(json)? as f32).to_le_bytes()),
            Type::F64 => self.bytes.extend(float(json)?.to_le_bytes()),
            Type::Char => {
                let text = text(json)?;
                let one = text.chars().count() == 1;
                one.then(|| self.text(text)).ok_or_else(|| wrong("one character", json))?;
            }
            Type::Str => self.text(text(json)?),
            Type::Bytes => {
                let bytes = unhex(text(json)?).ok_or_else(|| wrong("hexadecimal digits", json))?;
                self.number(bytes.len() as u128);
                self.bytes.extend(bytes);
            }
            Type::Opaque => return Err("nothing is known of its type".to_owned()),
            Type::Newtype(inside) => self.value(*inside, json)?,
            Type::Option(inside) => {
                self.bytes.push(u8::from(!json.is_null()));
                if !json.is_null() {
                    self.value(*inside, json)?;
                }
            }
            Type::List(inside) => {
                let elements = json.as_array().ok_or_else(|| wrong("a list", json))?;
                self.number(elements.len() as u128);
                elements.iter().try_for_each(|element| self.value(*inside, element))?;
            }
            Type::Map(..) => return Err("a map cannot be looked up".to_owned()),
            Type::Tuple(parts) => self.tuple(parts, json)?,
            Type::Struct(fields) => self.fields(fields, json)?,
            Type::Enum(variants) => self.variant(variants, json)?,
        }
        self.depth -= 1;
        Ok(())
    }

    /// Seven bits a byte, the lowest first; the top bit says that more follow.
    fn number(&mut self, mut number: u128) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u128);
        self.bytes.extend(text.as_bytes());
    }

    fn tuple(&mut self, parts: &[Id], json: &Value) -> Written {
        let elements = json.as_array().filter(|elements| elements.len() == parts.len());
        let elements = elements.ok_or_else(|| wrong(&format!("a list of {}", parts.len()), json))?;
        parts.iter().zip(elements).try_for_each(|(part, element)| self.value(*part, element))
    }

    fn fields(&mut self, fields: &[(String, Id)], json: &Value) -> Written {
        let object = json.as_object().ok_or_else(|| wrong("an object", json))?;
        if let Some(unknown) = object.keys().find(|key| fields.iter().all(|(name, _)| name != *key)) {
            return Err(format!("it has no field `{unknown}`"));
        }
        fields.iter().try_for_each(|(name, field)| {
            let value = object.get(name).ok_or_else(|| format!("the field `{name}` is missing"))?;
            self.value(*field, value)
        })
    }

    fn variant(&mut self, variants: &[(String, Option<Id>)], json: &Value) -> Written {
        let (name, payload) = match json {
            Value::String(name) => (name, None),
            Value::Object(object) if object.len() == 1 => {
                let (name, payload) = object.iter().next().expect("it has one field");
                (name, Some(payload))
            }
            other => return Err(wrong("the name of a variant", other)),
        };
        let number = variants.iter().position(|(known, _)| known == name);
        let number = number.ok_or_else(|| format!("there is no variant `{name}`"))?;
        self.number(number as u128);
        match (&variants[number].1, payload) {
            (None, None) => Ok(()),
            (Some(inside), Some(payload)) => self.value(*inside, payload),
            (None, Some(_)) => Err(format!("the variant `{name}` holds nothing")),
            (Some(_), None) => Err(format!("the variant `{name}` holds something")),
        }
    }
}

fn wrong(expected: &str, found: &Value) -> String {
    format!("{expected} is expected, and not {found}")
}

fn text(json: &Value) -> Result<&str, String> {
    json.as_str().ok_or_else(|| wrong("a text", json))
}

fn integer(json: &Value, least: i128, most: i128) -> Result<i128, String> {
    let number = json.as_i64().map(i128::from).or(json.as_u64().map(i128::from));
    let number = number.ok_or_else(|| wrong("a whole number", json))?;
    let fits = (least..=most).contains(&number);
    fits.then_some(number).ok_or_else(|| wrong(&format!("a number from {least} to {most}"), json))
}

fn float(json: &Value) -> Result<f64, String> {
    match json.as_str() {
        Some("NaN") => Ok(f64::NAN),
        Some("inf") => Ok(f64::INFINITY),
        Some("-inf") => Ok(f64::NEG_INFINITY),
        _ => json.as_f64().ok_or_else(|| wrong("a number", json)),
    }
}

/// The bytes that [`hex`](super::hex) shows as this text.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?));
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;
    use crate::persist::{Key, encode};
    use crate::shape::{hex, shape_of};

    fn shape<K: Key>() -> RowShape {
        RowShape::parse(&format!("{} -> u64", shape_of::<K>())).expect("is understood")
    }

    #[track_caller]
    fn same<K: Key>(key: K) {
        let (shape, mut bytes) = (shape::<K>(), Vec::new());
        encode("key", &key, &mut bytes).expect("encodes");
        let json: Value = serde_json::from_str(&shape.key_json(&bytes).expect("is a key")).expect("is JSON");
        assert_eq!(shape.key_bytes(&json), Ok(bytes), "{json}");
    }

    #[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
    enum Place {
        Nowhere,
        Shop(u16),
        Street { name: String, number: Option<i32> },
    }

    #[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
    struct User(String);

    #[test]
    fn what_is_entered_as_it_is_shown_has_the_bytes_of_the_type() {
        same("ada".to_owned());
        same(User("ada".to_owned()));
        same('ä');
        same(());
        same((true, 3u8, -3i8, 300u16, -300i16));
        same((u32::MAX, i32::MIN, u64::MAX, i64::MIN));
        same((u128::from(u64::MAX), i128::from(i64::MIN)));
        same((Some(5u64), None::<u64>));
        same(vec!["a".to_owned(), String::new()]);
        same(Place::Nowhere);
        same(Place::Shop(9));
        same(Place::Street { name: "Row".to_owned(), number: Some(-1) });
    }

    #[test]
    fn what_is_no_key_of_the_type_is_refused() {
        assert!(shape::<u8>().key_bytes(&json!(256)).is_err());
        assert!(shape::<i8>().key_bytes(&json!(-129)).is_err());
        assert!(shape::<u64>().key_bytes(&json!(-1)).is_err());
        assert!(shape::<u64>().key_bytes(&json!(1.5)).is_err());
        assert!(shape::<u64>().key_bytes(&json!("1")).is_err());
        assert!(shape::<(u8, u8)>().key_bytes(&json!([1])).is_err());
        assert!(shape::<Place>().key_bytes(&json!("Anywhere")).is_err());
        assert!(shape::<Place>().key_bytes(&json!("Shop")).is_err());
        assert!(shape::<Place>().key_bytes(&json!({"Street": {"name": "Row"}})).is_err());
        assert!(
            shape::<Place>().key_bytes(&json!({"Street": {"name": "Row", "number": 1, "more": 1}})).is_err()
        );
    }

    #[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
    struct Inside(Option<Box<Inside>>);

    #[test]
    fn a_type_that_holds_itself_takes_no_more_than_so_much() {
        same(Inside(None));
        assert!(shape::<Inside>().key_bytes(&json!(5)).is_err());
    }

    #[test]
    fn hexadecimal_digits_are_read_back() {
        assert_eq!(unhex(&hex(&[0, 15, 255])), Some(vec![0, 15, 255]));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("0g"), None);
    }
}
