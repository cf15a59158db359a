//! The text of a shape and the bytes read by it come from disk: a few of them must not stand for millions of values.

use highwater_state::persist::encode;
use highwater_state::shape::RowShape;

#[test]
fn the_parts_of_all_tuples_together_are_limited() {
    assert!(RowShape::parse("u8 -> (u8;1000000)").is_some());
    let many = vec!["(u8;1000000)"; 20].join(",");
    assert!(RowShape::parse(&format!("u8 -> ({many})")).is_none());
}

#[test]
fn values_without_bytes_are_limited_also_inside_others() {
    let mut count = Vec::new();
    encode("count", &60_000u64, &mut count).expect("a number can be encoded");
    let units = RowShape::parse("u8 -> list<(();1000)>").expect("it is a shape");
    let refused = units.value_json(&count).expect_err("sixty million values have no bytes");
    assert!(refused.contains("without bytes"), "{refused}");
    let few = RowShape::parse("u8 -> list<(();3)>").expect("it is a shape");
    assert_eq!(few.value_json(&[2]).as_deref(), Ok("[[null,null,null],[null,null,null]]"));
}
