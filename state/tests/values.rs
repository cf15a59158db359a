//! Values read by the text of their shape. If one of these fails, what the command-line tool shows is not what is
//! kept, or damaged bytes make it panic.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use highwater_state::persist::encode;
use highwater_state::shape::{RowShape, hex, shape_of};
use highwater_state::{Persist, TimeRange, Timestamp};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Metres(f64);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Nothing;

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Kind {
    View,
    Buy(u32),
    Move { x: i8, y: u8 },
    Pair(char, Option<Box<Kind>>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Folder {
    name: String,
    folders: Vec<Folder>,
    kinds: BTreeMap<String, Kind>,
    sizes: [u16; 5],
    length: Metres,
    nothing: Nothing,
}

fn bytes_of<T: Persist>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode("value", value, &mut bytes).unwrap();
    bytes
}

fn shape<T: Persist>() -> RowShape {
    RowShape::parse(&format!("str -> {}", shape_of::<T>())).unwrap()
}

/// What stands in state reads as `serde_json` writes it.
#[track_caller]
fn reads_as_serde_json_writes_it<T: Persist>(value: &T) {
    let read = shape::<T>().value_json(&bytes_of(value)).unwrap();
    let read: serde_json::Value = serde_json::from_str(&read).unwrap();
    assert_eq!(read, serde_json::to_value(value).unwrap());
}

fn folder() -> Folder {
    let kinds = [
        ("a", Kind::View),
        ("b", Kind::Buy(u32::MAX)),
        ("\"", Kind::Move { x: -1, y: 200 }),
        ("d", Kind::Pair('ä', Some(Box::new(Kind::Pair('\n', None))))),
    ];
    let kinds = kinds.into_iter().map(|(name, kind)| (name.to_owned(), kind)).collect();
    let (sizes, length) = ([0, 1, 127, 128, u16::MAX], Metres(0.1));
    let inner = Folder {
        name: "in\\ner".to_owned(),
        folders: Vec::new(),
        kinds,
        sizes,
        length: Metres(-2.0),
        nothing: Nothing,
    };
    Folder {
        name: String::new(),
        folders: vec![inner.clone(), inner],
        kinds: BTreeMap::new(),
        sizes,
        length,
        nothing: Nothing,
    }
}

#[test]
fn values_of_every_kind_are_shown_as_serde_json_writes_them() {
    reads_as_serde_json_writes_it(&folder());
    reads_as_serde_json_writes_it(&(i8::MIN, i16::MIN, i32::MIN, i64::MIN, i64::MAX, -1i16, 63i32, 64i64));
    reads_as_serde_json_writes_it(&(u8::MAX, u16::MAX, u32::MAX, u64::MAX, true, false, ()));
    reads_as_serde_json_writes_it(&(0.25f32, f64::MAX, 1.5f32, 1e300, 0.0));
    reads_as_serde_json_writes_it(&(Some(Some(3u8)), None::<u8>, vec![Some("x".to_owned()), None]));
    reads_as_serde_json_writes_it(&BTreeMap::from([
        (1u64, BTreeSet::from(['a', 'b'])),
        (9, BTreeSet::new()),
    ]));
    reads_as_serde_json_writes_it(&TimeRange {
        start: Timestamp::from_millis(-5),
        end: Timestamp::from_millis(7),
    });
    reads_as_serde_json_writes_it(&Duration::from_millis(1500));
    reads_as_serde_json_writes_it(&[[1u8, 2, 3, 4, 5], [6, 7, 8, 9, 10]]);
}

#[test]
fn what_json_has_no_form_for_is_still_shown() {
    let read = |json: &str| json.to_owned();
    assert_eq!(
        shape::<(f64, f64)>().value_json(&bytes_of(&(f64::NAN, f64::INFINITY))),
        Ok(read(r#"["NaN","inf"]"#))
    );
    let pairs = BTreeMap::from([((1u8, 'a'), 2u8), ((3, 'b'), 4)]);
    assert_eq!(
        shape::<BTreeMap<(u8, char), u8>>().value_json(&bytes_of(&pairs)),
        Ok(read(r#"[[[1,"a"],2],[[3,"b"],4]]"#))
    );
    assert_eq!(shape::<u128>().value_json(&bytes_of(&u128::MAX)), Ok(u128::MAX.to_string()));
    assert_eq!(shape::<i128>().value_json(&bytes_of(&i128::MIN)), Ok(i128::MIN.to_string()));
    assert_eq!(hex(&[0, 255, 16]), "00ff10");
}

#[test]
fn keys_are_told_from_values_and_from_how_they_are_filed() {
    let text =
        format!("{} -> {}, also without a partner", shape_of::<(String, u8)>(), shape_of::<Vec<Kind>>());
    let shape = RowShape::parse(&text).unwrap();
    assert_eq!(shape.key_json(&bytes_of(&("a".to_owned(), 1u8))).unwrap(), r#"["a",1]"#);
    assert_eq!(shape.value_json(&bytes_of(&vec![Kind::View])).unwrap(), r#"["View"]"#);
    let opaque = RowShape::parse("opaque a::B<c::D> -> u8").unwrap();
    assert!(opaque.is_opaque() && opaque.key_json(&[]).is_err());
    for text in
        ["", "str", "str -> ", "str->u8", "str -> list<", "str -> ^1", "str -> (u8;99999999999999999999)"]
    {
        let parsed = RowShape::parse(text);
        assert!(parsed.is_none() || text == "str -> ", "{text}: {parsed:?}");
    }
}

#[test]
fn bytes_that_are_no_value_are_refused() {
    let bytes = bytes_of(&folder());
    let shape = shape::<Folder>();
    for end in 0..bytes.len() {
        assert!(shape.value_json(&bytes[..end]).is_err(), "cut at {end}");
    }
    assert!(shape.value_json(&[&bytes[..], &[0]].concat()).is_err());
    let endless = RowShape::parse("str -> list<()>").unwrap();
    let claims = bytes_of(&u64::MAX);
    assert!(endless.value_json(&claims).is_err());
    let deep = RowShape::parse("str -> option<^1>").unwrap();
    assert!(deep.value_json(&[1; 100_000]).is_err(), "recursion has an end");
    let nested = format!("str -> {}", "option<".repeat(100_000));
    assert!(RowShape::parse(&nested).is_none());
}

proptest! {
    #[test]
    fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = shape::<Folder>().value_json(&bytes);
        let _ = shape::<Vec<(i128, f32, Option<Kind>, BTreeMap<(u8, char), Vec<()>>)>>().value_json(&bytes);
    }

    #[test]
    fn no_text_makes_parsing_panic(text in "[a-z0-9{}()<>,|:;^\\[\\] >-]{0,60}") {
        let _ = RowShape::parse(&text);
        let _ = RowShape::parse(&format!("str -> {text}"));
    }
}
