//! Values that cannot be written to disk, in every verb that keeps some.
//~ `Visit` cannot be kept in state
//~ `Option<Visit>` cannot be kept in state
//~ what is kept must implement `serde::Serialize` and `serde::Deserialize`
//~ for a type of your own: `#[derive(serde::Serialize, serde::Deserialize)]`
use highwater::prelude::*;

#[derive(Clone)]
struct Visit {
    page: String,
}

struct Last {
    visit: Value<Visit>,
}

impl KeyedOperator<String, Visit> for Last {
    type Out = Visit;

    fn on_record(&mut self, visit: Visit, context: &mut Context<'_, String, Visit>) -> Result<(), Cause> {
        context.emit(visit);
        Ok(())
    }
}

fn main() {
    let topology = Topology::new("visits");
    let visits = topology
        .source("visits", Memory::source([Visit { page: "/".to_owned() }]))
        .event_time(|_| Timestamp::MIN, Duration::ZERO);
    let by_page = || visits.clone().key_by(|visit| visit.page.clone());
    by_page().fold("longest", || None, |longest, visit| *longest = Some(visit)).keep();
    by_page().reduce("last", |_, visit| visit).keep();
    by_page()
        .process("last", |states| Last { visit: states.value("visit") })
        .values()
        .sink("out", Memory::sink());
    let windows = by_page().window(tumbling(Duration::from_secs(60)));
    windows.reduce("longest", |_, visit| visit).sink("longest", Memory::sink());
}
