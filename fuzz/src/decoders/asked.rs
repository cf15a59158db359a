//! What clients write in a request: the place where a page goes on, and keys as JSON.

use highwater::state::shape::RowShape;
use highwater::state::view::Cursor;

/// A cursor that is understood is written as it was read.
fn cursor(text: &str) {
    let Ok(cursor) = text.parse::<Cursor>() else { return };
    assert_eq!(cursor.to_string(), text.to_lowercase());
}

/// A key that is understood is one: what its bytes are shown as is entered as the same bytes.
fn key(shape: &str, json: &[u8]) {
    let Some(shape) = RowShape::parse(shape) else { return };
    let Ok(json) = serde_json::from_slice(json) else { return };
    let Ok(bytes) = shape.key_bytes(&json) else { return };
    shape.key_json(&bytes).unwrap_or_else(|reason| panic!("{json} became {bytes:?}: {reason}"));
}

/// A cursor, or the shape of a row and a key.
pub fn asked(bytes: &[u8]) {
    let (which, bytes) = super::first(bytes);
    match which {
        0 => cursor(&String::from_utf8_lossy(bytes)),
        1 => key("Place[Nowhere|Shop(u16)|Street{name:str,number:option<i32>}] -> u8", bytes),
        2 => key("Inside(option<Inside(^1)>) -> u8", bytes),
        _ => {
            let (shape, json) = super::part(bytes);
            key(&String::from_utf8_lossy(shape), json);
        }
    }
}
