//! Only an interval of time or windows say which records belong together.
//~ `std::time::Duration` does not say which records of two streams belong together
//~ an interval is made by `within(..)`, `following(..)`, `preceding(..)` or `between_millis(..)`
use highwater::prelude::*;

fn main() {
    let topology = Topology::new("join-without-bounds");
    let records = topology.source("records", Memory::source([1i64, 2]));
    let (orders, payments) = records
        .event_time(|at| Timestamp::from_millis(*at), Duration::ZERO)
        .branch(|at| *at < 2);
    let _ = orders.key_by(|_| 'k').join(payments.key_by(|_| 'k'), Duration::from_secs(5)).inner("paid");
}
