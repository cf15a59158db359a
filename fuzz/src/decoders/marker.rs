//! The epoch marker in the metadata of a group's offset, where anybody may have written something.

use highwater::connectors::kafka::marker;

/// A marker is what was written as one, to the letter.
pub fn marker(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match marker::parse(&text) {
        Ok(found) => assert_eq!(marker::write(&found), text),
        Err(reason) => {
            assert!(!reason.chars().any(char::is_control), "{reason:?}");
            assert!(reason.len() < 500, "{reason}");
        }
    }
}
