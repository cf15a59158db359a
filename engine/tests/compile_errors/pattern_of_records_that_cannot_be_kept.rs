//! A pattern over records that cannot be kept as state.
//~ `Login` cannot be kept in state
//~ for a type of your own: `#[derive(serde::Serialize, serde::Deserialize)]`
use highwater::prelude::*;

#[derive(Clone)]
struct Login {
    ok: bool,
    at: i64,
}

fn main() {
    let twice = Pattern::begin("first", |login: &Login| !login.ok).next("second", |login| !login.ok);
    let topology = Topology::new("logins");
    topology
        .source("logins", Memory::source([Login { ok: true, at: 1 }]))
        .event_time(|login| Timestamp::from_millis(login.at), Duration::ZERO)
        .key_by(|_| 0u8)
        .pattern(twice)
        .select("twice", |_, (_, second)| second.at)
        .values()
        .sink("out", Memory::sink());
}
