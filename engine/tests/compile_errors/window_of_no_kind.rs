//! A window that is said by its length alone.
//~ Duration` is no kind of window
//~ a kind of window is made by `tumbling(..)`, `sliding(..)`, `session(..)` or `records(..)`
//~ for windows of your own, implement `AssignWindows`
use highwater::prelude::*;

fn main() {
    let topology = Topology::new("clicks");
    let _ = topology
        .source("clicks", Memory::source(["/home".to_owned()]))
        .event_time(|_| Timestamp::MIN, Duration::ZERO)
        .key_by(|page| page.clone())
        .window(Duration::from_secs(60));
}
