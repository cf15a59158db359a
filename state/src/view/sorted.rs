//! The least of many rows, in an order that is not that of their bytes.
//!
//! Invariant: it holds no more rows than are asked for, however many are offered.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use serde_json::Value;

/// The least rows of those that were offered.
pub(super) struct Smallest<O> {
    most: usize,
    heap: BinaryHeap<Offered<O>>,
}

struct Offered<O> {
    order: O,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<O: Ord> Smallest<O> {
    pub(super) fn new(most: usize) -> Self {
        Smallest { most, heap: BinaryHeap::new() }
    }

    pub(super) fn offer(&mut self, order: O, key: &[u8], value: &[u8]) {
        if self.heap.len() == self.most {
            if self.heap.peek().is_none_or(|last| last.order <= order) {
                return;
            }
            self.heap.pop();
        }
        self.heap.push(Offered { order, key: key.to_vec(), value: value.to_vec() });
    }

    pub(super) fn in_order(self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.heap.into_sorted_vec().into_iter().map(|row| (row.key, row.value))
    }
}

impl<O: Ord> Ord for Offered<O> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order.cmp(&other.order)
    }
}

impl<O: Ord> PartialOrd for Offered<O> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<O: Ord> PartialEq for Offered<O> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<O: Ord> Eq for Offered<O> {}

/// JSON in an order of its own: null, no, yes, numbers, texts, lists, objects; lists and objects by what is in them.
pub(super) struct JsonOrder(pub(super) Value);

impl Ord for JsonOrder {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for JsonOrder {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for JsonOrder {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for JsonOrder {}

fn compare(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let whole = |number: &serde_json::Number| {
                number.as_i64().map(i128::from).or(number.as_u64().map(i128::from))
            };
            match (whole(one), whole(other)) {
                (Some(one), Some(other)) => one.cmp(&other),
                _ => one.as_f64().unwrap_or(f64::NAN).total_cmp(&other.as_f64().unwrap_or(f64::NAN)),
            }
        }
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        (Value::String(one), Value::String(other)) => one.cmp(other),
        (Value::Array(one), Value::Array(other)) => in_turn(one.iter().zip(other), one.len(), other.len()),
        (Value::Object(one), Value::Object(other)) => {
            in_turn(one.values().zip(other.values()), one.len(), other.len())
        }
        _ => rank(one).cmp(&rank(other)),
    }
}

fn in_turn<'v>(pairs: impl Iterator<Item = (&'v Value, &'v Value)>, one: usize, other: usize) -> Ordering {
    let mut compared = pairs.map(|(one, other)| compare(one, other));
    compared.find(|ordering| ordering.is_ne()).unwrap_or(one.cmp(&other))
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_least_are_kept_in_order() {
        let mut smallest = Smallest::new(3);
        for number in [5u8, 1, 4, 2, 9, 3] {
            smallest.offer(number, &[number], &[]);
        }
        let kept: Vec<u8> = smallest.in_order().map(|(key, _)| key[0]).collect();
        assert_eq!(kept, [1, 2, 3]);
    }

    #[test]
    fn json_is_ordered_by_kind_then_by_what_it_says() {
        let sorted = [
            json!(null),
            json!(false),
            json!(true),
            json!(-1),
            json!(2),
            json!(u64::MAX),
            json!("10"),
            json!("9"),
            json!(["a", 2]),
            json!(["a", 10]),
            json!(["a", 10, 0]),
        ];
        for (number, one) in sorted.iter().enumerate() {
            for (other_number, other) in sorted.iter().enumerate() {
                assert_eq!(compare(one, other), number.cmp(&other_number), "{one} and {other}");
            }
        }
    }
}
