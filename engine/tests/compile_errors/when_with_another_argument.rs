//! A condition that does not ask for what the run took before.
use highwater::prelude::*;

fn main() {
    let _ = Pattern::begin("low", |price: &i64| *price < 10)
        .next("high", |price| *price > 90)
        .when(|price| *price % 2 == 0);
}
