//! Rows read by the text of their shape, as the reader of state does: any text, and any bytes.

use std::collections::BTreeMap;

use highwater::prelude::*;
use highwater::state::shape::{RowShape, shape_of};
use highwater::state::{Persist, persist};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum Kind {
    View,
    Buy(u32),
    Move { from: String, to: Option<u8> },
}

/// What is shown of bytes is JSON, if anything is.
fn shown(shape: &RowShape, bytes: &[u8]) -> bool {
    let shown = [shape.key_json(bytes), shape.value_json(bytes)];
    for json in shown.iter().flatten() {
        serde_json::from_str::<IgnoredAny>(json).expect("what is shown is JSON");
    }
    shown[1].is_ok()
}

/// By its shape a type is read exactly if it is read by itself.
fn as_the_type<T: Persist>(bytes: &[u8]) {
    let text = format!("u8 -> {}", shape_of::<T>());
    let shape = RowShape::parse(&text).expect("the text of a shape is understood");
    let decoded = persist::decode::<T>("value", bytes).map(drop).map_err(|error| error.to_string());
    assert_eq!(shown(&shape, bytes), decoded.is_ok(), "{text}: {decoded:?}");
}

/// A text and bytes, or a type and bytes.
pub fn shapes(bytes: &[u8]) {
    let (which, bytes) = super::first(bytes);
    match which {
        0 => as_the_type::<(String, u64, i32)>(bytes),
        1 => as_the_type::<Vec<(i64, Option<bool>)>>(bytes),
        2 => as_the_type::<BTreeMap<String, (u16, f64)>>(bytes),
        3 => as_the_type::<Vec<Kind>>(bytes),
        4 => as_the_type::<Windowed<u32, [i8; 3]>>(bytes),
        _ => {
            let (text, bytes) = super::part(bytes);
            let Some(shape) = RowShape::parse(&String::from_utf8_lossy(text)) else { return };
            shown(&shape, bytes);
        }
    }
}
