//! A condition that takes what a repeating stage took for one record.
use highwater::prelude::*;

#[derive(Clone)]
struct Login {
    ok: bool,
    address: u32,
}

fn main() {
    let _ = Pattern::begin("failed", |login: &Login| !login.ok)
        .times(3)
        .followed_by("elsewhere", |login| login.ok)
        .when(|login, (failed,)| login.address != failed.address);
}
