//! HW-9: a type that changed has another shape. If one of these fails, state written as one type is read as
//! another, and nobody is told.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use highwater_state::shape::shape_of;
use serde::Deserialize;

/// Types of one name that differ, each in a module of its own.
macro_rules! types {
    ($($module:ident { $($item:item)* })*) => {$(
        #[allow(dead_code)]
        mod $module {
            use serde::Deserialize;
            $(#[derive(Deserialize)] $item)*
        }
    )*};
}

types! {
    first {
        pub struct Click { url: String, at: i64 }
        pub enum Kind { View, Buy(u32), Move { x: u8, y: u8 } }
        pub struct Holder { kinds: Vec<Option<Kind>> }
    }
    same {
        pub struct Click { url: String, at: i64 }
    }
    added {
        pub struct Click { url: String, at: i64, user: u64 }
    }
    widened {
        pub struct Click { url: String, at: i32 }
    }
    renamed_field {
        pub struct Click { url: String, time: i64 }
    }
    reordered {
        pub enum Kind { Buy(u32), View, Move { x: u8, y: u8 } }
        pub struct Holder { kinds: Vec<Option<Kind>> }
    }
    other_payload {
        pub enum Kind { View, Buy(u32), Move { x: u8, y: u16 } }
        pub struct Holder { kinds: Vec<Option<Kind>> }
    }
    recursive {
        pub struct Folder { name: String, folders: Vec<Folder>, parent: Option<Box<Folder>> }
        pub enum Tree { Fork(Box<Tree>, Box<Tree>), Leaf(u8) }
        pub enum Left { Right(Box<Right>), End }
        pub enum Right { Left(Box<Left>), Both(Box<Left>, Box<Right>), Tree(Option<Tree>), End(u16) }
        pub struct Endless(Box<Endless>);
        pub enum NeverEnds { Again(Box<NeverEnds>) }
    }
    named {
        pub struct Unit;
        pub struct Metres(f64);
        pub struct Pair(u8, String);
        pub struct Generic<T> { inside: T }
        pub struct Two { number: Generic<u32>, text: Generic<String> }
    }
}

#[test]
fn the_same_type_has_the_same_text() {
    assert_eq!(shape_of::<first::Click>(), "Click{url:str,at:i64}");
    assert_eq!(shape_of::<first::Click>(), shape_of::<same::Click>());
    assert_eq!(shape_of::<first::Holder>(), shape_of::<first::Holder>());
}

#[test]
fn a_changed_field_changes_the_text() {
    let kept = shape_of::<first::Click>();
    for asked in
        [shape_of::<added::Click>(), shape_of::<widened::Click>(), shape_of::<renamed_field::Click>()]
    {
        assert_ne!(kept, asked);
    }
}

#[test]
fn a_changed_enum_changes_the_text_also_deep_inside() {
    assert_eq!(shape_of::<first::Kind>(), "Kind[View|Buy(u32)|Move{x:u8,y:u8}]");
    let kept = shape_of::<first::Holder>();
    assert_eq!(kept, "Holder{kinds:list<option<Kind[View|Buy(u32)|Move{x:u8,y:u8}]>>}");
    assert_ne!(kept, shape_of::<reordered::Holder>());
    assert_ne!(kept, shape_of::<other_payload::Holder>());
}

#[test]
fn recursive_types_end() {
    assert_eq!(shape_of::<recursive::Tree>(), "Tree[Fork(^1,^1)|Leaf(u8)]");
    let folder = shape_of::<recursive::Folder>();
    assert!(
        folder.starts_with("Folder{name:str,folders:list<Folder{name:str,folders:^1,parent:option<"),
        "{folder}"
    );
    let left =
        "Left[Right(Right[Left(^2)|Both(^2,^1)|Tree(option<Tree[Fork(^1,^1)|Leaf(u8)]>)|End(u16)])|End]";
    assert_eq!(shape_of::<recursive::Left>(), left);
    // Types without a value cannot be read at all.
    assert!(shape_of::<recursive::Endless>().starts_with("opaque "));
    assert!(shape_of::<recursive::NeverEnds>().starts_with("opaque "));
}

#[test]
fn the_types_of_the_standard_library_have_shapes() {
    assert_eq!(shape_of::<()>(), "()");
    assert_eq!(shape_of::<(u8, i16, f32, char, bool)>(), "(u8,i16,f32,char,bool)");
    assert_eq!(shape_of::<[u8; 16]>(), "(u8;16)");
    assert_eq!(shape_of::<Option<Vec<String>>>(), "option<list<str>>");
    assert_eq!(shape_of::<BTreeMap<String, u128>>(), "map<str,u128>");
    assert_eq!(shape_of::<HashMap<(u8, u8), BTreeSet<i8>>>(), "map<(u8,u8),list<i8>>");
    assert_eq!(shape_of::<Result<u8, String>>(), "Result[Ok(u8)|Err(str)]");
    let two = shape_of::<(Result<u8, String>, Result<bool, Option<u16>>)>();
    assert_eq!(two, "(Result[Ok(u8)|Err(str)],Result[Ok(bool)|Err(option<u16>)])");
    assert_eq!(shape_of::<Duration>(), "Duration{secs:u64,nanos:u32}");
    assert_eq!(shape_of::<NonZeroU32>(), "u32");
    assert_eq!(shape_of::<IpAddr>(), "IpAddr[V4((u8;4))|V6((u8;16))]");
}

#[test]
fn structs_have_the_name_that_serde_reports() {
    assert_eq!(shape_of::<named::Unit>(), "Unit");
    assert_eq!(shape_of::<named::Metres>(), "Metres(f64)");
    assert_eq!(shape_of::<named::Pair>(), "Pair(u8,str)");
    assert_eq!(shape_of::<named::Two>(), "Two{number:Generic{inside:u32},text:Generic{inside:str}}");
}

#[test]
fn types_that_check_what_they_read_have_shapes_too() {
    assert_eq!(shape_of::<DateTime<Utc>>(), "str");
    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Visit {
        day: NaiveDate,
        at: Option<DateTime<Utc>>,
        #[serde(with = "chrono::serde::ts_milliseconds")]
        seen: DateTime<Utc>,
        name: String,
    }
    assert_eq!(shape_of::<Visit>(), "Visit{day:str,at:option<str>,seen:i64,name:str}");
}

#[test]
fn what_cannot_be_traced_is_opaque_and_never_a_panic() {
    #[derive(Deserialize)]
    #[serde(try_from = "u32")]
    struct Picky;
    impl TryFrom<u32> for Picky {
        type Error = String;
        fn try_from(number: u32) -> Result<Self, String> {
            if number == 77 { Ok(Picky) } else { Err("not 77".to_owned()) }
        }
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    #[allow(dead_code)]
    enum Either {
        Number(u8),
        Text(String),
    }
    #[derive(Deserialize)]
    #[serde(from = "u32")]
    struct Panics;
    impl From<u32> for Panics {
        fn from(_: u32) -> Self {
            panic!("a conversion written by hand")
        }
    }
    assert!(shape_of::<Picky>().starts_with("opaque ") && shape_of::<Picky>().ends_with("Picky"));
    assert!(shape_of::<Either>().starts_with("opaque "));
    assert!(shape_of::<Panics>().starts_with("opaque "));
}
