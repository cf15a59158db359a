//! Records in JSON: the codec on a type with everything that serde knows, and the requests and events of the
//! examples.

use std::collections::BTreeMap;

use highwater::operators::source::BadRecord;
use highwater::prelude::*;
use highwater_examples::clickstream::HitJson;
use highwater_examples::fraud::{Event, EventJson, Noted};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    View,
    Buy(u32),
    Move { from: String, to: Option<char> },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Envelope {
    id: u64,
    at: Timestamp,
    kind: Kind,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    counts: BTreeMap<i32, (i64, bool)>,
    inside: Option<Box<Envelope>>,
}

/// What can be read can be written, and is then read as the same.
fn there_and_back<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug + 'static>(bytes: &[u8]) {
    let json = Json::<T>::new();
    let Ok(value) = json.decode(bytes) else { return };
    let mut written = Vec::new();
    json.encode(&value, &mut written).expect("what was read can be written");
    assert!(!written.contains(&b'\n'), "a record is one line");
    assert_eq!(json.decode(&written).as_ref(), Ok(&value));
}

/// The codec, on the record, on what the library itself is given as records, and on what the examples read.
pub fn json(bytes: &[u8]) {
    let (which, bytes) = super::first(bytes);
    match which % 4 {
        0 => there_and_back::<Envelope>(bytes),
        1 => there_and_back::<(Windowed<String, u64>, Change<u8, String>)>(bytes),
        2 => there_and_back::<Vec<BadRecord>>(bytes),
        _ => {
            request(bytes);
            event(bytes);
        }
    }
}

fn request(bytes: &[u8]) {
    let Ok(hit) = HitJson.decode(bytes) else { return };
    assert_eq!(hit.line().as_bytes(), bytes);
    assert!(!hit.address().is_empty());
    assert!(hit.url().is_none_or(|url| !url.contains('?')));
}

/// An event is read again as the same one; the last digit of its numbers may differ.
fn event(bytes: &[u8]) {
    let Ok(event) = EventJson.decode(bytes) else { return };
    let mut written = Vec::new();
    Json::<Event>::new().encode(&event, &mut written).expect("what was read can be written");
    let again = EventJson.decode(&written).expect("what was written can be read");
    assert_eq!((again.id(), again.time()), (event.id(), event.time()));
}
