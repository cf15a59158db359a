//! The epoch marker as the metadata of a committed offset.
//!
//! It stands at partition 0 of every topic that the transactions write to, in the group's offsets, so that it is
//! committed with the transaction and read back without reading a topic. It carries no payload. Invariant: what is
//! parsed is what was written, or an error; metadata of somebody else is no marker.

use highwater_operators::decide::Marker;
use highwater_state::Epoch;

/// What the metadata begins with; the number is the version of the form.
const BEGIN: &str = "highwater/1";

/// The marker as text, far below the 4096 bytes that a broker takes.
pub fn write(marker: &Marker) -> String {
    format!("{BEGIN} epoch={} state={:032x} instance={:016x}", marker.epoch.0, marker.state, marker.instance)
}

/// The marker that [`write()`] wrote.
///
/// # Errors
/// Why the text is no marker.
pub fn parse(text: &str) -> Result<Marker, String> {
    let refused = || format!("the group's offset carries `{}`, which is no epoch marker", shortened(text));
    let mut words = text.split(' ');
    if words.next() != Some(BEGIN) {
        return Err(refused());
    }
    let mut value = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=');
    let epoch = value("epoch").and_then(|word| word.parse().ok());
    let state = value("state").and_then(|word| u128::from_str_radix(word, 16).ok());
    let instance = value("instance").and_then(|word| u64::from_str_radix(word, 16).ok());
    match (epoch, state, instance, words.next()) {
        (Some(epoch), Some(state), Some(instance), None) => {
            let marker = Marker { epoch: Epoch(epoch), state, instance };
            // Numbers have other forms, with a sign for example; we write none of them.
            if write(&marker) == text { Ok(marker) } else { Err(refused()) }
        }
        _ => Err(refused()),
    }
}

/// At most 80 characters of it: it may be anything.
fn shortened(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_marker_comes_back(epoch in any::<u64>(), state in any::<u128>(), instance in any::<u64>()) {
            let marker = Marker { epoch: Epoch(epoch), state, instance };
            prop_assert_eq!(parse(&write(&marker)), Ok(marker));
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = parse(&text);
            let _ = parse(&format!("{BEGIN} {text}"));
        }
    }

    #[test]
    fn metadata_of_somebody_else_is_no_marker() {
        let numbers = "state=00000000000000000000000000000001 instance=0000000000000002";
        let good = format!("{BEGIN} epoch=1 {numbers}");
        assert!(parse(&good).is_ok());
        let others = [
            format!("{good} more"),
            format!("{good}\n"),
            format!("highwater/2 epoch=1 {numbers}"),
            format!("{BEGIN} epoch=+1 {numbers}"),
            format!("{BEGIN} epoch=01 {numbers}"),
            format!("{BEGIN} epoch=1 state=1 instance=2"),
            String::new(),
            "AgAAAZ".to_owned(),
        ];
        for text in others {
            assert!(parse(&text).is_err(), "{text}");
        }
    }
}
