//! A stage that takes one record, and is to take as many as there are.
//~ this stage does not repeat
//~ say how often before: `.times(2..=4)`, `.times_or_more(2)` or `.one_or_more()`
use highwater::prelude::*;

fn main() {
    let _ = Pattern::begin("low", |price: &i64| *price < 10).greedy().next("high", |price| *price > 90);
}
