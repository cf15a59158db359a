//! The bytes of every key on disk.
//!
//! | family | key |
//! | --- | --- |
//! | values | store (2) · key group (2) · key |
//! | values of a journal | store (2) · key group (2) of the key · key · number (8) |
//! | windows, timers | store (2) · key group (2) · time (8) · key |
//! | meta | a text: `format`, `epoch`, `identity`, `used`, `begun`, or `catalog/`, `migrating/`, `position/`, … |
//! | redo | a text: `head`, `piece/…` |
//!
//! Numbers are big-endian, times have their sign bit flipped, so that rows sort by store, then key group, then
//! time, also before 1970. Keys are encoded by [`persist`](crate::persist) and stand last, so they need no end
//! mark. Invariant: a row of one store and group is never inside the range of another.

use crate::id::{KeyGroup, StoreId};
use crate::time::Timestamp;

/// The version of this layout and of the value encoding; kept in the meta row `format`.
pub const FORMAT: u32 = 1;

/// The meta row that holds [`FORMAT`].
pub const FORMAT_KEY: &[u8] = b"format";
/// The meta row that holds the number of the last committed epoch.
pub const EPOCH_KEY: &[u8] = b"epoch";
/// The meta row that holds what tells this state from every other: random bytes of its first start.
pub const IDENTITY_KEY: &[u8] = b"identity";
/// The meta row that says which savepoint the state began with, by the checksum of its manifest.
pub const BEGUN_KEY: &[u8] = b"begun";

/// Writes the key of a row of the family `values`, without the user's key.
pub fn value_prefix(store: StoreId, group: KeyGroup, into: &mut Vec<u8>) {
    into.extend_from_slice(&store.0.to_be_bytes());
    into.extend_from_slice(&group.number().to_be_bytes());
}

/// Writes the key of a row ordered by time, without the user's key.
pub fn time_prefix(store: StoreId, group: KeyGroup, time: Timestamp, into: &mut Vec<u8>) {
    value_prefix(store, group, into);
    into.extend_from_slice(&order_preserving(time));
}

/// The length of what [`time_prefix`] writes, in bytes.
pub const TIME_PREFIX_LEN: usize = 12;
/// The length of what [`value_prefix`] writes, in bytes.
pub const VALUE_PREFIX_LEN: usize = 4;

/// Eight bytes that sort as the times do.
pub fn order_preserving(time: Timestamp) -> [u8; 8] {
    ((time.as_millis() as u64) ^ (1 << 63)).to_be_bytes()
}

/// The time of a row ordered by time, and the user's key behind it; `None` if the row is too short to be one.
pub fn split_time_row(row: &[u8]) -> Option<(Timestamp, &[u8])> {
    let time: [u8; 8] = row.get(VALUE_PREFIX_LEN..TIME_PREFIX_LEN)?.try_into().ok()?;
    let millis = (u64::from_be_bytes(time) ^ (1 << 63)) as i64;
    Some((Timestamp::from_millis(millis), &row[TIME_PREFIX_LEN..]))
}

/// The smallest key greater than every key that begins with `prefix`.
///
/// # Panics
/// If `prefix` is all `0xff` bytes; no prefix of this layout is.
pub fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.last_mut() {
        if *last < u8::MAX {
            *last += 1;
            return end;
        }
        end.pop();
    }
    panic!("no key lies behind a prefix of 0xff bytes");
}

/// The rows of one store: from the first key to the one behind the last.
pub fn store_range(store: StoreId) -> (Vec<u8>, Vec<u8>) {
    let from = store.0.to_be_bytes().to_vec();
    let to = after_prefix(&from);
    (from, to)
}

/// What the keys of all positions begin with.
pub const POSITIONS: &[u8] = b"position/";

/// The meta row that holds the position of one split of a source.
pub fn position_key(source: &str, split: &str) -> Vec<u8> {
    format!("position/{source}/{split}").into_bytes()
}

/// The meta row that holds a watermark: of a store, or of one split below an `event_time`.
pub fn watermark_key(of: &str) -> Vec<u8> {
    format!("watermark/{of}").into_bytes()
}

/// What the keys of all receipts begin with.
pub const RECEIPTS: &[u8] = b"receipt/";

/// The meta row that holds what one worker's sink staged in the last epoch.
pub fn receipt_key(sink: &str, worker: usize) -> Vec<u8> {
    format!("receipt/{sink}/{worker}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_sort_as_their_times_do(a in any::<i64>(), b in any::<i64>()) {
            let (x, y) = (Timestamp::from_millis(a), Timestamp::from_millis(b));
            prop_assert_eq!(order_preserving(x).cmp(&order_preserving(y)), x.cmp(&y));
            let mut row = Vec::new();
            time_prefix(StoreId(3), KeyGroup::new(9), x, &mut row);
            row.push(7);
            prop_assert_eq!(split_time_row(&row), Some((x, &[7u8][..])));
        }

        #[test]
        fn nothing_with_the_prefix_lies_behind_it(
            store in 0u16..u16::MAX,
            group in 0u16..128,
            tail in any::<Vec<u8>>(),
        ) {
            let mut row = Vec::new();
            value_prefix(StoreId(store), KeyGroup::new(group), &mut row);
            let end = after_prefix(&row);
            row.extend_from_slice(&tail);
            prop_assert!(row < end);
        }
    }
}
